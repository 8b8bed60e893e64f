//! A trial's metrics: read while its primary container runs, and once more when that has ended well.
//!
//! Katib's collector is a container beside the training; here the runtime reads the output or the file itself, so
//! that a trial that ends within milliseconds counts like any other. What is read while the container runs makes
//! curves and stops trials early; what counts in the end is the reading after its end. Both number the rows from the
//! beginning of the source, and the observation log takes each number once.
//!
//! | module | what |
//! |---|---|
//! | `pass` | from bytes to numbered rows |
//! | `live` | the reading while the container runs |
//! | `archive` | files of a container, running or ended |
//! | `events` | TensorFlow's event files |
//! | `exposition`, `scrape` | Prometheus' pages |
//!
//! # Deliberate differences from Katib
//!
//! - Rows are reported while the trial runs, once there is a value of the objective. Katib reports once, at the end. What
//!   a container that failed has reported is taken back, as it would never have come.
//! - The command is not wrapped. A trial is stopped early by a SIGTERM to its program, which a small init of the
//!   engine runs (so that a program without a handler ends), and by a SIGKILL after the pod's grace. Its container is
//!   shown as Completed with exit code 0, as Katib's wrapped shell ends.

mod archive;
mod events;
mod exposition;
mod live;
mod pass;
mod scrape;

use std::path::Path;
use std::sync::Arc;

use bollard::query_parameters::LogsOptionsBuilder;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use katlab_katib::metrics::{self, MetricRow};
use katlab_katib::names::LABEL_TRIAL;
use katlab_katib::stopping::Stopper;
use katlab_katib::time;
use katlab_katib::types::{CollectorKind, Trial};
use kube::ResourceExt;
use kube::api::{Api, ApiResource, Patch};
use kube::core::{DynamicObject, GroupVersionKind};
use serde_json::json;

use super::Runtime;
use crate::controllers::trial::{COLLECTED, STOPPED};
use crate::metrics::{Filter, Row};
use events::Wanted;
use pass::{Batch, Pass, Sheet, read_all};

/// Why metrics were not collected.
#[derive(Debug, thiserror::Error)]
pub(super) enum CollectError {
    #[error("reading trial {trial}: {reason}")]
    Trial { trial: String, reason: String },
    #[error("reading the metrics of trial {trial}: {source}")]
    Engine {
        trial: String,
        source: bollard::errors::Error,
    },
    #[error("{path} of trial {trial} is larger than {} bytes", archive::LONGEST)]
    TooLong { trial: String, path: String },
    #[error("the metrics of trial {trial}: {reason}")]
    Unreadable { trial: String, reason: String },
    #[error(transparent)]
    Store(#[from] crate::metrics::Error),
    #[error("marking the pod of trial {trial} as collected: {source}")]
    Mark {
        trial: String,
        source: Box<kube::Error>,
    },
}

/// The trial a pod works for, and which container of it trains.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) trial: Arc<Trial>,
    namespace: String,
    name: String,
}

impl Subject {
    /// Whether this container of the pod is the one whose metrics count.
    pub(super) fn is_primary(&self, container: &str) -> bool {
        self.trial.spec.primary_container_name == container
    }

    /// Why the trial's rules of early stopping cannot be followed, if they cannot.
    pub(super) fn unusable_rules(&self) -> Option<String> {
        let objective = self.trial.spec.objective.clone().unwrap_or_default();
        let rules = Stopper::new(&objective, &self.trial.spec.early_stopping_rules);
        rules.err().map(|error| error.to_string())
    }

    /// Whether the trial may be stopped early.
    pub(super) fn has_rules(&self) -> bool {
        !self.trial.spec.early_stopping_rules.is_empty()
    }

    fn uid(&self) -> &str {
        self.trial.metadata.uid.as_deref().unwrap_or_default()
    }

    fn kind(&self) -> CollectorKind {
        let collector = self.trial.spec.metrics_collector.collector.as_ref();
        collector.map_or(CollectorKind::StdOut, |collector| collector.kind.clone())
    }

    /// The path of the metrics file or directory.
    fn path(&self) -> Option<&str> {
        let source = self.trial.spec.metrics_collector.source.as_ref()?;
        Some(source.file_system_path.as_ref()?.path.as_str())
    }

    fn unreadable(&self, reason: impl ToString) -> CollectError {
        CollectError::Unreadable {
            trial: self.name.clone(),
            reason: reason.to_string(),
        }
    }

    fn engine(&self, source: bollard::errors::Error) -> CollectError {
        CollectError::Engine {
            trial: self.name.clone(),
            source,
        }
    }
}

