//! `:experiment lint`.

use clap::Parser;
use katlab_katib::lint::{self, Options, Severity, Target, apply_fixes};
use katlab_lab::document;

use crate::event::Bundle;
use crate::magics::kubernetes::apply::text_of;
use crate::magics::kubernetes::quoted;
use crate::magics::{Body, Context, Magic, MagicError};
use crate::render::counted;
use crate::render::diff::Diff;
use crate::render::findings;

/// Check an Experiment's file against Katib's rules, before anything is sent
///
/// Each finding says where, why it hurts, and how it is mended. Nothing is asked of the cluster.
#[derive(Debug, Parser)]
pub struct Lint {
    /// The file; `-` takes the rest of the cell
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: String,
    /// Mend in the file what can be mended safely
    #[arg(long)]
    fix: bool,
    /// Fail on warnings too
    #[arg(long)]
    deny_warnings: bool,
}

impl Magic for Lint {
    const NAME: &'static str = "experiment lint";
    const BODY: Body = Body::Dash;

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let (origin, text) = text_of(ctx, &self.file)?;
        let sandbox = ctx.session.plan().is_ok_and(|plan| plan.needs_sandbox());
        let options = options(sandbox, ctx.session.namespace());
        let mut checked = Checked::new(&origin, text, &options);
        if self.fix {
            checked.fix(
                ctx,
                (self.file != "-").then_some(self.file.as_str()),
                &options,
            )?;
        }
        ctx.output.show(checked.bundle(Severity::Advice));
        checked.judge(self.deny_warnings)
    }

    fn explain(&self) -> Vec<String> {
        vec![format!(
            "kubectl create --dry-run=server -f {}",
            quoted(&self.file)
        )]
    }
}

/// What a check needs to know.
pub fn options(sandbox: bool, namespace: Option<String>) -> Options {
    let target = if sandbox {
        Target::Sandbox
    } else {
        Target::Cluster
    };
    Options {
        target,
        namespace,
        ..Options::default()
    }
}

/// A text with what was found in it.
pub struct Checked {
    origin: String,
    /// The text.
    pub text: String,
    /// What was found.
    pub report: lint::Report,
}

impl Checked {
    /// Checks a text.
    pub fn new(origin: &str, text: String, options: &Options) -> Self {
        let report = lint::lint(&text, options);
        Self {
            origin: origin.to_owned(),
            text,
            report,
        }
    }

    /// Mends what can be mended safely, in the file too where there is one, and shows the difference.
    pub fn fix(
        &mut self,
        ctx: &Context,
        file: Option<&str>,
        options: &Options,
    ) -> Result<(), MagicError> {
        let fixed = apply_fixes(&self.text, &self.report.findings);
        if fixed.applied.is_empty() {
            return Ok(());
        }
        let diff = Diff::between(&self.text, &fixed.text);
        ctx.output
            .show(diff.bundle(&format!("mended in {}", self.origin)));
        if let Some(file) = file {
            document::write(&ctx.session.resolve(file), &fixed.text)?;
            ctx.output.done(format!(
                "{} mended in {file}",
                counted(fixed.applied.len(), "finding")
            ));
        }
        *self = Self::new(&self.origin, fixed.text, options);
        Ok(())
    }

    /// The findings that are at least this bad, each with its line.
    pub fn bundle(&self, from: Severity) -> Bundle {
        let found = self.report.findings.iter();
        let findings: Vec<findings::Finding> = found
            .filter(|one| one.severity >= from)
            .map(|one| findings::Finding::of_lint(one, &self.text))
            .collect();
        findings::Report {
            origin: &self.origin,
            source: &self.text,
            findings: &findings,
        }
        .bundle()
    }

    /// An error when the Experiment would be refused or never run.
    pub fn judge(&self, deny_warnings: bool) -> Result<(), MagicError> {
        let errors = self.report.count(Severity::Error);
        let warnings = self.report.count(Severity::Warning);
        let wrong = if errors > 0 {
            format!("{} has {}", self.origin, counted(errors, "error"))
        } else if deny_warnings && warnings > 0 {
            format!("{} has {}", self.origin, counted(warnings, "warning"))
        } else {
            return Ok(());
        };
        let error = MagicError::new(wrong);
        Err(match self.report.fixable() {
            0 => error.hint("each finding above says how it is mended"),
            count => error.hint(format!(
                "`:experiment lint --fix` mends {count} of the findings; the others say how"
            )),
        })
    }
}
