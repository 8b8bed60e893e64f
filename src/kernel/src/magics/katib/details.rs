//! `:experiment details`: what it was asked to do.

use clap::Parser;
use katlab_katib::types::{Experiment, ParameterSpec};
use katlab_lab::katib::details::training;
use katlab_lab::katib::experiments;

use crate::magics::analysis::or_kept;
use crate::magics::kubernetes::{NamespaceArgs, quoted};
use crate::magics::{Context, Magic, MagicError};
use crate::render::key_values::Details as View;
use crate::render::table::{Cell, Column, Table};

/// Show what an experiment was asked to do: objective, search space, algorithm, template, collector
#[derive(Debug, Parser)]
pub struct Details {
    /// The experiment
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    place: NamespaceArgs,
}

impl Magic for Details {
    const NAME: &'static str = "experiment details";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let cluster = self.place.cluster(ctx).await?;
        let experiment = experiments::get(&cluster, &cluster.namespace, &self.name);
        let experiment = or_kept(ctx, &cluster, &self.name, experiment).await?;
        ctx.output.show(view(&experiment).bundle());
        ctx.output.table(&space(&experiment.spec.parameters));
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        vec![format!(
            "kubectl get experiment {} -o yaml{}",
            quoted(&self.name),
            self.place.kubectl()
        )]
    }
}

fn view(experiment: &Experiment) -> View {
    let spec = &experiment.spec;
    let mut view = View::new(format!("experiment {}", experiment.metadata.name()));
    let limit = |count: Option<i32>| count.map_or_else(|| Cell::text("no limit"), Cell::count);

    view.section("Objective");
    if let Some(objective) = &spec.objective {
        view.row("Metric", objective.objective_metric_name.clone());
        view.row("Direction", objective.objective_type.to_string());
        view.row(
            "Goal",
            objective
                .goal
                .map_or_else(|| Cell::text("none"), Cell::number),
        );
        if !objective.additional_metric_names.is_empty() {
            view.row(
                "Also recorded",
                objective.additional_metric_names.join(", "),
            );
        }
        let strategies: Vec<String> = objective
            .metric_strategies
            .iter()
            .map(|one| format!("{} by {}", one.name, one.value))
            .collect();
        if !strategies.is_empty() {
            view.row("Judged by", strategies.join(", "));
        }
    }

    view.section("Trials");
    view.row("At most", limit(spec.max_trial_count));
    view.row("At once", limit(spec.parallel_trial_count));
    view.row("Failed, at most", limit(spec.max_failed_trial_count));
    if !spec.resume_policy.is_empty() {
        view.row("Resume policy", spec.resume_policy.to_string());
    }

    for (title, algorithm) in [
        ("Algorithm", &spec.algorithm),
        ("Early stopping", &spec.early_stopping),
    ] {
        if let Some(algorithm) = algorithm {
            view.section(title);
            view.row("Name", algorithm.algorithm_name.clone());
            for setting in &algorithm.algorithm_settings {
                view.row(setting.name.clone(), setting.value.clone());
            }
        }
    }

    if let Some(template) = &spec.trial_template {
        view.section("Template of a trial");
        if let Some(kind) = template
            .trial_spec
            .as_ref()
            .and_then(|spec| spec.get("kind")?.as_str())
        {
            view.row("Kind", kind);
        }
        if let Some(source) = &template.config_map {
            view.row(
                "ConfigMap",
                format!(
                    "{}/{} {}",
                    source.config_map_namespace, source.config_map_name, source.template_path
                ),
            );
        }
        if let Some(training) = training(experiment) {
            view.row("Container", training.container);
            view.row("Image", training.image);
            view.row(
                "Command",
                training
                    .command
                    .iter()
                    .map(|word| quoted(word))
                    .collect::<Vec<_>>()
                    .join(" "),
            );
            for (name, quantity) in training.resources {
                view.row(name, quantity);
            }
            if !training.pull_secrets.is_empty() {
                view.row("Pull secrets", training.pull_secrets.join(", "));
            }
        } else {
            view.row("Container", template.primary_container_name.clone());
        }
        let parameters: Vec<String> = template
            .parameters()
            .iter()
            .map(|one| format!("{} = {}", one.name, one.reference))
            .collect();
        if !parameters.is_empty() {
            view.row("Parameters", parameters.join("\n"));
        }
        view.row("Jobs are kept", Cell::bool(template.retain));
    }

    if let Some(collector) = &spec.metrics_collector_spec {
        view.section("Metrics collector");
        if let Some(one) = &collector.collector {
            view.row("Kind", one.kind.to_string());
        }
        if let Some(source) = &collector.source {
            if let Some(path) = &source.file_system_path {
                view.row("Path", path.path.clone());
                if !path.format.is_empty() {
                    view.row("Format", path.format.to_string());
                }
            }
            if let Some(filter) = &source.filter {
                view.row("Filter", filter.metrics_format.join("\n"));
            }
        }
    }
    view
}

/// The search space.
fn space(parameters: &[ParameterSpec]) -> Table {
    let mut table = Table::new([
        Column::new("PARAMETER"),
        Column::new("TYPE"),
        Column::new("VALUES"),
        Column::new("STEP"),
        Column::new("DISTRIBUTION"),
    ])
    .title("Search space")
    .empty("it searches no parameters");
    for parameter in parameters {
        let space = &parameter.feasible_space;
        let values = if space.list.is_empty() {
            format!("{} to {}", space.min, space.max)
        } else {
            space.list.join(", ")
        };
        let some = |text: &str| {
            if text.is_empty() {
                Cell::none()
            } else {
                Cell::text(text)
            }
        };
        table.row([
            Cell::text(&parameter.name),
            Cell::text(parameter.parameter_type.to_string()),
            Cell::text(values),
            some(&space.step),
            some(space.distribution.as_str()),
        ]);
    }
    table
}
