//! What rules look at, and how they report.

use super::{Finding, Options, Rule, Severity, Target, TextEdit};
use crate::defaults::set_defaults;
use crate::path::FieldPath;
use crate::schema::{Departure, Problem, Schema};
use crate::types::{Experiment, ExperimentSpec, TrialTemplate};
use crate::yaml::{Document, EscapedDollar, Place, Style, line_column};
use serde_json::Value;
use std::ops::Range;

/// An Experiment's file, read.
pub(super) struct Subject<'a> {
    /// The file.
    text: &'a str,
    /// The file without backslashes before dollar signs; the document is of this one.
    mended: &'a str,
    escapes: &'a [EscapedDollar],
    pub document: &'a Document,
    pub options: &'a Options,
    /// Departures from the schema of an Experiment.
    pub departures: Vec<Departure>,
    /// As it is written, with wrong scalar types put right; `None` when it is too far off.
    pub experiment: Option<Experiment>,
    /// The same with Katib's defaults.
    pub defaulted: Option<Experiment>,
}

impl<'a> Subject<'a> {
    pub fn new(
        text: &'a str,
        mended: &'a str,
        escapes: &'a [EscapedDollar],
        document: &'a Document,
        options: &'a Options,
    ) -> Self {
        let departures = Schema::experiment().departures("Experiment", &document.value);
        let experiment = read(&document.value, &departures);
        let defaulted = experiment.clone().map(|mut experiment| {
            set_defaults(&mut experiment.spec);
            experiment
        });
        Self {
            text,
            mended,
            escapes,
            document,
            options,
            departures,
            experiment,
            defaulted,
        }
    }

    /// The spec as it is written.
    pub fn spec(&self) -> Option<&ExperimentSpec> {
        self.experiment.as_ref().map(|experiment| &experiment.spec)
    }

    /// The spec with Katib's defaults.
    pub fn defaulted_spec(&self) -> Option<&ExperimentSpec> {
        self.defaulted.as_ref().map(|experiment| &experiment.spec)
    }

    /// The template as it is written.
    pub fn template(&self) -> Option<&TrialTemplate> {
        self.spec()?.trial_template.as_ref()
    }

    pub fn is_sandbox(&self) -> bool {
        self.options.target == Target::Sandbox
    }

    /// A value of the file.
    pub fn value(&self, path: &FieldPath) -> Option<&Value> {
        path.find(&self.document.value)
    }

    /// Whether a field is written down.
    pub fn has(&self, path: &str) -> bool {
        self.value(&FieldPath::parse(path))
            .is_some_and(|value| !value.is_null())
    }

    /// The text of a value as it stands in the file.
    pub fn raw(&self, place: &Place) -> &str {
        self.mended.get(place.value.clone()).unwrap_or_default()
    }

    /// A finding at a field, or at the nearest field above it that is written down.
    pub fn at(&self, rule: &Rule, path: &FieldPath, message: impl Into<String>) -> Finding {
        let offset =
            self.document
                .nearest(path)
                .map_or(0, |(place, exact)| match (&place.key, exact) {
                    // A missing field belongs to the mapping whose key stands there.
                    (Some(key), _) => key.start,
                    (None, _) => place.value.start,
                });
        self.at_offset(rule, path, offset, message)
    }

    /// A finding at the value of a field rather than at its key.
    pub fn at_value(&self, rule: &Rule, path: &FieldPath, message: impl Into<String>) -> Finding {
        match self.document.place(path) {
            Some(place) => self.at_offset(rule, path, place.value.start, message),
            None => self.at(rule, path, message),
        }
    }

    fn at_offset(
        &self,
        rule: &Rule,
        path: &FieldPath,
        offset: usize,
        message: impl Into<String>,
    ) -> Finding {
        let (line, column) = line_column(self.text, self.original(offset));
        Finding {
            code: rule.code,
            rule: rule.name,
            severity: rule.severity,
            message: message.into(),
            line,
            column,
            path: path.to_string(),
            why: rule.why.to_owned(),
            mend: rule.mend.to_owned(),
            fix: None,
        }
    }

    /// Replaces bytes of the text the document was read from.
    pub fn replace(&self, range: Range<usize>, replacement: impl Into<String>) -> TextEdit {
        TextEdit {
            start: self.original(range.start),
            end: self.original(range.end),
            replacement: replacement.into(),
        }
    }

    /// Writes a field before a field of the same mapping, if that begins its line (perhaps
    /// after the dash of a list).
    pub fn insert_before(&self, sibling: &FieldPath, field: &str) -> Option<TextEdit> {
        let key = self.document.place(sibling)?.key.clone()?;
        let line_start = self.mended[..key.start].rfind('\n').map_or(0, |at| at + 1);
        let lead = &self.mended[line_start..key.start];
        if !lead.chars().all(|c| c == ' ' || c == '-') {
            return None;
        }
        let indent = " ".repeat(lead.len());
        Some(self.replace(key.start..key.start, format!("{field}\n{indent}")))
    }

    /// The blanks before the line a field stands on.
    pub fn indent(&self, path: &FieldPath) -> Option<String> {
        let key = self.document.place(path)?.key.clone()?;
        let line_start = self.mended[..key.start].rfind('\n').map_or(0, |at| at + 1);
        Some(" ".repeat(key.start - line_start))
    }

