//! `:why`.

use clap::Parser;
use katlab_lab::katib::why::{self, Diagnosis, Mood};

use super::stacked;
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
    for (number, advice) in found.advice.iter().enumerate() {
        let name = if number == 0 { "What to do" } else { "" };
        details.row(name, advice.clone());
    }
    let mut facts = Details::new("What was seen");
    for fact in &found.facts {
        facts.row(fact.about.clone(), fact.seen.clone());
    }
    let mut parts = vec![details.bundle(), facts.bundle()];
    if let Some((whose, lines)) = &found.log {
        let mut log = Details::new("The end of the log");
        log.row(whose.clone(), lines.join("\n"));
        parts.push(log.bundle());
    }
    stacked(parts)
}
