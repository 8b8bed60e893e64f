//! What was typed, kept across restarts: `history.jsonl` under the home directory, mode 0600.
//!
//! One line a cell, appended in a single write, so that kernels side by side do not tear each
//! other's lines. Text arrives here after redaction; results are not kept at all.

use std::collections::VecDeque;
use std::io::{BufRead, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How many cells are kept; the file is cut back to this when it has grown to twice as many.
const KEPT: usize = 10_000;

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Entry {
    session: u64,
    line: u64,
    input: String,
}

/// The history of one kernel and of those before it.
pub struct History {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    session: Option<u64>,
    /// What could not be written (a read-only home) is remembered for this session at least.
    unwritten: Vec<Entry>,
}

impl History {
    /// A history kept in this file; nothing is read or written yet.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            state: Mutex::default(),
        }
    }

    /// Remembers a cell.
    pub fn add(&self, line: u64, input: &str) {
        let mut state = self.lock();
        let session = self.session(&mut state);
        let entry = Entry {
            session,
            line,
            input: input.to_owned(),
        };
        if let Err(error) = self.append(&entry) {
            tracing::debug!(%error, "the history could not be written");
            state.unwritten.push(entry);
        }
    }

    /// Answers a `history_request`.
    pub fn answer(&self, request: &Value) -> Value {
        let mut state = self.lock();
        let current = self.session(&mut state);
        let mut entries = self.entries();
        entries.extend(state.unwritten.iter().cloned());
        let limit = |default: usize| {
            request["n"]
                .as_u64()
                .map_or(default, |n| usize::try_from(n).unwrap_or(usize::MAX))
        };
        let found: Vec<Entry> = match request["hist_access_type"].as_str() {
            Some("range") => {
                // Sessions count from 1; 0 is the current one, negative numbers lie before it.
                let session = match request["session"].as_i64().unwrap_or(0) {
                    session if session <= 0 => current.saturating_add_signed(session),
                    session => session.unsigned_abs(),
                };
                let start = request["start"].as_i64().unwrap_or(0).max(0).unsigned_abs();
                let stop = request["stop"].as_u64().unwrap_or(u64::MAX);
                entries.retain(|entry| {
                    entry.session == session && entry.line >= start && entry.line < stop
                });
                entries
            }
            Some("search") => {
                let pattern = glob(request["pattern"].as_str().unwrap_or("*"));
                entries.retain(|entry| {
                    pattern
                        .as_ref()
                        .is_some_and(|pattern| pattern.is_match(&entry.input))
                });
                if request["unique"].as_bool() == Some(true) {
                    let mut seen = std::collections::HashSet::new();
                    entries.reverse();
                    entries.retain(|entry| seen.insert(entry.input.clone()));
                    entries.reverse();
                }
                last(entries, limit(usize::MAX))
            }
            _ => last(entries, limit(10)),
        };
        let output = request["output"].as_bool() == Some(true);
        let rows: Vec<Value> = found
            .into_iter()
            .map(|entry| {
                if output {
                    json!([entry.session, entry.line, [entry.input, null_text()]])
                } else {
                    json!([entry.session, entry.line, entry.input])
                }
            })
            .collect();
        json!({ "status": "ok", "history": rows })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This kernel's session number: one more than any in the file.
    fn session(&self, state: &mut State) -> u64 {
        *state.session.get_or_insert_with(|| {
            self.entries()
                .iter()
                .map(|entry| entry.session)
                .max()
                .unwrap_or(0)
                + 1
        })
    }

    fn entries(&self) -> Vec<Entry> {
        let Ok(file) = std::fs::File::open(&self.path) else {
            return Vec::new();
        };
        let mut entries = VecDeque::new();
        for line in std::io::BufReader::new(file).lines().map_while(Result::ok) {
            if let Ok(entry) = serde_json::from_str::<Entry>(&line) {
                if entries.len() == KEPT {
                    entries.pop_front();
                }
                entries.push_back(entry);
            }
        }
        entries.into()
    }

    fn append(&self, entry: &Entry) -> std::io::Result<()> {
        if let Some(parent) = self.path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .read(true)
            .mode(0o600)
            .open(&self.path)?;
        // SAFETY: the descriptor is open for as long as `file` lives; the lock goes with it.
        unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) };
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        file.write_all(&line)?;
        // Counting lines on every cell would be work without end; size is a fair sign.
        if file.metadata()?.len() > 8 * 1024 * 1024 {
            self.cut(&mut file)?;
        }
        Ok(())
    }

    fn cut(&self, file: &mut std::fs::File) -> std::io::Result<()> {
        file.rewind()?;
        let lines: Vec<String> = std::io::BufReader::new(&*file)
            .lines()
            .map_while(Result::ok)
            .collect();
        let mut text = String::new();
        let mut size = 0;
        let kept = lines.iter().rev().take(KEPT).take_while(|line| {
            size += line.len();
            size < 4 * 1024 * 1024
        });
        for line in kept.collect::<Vec<_>>().into_iter().rev() {
            text.push_str(line);
            text.push('\n');
        }
        // In place, under the lock: other kernels hold this very file open.
        file.set_len(0)?;
        file.write_all(text.as_bytes())
    }
}

