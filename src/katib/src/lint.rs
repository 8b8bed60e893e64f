//! Faults of an Experiment's file, found before anything is sent.
//!
//! A finding says where (line, column, field), what, why it hurts and how it is mended;
//! where the mend is safe it comes as a text edit that leaves comments and layout alone.
//! Rules are one file each below `lint/rules`, with a code that stays.
//!
//! ```
//! use katlab_katib::lint::{Options, apply_fixes, lint};
//!
//! let report = lint("kind: Experiment\nspec:\n  parameters:\n  - feasibleSpace: {min: 0.1}\n", &Options::default());
//! let number = report.findings.iter().find(|finding| finding.code == "KL0103").unwrap();
//! assert_eq!((number.line, number.column), (4, 26));
//! let mended = apply_fixes("min: 0.1", &[]);
//! assert_eq!(mended.text, "min: 0.1");
//! ```

mod front;
mod rules;
mod subject;

pub use rules::{RULES, rule};

use crate::validation::ClusterFacts;
use serde_json::Value;
use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It works, and could be better.
    Advice,
    /// It is accepted, and will probably hurt.
    Warning,
    /// It is refused, or never runs.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Advice => "advice",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// A change of a text: the bytes from `start` to `end` are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextEdit {
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
    /// What comes in their place.
    pub replacement: String,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Code of the rule, `KL0102`.
    pub code: &'static str,
    /// Name of the rule, `unknown-field`.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The field, `spec.parameters[0]`; empty when there is none.
    pub path: String,
    /// Why it hurts.
    pub why: String,
    /// How it is mended.
    pub mend: String,
    /// The mend as a change of the text, where it is safe.
    pub fix: Option<TextEdit>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {} {}: {}",
            self.line, self.column, self.severity, self.code, self.message
        )
    }
}

/// Where the Experiment is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// The embedded cluster, which runs fewer algorithms and kinds of jobs.
    #[default]
    Sandbox,
    /// A cluster with Katib.
    Cluster,
}

/// What a check needs to know.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What the cluster has.
    pub facts: ClusterFacts,
    /// Where the Experiment is to run.
    pub target: Target,
    /// The namespace it is to go to, when that is known.
    pub namespace: Option<String>,
}

/// A rule, with the text that explains it.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Code, for ever.
    pub code: &'static str,
    /// Name.
    pub name: &'static str,
    /// How bad its findings are, unless a finding says otherwise.
    pub severity: Severity,
    /// What it checks.
    pub what: &'static str,
    /// Why that hurts.
    pub why: &'static str,
    /// How it is mended.
    pub mend: &'static str,
    /// A piece of a file at fault; may be empty.
    pub example: &'static str,
    /// The same piece mended; may be empty.
    pub instead: &'static str,
}

impl Rule {
    /// The rule's page.
    pub fn page(&self) -> String {
        let mut page = format!(
            "{} {} ({})\n\nWhat it checks\n  {}\n\nWhy it hurts\n  {}\n\nUse instead\n  {}\n",
            self.code, self.name, self.severity, self.what, self.why, self.mend
        );
        for (title, text) in [("Example", self.example), ("Mended", self.instead)] {
            if !text.is_empty() {
                page.push_str(&format!("\n{title}\n"));
                for line in text.lines() {
                    page.push_str(&format!("  {line}\n"));
                }
            }
        }
        page
    }
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The faults, in the order of the text.
    pub findings: Vec<Finding>,
    /// The object as it was read, when it could be; `\${` counts as `${`.
    pub object: Option<Value>,
}

impl Report {
    /// Whether a cluster would refuse the Experiment, or never run it.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many findings are this bad.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    }

    /// How many findings can be mended safely.
    pub fn fixable(&self) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.fix.is_some())
            .count()
    }
}

/// Checks the text of an Experiment's file.
pub fn lint(text: &str, options: &Options) -> Report {
    let mut report = front::check(text, options);
    report.findings.sort_by(|left, right| {
        (left.line, left.column, left.code, &left.message).cmp(&(
            right.line,
            right.column,
            right.code,
            &right.message,
        ))
    });
    report.findings.dedup();
    report
}

/// A text after safe mends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fixed {
    /// The text.
    pub text: String,
    /// The findings that were mended.
    pub applied: Vec<Finding>,
}

/// Applies the edits of some findings; of two that touch each other only the first.
pub fn apply_fixes(text: &str, findings: &[Finding]) -> Fixed {
    let mut fixes: Vec<(&TextEdit, &Finding)> = findings
        .iter()
        .filter_map(|finding| Some((finding.fix.as_ref()?, finding)))
        .collect();
    fixes.sort_by_key(|(edit, _)| (edit.start, edit.end));
    let mut fixed = Fixed::default();
    let mut from = 0;
    for (edit, finding) in fixes {
        let touches = !fixed.applied.is_empty() && edit.start <= from;
        let fits = !touches
            && edit.end >= edit.start
            && text.is_char_boundary(edit.start)
            && text.is_char_boundary(edit.end);
        if !fits {
            continue;
        }
        fixed.text.push_str(&text[from..edit.start]);
        fixed.text.push_str(&edit.replacement);
        from = edit.end;
        fixed.applied.push(finding.clone());
    }
    fixed.text.push_str(&text[from..]);
    fixed
}

/// Checks and mends until no safe mend is left.
pub fn fix(text: &str, options: &Options) -> Fixed {
    let mut fixed = Fixed {
        text: text.to_owned(),
        applied: Vec::new(),
    };
    // Each mend removes its finding; a handful of rounds covers mends that uncover others.
    for _ in 0..8 {
        let report = lint(&fixed.text, options);
        let next = apply_fixes(&fixed.text, &report.findings);
        if next.applied.is_empty() || next.text == fixed.text {
            break;
        }
        fixed.text = next.text;
        fixed.applied.extend(next.applied);
    }
    fixed
}
