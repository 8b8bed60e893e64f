//! A trial's metrics, read from its primary container when it has ended well.
//!
//! Katib's collector is a container beside the training; here the runtime reads the file or the output itself. So
//! a trial that ends within milliseconds counts like any other.

use std::path::{Path, PathBuf};

use bollard::query_parameters::{DownloadFromContainerOptionsBuilder, LogsOptionsBuilder};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use katlab_katib::metrics::{self, MetricRow};
use katlab_katib::names::LABEL_TRIAL;
use katlab_katib::types::{CollectorKind, Trial};
use kube::ResourceExt;
use kube::api::{Api, ApiResource, Patch, PatchParams};
use kube::core::{DynamicObject, GroupVersionKind};
use serde_json::json;

use super::Runtime;
use super::engine::refusal;
use crate::controllers::trial::COLLECTED;
use crate::metrics::Row;

/// The longest metrics file or output that is read, in bytes.
const LONGEST: usize = 256 << 20;
/// How many symbolic links are followed to a metrics file, as a system does.
const LINKS: usize = 8;

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
    #[error("{path} of trial {trial} is larger than {LONGEST} bytes")]
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

impl Runtime {
    /// Collects the metrics of a pod that has ended well, and marks the pod. Does nothing for pods that belong
    /// to no trial or are marked already.
    pub(super) async fn collect(
        &self,
        pod: &Pod,
        container_of: impl Fn(&str) -> Option<String>,
    ) -> Result<(), CollectError> {
        let Some(name) = pod.labels().get(LABEL_TRIAL).cloned() else {
            return Ok(());
        };
        if pod
            .annotations()
            .get(COLLECTED)
            .is_some_and(|mark| mark == "true")
        {
            return Ok(());
        }
        let namespace = pod.namespace().unwrap_or_default();
        let trial = self.trial(&namespace, &name).await?;
        if let Some(rows) = self.read_metrics(&trial, &name, container_of).await? {
            let rows = rows.into_iter().filter_map(row).collect();
            self.observation()
                .report_once(&namespace, &name, &pod.uid().unwrap_or_default(), rows)
                .await?;
        }
        let api: Api<Pod> = Api::namespaced(self.client().clone(), &namespace);
        let mark = json!({"metadata": {"uid": pod.uid(), "annotations": {COLLECTED: "true"}}});
        api.patch(
            &pod.name_any(),
            &PatchParams::default(),
            &Patch::Merge(mark),
        )
        .await
        .map(drop)
        .map_err(|source| CollectError::Mark {
            trial: name,
            source: Box::new(source),
        })
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

    /// The rows, or nothing where somebody else reports them (`Push`, `Custom`).
    async fn read_metrics(
        &self,
        trial: &Trial,
        name: &str,
        container_of: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Vec<MetricRow>>, CollectError> {
        let Some(objective) = &trial.spec.objective else {
            return Ok(None);
        };
        let collector = &trial.spec.metrics_collector;
        let Some(container) = container_of(&trial.spec.primary_container_name) else {
            return Ok(Some(vec![metrics::unavailable_row(objective)]));
        };
        let path = collector
            .source
            .as_ref()
            .and_then(|source| source.file_system_path.as_ref())
            .map(|path| path.path.clone());
        let kind = collector
            .collector
            .as_ref()
            .map(|collector| collector.kind.clone())
            .unwrap_or(CollectorKind::StdOut);
        let text = match (kind, path) {
            (CollectorKind::StdOut, _) => Some(self.output(&container, name).await?),
            (CollectorKind::File, Some(path)) => self.file(&container, &path, name).await?,
            (CollectorKind::Push, _) => return Ok(None),
            (other, _) => {
                let reason = format!(
                    "the sandbox has no collector of kind {other}; it has StdOut, File and Push"
                );
                return Err(CollectError::Unreadable {
                    trial: name.to_owned(),
                    reason,
                });
            }
        };
        match text {
            Some(text) => match metrics::collect(collector, objective, &text) {
                Ok(rows) => Ok(Some(rows)),
                Err(error) => Err(CollectError::Unreadable {
                    trial: name.to_owned(),
                    reason: error.to_string(),
                }),
            },
            None => Ok(Some(vec![metrics::unavailable_row(objective)])),
        }
    }

    async fn output(&self, container: &str, trial: &str) -> Result<String, CollectError> {
        let query = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .build();
        let mut chunks = std::pin::pin!(self.engine().docker().logs(container, Some(query)));
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|source| CollectError::Engine {
                trial: trial.to_owned(),
                source,
            })?;
            bytes.extend_from_slice(&chunk.into_bytes());
            if bytes.len() > LONGEST {
                return Err(CollectError::TooLong {
                    trial: trial.to_owned(),
                    path: "the output".into(),
                });
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A file of an ended container; a symbolic link is followed. `None` when there is none.
    async fn file(
        &self,
        container: &str,
        path: &str,
        trial: &str,
    ) -> Result<Option<String>, CollectError> {
        let mut path = PathBuf::from(path);
        for _ in 0..LINKS {
            let Some(archive) = self.archive(container, &path, trial).await? else {
                return Ok(None);
            };
            let unreadable = |error| CollectError::Unreadable {
                trial: trial.to_owned(),
                reason: format!("{}: {error}", path.display()),
            };
            match first_entry(&archive).map_err(unreadable)? {
                Some(Entry::File(text)) => return Ok(Some(text)),
                Some(Entry::Link(target)) => {
                    // An absolute target takes the whole path's place.
                    path = path.parent().unwrap_or(Path::new("/")).join(target);
                }
                None => {
                    return Err(CollectError::Unreadable {
                        trial: trial.to_owned(),
                        reason: format!("{} is no file", path.display()),
                    });
                }
            }
        }
        Ok(None)
    }

    /// What stands at a path of a container, as the engine packs it into an archive.
    async fn archive(
        &self,
        container: &str,
        path: &Path,
        trial: &str,
    ) -> Result<Option<Vec<u8>>, CollectError> {
        let query = DownloadFromContainerOptionsBuilder::default()
            .path(&path.to_string_lossy())
            .build();
        let mut chunks = std::pin::pin!(
            self.engine()
                .docker()
                .download_from_container(container, Some(query))
        );
        let mut archive = Vec::new();
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(chunk) => archive.extend_from_slice(&chunk),
                Err(error) if matches!(refusal(&error), Some((404, _))) => return Ok(None),
                Err(source) => {
                    return Err(CollectError::Engine {
                        trial: trial.to_owned(),
                        source,
                    });
                }
            }
            if archive.len() > LONGEST {
                return Err(CollectError::TooLong {
                    trial: trial.to_owned(),
                    path: path.display().to_string(),
                });
            }
        }
        Ok(Some(archive))
    }
}

enum Entry {
    File(String),
    Link(PathBuf),
}

fn first_entry(archive: &[u8]) -> std::io::Result<Option<Entry>> {
    let mut archive = tar::Archive::new(archive);
    let Some(entry) = archive.entries()?.next() else {
        return Ok(None);
    };
    let mut entry = entry?;
    let kind = entry.header().entry_type();
    if kind.is_symlink() {
        return Ok(entry
            .link_name()?
            .map(|target| Entry::Link(target.into_owned())));
    }
    if !kind.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut entry, &mut bytes)?;
    Ok(Some(Entry::File(
        String::from_utf8_lossy(&bytes).into_owned(),
    )))
}

/// A row for the log. A time that cannot be read counts as none, which Katib writes as year 1.
fn row(row: MetricRow) -> Option<Row> {
    let zero = || "0001-01-01T00:00:00Z".parse().ok();
    let time = row.time.parse().ok().or_else(zero)?;
    Some(Row {
        time,
        metric: row.name,
        value: row.value,
    })
}
