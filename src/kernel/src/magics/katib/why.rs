//! `:why`.

use clap::Parser;
use katlab_lab::katib::why::{self, Diagnosis, Mood};

use crate::event::Bundle;
use crate::magics::kubernetes::{NamespaceArgs, quoted};
use crate::magics::{Context, Magic, MagicError};
use crate::render::key_values::Details;
use crate::render::status::Status;
use crate::render::table::Cell;

/// Explain why a trial or an experiment does not do what it should, and what to do about it
///
/// Conditions, Job, Pods, containers, events and the end of the log are read together.
#[derive(Debug, Parser)]
pub struct Why {
    /// The trial or the experiment
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    place: NamespaceArgs,
}

impl Magic for Why {
    const NAME: &'static str = "why";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let cluster = self.place.cluster(ctx).await?;
        let found = ctx
            .or_interrupted(why::explain(&cluster, &cluster.namespace, &self.name))
            .await?;
        ctx.output.show(bundle(&found));
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        let name = quoted(&self.name);
        let place = self.place.kubectl();
        vec![
            format!("kubectl describe trial {name}{place}"),
            format!("kubectl describe job {name}{place}"),
            format!("kubectl describe pods -l katib.kubeflow.org/trial={name}{place}"),
            format!("kubectl get events{place} --field-selector involvedObject.name={name}"),
            format!(
                "kubectl logs -l katib.kubeflow.org/trial={name}{place} --all-containers --tail 12"
            ),
        ]
    }
}

fn bundle(found: &Diagnosis) -> Bundle {
    let status = match found.mood {
        Mood::Well => Status::Ok,
        Mood::Waiting => Status::Running,
        Mood::Trouble => Status::Failed,
    };
    let mut details = Details::new(
        Cell::text(format!("{}: {}", found.subject, found.verdict)).with_status(status),
    );
    if !found.advice.is_empty() {
        details.section("What to do");
        for (number, advice) in found.advice.iter().enumerate() {
            details.row(format!("{}.", number + 1), advice.clone());
        }
    }
    details.section("What was seen");
    for fact in &found.facts {
        details.row(fact.about.clone(), fact.seen.clone());
    }
    if let Some((whose, lines)) = &found.log {
        details.section("The end of the log");
        details.row(whose.clone(), lines.join("\n"));
    }
    details.bundle()
}
