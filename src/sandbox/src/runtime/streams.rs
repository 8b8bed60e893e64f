//! `pods/exec` and `pods/attach`, on the engine.

use std::io;
use std::time::Duration;

use bollard::exec::{CreateExecOptions, ResizeExecOptions};
use bollard::query_parameters::ResizeContainerTTYOptionsBuilder;
use bytes::{Buf, Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::io::ReadHalf;
use tokio_util::codec::{Decoder, FramedRead};
use tokio_util::io::ReaderStream;

use super::container::{label, named};
use super::engine::{Engine, refusal};
use super::logs::container_name;
use super::{Error, Runtime};
use crate::api::streams::{
    Action, Control, Output, Process, Size, StreamError, StreamOptions, StreamSource,
};

/// The engine ends a process's output a moment before it knows how the process ended.
const SHORTEST_LOOK: Duration = Duration::from_millis(5);
/// A process may close its output long before it ends.
const LONGEST_LOOK: Duration = Duration::from_millis(500);
/// The longest frame that is read of the engine, in bytes; it sends some ten thousand at once.
const LONGEST_FRAME: usize = 16 << 20;
/// How the engine begins to tell, on the process's output, that there is no process.
const NO_PROCESS: &[u8] = b"OCI runtime exec failed: ";

impl StreamSource for Runtime {
    fn container(&self, pod: &Value, asked: Option<&str>) -> Result<String, StreamError> {
        let pod = read(pod)?;
        let name = container_name(&pod, asked).map_err(StreamError::BadRequest)?;
        let spec = pod.spec.as_ref();
        if spec.and_then(|spec| spec.node_name.as_ref()).is_none() {
            return Err(StreamError::BadRequest(format!(
                "pod {} does not have a host assigned",
                pod.name_any()
            )));
        }
        Ok(name)
    }

    fn open<'a>(
        &'a self,
        pod: &'a Value,
        container: &'a str,
        options: &'a StreamOptions,
    ) -> BoxFuture<'a, Result<Process, StreamError>> {
        self.open_streams(pod, container, options).boxed()
    }
}

fn read(pod: &Value) -> Result<Pod, StreamError> {
    serde_json::from_value(pod.clone())
        .map_err(|error| node(500, format!("the pod is unreadable: {error}")))
}

fn node(code: u16, message: impl Into<String>) -> StreamError {
    StreamError::Node {
        code,
        message: message.into(),
    }
}

impl Runtime {
    async fn open_streams(
        &self,
        pod: &Value,
        container: &str,
        options: &StreamOptions,
    ) -> Result<Process, StreamError> {
        if !(options.stdin || options.stdout || options.stderr) {
            return Err(node(
                400,
                "you must specify at least 1 of stdin, stdout, stderr",
            ));
        }
        let pod = read(pod)?;
        let uid = pod.uid().unwrap_or_default();
        let labels = [(label::UID, uid.as_str()), (label::CONTAINER, container)];
        let found = self.containers(&labels).await;
        let found = found.map_err(|error| node(500, error.to_string()))?;
        let not_found = || node(404, format!("container not found (\"{container}\")"));
        let running = found.into_iter().find(|found| found.running);
        let id = running.ok_or_else(not_found)?.id;
        let failed = |action: &str, source| match refusal(&source) {
            // It ended in the meantime.
            Some((404 | 409, _)) => not_found(),
            _ => node(500, self.engine().failed(action, source).to_string()),
        };
        match &options.action {
            Action::Exec(command) => {
                let tty = options.tty;
                let wanted = CreateExecOptions {
                    cmd: Some(command.clone()),
                    attach_stdin: Some(options.stdin),
                    // Both, also for a client that wants neither: their end is the process's.
                    attach_stdout: Some(true),
                    attach_stderr: Some(true),
                    tty: Some(tty),
                    ..CreateExecOptions::default()
                };
                let made = self.engine().docker().create_exec(&id, wanted).await;
                let exec = made.map_err(|error| failed("making an exec", error))?.id;
                let path = format!("/exec/{exec}/start");
                let start = json!({"Detach": false, "Tty": tty});
                let wire = self.engine().transport().hijack(&path, &start).await;
                let wire = wire.map_err(|error| failed("starting an exec", error))?;
                let control = Exec {
                    engine: self.engine().clone(),
                    id: exec,
                };
                let process = process(wire, tty, options.stdin, control.clone());
                Ok(Process {
                    output: control.or_why_not(process.output),
                    ..process
                })
            }
            Action::Attach => {
                let tty = named(&pod, container).is_some_and(|found| found.tty == Some(true));
                let path = format!(
                    "/containers/{id}/attach?stream=1&stdin={}&stdout=1&stderr=1",
                    u8::from(options.stdin)
                );
                let wire = self.engine().transport().hijack(&path, &json!({})).await;
                let wire = wire.map_err(|error| failed("attaching", error))?;
                let control = Attached {
                    engine: self.engine().clone(),
                    id,
                };
                Ok(process(wire, tty, options.stdin, control))
            }
        }
    }
}

