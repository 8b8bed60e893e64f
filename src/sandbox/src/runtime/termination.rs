//! What a container says about its own end: in the file that its pod names for that, or, if the pod wants it so, with
//! the last lines of its output.
//!
//! The file is one of ours, mounted into the container. An engine on another machine, or one that runs the sandbox
//! itself in a container, does not see our files: there, containers run without it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bollard::errors::Error as BollardError;
use bollard::models::{ContainerCreateBody, Mount, MountType};
use bollard::query_parameters::LogsOptionsBuilder;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::engine::{Engine, refusal};

/// Kubernetes' bounds, in bytes: of a file, of the output in its place, and of all messages of a pod.
const LONGEST: usize = 4096;
const LONGEST_OUTPUT: usize = 2048;
const LONGEST_OF_POD: usize = 12 << 10;
/// How many lines of output stand in for the file.
const LINES: &str = "80";

/// The file of one run of a container, in the pod's directory.
fn file(directory: &Path, container: &Container, attempt: u32) -> PathBuf {
    let name = format!("{}-{attempt}", container.name);
    directory.join("termination").join(name)
}

/// Makes the file of a container that is about to be made, and says where it goes.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn mount(
    directory: &Path,
    container: &Container,
    attempt: u32,
) -> std::io::Result<Option<Mount>> {
    let target = container.termination_message_path.as_deref();
    let Some(target) = target.filter(|path| path.starts_with('/')) else {
        return Ok(None);
    };
    let path = file(directory, container, attempt);
    if let Some(parent) = path.parent() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o755).create(parent)?;
    }
    let mut options = File::options();
    let file = options.append(true).create(true).mode(0o666).open(&path)?;
    // Whatever user the container runs as may write it, also where our own mask is strict.
    file.set_permissions(std::fs::Permissions::from_mode(0o666))?;
    Ok(Some(Mount {
        target: Some(target.to_owned()),
        source: Some(path.to_string_lossy().into_owned()),
        typ: Some(MountType::BIND),
        ..Mount::default()
    }))
}

/// Takes the file out of what the engine is to make, if the engine has refused that because it does not see
/// the file. Tells whether it is worth another try.
pub(super) fn unmounted(
    body: &mut ContainerCreateBody,
    directory: &Path,
    refused: &BollardError,
) -> bool {
    let Some((400, message)) = refusal(refused) else {
        return false;
    };
    let files = directory.join("termination");
    let files = files.to_string_lossy();
    let mounts = body.host_config.as_mut().and_then(|c| c.mounts.as_mut());
    let Some(mounts) = mounts.filter(|_| message.contains(&*files)) else {
        return false;
    };
    let before = mounts.len();
    mounts.retain(|mount| {
        let source = mount.source.as_deref().unwrap_or_default();
        !source.starts_with(&*files)
    });
    mounts.len() < before
}

/// The message of a container that has ended.
pub(super) async fn message(
    engine: &Engine,
    directory: &Path,
    pod: &Pod,
    container: &Container,
    attempt: u32,
    ended: (&str, i64),
) -> Option<String> {
    let (id, exit_code) = ended;
    let said = match tail(&file(directory, container, attempt)) {
        Ok(bytes) => bytes,
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(%error, container = id, "reading a termination message");
            }
            Vec::new()
        }
    };
    let policy = container.termination_message_policy.as_deref();
    let said = if said.is_empty() && exit_code != 0 && policy == Some("FallbackToLogsOnError") {
        last_output(engine, id).await
    } else {
        said
    };
    (!said.is_empty()).then(|| bounded(&said, pod))
}

/// The end of a file.
fn tail(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LONGEST as u64)))?;
    let mut bytes = Vec::new();
    // It may grow while it is read.
    file.take(LONGEST as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The end of what a container wrote. A container that cannot be read has said nothing.
async fn last_output(engine: &Engine, id: &str) -> Vec<u8> {
    let query = LogsOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .tail(LINES)
        .build();
    let mut chunks = std::pin::pin!(engine.docker().logs(id, Some(query)));
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) => bytes.extend_from_slice(&chunk.into_bytes()),
            Err(error) => {
                tracing::warn!(%error, container = id, "reading the last output");
                break;
            }
        }
        let surplus = bytes.len().saturating_sub(LONGEST_OUTPUT);
        bytes.drain(..surplus);
    }
    bytes
}

/// A message as the status shows it: the containers of a pod share what it may hold.
fn bounded(bytes: &[u8], pod: &Pod) -> String {
    let containers = pod.spec.as_ref().map_or(1, |spec| {
        spec.containers.len() + spec.init_containers.as_ref().map_or(0, Vec::len)
    });
    let share = LONGEST_OF_POD / containers.max(1);
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    text.truncate(text.floor_char_boundary(share));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_end_of_a_file_is_read_and_shared_among_the_containers() {
        let directory = tempfile::tempdir().expect("directory");
        let container = serde_json::from_value(
            json!({"name": "c", "terminationMessagePath": "/dev/termination-log"}),
        );
        let container: Container = container.expect("container");
        let mounted = mount(directory.path(), &container, 2).expect("file");
        let mounted = mounted.expect("a mount");
        assert_eq!(mounted.target.as_deref(), Some("/dev/termination-log"));
        let path = PathBuf::from(mounted.source.expect("source"));
        assert_eq!(tail(&path).expect("tail"), b"");
        let text: String = (0..2000).map(|line| format!("{line}\n")).collect();
        std::fs::write(&path, &text).expect("written");
        // Made again, it keeps what was written.
        mount(directory.path(), &container, 2).expect("file");
        let end = tail(&path).expect("tail");
        assert_eq!(end, &text.as_bytes()[text.len() - LONGEST..]);

        let names: Vec<_> = (0..6).map(|n| json!({"name": format!("c{n}")})).collect();
        let pod = serde_json::from_value(json!({"metadata": {}, "spec": {"containers": names}}));
        let pod: Pod = pod.expect("pod");
        assert_eq!(bounded(&end, &pod).len(), 2048);
        assert_eq!(bounded("é".repeat(2000).as_bytes(), &pod).len(), 2048);
    }
}
