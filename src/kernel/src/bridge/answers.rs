//! The calls that read: settings, images, experiments, trials and their metrics.

use std::path::Path;

use jiff::Timestamp;
use katlab::Request;
use katlab_lab::cluster::Cluster;
use katlab_lab::docker::image::{Filter, Image};
use katlab_lab::katib::experiments::{self, Summary};
use katlab_lab::katib::observations::{self, Point};
use katlab_lab::katib::trials::{self, TrialRow, TrialTable};
use katlab_lab::katib::value::Value;
use katlab_lab::kubernetes::Scope;
use katlab_lab::settings::is_secret_name;
use serde_json::{Map, Value as Json, json};

use super::Needed as _;
use crate::magics::analysis::plot::{self, Plot};
use crate::magics::analysis::{self, Source};
use crate::magics::{Context, MagicError, nearest};

/// Answers a call.
pub(super) async fn answer(request: &Request, ctx: &Context) -> Result<Json, MagicError> {
    let argument = |name| request.needed(name);
    match request.call.as_str() {
        "trials" => match request.argument("from") {
            Some(folder) => {
                let source = analysis::read_folder(ctx, Path::new(folder)).await?;
                Ok(trials_json(&source.listed(), "", folder))
            }
            None => {
                let cluster = cluster(request, ctx).await?;
                let table = trials::of_experiment(&cluster, &cluster.namespace, argument("experiment")?).await?;
                Ok(trials_json(&table, &cluster.namespace, ""))
            }
        },
        "experiment" => match request.argument("from") {
            Some(folder) => {
                let source = analysis::read_folder(ctx, Path::new(folder)).await?;
                Ok(experiment_json(&Summary::of(&source.experiment)))
            }
            None => {
                let cluster = cluster(request, ctx).await?;
                let summary = experiments::summary(&cluster, &cluster.namespace, argument("experiment")?).await?;
                Ok(experiment_json(&summary))
            }
        },
        "plot" => {
            let plot = Plot::of_cell(request.arguments.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
            let chart = plot.chart(ctx).await?;
            if let Some(path) = plot.file() {
                plot::write(ctx, path, &chart)?;
                return Ok(Json::Null);
            }
            let bundle = plot::bundle(&chart)?;
            // As texts: a cell hands them back as they are, and numbers stay what they were.
            let text = |(mime, content): (&String, &Json)| {
                let text = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
                (mime.clone(), Json::from(text))
            };
            let data: Map<String, Json> = bundle.data.iter().map(text).collect();
            Ok(json!({ "data": data, "metadata": bundle.metadata }))
        }
        "experiments" => {
            let cluster = ctx.cluster(None).await?;
            let scope = Scope::Namespace(cluster.namespace.clone());
            let summaries = experiments::list(&cluster, &scope).await?;
            Ok(summaries.iter().map(experiment_json).collect())
        }
        "metrics" => {
            let trial = argument("trial")?;
            let points = match request.argument("from") {
                Some(folder) => logged(analysis::read_folder(ctx, Path::new(folder)).await?, trial)?,
                None => {
                    let cluster = cluster(request, ctx).await?;
                    // A name that no trial has is an error, not an empty log.
                    trials::get(&cluster, &cluster.namespace, trial).await?;
                    observations::open(&cluster).await?.of_trial(trial, None).await?
                }
            };
            let point = |point: &Point| {
                let value = point.value.as_ref().map_or(json!("unavailable"), value_json);
                json!({ "metric": point.metric, "value": value, "time": point.time.map(time_json) })
            };
            Ok(points.iter().map(point).collect())
        }
        "images" => {
            let images = ctx.docker().await?.images(&Filter::default()).await?;
            Ok(images.iter().map(image_json).collect())
        }
        "env" => {
            let name = argument("name")?;
            let setting = ctx.session.settings().get(name)?;
            if is_secret_name(name) || setting.is_some_and(|setting| setting.secret) {
                return Err(MagicError::new(format!("the setting {name} is secret, and cells are not given secrets"))
                    .hint("use it as `$NAME` in a magic"));
            }
            match ctx.value(name).await? {
                Some(value) => Ok(value.into()),
                None => Err(ctx.session.unknown_setting(name)),
            }
        }
        other => Err(MagicError::new(format!("this kernel does not know the call `{other}`"))
            .hint("the kernel and the crate `katlab` may be of different versions; restart the kernel")),
    }
}

/// The cluster in use, in the namespace that the call names.
async fn cluster(request: &Request, ctx: &Context) -> Result<Cluster, MagicError> {
    ctx.cluster(request.argument("namespace")).await
}

/// The log of a trial of an export.
fn logged(source: Source, trial: &str) -> Result<Vec<Point>, MagicError> {
    let known = source.trials.iter().map(|one| one.metadata.name());
    if !known.clone().any(|name| name == trial) {
        let error = MagicError::usage(format!(
            "the export of {} has no trial {trial}",
            source.experiment.metadata.name()
        ));
        return Err(match nearest::to(trial, known).first() {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error,
        });
    }
    Ok(source.exported_metrics()?.remove(trial).unwrap_or_default())
}

fn time_json(time: Timestamp) -> Json {
    json!({ "text": time.to_string(), "unix": time.as_millisecond() as f64 / 1000.0 })
}

fn value_json(value: &Value) -> Json {
    match value {
        Value::Int(number) => json!(number),
        Value::Number(number) => json!(number),
        Value::Text(text) => json!(text),
    }
}

/// Trials, and where they are from: a namespace of the cluster, or the folder of an export.
pub fn trials_json(table: &TrialTable, namespace: &str, folder: &str) -> Json {
    let metric = &table.objective.metric;
    let row = |trial| trial_json(trial, metric);
    let trials: Vec<Json> = table.rows.iter().map(row).collect();
    json!({
        "experiment": table.name(), "namespace": namespace, "from": folder, "trials": trials,
        "maximize": table.objective.maximize,
    })
}

/// A trial; its objective is the value of that metric.
pub(super) fn trial_json(trial: &TrialRow, metric: &str) -> Json {
    let parameters: Map<String, Json> = trial
        .parameters
        .iter()
        .map(|(name, value)| (name.clone(), value_json(value)))
        .collect();
    let metrics: Map<String, Json> = trial
        .metrics
        .iter()
        .filter_map(|metric| Some((metric.name.clone(), value_json(metric.value.as_ref()?))))
        .collect();
    let of = |value: &Option<Value>| value.as_ref().map(value_json);
    let observed: Map<String, Json> = trial
        .metrics
        .iter()
        .map(|metric| {
            let ends = json!({"min": of(&metric.min), "max": of(&metric.max), "latest": of(&metric.latest)});
            (metric.name.clone(), ends)
        })
        .collect();
    let seconds = trial
        .ended
        .and_then(|ended| Some(ended.duration_since(trial.started?).as_secs_f64()));
    json!({
        "name": trial.name,
        "status": trial.status,
        "parameters": parameters,
        "metrics": metrics,
        "objective": trial.metric(metric).and_then(Value::number),
        "best": trial.best,
        "seconds": seconds,
        "created": trial.created.map(time_json),
        "started": trial.started.map(time_json),
        "ended": trial.ended.map(time_json),
        "reason": trial.reason,
        "message": trial.message,
        "observed": observed,
    })
}

fn image_json(image: &Image) -> Json {
    // Some builders write no time at all, which comes out as 1970.
    let created = Timestamp::from_second(image.created)
        .ok()
        .filter(|_| image.created > 0);
    json!({
        "name": image.name(),
        "repository": image.repository,
        "tag": image.tag,
        "id": image.id,
        "digest": image.digest,
        "created": created.map(|time| time.to_string()),
        "size": image.size,
    })
}

pub(super) fn experiment_json(summary: &Summary) -> Json {
    json!({
        "name": summary.name,
        "namespace": summary.namespace,
        "status": summary.status,
        "message": summary.message,
        "objective": summary.objective.metric,
        "goal": summary.objective.goal,
        "trials": summary.counts.total,
        "succeeded": summary.counts.succeeded,
        "failed": summary.counts.failed,
    })
}