fn null_text() -> Value {
    Value::Null
}

fn last(mut entries: Vec<Entry>, count: usize) -> Vec<Entry> {
    entries.drain(..entries.len().saturating_sub(count));
    entries
}

/// Shell patterns, as the protocol has them: `*`, `?`, and everything else literally.
fn glob(pattern: &str) -> Option<regex::Regex> {
    let mut text = String::from("(?s)^");
    for character in pattern.chars() {
        match character {
            '*' => text.push_str(".*"),
            '?' => text.push('.'),
            other => text.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    text.push('$');
    regex::Regex::new(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(answer: &Value) -> Vec<String> {
        answer["history"]
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| {
                format!(
                    "{}/{} {}",
                    row[0],
                    row[1],
                    row[2].as_str().unwrap_or_default()
                )
            })
            .collect()
    }

    #[test]
    fn a_new_kernel_sees_what_the_one_before_it_ran() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("sub/history.jsonl");
        let first = History::new(path.clone());
        first.add(1, ":images");
        first.add(2, "let x: i32 = 1;");
        let second = History::new(path.clone());
        second.add(1, ":trials");
        let tail = second.answer(&json!({"hist_access_type": "tail", "n": 2}));
        assert_eq!(inputs(&tail), ["1/2 let x: i32 = 1;", "2/1 :trials"]);
        let before = second
            .answer(&json!({"hist_access_type": "range", "session": -1, "start": 1, "stop": 2}));
        assert_eq!(inputs(&before), ["1/1 :images"]);
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&path).expect("file").permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn search_takes_shell_patterns_and_drops_repeats_when_asked() {
        let dir = tempfile::tempdir().expect("a directory");
        let history = History::new(dir.path().join("history.jsonl"));
        for (line, input) in ["a.b", "axb", "a.b", "b\na"].into_iter().enumerate() {
            history.add(line as u64 + 1, input);
        }
        let search = |pattern, unique| {
            inputs(&history.answer(
                &json!({"hist_access_type": "search", "pattern": pattern, "unique": unique}),
            ))
        };
        assert_eq!(search("a.*", true), ["1/3 a.b"]);
        assert_eq!(search("a?b", false).len(), 3);
        assert_eq!(search("b*a", false), ["1/4 b\na"]);
    }

    #[test]
    fn a_home_that_cannot_be_written_costs_only_persistence() {
        let history = History::new(PathBuf::from("/proc/nowhere/history.jsonl"));
        history.add(1, "x");
        assert_eq!(
            inputs(&history.answer(&json!({"hist_access_type": "tail", "n": 5}))),
            ["1/1 x"]
        );
    }

    #[test]
    fn a_torn_line_is_skipped() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("history.jsonl");
        std::fs::write(&path, "{\"session\":3,\"line\":1,\"input\":\"a\"}\n{\"sess")
            .expect("written");
        let history = History::new(path);
        let tail = history.answer(&json!({"hist_access_type": "tail", "n": 5}));
        assert_eq!(inputs(&tail), ["3/1 a"]);
    }
}
