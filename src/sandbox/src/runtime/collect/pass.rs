//! From what a trial has written to numbered rows, as it comes.

use katlab_katib::metrics::{MetricRow, MetricsError, TextReader, json_line, unavailable_row};
use katlab_katib::stopping::Stopper;
use katlab_katib::types::{FileFormat, ObjectiveSpec, Trial};

use super::CollectError;

/// The longest line that is put together of pieces, in bytes. What is longer is passed over.
const LONGEST_LINE: usize = 1 << 20;

/// Rows with the number of the first of them, counted from the beginning of the source.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) first: usize,
    pub(super) rows: Vec<MetricRow>,
}

/// The rows of one source, in the order in which they stand there.
///
/// A collector that finds no value of the objective reports that, and nothing else: so the rows of other
/// metrics wait for the first one of the objective.
pub(super) struct Sheet {
    objective: ObjectiveSpec,
    waiting: Vec<MetricRow>,
    has_objective: bool,
    given: usize,
    stopper: Stopper,
}

impl Sheet {
    pub(super) fn new(trial: &Trial) -> Self {
        let objective = trial.spec.objective.clone().unwrap_or_default();
        let rules = &trial.spec.early_stopping_rules;
        // Rules that cannot be followed were told when the trial began.
        let stopper = Stopper::new(&objective, rules).or_else(|_| Stopper::new(&objective, &[]));
        Self {
            stopper: stopper.unwrap_or_default(),
            objective,
            waiting: Vec::new(),
            has_objective: false,
            given: 0,
        }
    }

    /// Takes rows in and gives those that may be reported.
    pub(super) fn push(&mut self, rows: Vec<MetricRow>) -> Batch {
        for row in &rows {
            self.stopper.see(row);
            self.has_objective |= row.name == self.objective.objective_metric_name;
        }
        self.waiting.extend(rows);
        match self.has_objective {
            true => self.give(),
            false => Batch::default(),
        }
    }

    /// The source has come to its end: an objective that never came is told.
    pub(super) fn finish(&mut self) -> Batch {
        if !self.has_objective {
            self.waiting = vec![unavailable_row(&self.objective)];
        }
        self.give()
    }

    fn give(&mut self) -> Batch {
        let rows = std::mem::take(&mut self.waiting);
        let first = self.given;
        self.given += rows.len();
        Batch { first, rows }
    }

    /// Why the trial is to be stopped, if it is.
    pub(super) fn stop(&self) -> Option<String> {
        self.stopper.is_stopped().then(|| self.stopper.reason())
    }
}

enum Form {
    Text(TextReader),
    Json(ObjectiveSpec),
}

/// One reading of a text from its beginning.
pub(super) struct Pass {
    form: Form,
    pub(super) sheet: Sheet,
    lines: usize,
    rest: Vec<u8>,
    /// The line is too long: all of it is left out.
    passing_over: bool,
}

impl Pass {
    pub(super) fn new(trial: &Trial) -> Result<Self, MetricsError> {
        let source = trial.spec.metrics_collector.source.as_ref();
        let objective = trial.spec.objective.clone().unwrap_or_default();
        let is_json = source
            .and_then(|source| source.file_system_path.as_ref())
            .is_some_and(|path| path.format == FileFormat::Json);
        let form = if is_json {
            Form::Json(objective)
        } else {
            let filters = source
                .and_then(|source| source.filter.as_ref())
                .map(|filter| filter.metrics_format.as_slice())
                .unwrap_or_default();
            Form::Text(TextReader::new(&objective, filters)?)
        };
        Ok(Self {
            form,
            sheet: Sheet::new(trial),
            lines: 0,
            rest: Vec::new(),
            passing_over: false,
        })
    }