    /// Puts a bare scalar into double quotes.
    pub fn quote(&self, path: &FieldPath) -> Option<TextEdit> {
        let place = self.document.place(path)?;
        if place.style != Style::Plain {
            return None;
        }
        let raw = self.raw(place).trim();
        (!raw.is_empty() && !raw.contains(['"', '\\', '\n']))
            .then(|| self.replace(place.value.clone(), format!("\"{raw}\"")))
    }

    /// Takes a quoted scalar out of its quotes.
    pub fn unquote(&self, path: &FieldPath, bare: &str) -> Option<TextEdit> {
        let place = self.document.place(path)?;
        matches!(place.style, Style::DoubleQuoted | Style::SingleQuoted)
            .then(|| self.replace(place.value.clone(), bare))
    }

    /// Gives a field another name.
    pub fn rename(&self, path: &FieldPath, name: &str) -> Option<TextEdit> {
        let key = self.document.place(path)?.key.clone()?;
        // Never make a name stand twice.
        if self.value(&path.parent()?.key(name)).is_some() {
            return None;
        }
        Some(self.replace(key, name))
    }

    /// A byte of the file for a byte of the mended text.
    fn original(&self, offset: usize) -> usize {
        let removed = self
            .escapes
            .iter()
            .enumerate()
            .take_while(|(before, escape)| escape.offset - before <= offset)
            .count();
        (offset + removed).min(self.text.len())
    }

    /// The containers of the trial template, with their paths; those of other kinds than
    /// Job are looked for everywhere below.
    pub fn containers(&self) -> Vec<(FieldPath, &Value)> {
        let root = FieldPath::parse("spec.trialTemplate.trialSpec");
        let mut found = Vec::new();
        if let Some(template) = self.value(&root) {
            gather(template, &root, &mut found);
        }
        found
    }

    /// The container that trains, with its path.
    pub fn primary_container(&self) -> Option<(FieldPath, &Value)> {
        let name = &self.template()?.primary_container_name;
        self.containers()
            .into_iter()
            .find(|(_, container)| container.get("name").and_then(Value::as_str) == Some(name))
    }

    /// Whether the template is a `batch/v1` Job.
    pub fn is_job(&self) -> bool {
        let text = |key: &str| {
            self.value(&FieldPath::parse("spec.trialTemplate.trialSpec").key(key))
                .and_then(Value::as_str)
        };
        text("kind") == Some("Job") && text("apiVersion").is_none_or(|v| v == "batch/v1")
    }
}

fn gather<'v>(value: &'v Value, path: &FieldPath, found: &mut Vec<(FieldPath, &'v Value)>) {
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                let path = path.key(key);
                if key == "containers"
                    && let Value::Array(items) = inner
                {
                    found.extend(
                        items
                            .iter()
                            .enumerate()
                            .map(|(index, item)| (path.index(index), item)),
                    );
                } else {
                    gather(inner, &path, found);
                }
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                gather(inner, &path.index(index), found);
            }
        }
        _ => {}
    }
}

/// Reads an Experiment whose numbers and strings may be mixed up; the mix-up itself is
/// reported by a rule of its own, and must not hide everything else.
fn read(value: &Value, departures: &[Departure]) -> Option<Experiment> {
    let mut value = value.clone();
    for departure in departures {
        if let Problem::WrongType { wanted, .. } = &departure.problem {
            let at = find_mut(&mut value, &departure.path)?;
            *at = coerced(at, wanted)?;
        }
    }
    serde_json::from_value(value).ok()
}

/// A scalar as the type that is wanted, when it can be one.
pub(super) fn coerced(value: &Value, wanted: &str) -> Option<Value> {
    match (value, wanted) {
        (Value::String(text), "int32" | "int64" | "float64" | "bool") => {
            let bare: Value = serde_json::from_str(text.trim()).ok()?;
            let fits = match wanted {
                "bool" => bare.is_boolean(),
                "float64" => bare.is_number(),
                _ => bare.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            };
            fits.then_some(bare)
        }
        (Value::Number(number), "int32" | "int64") => {
            let number = number.as_f64()?;
            (number.fract() == 0.0 && number.abs() <= f64::from(i32::MAX))
                .then(|| Value::from(number as i64))
        }
        (Value::Number(_) | Value::Bool(_), wanted)
            if wanted == "string" || wanted.starts_with("v1") =>
        {
            Some(Value::String(value.to_string()))
        }
        _ => None,
    }
}

fn find_mut<'v>(root: &'v mut Value, path: &FieldPath) -> Option<&'v mut Value> {
    path.steps()
        .iter()
        .try_fold(root, |value, step| match step {
            crate::path::Step::Key(name) => value.get_mut(name),
            crate::path::Step::Index(index) => value.get_mut(index),
        })
}

/// Small changes to a finding, written one after the other.
impl Finding {
    pub(super) fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    pub(super) fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    pub(super) fn mend(mut self, mend: impl Into<String>) -> Self {
        self.mend = mend.into();
        self
    }

    pub(super) fn fix(mut self, fix: Option<TextEdit>) -> Self {
        self.fix = fix;
        self
    }
}
