//! How a cell ended, judged from all that came back for it.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::advice;
use super::marks::Panic;
use super::process::first_time;
use super::request::{Cell, Ended};
use crate::failure::Failure;

impl Cell {
    /// How the cell ended.
    pub(super) fn verdict(
        &self,
        code: &str,
        has_mark: bool,
        cancelled: bool,
        hinted: &AtomicBool,
    ) -> Ended {
        let Some(reply) = &self.reply else {
            let message = "the Rust engine failed inside and was ended; variables, items and dependencies are gone";
            return Ended::EngineLost(
                Failure::new("EngineError", message)
                    .with_hint(Some("the next Rust cell starts a fresh engine".to_owned())),
            );
        };
        if let Some(first) = self.errors.first() {
            return self.failed(first, cancelled, hinted);
        }
        if let Some(error) = &self.error {
            if cancelled {
                return Ended::Failed(Failure::interrupted("variables are kept"));
            }
            let failure = Failure::new("Error", &error.message);
            return Ended::Failed(failure.with_hint(error.hint.clone()));
        }
        if reply.content["status"] == "error" {
            return Ended::Failed(Failure::new(
                "Error",
                "the Rust engine reported an error without saying which",
            ));
        }
        let reached_end = if has_mark {
            self.marks.0
        } else {
            self.results > 0
        };
        // What the kernel answered to the interrupt ended the cell.
        if cancelled && !reached_end {
            return Ended::Failed(Failure::interrupted("variables are kept"));
        }
        if let Some(panic) = &self.panic
            && !reached_end
            && (has_mark || !self.after_panic)
        {
            return Ended::Failed(self.panicked(panic, code));
        }
        if self.denied.load(Ordering::SeqCst) {
            return Ended::Failed(
                Failure::new(
                    "InputError",
                    "the cell asked for input, and this client cannot be asked",
                )
                .with_hint(Some(
                    "use a setting (`:env`) or a file instead of a prompt".to_owned(),
                )),
            );
        }
        // A cell may set a hook of its own; the standard one leaves these words.
        if has_mark && !reached_end && self.stderr.contains("panicked at ") {
            let message = self.stderr.trim().to_owned();
            return Ended::Failed(Failure {
                name: "panic".to_owned(),
                traceback: vec![message.clone()],
                message,
            });
        }
        // A `?` that returns early prints its error and reports success.
        let returned = code.contains('?')
            && !reached_end
            && !self.stderr.trim().is_empty()
            && self.output.is_some();
        if returned && (has_mark || crate::cell::scan::ends_in_value(code)) {
            let message = self.stderr.trim().to_owned();
            return Ended::Failed(Failure {
                name: "Error".to_owned(),
                // The error itself has been printed.
                traceback: vec!["the cell returned early: a `?` met the error above".to_owned()],
                message,
            });
        }
        Ended::Well
    }

    fn failed(&self, first: &Value, cancelled: bool, hinted: &AtomicBool) -> Ended {
        let message = first["evalue"].as_str().unwrap_or_default().to_owned();
        let program_lost = message.contains("Subprocess terminated")
            || message.contains("Subprocess didn't start");
        if cancelled {
            return if program_lost {
                Ended::ProgramLost(Failure::interrupted(
                    "the program of the Rust cells was ended, so variables are gone",
                ))
            } else {
                Ended::Failed(Failure::interrupted("variables are kept"))
            };
        }
        if program_lost {
            return Ended::ProgramLost(program_failure(&message));
        }
        let mut traceback = Vec::new();
        for error in &self.errors {
            if !traceback.is_empty() {
                traceback.push(String::new());
            }
            let lines = error["traceback"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            traceback.extend(
                lines
                    .filter(|line| !line.contains("katlab:end"))
                    .map(str::to_owned),
            );
        }
        let asks_for_type = self.errors.iter().any(|error| {
            error["evalue"]
                .as_str()
                .is_some_and(|text| text.contains("determine type of variable"))
        });
        if asks_for_type && !self.process.has_source && first_time(hinted) {
            traceback.push(
                "hint: the toolchain has no source of the standard library, so the types of variables must be \
                 written out; `!rustup component add rust-src` and a restart of the kernel make them inferred"
                    .to_owned(),
            );
        }
        let is_equipped = self.process.equipped.load(Ordering::SeqCst);
        if let Some(advice) = advice::of(&message, &traceback.join("\n"), is_equipped) {
            traceback.push(format!("hint: {advice}"));
        }
        let message = match self.errors.len() {
            1 => message,
            more => format!("{message} (and {} more)", more - 1),
        };
        Ended::Failed(Failure {
            name: "CompileError".to_owned(),
            message,
            traceback,
        })
    }

    fn panicked(&self, panic: &Panic, code: &str) -> Failure {
        let mut traceback = vec![format!("panicked: {}", panic.message)];
        match self.process.compiled_line(&panic.place) {
            Some(line) if !line.is_empty() => {
                let number = code.lines().position(|own| own.trim() == line);
                traceback.push(match number {
                    Some(number) => format!("  at line {}: {line}", number + 1),
                    None => format!("  at {line}"),
                });
            }
            _ if panic.place.is_empty() || panic.place.starts_with("src/lib.rs") => {}
            _ => traceback.push(format!("  at {}", panic.place)),
        }
        Failure {
            name: "panic".to_owned(),
            message: panic.message.clone(),
            traceback,
        }
    }

    /// How the engine ended.
    pub(super) fn engine_lost(&self) -> Ended {
        let how = self
            .process
            .post_mortem()
            .unwrap_or_else(|| "it closed its sockets".to_owned());
        let message = format!(
            "the Rust engine ended ({}); variables, items and dependencies are gone",
            how.lines().next().unwrap_or_default()
        );
        let mut failure = Failure::new("EngineError", message);
        failure
            .traceback
            .extend(how.lines().skip(1).map(str::to_owned));
        Ended::EngineLost(
            failure.with_hint(Some("the next Rust cell starts a fresh engine".to_owned())),
        )
    }
}

fn program_failure(message: &str) -> Failure {
    let lost = "variables are gone, items and dependencies stay";
    let how = message.lines().last().unwrap_or_default();
    let before: Vec<&str> = message
        .lines()
        .filter(|line| !line.contains("Subprocess"))
        .collect();
    let text = if how.contains("signal: 9") {
        format!(
            "the program of the Rust cells was killed, most likely because memory ran out; {lost}"
        )
    } else if let Some(status) = how.rsplit_once("status: ").map(|(_, status)| status) {
        format!("the program of the Rust cells ended ({status}); {lost}")
    } else {
        format!("the program of the Rust cells ended; {lost}")
    };
    let mut failure = Failure::new("ProgramEnded", text);
    let mut traceback: Vec<String> = before.iter().map(|line| (*line).to_owned()).collect();
    traceback.append(&mut failure.traceback);
    failure.traceback = traceback;
    failure
}
