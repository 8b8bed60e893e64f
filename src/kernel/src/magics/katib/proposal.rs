//! An Experiment that katlab wrote: shown, written to a file, or created.

use std::path::PathBuf;

use katlab_katib::lint::Severity;
use katlab_katib::types::Experiment;
use katlab_lab::document;

use super::create::Create;
use super::lint::{Checked, options};
use crate::magics::kubernetes::{NamespaceArgs, quoted, yaml};
use crate::magics::{Context, Magic as _, MagicError};
use crate::render::code::Listing;

/// What to do about an Experiment that is no good and stands in no file.
pub(super) const MEND: &str = "change the flags; or write it down with -o FILE, mend that as is said above, and `:experiment create FILE`";

// A doc comment here would become the description of every magic that takes these flags.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ProposalArgs {
    /// Write the Experiment to this file
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Overwrite a file that is there already
    #[arg(long, requires = "output")]
    pub force: bool,
    /// Create it at once, checked as `:experiment create` does; without this nothing runs
    #[arg(long)]
    pub create: bool,
}

impl ProposalArgs {
    /// Shows the Experiment, with what is to be said against it, and does with it what the flags want.
    ///
    /// # Errors
    /// When it would be refused, the file cannot be written, or it cannot be created.
    pub async fn propose(
        &self,
        ctx: &Context,
        experiment: &Experiment,
        place: &NamespaceArgs,
    ) -> Result<(), MagicError> {
        let name = experiment.metadata.name().to_owned();
        let object = serde_json::to_value(experiment)
            .map_err(|error| MagicError::new(format!("{name} cannot be written: {error}")))?;
        let text = yaml(&object)?;
        let file = format!("{name}.yaml");
        let lines: Vec<&str> = text.lines().collect();
        ctx.output.show(
            Listing {
                path: &file,
                total: lines.len(),
                lines,
                first: 1,
            }
            .bundle(),
        );
        let sandbox = ctx.session.plan().is_ok_and(|plan| plan.needs_sandbox());
        let options = options(sandbox, place.namespace.clone().or(ctx.session.namespace()));
        let checked = Checked::new("the Experiment above", text.clone(), &options);
        if !self.create
            && checked.report.count(Severity::Error) + checked.report.count(Severity::Warning) > 0
        {
            ctx.output.show(checked.bundle(Severity::Warning));
        }
        if let Some(path) = &self.output {
            let target = ctx.session.resolve(path);
            if target.exists() && !self.force {
                return Err(
                    MagicError::new(format!("{} is there already", path.display()))
                        .hint("add --force to overwrite it, or name another file"),
                );
            }
            document::write(&target, &format!("{text}\n"))?;
            ctx.output.done(format!("wrote {}", path.display()));
        }
        if self.create {
            let ctx = Context {
                body: Some(text),
                ..ctx.clone()
            };
            return Create::of_proposal(place.clone()).run(&ctx).await;
        }
        // What is known to be refused is not offered to be created.
        let judged = checked
            .judge(false)
            .map_err(|error| error.hint(self.mend()));
        judged?;
        ctx.output.note(match &self.output {
            Some(path) => format!(
                "nothing runs yet: `:experiment create {}`",
                quoted(&path.display().to_string())
            ),
            None => "nothing runs yet: --create creates it, -o FILE writes it down".to_owned(),
        });
        Ok(())
    }

    /// What to do about an Experiment that is no good.
    fn mend(&self) -> String {
        match &self.output {
            Some(path) => {
                let path = quoted(&path.display().to_string());
                format!("mend {path} as the findings above say, or change the flags")
            }
            None => MEND.to_owned(),
        }
    }

    /// What kubectl would do with it.
    pub fn explain(&self, name: &str, place: &NamespaceArgs) -> Vec<String> {
        let path = self
            .output
            .as_ref()
            .map_or_else(|| format!("{name}.yaml"), |path| path.display().to_string());
        vec![format!(
            "kubectl create{} -f {}{}",
            if self.create { "" } else { " --dry-run=client" },
            quoted(&path),
            place.kubectl()
        )]
    }
}
