//! `pods/NAME/exec` and `/attach`: the standard streams of a process over a WebSocket.
//!
//! Each message carries the bytes of one channel, which its first byte names. Version 5 of the protocol adds one
//! message, by which the client closes a channel; in version 4 its standard input has no end. The last message is a
//! `Status` on the channel for errors: how the process ended.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http::{Response, header, request};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::Api;
use super::path::Target;
use super::query::Query;
use super::status::ApiError;

/// Streams open at once, over all pods.
pub(super) const STREAMS: usize = 64;
/// The longest message a client may send, in bytes.
const LONGEST: usize = 8 << 20;
/// How often a silent client is asked whether it is there.
const BEAT: Duration = Duration::from_secs(30);
/// How long a client may take to end a connection that is over.
const FAREWELL: Duration = Duration::from_secs(5);

/// The protocols, best first.
const PROTOCOLS: [&str; 2] = [CLOSING_PROTOCOL, "v4.channel.k8s.io"];
const CLOSING_PROTOCOL: &str = "v5.channel.k8s.io";

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// What a client wants to do with a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Run this command in it.
    Exec(Vec<String>),
    /// Follow what it runs already.
    Attach,
}

/// What the query string of a request says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOptions {
    /// What to do.
    pub action: Action,
    /// Whether the client sends input.
    pub stdin: bool,
    /// Whether it wants the output.
    pub stdout: bool,
    /// Whether it wants the error output. A terminal has none.
    pub stderr: bool,
    /// Whether the process gets a terminal.
    pub tty: bool,
}

impl StreamOptions {
    fn read(subresource: &str, query: &Query) -> StreamOptions {
        let tty = query.flag("tty");
        StreamOptions {
            action: match subresource {
                "attach" => Action::Attach,
                _ => Action::Exec(query.all("command").map(str::to_owned).collect()),
            },
            stdin: query.flag("stdin"),
            stdout: query.flag("stdout"),
            stderr: query.flag("stderr") && !tty,
            tty,
        }
    }

    /// The channel on which a client hears first that all is well: the lowest it reads.
    fn first_channel(&self) -> u8 {
        match (self.stdout, self.stderr) {
            (true, _) => STDOUT,
            (false, true) => STDERR,
            (false, false) => ERROR,
        }
    }
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// What the API server itself has against it (HTTP 400).
    #[error("{0}")]
    BadRequest(String),
    /// What the node says. A client of version 5 hears it on the channel for errors, as the API server has
    /// upgraded the connection before it asks the node.
    #[error("{message}")]
    Node {
        /// The HTTP status for clients of version 4.
        code: u16,
        /// The node's words.
        message: String,
    },
}

/// Bytes that a process wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// On its standard output, or to its terminal.
    Out(Bytes),
    /// On its standard error.
    Err(Bytes),
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Size {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// A process whose streams are open. Dropped, it goes on without them.
pub struct Process {
    /// Its standard input; shutting it down is its end.
    pub input: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    /// What it writes. An error ends the stream, and is what the client is told.
    pub output: BoxStream<'static, io::Result<Output>>,
    /// The rest.
    pub control: Box<dyn Control>,
}

/// A process apart from its streams.
pub trait Control: Send + Sync {
    /// Tells the process the size of its terminal.
    fn resize(&self, size: Size) -> BoxFuture<'_, ()>;

    /// Waits for its exit code; what is not run but followed has none and counts as 0.
    fn ended(&self) -> BoxFuture<'_, io::Result<i64>>;
}

/// Whoever runs the containers of pods, as far as their streams go.
pub trait StreamSource: Send + Sync + 'static {
    /// Which container of a pod is meant: the one that was asked for, or the only one.
    ///
    /// # Errors
    /// [`StreamError::BadRequest`] when there is no such container, or several to choose from.
    fn container(&self, pod: &Value, asked: Option<&str>) -> Result<String, StreamError>;

    /// Opens the streams of a process in a container that [`StreamSource::container`] has named.
    fn open<'a>(
        &'a self,
        pod: &'a Value,
        container: &'a str,
        options: &'a StreamOptions,
    ) -> BoxFuture<'a, Result<Process, StreamError>>;
}

/// What a request wants its connection to become.
pub(super) enum Upgrade {
    Nothing,
    WebSocket(Box<WebSocketUpgrade>),
    /// Half a request for a WebSocket, and what is wrong with it.
    Malformed(String),
    Other(String),
}