fn process(
    wire: TokioIo<Upgraded>,
    tty: bool,
    stdin: bool,
    control: impl Control + 'static,
) -> Process {
    let (reader, writer) = tokio::io::split(wire);
    Process {
        input: stdin.then(|| Box::pin(writer) as _),
        output: output(reader, tty),
        control: Box::new(control),
    }
}

/// What a process writes. A terminal's output comes as it is, any other in frames.
fn output(
    reader: ReadHalf<TokioIo<Upgraded>>,
    tty: bool,
) -> BoxStream<'static, io::Result<Output>> {
    if tty {
        ReaderStream::new(reader).map_ok(Output::Out).boxed()
    } else {
        FramedRead::new(reader, Frames).boxed()
    }
}

/// The engine's frames: the stream's number, three bytes of nothing, the length of what follows.
struct Frames;

impl Decoder for Frames {
    type Item = Output;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Output>> {
        let Some(&[stream, _, _, _, a, b, c, d]) = buffer.first_chunk::<8>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > LONGEST_FRAME {
            return Err(io::Error::other(format!(
                "the engine sent a frame of {length} bytes"
            )));
        }
        if buffer.len() < 8 + length {
            buffer.reserve(8 + length - buffer.len());
            return Ok(None);
        }
        buffer.advance(8);
        let bytes: Bytes = buffer.split_to(length).freeze();
        Ok(Some(match stream {
            0 | 1 => Output::Out(bytes),
            _ => Output::Err(bytes),
        }))
    }
}

/// A process that an exec has started.
#[derive(Clone)]
struct Exec {
    engine: Engine,
    id: String,
}

impl Exec {
    /// The exit code, once there is one.
    async fn exit_code(&self) -> Result<Option<i64>, Error> {
        let found = self.engine.docker().inspect_exec(&self.id).await;
        let found = found.map_err(|source| self.engine.failed("asking for an exec", source))?;
        Ok(found.exit_code.filter(|_| found.running != Some(true)))
    }

    /// The engine tells on the output that a command could not be started. That is no output.
    fn or_why_not(
        &self,
        output: BoxStream<'static, io::Result<Output>>,
    ) -> BoxStream<'static, io::Result<Output>> {
        let exec = self.clone();
        output
            .enumerate()
            .then(move |(index, chunk)| {
                let exec = exec.clone();
                async move {
                    let suspect = match &chunk {
                        Ok(Output::Out(bytes)) if index == 0 && bytes.starts_with(NO_PROCESS) => {
                            String::from_utf8_lossy(bytes).trim().to_owned()
                        }
                        _ => return chunk,
                    };
                    match exec.exit_code().await {
                        Ok(Some(126 | 127)) => Err(io::Error::other(format!(
                            "error executing command in container: {suspect}"
                        ))),
                        _ => chunk,
                    }
                }
            })
            .boxed()
    }
}

impl Control for Exec {
    fn resize(&self, size: Size) -> BoxFuture<'_, ()> {
        async move {
            let size = ResizeExecOptions {
                height: size.height,
                width: size.width,
            };
            // Nobody is worse off in a terminal of another size.
            if let Err(error) = self.engine.docker().resize_exec(&self.id, size).await {
                tracing::debug!(%error, "resizing a terminal");
            }
        }
        .boxed()
    }

    fn ended(&self) -> BoxFuture<'_, io::Result<i64>> {
        async move {
            let mut pause = SHORTEST_LOOK;
            loop {
                if let Some(code) = self.exit_code().await.map_err(io::Error::other)? {
                    return Ok(code);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_LOOK);
            }
        }
        .boxed()
    }
}

/// A container's own process.
struct Attached {
    engine: Engine,
    id: String,
}

impl Control for Attached {
    fn resize(&self, size: Size) -> BoxFuture<'_, ()> {
        async move {
            let query = ResizeContainerTTYOptionsBuilder::default()
                .h(size.height.into())
                .w(size.width.into())
                .build();
            let docker = self.engine.docker();
            if let Err(error) = docker.resize_container_tty(&self.id, query).await {
                tracing::debug!(%error, "resizing a terminal");
            }
        }
        .boxed()
    }

    fn ended(&self) -> BoxFuture<'_, io::Result<i64>> {
        async { Ok(0) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_however_they_come_in() {
        let mut sent = vec![1, 0, 0, 0, 0, 0, 0, 2, b'a', b'b'];
        sent.extend([2, 0, 0, 0, 0, 0, 0, 1, b'c']);
        let mut buffer = BytesMut::new();
        let mut got = Vec::new();
        for byte in sent {
            buffer.extend_from_slice(&[byte]);
            got.extend(Frames.decode(&mut buffer).expect("frame"));
        }
        assert_eq!(
            got,
            [
                Output::Out(Bytes::from_static(b"ab")),
                Output::Err(Bytes::from_static(b"c"))
            ]
        );
        let mut buffer = BytesMut::from(&[1, 0, 0, 0, 255, 255, 255, 255][..]);
        assert!(Frames.decode(&mut buffer).is_err());
    }
}
