//! What the engine itself says: cargo's progress while it works, its last words when it dies.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::mpsc;

/// Lines of the engine's own log that are kept for the day it dies.
const LOG_LINES: usize = 40;

/// The log of one engine.
#[derive(Default)]
pub(super) struct Log {
    lines: Mutex<VecDeque<String>>,
    listener: Mutex<Option<mpsc::UnboundedSender<String>>>,
}

impl Log {
    /// Takes a line.
    pub fn add(&self, line: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LOG_LINES {
            lines.pop_front();
        }
        lines.push_back(line.clone());
        drop(lines);
        if let Some(listener) = &*self.listener.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = listener.send(line);
        }
    }

    /// The last lines that say something, indented.
    pub fn tail(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        // Cargo's chatter says nothing about a death.
        let telling = |line: &&String| {
            let line = line.trim_start();
            !line.is_empty()
                && !["Compiling", "Finished", "warning"]
                    .iter()
                    .any(|word| line.starts_with(word))
        };
        let last: Vec<&str> = lines.iter().filter(telling).map(String::as_str).collect();
        let from = last.len().saturating_sub(8);
        last[from..]
            .iter()
            .fold(String::new(), |text, line| text + "\n  " + line)
    }

    /// Sends lines to a listener from here on, in place of the one before.
    pub fn listen(&self) -> mpsc::UnboundedReceiver<String> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }
}

/// Reads a pipe into a log.
pub(super) fn follow(
    pipe: impl AsyncRead + Unpin + Send + 'static,
    log: Arc<Log>,
) -> tokio::task::AbortHandle {
    tokio::spawn(async move {
        let mut lines = BufReader::new(pipe).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            log.add(String::from_utf8_lossy(&line).into_owned());
        }
    })
    .abort_handle()
}