impl Upgrade {
    pub(super) async fn of(parts: &mut request::Parts) -> Upgrade {
        let Some(wanted) = parts.headers.get(header::UPGRADE) else {
            return Upgrade::Nothing;
        };
        if !wanted.as_bytes().eq_ignore_ascii_case(b"websocket") {
            let wanted = String::from_utf8_lossy(wanted.as_bytes());
            return Upgrade::Other(wanted.into_owned());
        }
        match WebSocketUpgrade::from_request_parts(parts, &()).await {
            Ok(socket) => Upgrade::WebSocket(Box::new(socket)),
            Err(rejection) => Upgrade::Malformed(rejection.body_text()),
        }
    }
}

impl Api {
    /// Opens the streams of a process and hands the connection over to them.
    pub(super) async fn connect(
        &self,
        target: &Target,
        query: &Query,
        upgrade: Upgrade,
    ) -> Result<Response<Body>, ApiError> {
        let subresource = target.subresource.as_deref().unwrap_or_default();
        let pod = self.get(target)?.value();
        let source = self
            .inner
            .streams
            .get()
            .cloned()
            .ok_or_else(|| ApiError::internal("no container runtime has started yet"))?;
        // Whatever the client speaks, it hears first what is wrong with its request: kubectl tries SPDY
        // after any refusal, and shows the last.
        let container = source
            .container(&pod, query.get("container"))
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        let socket = match upgrade {
            Upgrade::WebSocket(socket) => socket.protocols(PROTOCOLS),
            Upgrade::Nothing => return Err(ApiError::bad_request("Upgrade request required")),
            Upgrade::Malformed(why) => return Err(ApiError::bad_request(why)),
            Upgrade::Other(other) => {
                return Err(ApiError::not_done(&format!(
                    "pods/{subresource} over {other}; use a client that speaks WebSocket: kubectl 1.31 or newer does"
                )));
            }
        };
        let Some(protocol) = socket.selected_protocol() else {
            return Err(ApiError::bad_request(format!(
                "none of the requested protocols is supported; pods/{subresource} supports {}",
                PROTOCOLS.join(" and ")
            )));
        };
        let closing = protocol.as_bytes() == CLOSING_PROTOCOL.as_bytes();
        let Ok(permit) = self.inner.open_streams.clone().try_acquire_owned() else {
            return Err(ApiError::too_many_requests(format!(
                "{STREAMS} streams to pods are open; end one of them and try again"
            )));
        };
        let options = StreamOptions::read(subresource, query);
        let process = match source.open(&pod, &container, &options).await {
            Ok(process) => Ok(process),
            Err(StreamError::BadRequest(message)) => return Err(ApiError::bad_request(message)),
            Err(StreamError::Node { message, .. }) if closing => {
                Err(format!("unable to upgrade connection: {message}"))
            }
            Err(StreamError::Node { code, message }) => {
                return Err(ApiError::from_node(code, message));
            }
        };
        let shutdown = self.inner.shutdown.clone();
        let serve = move |socket| async move {
            let session = Session {
                socket,
                closing,
                options,
            };
            tokio::select! {
                () = session.run(process) => {}
                () = shutdown.cancelled() => {}
            }
            drop(permit);
        };
        Ok(socket.max_message_size(LONGEST).on_upgrade(serve))
    }
}

/// How a process ended, as the client reads it. `Err` is what went wrong instead.
fn status(end: &Result<i64, String>) -> Value {
    match end {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with non-zero exit code: command terminated with exit code {code}"),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Err(message) => {
            let mut status = ApiError::internal(message).to_status();
            if let Some(status) = status.as_object_mut() {
                status.remove("kind");
                status.remove("apiVersion");
            }
            status
        }
    }
}

fn message(channel: u8, bytes: &[u8]) -> Message {
    let mut message = Vec::with_capacity(bytes.len() + 1);
    message.push(channel);
    message.extend_from_slice(bytes);
    Message::Binary(message.into())
}

/// The end of a connection. kubectl takes one without a code for broken.
fn goodbye() -> Message {
    Message::Close(Some(CloseFrame {
        code: close_code::NORMAL,
        reason: "".into(),
    }))
}

/// A connection that has become a WebSocket.
struct Session {
    socket: WebSocket,
    /// Whether the client can close its input.
    closing: bool,
    options: StreamOptions,
}

