//! The classic builder's text, understood: steps, caches, output, ids, failures.

use serde_json::Value;

use super::Event;
use crate::docker::transfer::LayerProgress;
use crate::docker::{Error, Result};

/// How many lines of a step's output are kept for its error.
const TAIL: usize = 20;

/// What has been understood of the builder's text so far.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) step: usize,
    total: usize,
    instruction: String,
    pub(super) cached: usize,
    line: String,
    tail: Vec<String>,
    pub(super) id: Option<String>,
}

impl Progress {
    /// Nothing has come yet; how many steps are expected is known from the Dockerfile.
    pub(super) fn of(total: usize) -> Self {
        Self {
            total,
            ..Self::default()
        }
    }

    pub(super) fn place(&self) -> String {
        if self.step == 0 {
            "the build".to_owned()
        } else {
            format!(
                "step {}/{} of the build ({})",
                self.step, self.total, self.instruction
            )
        }
    }

    pub(super) fn take(
        &mut self,
        message: &Value,
        report: &mut (dyn FnMut(Event) + Send),
    ) -> Result<()> {
        if let Some(error) = message.get("error").and_then(Value::as_str) {
            self.finish(report);
            let detail = &message["errorDetail"];
            let why = detail["message"]
                .as_str()
                .unwrap_or(error)
                .trim()
                .to_owned();
            // Podman has it in the text only.
            let code = detail["code"].as_i64().or_else(|| {
                let (_, code) = why.rsplit_once("exit status ")?;
                code.parse().ok()
            });
            if self.step == 0 {
                return Err(Error::BuildFailed { why });
            }
            return Err(Error::StepFailed {
                step: self.step,
                total: self.total,
                instruction: std::mem::take(&mut self.instruction),
                why,
                code,
                output: std::mem::take(&mut self.tail),
            });
        }
        if let Some(id) = message["aux"]["ID"].as_str() {
            self.id = Some(id.to_owned());
        }
        if let Some(text) = message.get("stream").and_then(Value::as_str) {
            self.line.push_str(text);
            while let Some(end) = self.line.find('\n') {
                let line: String = self.line.drain(..=end).collect();
                self.line_came(line.trim_end_matches(['\n', '\r']), report);
            }
        } else if let Some(progress) = LayerProgress::of(message) {
            report(Event::Pulling(progress));
        }
        Ok(())
    }

    /// The text may end without a line's end.
    pub(super) fn finish(&mut self, report: &mut (dyn FnMut(Event) + Send)) {
        let rest = std::mem::take(&mut self.line);
        if !rest.is_empty() {
            self.line_came(&rest, report);
        }
    }

    fn line_came(&mut self, line: &str, report: &mut (dyn FnMut(Event) + Send)) {
        // The colour of a command's last line ends at the beginning of the builder's next.
        let plain = strip_colours(line);
        let line = plain.as_str();
        if let Some((number, total, instruction)) = step_line(line) {
            self.step = number;
            self.total = total;
            self.instruction = instruction.to_owned();
            self.tail.clear();
            report(Event::Step {
                number,
                total,
                instruction: instruction.to_owned(),
            });
        } else if line.starts_with("COMMIT ") && self.step == self.total {
            // Podman tells the name that the image gets; so does the outcome.
        } else if let Some(rest) = line
            .strip_prefix(" ---> ")
            .or_else(|| line.strip_prefix("--> "))
        {
            // Podman writes the id behind it.
            if rest.starts_with("Using cache") {
                self.cached += 1;
                report(Event::Cached);
            } else if !rest.starts_with("Running in") && !rest.starts_with('[') {
                self.id = self.id.take().or_else(|| Some(rest.to_owned()));
                report(Event::Layer(rest.to_owned()));
            } else if rest.starts_with('[') {
                report(Event::Warning(rest.to_owned()));
            }
        } else if let Some(id) = line.strip_prefix("Successfully built ") {
            self.id = self
                .id
                .take()
                .filter(|id| id.starts_with("sha256:"))
                .or_else(|| Some(id.to_owned()));
        } else if line.len() == 64
            && line.bytes().all(|b| b.is_ascii_hexdigit())
            && self.step == self.total
        {
            // Podman's last word is the bare id.
            self.id = self
                .id
                .take()
                .filter(|id| id.starts_with("sha256:"))
                .or_else(|| Some(line.to_owned()));
        } else if !line.trim().is_empty()
            && !line.starts_with("Removing intermediate container ")
            && !line.starts_with("Successfully tagged ")
        {
            // A progress bar draws over its own line: what stands there in the end is the line.
            let shown = line
                .rsplit('\r')
                .find(|part| !part.trim().is_empty())
                .unwrap_or(line);
            let plain = shown.to_owned();
            if self.tail.len() == TAIL {
                self.tail.remove(0);
            }
            self.tail.push(plain.clone());
            report(Event::Output(plain));
        }
    }
}

