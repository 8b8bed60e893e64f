//! Everything before a rule can look at an object: is the text YAML at all.

use super::rules::{self, ESCAPED_DOLLAR, YAML};
use super::subject::Subject;
use super::{Finding, Options, Report, Rule, Severity, TextEdit};
use crate::yaml::{self, EscapedDollar, YamlError, line_column};

pub(super) fn check(text: &str, options: &Options) -> Report {
    let mut report = Report::default();
    if text.len() > yaml::MAX_BYTES {
        let error = YamlError::TooLarge { size: text.len() };
        report.findings.push(broken(&error));
        return report;
    }
    let escapes = yaml::escaped_dollars(text);
    report
        .findings
        .extend(escapes.iter().map(|escape| escaped(text, *escape)));
    let mended = yaml::without_escaped_dollars(text);
    let document = match yaml::read(&mended) {
        Ok(document) => document,
        Err(error) => {
            report.findings.push(broken(&error));
            return report;
        }
    };
    let subject = Subject::new(text, &mended, &escapes, &document, options);
    rules::check(&subject, &mut report.findings);
    report.object = Some(document.value);
    report
}

fn broken(error: &YamlError) -> Finding {
    let (line, column) = error.position().unwrap_or((1, 1));
    // The position is a field of its own; the sentence need not repeat it.
    let text = error.to_string();
    let message = match error {
        YamlError::Syntax { message, .. } => message.clone(),
        YamlError::SeveralDocuments { .. } => "a second document begins here".to_owned(),
        _ => text,
    };
    let mut finding = plain(&YAML, line, column, message);
    if let Some(hint) = error.hint() {
        finding.mend = hint;
    }
    finding
}

fn escaped(text: &str, escape: EscapedDollar) -> Finding {
    let (line, column) = line_column(text, escape.offset);
    let message = if escape.in_double_quotes {
        "\\$ is no escape in a double-quoted YAML string: no parser takes the file"
    } else {
        "the backslash before $ stays in the value"
    };
    let mut finding = plain(&ESCAPED_DOLLAR, line, column, message.to_owned());
    if !escape.in_double_quotes {
        finding.severity = Severity::Warning;
        finding.why = "Katib fills in the placeholder behind the backslash and leaves the \
                       backslash in the command; it goes away only where a shell eats it."
            .to_owned();
    }
    finding.fix = Some(TextEdit {
        start: escape.offset,
        end: escape.offset + 1,
        replacement: String::new(),
    });
    finding
}

fn plain(rule: &Rule, line: usize, column: usize, message: String) -> Finding {
    Finding {
        code: rule.code,
        rule: rule.name,
        severity: rule.severity,
        message,
        line,
        column,
        path: String::new(),
        why: rule.why.to_owned(),
        mend: rule.mend.to_owned(),
        fix: None,
    }
}