impl Session {
    /// Carries the streams until the process ends or the client is gone. A client that goes ends nothing.
    async fn run(self, process: Result<Process, String>) {
        let (mut sink, mut stream) = self.socket.split();
        let hello = message(self.options.first_channel(), b"");
        if sink.send(hello).await.is_err() {
            return;
        }
        let end = match process {
            Ok(process) => {
                let Process {
                    input,
                    output,
                    control,
                } = process;
                tokio::select! {
                    told = tell(&mut sink, output, &self.options) => match told {
                        Told::All => control.ended().await.map_err(|error| error.to_string()),
                        Told::Broken(why) => Err(why),
                        Told::Nobody => return,
                    },
                    () = hear(&mut stream, input, &*control, self.closing) => return,
                }
            }
            Err(why) => Err(why),
        };
        let last = message(ERROR, status(&end).to_string().as_bytes());
        if sink.send(last).await.is_err() || sink.send(goodbye()).await.is_err() {
            return;
        }
        let gone = async { while let Some(Ok(_)) = stream.next().await {} };
        let _ = tokio::time::timeout(FAREWELL, gone).await;
    }
}

/// How the way to the client ended.
enum Told {
    All,
    Broken(String),
    Nobody,
}

/// Carries a process's output to the client.
async fn tell(
    sink: &mut SplitSink<WebSocket, Message>,
    mut output: BoxStream<'static, io::Result<Output>>,
    options: &StreamOptions,
) -> Told {
    let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + BEAT, BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let next = tokio::select! {
            chunk = output.next() => match chunk {
                None => return Told::All,
                Some(Ok(Output::Out(bytes))) if options.stdout => message(STDOUT, &bytes),
                Some(Ok(Output::Err(bytes))) if options.stderr => message(STDERR, &bytes),
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Told::Broken(error.to_string()),
            },
            _ = beat.tick() => Message::Ping(Bytes::new()),
        };
        if sink.send(next).await.is_err() {
            return Told::Nobody;
        }
    }
}

/// Carries the client's input to a process, as fast as the process takes it, until the client is gone.
async fn hear(
    stream: &mut SplitStream<WebSocket>,
    mut input: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    control: &dyn Control,
    closing: bool,
) {
    while let Some(Ok(message)) = stream.next().await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into(),
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) => continue,
        };
        match bytes.split_first() {
            Some((&STDIN, data)) => {
                if let Some(to) = &mut input
                    && (to.write_all(data).await.is_err() || to.flush().await.is_err())
                {
                    // It reads no more. How it ends is told on the other way.
                    input = None;
                }
            }
            Some((&CLOSE, &[STDIN])) if closing => {
                if let Some(mut to) = input.take() {
                    let _ = to.shutdown().await;
                }
            }
            Some((&RESIZE, data)) => {
                if let Ok(size) = serde_json::from_slice(data) {
                    control.resize(size).await;
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_to_run_and_which_streams_to_carry() {
        let read = |sub, query| StreamOptions::read(sub, &Query::parse(query));
        let exec = read(
            "exec",
            "command=sh&command=-c&command=a+%26%20b&stdin=True&stdout=1&stderr=true",
        );
        let words = ["sh", "-c", "a & b"].map(str::to_owned).to_vec();
        assert_eq!(exec.action, Action::Exec(words));
        assert_eq!(
            (exec.stdin, exec.stdout, exec.stderr, exec.tty),
            (true, true, true, false)
        );
        let attach = read("attach", "tty=true&stdout=true&stderr=true");
        assert_eq!(attach.action, Action::Attach);
        // A terminal has one output.
        assert_eq!((attach.stdin, attach.stderr), (false, false));
        assert_eq!(attach.first_channel(), STDOUT);
    }

    #[test]
    fn an_end_is_told_as_a_status() {
        assert_eq!(status(&Ok(0)), json!({"metadata": {}, "status": "Success"}));
        let failed = status(&Ok(3));
        assert_eq!(failed["reason"], "NonZeroExitCode");
        assert_eq!(
            failed["details"]["causes"],
            json!([{"reason": "ExitCode", "message": "3"}])
        );
        let broken = status(&Err("unable to upgrade connection: gone".into()));
        assert_eq!(
            broken["message"],
            "Internal error occurred: unable to upgrade connection: gone"
        );
        assert_eq!(
            (&broken["code"], &broken["kind"]),
            (&json!(500), &Value::Null)
        );
    }
}