/// `Step 3/7 : RUN make`.
fn step_line(line: &str) -> Option<(usize, usize, &str)> {
    let rest = line
        .strip_prefix("Step ")
        .or_else(|| line.strip_prefix("STEP "))?;
    let (counts, instruction) = rest.split_once(" : ").or_else(|| rest.split_once(": "))?;
    let (number, total) = counts.split_once('/')?;
    Some((number.parse().ok()?, total.parse().ok()?, instruction))
}

/// The classic builder paints what a command writes to its error output red.
fn strip_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' && chars.peek() == Some(&'[') {
            chars.next();
            while chars.next().is_some_and(|c| !c.is_ascii_alphabetic()) {}
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(messages: &[Value]) -> (Progress, Vec<String>, Result<()>) {
        let mut progress = Progress::default();
        let mut seen = Vec::new();
        let mut outcome = Ok(());
        for message in messages {
            outcome = progress.take(message, &mut |event| seen.push(format!("{event:?}")));
            if outcome.is_err() {
                break;
            }
        }
        (progress, seen, outcome)
    }

    #[test]
    fn the_builders_text_becomes_steps_wherever_its_pieces_end() {
        let (progress, seen, outcome) = run(&[
            json!({"stream": "Step 1/2 : FROM a:1"}),
            json!({"stream": "\n"}),
            json!({"stream": " ---> abc\nStep 2/2 : RUN ec"}),
            json!({"stream": "ho\n ---> Using cache\n"}),
            json!({"stream": "\u{1b}[91mwarn\u{1b}[0m\n"}),
            json!({"stream": "10%\r20%\r100%\n"}),
            json!({"aux": {"ID": "sha256:def"}}),
            json!({"stream": "Successfully built def\n"}),
        ]);
        assert!(outcome.is_ok());
        assert_eq!(progress.id.as_deref(), Some("sha256:def"));
        assert_eq!((progress.step, progress.cached), (2, 1));
        assert!(seen.iter().any(|e| e.contains("RUN echo")), "{seen:?}");
        assert!(
            seen.contains(&"Output(\"warn\")".to_owned())
                && seen.contains(&"Output(\"100%\")".to_owned())
        );
    }

    #[test]
    fn a_failing_step_carries_its_last_lines_and_its_code() {
        let lines: String = (0..30).map(|i| format!("line {i}\n")).collect();
        let (_, _, outcome) = run(&[
            json!({"stream": "Step 3/7 : RUN false\n"}),
            json!({"stream": lines}),
            json!({"errorDetail": {"code": 1, "message": "returned a non-zero code: 1"}, "error": "x"}),
        ]);
        match outcome {
            Err(Error::StepFailed {
                step: 3,
                total: 7,
                code: Some(1),
                output,
                ..
            }) => {
                assert_eq!(
                    (output.len(), output[0].as_str(), output[19].as_str()),
                    (20, "line 10", "line 29")
                );
            }
            other => panic!("{other:?}"),
        }
    }
}
