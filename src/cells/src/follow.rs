//! What goes on: an experiment that is watched, a log that is read.

use std::fmt;

use crate::bridge::Connection;
use crate::shown::{self, Shown};
use crate::trials::{behaves_as_slice, text};
use crate::{Error, Experiment, Json, Result, Trial};

/// How many lines of a log a cell shows that ends in one.
const SHOWN: usize = 100;

/// What happened to an experiment that is watched.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A trial runs
    TrialStarted(Trial),
    /// A trial has ended, well or badly: [`Trial::status`] says how
    TrialEnded(Trial),
    /// The experiment has another condition: [`Experiment::status`] says which
    Experiment(Experiment),
}

impl Event {
    fn from_json(json: &Json) -> Result<Self> {
        let member = |name: &'static str| json.get(name).ok_or_else(|| Error::missing(name));
        match text(json, "kind")?.as_str() {
            "started" => Trial::from_json(member("trial")?).map(Event::TrialStarted),
            "ended" => Trial::from_json(member("trial")?).map(Event::TrialEnded),
            "experiment" => Experiment::from_json(member("experiment")?).map(Event::Experiment),
            _ => Err(Error::unexpected("an event", json)),
        }
    }
}

impl Shown for Event {
    fn evcxr_display(&self) {
        shown::plain(&self.to_string());
    }
}

/// In one line: `trial mnist-x7 has ended: Succeeded, 0.97`.
impl fmt::Display for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::TrialStarted(trial) => write!(out, "trial {} has started", trial.name),
            Event::TrialEnded(trial) => {
                write!(out, "trial {} has ended: {}", trial.name, trial.status)?;
                match trial.objective {
                    Some(value) => write!(out, ", {}", crate::table::short(value)),
                    None => Ok(()),
                }
            }
            Event::Experiment(experiment) => {
                let (name, status) = (&experiment.name, &experiment.status);
                let (succeeded, failed) = (experiment.succeeded, experiment.failed);
                write!(
                    out,
                    "experiment {name}: {status}, {succeeded} succeeded, {failed} failed"
                )
            }
        }
    }
}

/// The events of an experiment, as they happen; [`watch`](crate::watch) begins it.
///
/// It waits for the next event, and ends after the experiment's own end, or after an error. It holds one
/// connection to the kernel, which is closed when it is dropped.
#[derive(Debug)]
pub struct Watch(Option<Connection>);

impl Watch {
    pub(crate) fn begin(experiment: &str) -> Result<Self> {
        let mut connection = Connection::open()?;
        connection.call("watch", &[("experiment", experiment)])?;
        Ok(Self(Some(connection)))
    }
}

impl Shown for Watch {
    fn evcxr_display(&self) {
        shown::plain("events of an experiment: `for event in katlab::watch(…)? { … }`");
    }
}

impl Iterator for Watch {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Result<Event>> {
        let event = match self.0.as_mut()?.call("next", &[]) {
            Ok(Json::Null) => None,
            Ok(event) => Some(Event::from_json(&event)),
            Err(error) => Some(Err(error)),
        };
        if !matches!(event, Some(Ok(_))) {
            self.0 = None;
        }
        event
    }
}

/// The lines of a trial's log; behaves as a slice of `String`. A cell that ends in one shows its last
/// hundred lines, `println!` all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The trial, unless the log is of a pod of its own
    pub trial: Option<String>,
    /// The pod
    pub pod: String,
    /// The container
    pub container: String,
    lines: Vec<String>,
}

behaves_as_slice! {
    Log, lines, String;
}

impl Log {
    pub(crate) fn read(name: &str, tail: Option<usize>) -> Result<Self> {
        let mut connection = Connection::open()?;
        let tail = tail.map(|lines| lines.to_string());
        let mut arguments = vec![("name", name)];
        arguments.extend(tail.as_deref().map(|tail| ("tail", tail)));
        let whose = connection.call("logs", &arguments)?;
        let mut lines = Vec::new();
        loop {
            let answer = connection.call("lines", &[])?;
            let some = answer.items()?;
            if some.is_empty() {
                break;
            }
            for line in some {
                lines.push(plain(line.text()?));
            }
        }
        Ok(Self {
            trial: text(&whose, "trial").ok(),
            pod: text(&whose, "pod")?,
            container: text(&whose, "container")?,
            lines,
        })
    }

    fn end(&self, shown: usize) -> String {
        let hidden = self.lines.len().saturating_sub(shown);
        let end = self.lines[hidden..].join("\n");
        match hidden {
            _ if self.lines.is_empty() => "the log is empty".to_owned(),
            0 => end,
            1 => format!("… 1 earlier line\n{end}"),
            more => format!("… {more} earlier lines\n{end}"),
        }
    }
}

impl Shown for Log {
    fn evcxr_display(&self) {
        let end = self.end(SHOWN);
        if let Err(error) = crate::show("display", &[("text/plain", &end)]) {
            error.evcxr_display();
        }
    }
}

/// A line that can be printed: what others wrote is not taken for a command of the Rust engine, which
/// would show it as HTML.
fn plain(line: &str) -> String {
    let line = line.replace('\u{1}', "\u{fffd}");
    match line.trim_start().starts_with("EVCXR_") {
        true => format!("| {line}"),
        false => line,
    }
}

/// All lines.
impl fmt::Display for Log {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.lines.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            out.write_str(line)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_sentence() {
        let trial = r#"{"name":"a-1","status":"Succeeded","reason":"","message":"","parameters":{},"metrics":{},
            "observed":{},"objective":0.97,"best":false}"#;
        for (kind, sentence) in [
            ("started", "trial a-1 has started"),
            ("ended", "trial a-1 has ended: Succeeded, 0.97"),
        ] {
            let json = Json::parse(&format!(r#"{{"kind":"{kind}","trial":{trial}}}"#)).unwrap();
            assert_eq!(Event::from_json(&json).unwrap().to_string(), sentence);
        }
        let unknown = Json::parse(r#"{"kind":"else"}"#).unwrap();
        assert!(Event::from_json(&unknown).is_err());
    }

    #[test]
    fn a_line_of_a_log_is_no_command() {
        assert_eq!(plain("epoch 1: loss=0.5"), "epoch 1: loss=0.5");
        assert_eq!(
            plain("EVCXR_BEGIN_CONTENT text/html"),
            "| EVCXR_BEGIN_CONTENT text/html"
        );
        assert_eq!(plain("\u{1}katlab:end\u{1}"), "\u{fffd}katlab:end\u{fffd}");
    }

    #[test]
    fn a_long_log_shows_its_end() {
        let log = |count: usize| Log {
            trial: None,
            pod: "a".into(),
            container: "b".into(),
            lines: (0..count).map(|line| line.to_string()).collect(),
        };
        assert_eq!(log(0).end(2), "the log is empty");
        assert_eq!(log(2).end(2), "0\n1");
        assert_eq!(log(3).end(2), "… 1 earlier line\n1\n2");
        assert_eq!(log(4).to_string(), "0\n1\n2\n3");
    }
}