fn has_annotation(pod: &Pod, name: &str) -> bool {
    pod.annotations()
        .get(name)
        .is_some_and(|mark| mark == "true")
}

/// Whether a pod's trial was stopped early, as its annotation says.
pub(super) fn is_stopped(pod: &Pod) -> bool {
    pod.annotations().contains_key(STOPPED)
}

impl Runtime {
    /// The trial of a pod whose metrics count: it is labelled with one, and with what tells such pods from others.
    ///
    /// # Errors
    /// When the trial cannot be read.
    pub(super) async fn subject(&self, pod: &Pod) -> Result<Option<Subject>, CollectError> {
        let Some(name) = pod.labels().get(LABEL_TRIAL).cloned() else {
            return Ok(None);
        };
        let namespace = pod.namespace().unwrap_or_default();
        let trial = self.trial(&namespace, &name).await?;
        let labels = &trial.spec.primary_pod_labels;
        let is_primary = labels
            .iter()
            .all(|(name, value)| pod.labels().get(name) == Some(value));
        Ok(is_primary.then(|| Subject {
            trial: Arc::new(trial),
            namespace,
            name,
        }))
    }

    async fn trial(&self, namespace: &str, name: &str) -> Result<Trial, CollectError> {
        let failed = |reason: String| CollectError::Trial {
            trial: name.to_owned(),
            reason,
        };
        let kind = GroupVersionKind::gvk("kubeflow.org", "v1beta1", "Trial");
        let resource = ApiResource::from_gvk_with_plural(&kind, "trials");
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client().clone(), namespace, &resource);
        let object = api
            .get(name)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let value = serde_json::to_value(object).map_err(|error| failed(error.to_string()))?;
        serde_json::from_value(value).map_err(|error| failed(error.to_string()))
    }

    /// Collects the metrics of a pod that has ended well, and marks the pod. Does nothing for pods that are
    /// marked already.
    pub(super) async fn collect(
        &self,
        pod: &Pod,
        subject: &Subject,
        container: Option<String>,
    ) -> Result<(), CollectError> {
        if has_annotation(pod, COLLECTED) {
            return Ok(());
        }
        let read = self.read_whole(subject, container.as_deref()).await;
        let source = container.unwrap_or_default();
        match read {
            Ok(Some(batch)) => drop(self.append(subject, &source, batch).await?),
            Ok(None) => {}
            Err(error) => {
                // Katib's collector would have reported nothing.
                if matches!(error, CollectError::Unreadable { .. }) {
                    self.discard(subject, &source).await?;
                }
                return Err(error);
            }
        }
        self.mark(pod, subject, COLLECTED, "true").await
    }

    async fn mark(
        &self,
        pod: &Pod,
        subject: &Subject,
        annotation: &str,
        text: &str,
    ) -> Result<(), CollectError> {
        let api: Api<Pod> = Api::namespaced(self.client().clone(), &subject.namespace);
        let mark = json!({"metadata": {"uid": pod.uid(), "annotations": {annotation: text}}});
        let name = pod.name_any();
        let (params, mark) = (super::node::writing(), Patch::Merge(mark));
        let marked = api.patch(&name, &params, &mark).await;
        marked.map(drop).map_err(|source| CollectError::Mark {
            trial: subject.name.clone(),
            source: Box::new(source),
        })
    }

    /// Takes back what a container has reported.
    pub(super) async fn discard(
        &self,
        subject: &Subject,
        container: &str,
    ) -> Result<(), CollectError> {
        let (namespace, name) = (&subject.namespace, &subject.name);
        let discarded = self.observation().discard(namespace, name, container).await;
        discarded.map_err(CollectError::from)
    }

    async fn append(
        &self,
        subject: &Subject,
        source: &str,
        batch: Batch,
    ) -> Result<usize, CollectError> {
        let rows = batch.rows.into_iter().filter_map(row).collect();
        let (namespace, name) = (&subject.namespace, &subject.name);
        let log = self.observation();
        Ok(log
            .append(namespace, name, subject.uid(), source, batch.first, rows)
            .await?)
    }

    /// Everything a container has to say, or nothing where somebody else reports it (`Push`).
    async fn read_whole(
        &self,
        subject: &Subject,
        container: Option<&str>,
    ) -> Result<Option<Batch>, CollectError> {
        let trial = &subject.trial;
        let Some(objective) = &trial.spec.objective else {
            return Ok(None);
        };
        let nothing = Batch {
            first: 0,
            rows: vec![metrics::unavailable_row(objective)],
        };
        let Some(container) = container else {
            return Ok(Some(nothing));
        };
        match (subject.kind(), subject.path()) {
            (CollectorKind::StdOut, _) => self.output(subject, container).await.map(Some),
            (CollectorKind::File, Some(path)) => match self.file(subject, container, path).await? {
                Some(bytes) => read_all(trial, &subject.name, &bytes).map(Some),
                None => Ok(Some(nothing)),
            },
            (CollectorKind::TensorFlowEvent, Some(path)) => {
                let events = self.events(subject, container, path).await?;
                if !events.has_objective {
                    return Ok(Some(nothing));
                }
                self.append_events(subject, container, events).await?;
                Ok(None)
            }
            (CollectorKind::PrometheusMetric, _) => {
                let filter = Filter {
                    metric: Some(objective.objective_metric_name.clone()),
                    ..Filter::default()
                };
                let (namespace, name) = (&subject.namespace, &subject.name);
                let seen = self.observation().rows(namespace, name, filter).await?;
                Ok(seen.is_empty().then_some(nothing))
            }
            (CollectorKind::Push | CollectorKind::Custom, _) => Ok(None),
            (other, _) => Err(subject.unreadable(format!(
                "the sandbox has no collector of kind {other} without a path"
            ))),
        }
    }

    async fn events(
        &self,
        subject: &Subject,
        container: &str,
        path: &str,
    ) -> Result<Events, CollectError> {
        // The directory itself, where the path is a link to it.
        let inside = Path::new(path).join(".");
        let objective = subject.trial.spec.objective.clone().unwrap_or_default();
        let wanted = Wanted::new(&objective);
        let mut found = Events {
            trial: subject.trial.clone(),
            files: Vec::new(),
            has_objective: false,
        };
        let Some(archive) = self.archive(subject, container, &inside).await? else {
            return Ok(found);
        };
        let files = events::files(&archive).map_err(|error| subject.unreadable(error))?;
        for (file, bytes) in files {
            let directory = Path::new(path).join(&file);
            let directory = directory.parent().unwrap_or(Path::new("/"));
            let rows = events::rows(&wanted, directory, &bytes)
                .map_err(|error| subject.unreadable(format!("{file}: {error}")))?;
            let named = |row: &MetricRow| row.name == objective.objective_metric_name;
            found.has_objective |= rows.iter().any(named);
            found.files.push((file, rows));
        }
        Ok(found)
    }

    /// Each file is a source of its own: they grow side by side.
    async fn append_events(
        &self,
        subject: &Subject,
        container: &str,
        events: Events,
    ) -> Result<(), CollectError> {
        for (file, rows) in events.files {
            let source = format!("{container}:{file}");
            let batch = Batch { first: 0, rows };
            self.append(subject, &source, batch).await?;
        }
        Ok(())
    }

    async fn output(&self, subject: &Subject, container: &str) -> Result<Batch, CollectError> {
        let query = LogsOptionsBuilder::default().stdout(true).stderr(true);
        let docker = self.engine().docker();
        let mut chunks = std::pin::pin!(docker.logs(container, Some(query.build())));
        let unreadable = |error| subject.unreadable(error);
        let mut pass = Pass::new(&subject.trial).map_err(unreadable)?;
        let mut all = Batch::default();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|source| subject.engine(source))?.into_bytes();
            all.rows.extend(pass.push(&chunk).map_err(unreadable)?.rows);
        }
        all.rows.extend(pass.finish().map_err(unreadable)?.rows);
        Ok(all)
    }
}

/// What the event files of a directory say.
struct Events {
    trial: Arc<Trial>,
    files: Vec<(String, Vec<MetricRow>)>,
    has_objective: bool,
}

impl Events {
    /// Why the trial is to be stopped, if it is.
    fn stop(&self) -> Option<String> {
        let mut rows: Vec<&MetricRow> = self.files.iter().flat_map(|(_, rows)| rows).collect();
        rows.sort_by_key(|row| time::parse(&row.time));
        let mut sheet = Sheet::new(&self.trial);
        sheet.push(rows.into_iter().cloned().collect());
        sheet.stop()
    }
}

/// A row for the log. A time that cannot be read counts as none, which Katib writes as year 1.
fn row(row: MetricRow) -> Option<Row> {
    let zero = || "0001-01-01T00:00:00Z".parse().ok();
    let time = row.time.parse().ok().or_else(zero)?;
    Some(Row {
        time,
        metric: row.name.into(),
        value: row.value.into(),
    })
}