    /// Takes the next bytes in; a line counts when it has ended.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Batch, MetricsError> {
        let (mut rows, mut bytes) = (Vec::new(), bytes);
        if !self.rest.is_empty() || self.passing_over {
            let first = bytes.iter().position(|byte| *byte == b'\n');
            let (piece, others) = bytes.split_at(first.map_or(bytes.len(), |end| end + 1));
            self.keep(piece);
            if first.is_some() {
                rows = self.line()?;
            }
            bytes = others;
        }
        let last = bytes.iter().rposition(|byte| *byte == b'\n');
        let (lines, begun) = bytes.split_at(last.map_or(0, |end| end + 1));
        rows.extend(self.read(lines)?);
        self.keep(begun);
        Ok(self.sheet.push(rows))
    }

    /// A piece of a line that comes in pieces.
    fn keep(&mut self, piece: &[u8]) {
        if self.passing_over {
            return;
        }
        self.rest.extend_from_slice(piece);
        if self.rest.len() > LONGEST_LINE {
            self.rest = Vec::new();
            self.passing_over = true;
        }
    }

    /// The text has come to its end: its last line counts without an end too.
    pub(super) fn finish(mut self) -> Result<Batch, MetricsError> {
        let rows = self.line()?;
        let mut batch = self.sheet.push(rows);
        let last = self.sheet.finish();
        batch.rows.extend(last.rows);
        Ok(batch)
    }

    /// Reads the line that has come in pieces.
    fn line(&mut self) -> Result<Vec<MetricRow>, MetricsError> {
        let line = std::mem::take(&mut self.rest);
        if std::mem::take(&mut self.passing_over) {
            self.lines += 1;
            return Ok(Vec::new());
        }
        self.read(&line)
    }

    /// Reads lines, of which the last may lack its end.
    fn read(&mut self, lines: &[u8]) -> Result<Vec<MetricRow>, MetricsError> {
        let objective = match &self.form {
            Form::Text(reader) => return Ok(reader.text(lines)),
            Form::Json(objective) => objective,
        };
        let mut rows = Vec::new();
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            self.lines += 1;
            let text = String::from_utf8_lossy(line);
            rows.extend(json_line(objective, &text, self.lines)?);
        }
        Ok(rows)
    }
}

/// The rows of a whole text.
pub(super) fn read_all(trial: &Trial, name: &str, bytes: &[u8]) -> Result<Batch, CollectError> {
    let read = || {
        let mut pass = Pass::new(trial)?;
        let mut all = pass.push(bytes)?;
        all.rows.extend(pass.finish()?.rows);
        Ok(Batch { first: 0, ..all })
    };
    read().map_err(|error: MetricsError| CollectError::Unreadable {
        trial: name.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn trial(collector: Value) -> Trial {
        serde_json::from_value(json!({"spec": {
            "objective": {"type": "maximize", "objectiveMetricName": "accuracy",
                          "additionalMetricNames": ["loss"]},
            "earlyStoppingRules": [{"name": "accuracy", "value": "0.5", "comparison": "less",
                                    "startStep": 2}],
            "metricsCollector": collector}}))
        .expect("trial")
    }

    fn shown(batch: Batch) -> (usize, Vec<String>) {
        let rows = batch.rows.into_iter();
        (
            batch.first,
            rows.map(|row| format!("{} {}", row.name, row.value))
                .collect(),
        )
    }

    #[test]
    fn lines_count_when_they_have_ended_and_wait_for_the_objective() {
        let mut pass = Pass::new(&trial(json!({}))).expect("pass");
        let mut push = |text: &str| shown(pass.push(text.as_bytes()).expect("rows"));
        assert_eq!(push("loss=9\nloss=8\naccu"), (0, vec![]));
        assert_eq!(push("racy=0.1"), (0, vec![]));
        let three = ["loss 9", "loss 8", "accuracy 0.12"].map(String::from);
        assert_eq!(push("2\n"), (0, three.into()));
        assert_eq!(pass.sheet.stop(), None);
        let long = vec![b'x'; LONGEST_LINE + 1];
        assert_eq!(
            shown(pass.push(&long).expect("rows")).1,
            Vec::<String>::new()
        );
        let rows = pass.push(b" accuracy=0.9\naccuracy=0.3").expect("rows");
        assert_eq!(shown(rows).1, Vec::<String>::new());
        let rows = pass.push(b"\n").expect("rows");
        assert_eq!(shown(rows), (3, vec!["accuracy 0.3".into()]));
        let why = pass.sheet.stop().expect("stopped");
        assert!(why.contains("accuracy is 0.3 after 2 values"), "{why}");
    }

    #[test]
    fn a_text_is_read_whole_and_an_objective_that_never_came_is_told() {
        let json = json!({"collector": {"kind": "File"}, "source": {"fileSystemPath": {
            "path": "/m", "kind": "File", "format": "JSON"}}});
        let text = json!({});
        for (collector, bytes, expected) in [
            (
                &text,
                "accuracy=0.5\nloss=1",
                Some(vec!["accuracy 0.5", "loss 1"]),
            ),
            (&text, "loss=1\n", Some(vec!["accuracy unavailable"])),
            (&text, "", Some(vec!["accuracy unavailable"])),
            (
                &json,
                "{\"accuracy\": \"0.5\"}\n\n",
                Some(vec!["accuracy 0.5"]),
            ),
            (
                &json,
                "{\"accuracy\": 0.5}\n",
                Some(vec!["accuracy unavailable"]),
            ),
            (&json, "{\"accuracy\": \"0.5\"}\nbye\n", None),
        ] {
            let all = read_all(&trial(collector.clone()), "t", bytes.as_bytes());
            let expected = expected.map(|rows| rows.into_iter().map(String::from).collect());
            assert_eq!(all.ok().map(|all| shown(all).1), expected, "{bytes}");
        }
    }
}
