//! `!cmd`: a line for the shell, its output as it comes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::event::Stream;
use crate::failure::Failure;
use crate::output::Output;

/// How long a command may take to end after an interrupt before it is killed.
const PATIENCE: Duration = Duration::from_secs(2);

/// How much a command may print in a second. What it prints beyond waits in its pipe, so that a
/// runaway command fills neither this program's memory nor the notebook within moments.
const RATE: usize = 4 * 1024 * 1024;

/// Runs a command with `sh` in a directory.
///
/// # Errors
/// When it cannot be started, ends with a status other than 0, or is interrupted.
pub async fn run(
    command: &str,
    directory: &Path,
    variables: &BTreeMap<String, String>,
    output: &Output,
    cancel: &CancellationToken,
) -> Result<(), Failure> {
    let mut child = tokio::process::Command::new("sh")
        .arg("-c")
        .arg(command)
        .current_dir(directory)
        .envs(variables)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, so that an interrupt reaches whatever the shell started.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            Failure::new("ShellError", format!("`sh` could not be started: {error}"))
        })?;
    let group = child.id().and_then(|pid| i32::try_from(pid).ok());
    let signal = |signal| {
        if let Some(group) = group {
            // SAFETY: killpg takes plain numbers; the group is the child's own.
            unsafe { libc::killpg(group, signal) };
        }
    };
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let copied = async {
        tokio::join!(
            copy(stdout, Stream::Stdout, output),
            copy(stderr, Stream::Stderr, output)
        );
    };
    let done = async {
        copied.await;
        child.wait().await
    };
    tokio::pin!(done);
    let status = tokio::select! {
        status = &mut done => status,
        () = cancel.cancelled() => {
            signal(libc::SIGINT);
            if tokio::time::timeout(PATIENCE, &mut done).await.is_err() {
                signal(libc::SIGKILL);
                let _ = tokio::time::timeout(PATIENCE, &mut done).await;
            }
            return Err(Failure::interrupted("the command was ended"));
        }
    };
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let how = match status.code() {
                Some(127) => "exit status 127: command not found".to_owned(),
                Some(code) => format!("exit status {code}"),
                None => status.to_string(),
            };
            Err(Failure::new(
                "ShellError",
                format!("`{command}` failed ({how})"),
            ))
        }
        Err(error) => Err(Failure::new(
            "ShellError",
            format!("`{command}` was lost: {error}"),
        )),
    }
}

async fn copy(pipe: Option<impl AsyncRead + Unpin>, stream: Stream, output: &Output) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 16 * 1024];
    let mut held = Vec::new();
    let mut second = Instant::now();
    let mut printed = 0;
    loop {
        match pipe.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => {
                printed += read;
                if second.elapsed() >= Duration::from_secs(1) {
                    (second, printed) = (Instant::now(), 0);
                } else if printed > RATE {
                    tokio::time::sleep_until(second + Duration::from_secs(1)).await;
                }
                held.extend_from_slice(&buffer[..read]);
                let whole = whole_characters(&held);
                let rest = held.split_off(whole);
                output.stream(stream, String::from_utf8_lossy(&held).into_owned());
                held = rest;
            }
        }
    }
    if !held.is_empty() {
        output.stream(stream, String::from_utf8_lossy(&held).into_owned());
    }
}

/// How much of this can be shown now: a read may end inside a character.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_cut_in_two_waits_for_its_rest() {
        let text = "한".as_bytes();
        assert_eq!(whole_characters(&text[..2]), 0);
        assert_eq!(whole_characters(text), 3);
        assert_eq!(whole_characters(&[b'a', 0xff, b'b']), 3);
    }
}
