//! What cargo says while it builds dependencies, as one line in the cell that is kept up to date.

use std::time::{Duration, Instant};

use crate::event::Bundle;
use crate::output::Output;

/// Updates come at most this often.
const PACE: Duration = Duration::from_millis(200);

/// The progress line of one cell. Nothing is shown for builds that are no news: every cell
/// compiles itself.
pub struct Progress {
    output: Output,
    id: Option<String>,
    started: Instant,
    shown: Instant,
    crates: usize,
    last: String,
    pending: bool,
}

impl Progress {
    /// A line that appears when there is something to say.
    pub fn new(output: Output) -> Self {
        let now = Instant::now();
        Self {
            output,
            id: None,
            started: now,
            shown: now,
            crates: 0,
            last: String::new(),
            pending: false,
        }
    }

    /// Reads a line of cargo's.
    pub fn line(&mut self, line: &str) {
        let Some(step) = step(line) else { return };
        if step.starts_with("Compiling") {
            self.crates += 1;
        }
        self.last = step;
        self.pending = true;
        if self.id.is_none() {
            self.show();
        }
    }

    /// Shows what came since the last update, if it is time.
    pub fn tick(&mut self) {
        let pause = if self.pending {
            PACE
        } else {
            Duration::from_secs(1)
        };
        if self.id.is_some() && self.shown.elapsed() >= pause {
            self.show();
        }
    }

    /// Leaves a summary behind.
    pub fn finish(&mut self, ended: &str) {
        if let Some(id) = self.id.take() {
            let seconds = self.started.elapsed().as_secs_f64();
            let what = match self.crates {
                0 => "dependencies".to_owned(),
                1 => "1 crate".to_owned(),
                many => format!("{many} crates"),
            };
            self.output.update(
                &id,
                Bundle::text(format!("{ended} {what} in {seconds:.1} s")),
            );
        }
    }

    fn show(&mut self) {
        self.shown = Instant::now();
        self.pending = false;
        let bundle = Bundle::text(format!(
            "{} ({:.0} s)",
            self.last,
            self.started.elapsed().as_secs_f64()
        ));
        match &self.id {
            Some(id) => self.output.update(id, bundle),
            None => self.id = Some(self.output.display(bundle)),
        }
    }
}

/// The step a line of cargo's announces; `None` for what concerns only the cell itself.
fn step(line: &str) -> Option<String> {
    let line = line.trim();
    let (verb, rest) = line.split_once(' ')?;
    let known = [
        "Compiling",
        "Downloading",
        "Downloaded",
        "Updating",
        "Locking",
        "Adding",
        "Blocking",
        "Fetch",
        "Building",
    ];
    if !known.contains(&verb) || rest.starts_with("ctx v") {
        return None;
    }
    // The path of a local crate is no news either.
    let rest = rest.split(" (/").next().unwrap_or(rest);
    Some(format!("{verb} {}", rest.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dependencies_are_news() {
        assert_eq!(
            step("   Compiling serde v1.0.0").as_deref(),
            Some("Compiling serde v1.0.0")
        );
        assert_eq!(
            step("   Compiling mine v0.1.0 (/tmp/x)").as_deref(),
            Some("Compiling mine v0.1.0")
        );
        assert_eq!(step("   Compiling ctx v1.0.0 (/tmp/x)"), None);
        assert_eq!(step("    Finished `dev` profile"), None);
        assert_eq!(step("warning: unused"), None);
    }
}
