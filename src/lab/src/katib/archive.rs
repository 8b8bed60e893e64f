//! An experiment and all it left, in a folder: exported from a cluster, and read back without one.
//!
//! ```text
//! DIR/experiment.yaml   the Experiment as the cluster has it
//! DIR/trials.json       its Trials
//! DIR/jobs.json         when each trial's Job began and was done, while it was there
//! DIR/metrics.csv       the observation logs: trial, metric, time, value
//! DIR/export.json       versions of katlab, Kubernetes and Katib, and the images that ran, by digest
//! DIR/evidence.json     pods and warnings of the trials that did not succeed, while they were there
//! DIR/logs/TRIAL.log    what the trials printed, while their pods were there
//! ```
//!
//! Reading takes the first three and `export.json`, of which the first two must be there. Metrics, evidence and logs
//! are read by themselves by those who need them; whatever else stands there is for people and other programs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use futures::StreamExt as _;
use k8s_openapi::jiff::Timestamp;
use katlab_katib::types::{self, Experiment, Trial};
use serde::{Deserialize, Serialize};

use super::evidence::{self, Evidence};
use super::observations::{self, Point};
use super::provenance::{self, Provenance};
use super::{experiments, trials, value};
use crate::cluster::{self, Cluster};
use crate::kubernetes::logs::{self, Extent};
use crate::kubernetes::{Scope, jobs};

/// The Experiment's file, by which a folder is known for an export.
pub const EXPERIMENT: &str = "experiment.yaml";
const TRIALS: &str = "trials.json";
const JOBS: &str = "jobs.json";
const METRICS: &str = "metrics.csv";
/// The first line of the metrics.
const FIELDS: [&str; 4] = ["trial", "metric", "time", "value"];
const PROVENANCE: &str = "export.json";
const LOGS: &str = "logs";
/// What pods and events said.
pub(super) const EVIDENCE: &str = "evidence.json";
/// Questions asked at once.
const AT_ONCE: usize = 8;

/// When a trial's Job ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// It began, RFC 3339.
    pub began: Option<String>,
    /// It was done, RFC 3339.
    pub done: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many of its pods failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed: i32,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// An experiment and all it left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Archive {
    /// The Experiment.
    pub experiment: Experiment,
    /// Its Trials.
    pub trials: Vec<Trial>,
    /// When each trial's Job ran, by trial.
    pub work: BTreeMap<String, Work>,
    /// The observation log of each trial.
    pub metrics: BTreeMap<String, Vec<Point>>,
    /// What it ran on; nothing in exports that do not say.
    pub provenance: Option<Provenance>,
    /// What pods and events say of the trials that did not succeed.
    pub evidence: Evidence,
    /// What each trial printed.
    pub logs: BTreeMap<String, String>,
    /// The trials that printed what could not be had: their pods are gone or have not started.
    pub without_log: Vec<String>,
    /// What else could not be had, and why.
    pub missing: Vec<String>,
}

/// Why a folder could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no export in it.
    #[error("{} holds no exported experiment: {EXPERIMENT} is missing", .0.display())]
    NoExport(PathBuf),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} is not what an export has there: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::NoExport(_) => {
                "name a folder that `:experiment export NAME -o DIR` has written".to_owned()
            }
            Self::File { .. } => "look at the permissions, and at the space left".to_owned(),
            Self::Content { .. } => {
                "export the experiment again, or mend the file by hand".to_owned()
            }
        }
    }
}

/// When the Jobs of these trials ran; empty where they are gone or cannot be listed.
pub async fn work(cluster: &Cluster, trials: &[Trial]) -> BTreeMap<String, Work> {
    // A trial's Job has its name; what labels it has depends on who wrote the template.
    let known: HashSet<&str> = trials.iter().map(|trial| trial.metadata.name()).collect();
    let scope = Scope::Namespace(cluster.namespace.clone());
    let found = jobs::list(cluster, &scope, None).await;
    let text = |time: Option<Timestamp>| time.map(|time| time.to_string());
    found
        .unwrap_or_default()
        .into_iter()
        .filter(|job| known.contains(job.name.as_str()))
        .map(|job| {
            let work = Work {
                began: text(job.started),
                done: text(job.ended),
                reason: job.reason,
                failed: job.failed,
            };
            (job.name, work)
        })
        .collect()
}

/// Takes an experiment from a cluster with all it left.
///
/// What is gone or cannot be had (pods, the metric store) is named in [`Archive::missing`].
///
/// # Errors
/// When the experiment or its trials cannot be read.
pub async fn collect(cluster: &Cluster, name: &str) -> cluster::Result<Archive> {
    let namespace = cluster.namespace.as_str();
    let (experiment, objects) = futures::future::try_join(
        experiments::get(cluster, namespace, name),
        trials::objects(cluster, namespace, name),
    )
    .await?;
    let (work, evidence) = futures::join!(
        work(cluster, &objects),
        evidence::collect(cluster, &objects)
    );
    let names: Vec<String> = objects
        .iter()
        .map(|trial| trial.metadata.name().to_owned())
        .collect();
    let mut archive = Archive {
        experiment,
        trials: objects,
        work,
        evidence,
        ..Archive::default()
    };
    let known: HashSet<&str> = names.iter().map(String::as_str).collect();
    match provenance::collect(cluster, &known).await {
        Ok(found) => archive.provenance = Some(found),
        Err(error) => archive.missing.push(format!("image digests: {error}")),
    }
    match observations::open(cluster).await {
        Ok(way) => {
            let way = &way;
            let mut asked = futures::stream::iter(names.iter().cloned())
                .map(|trial| async move { (way.of_trial(&trial, None).await, trial) })
                .buffer_unordered(AT_ONCE);
            while let Some((points, trial)) = asked.next().await {
                match points {
                    Ok(points) => drop(archive.metrics.insert(trial, points)),
                    Err(error) => archive.missing.push(error.to_string()),
                }
            }
        }
        Err(error) => archive.missing.push(format!("metrics: {error}")),
    }
    let mut asked = futures::stream::iter(names)
        .map(|trial| async move {
            let log = async {
                let target = logs::find(cluster, namespace, &trial, None).await?;
                logs::read(cluster, &target, Extent::default()).await
            };
            (log.await, trial)
        })
        .buffer_unordered(AT_ONCE);
    while let Some((log, trial)) = asked.next().await {
        match log {
            Ok(lines) => drop(archive.logs.insert(trial, lines.join("\n"))),
            Err(_) => archive.without_log.push(trial),
        }
    }
    drop(asked);
    Ok(archive)
}

/// The file of a trial's log in the folder of an export.
pub fn log_file(folder: &Path, trial: &str) -> PathBuf {
    log_folder(folder).join(format!("{trial}.log"))
}

/// What a trial of an export printed. Whoever made the export may have named a trial so that its log would
/// lie elsewhere; only those in the folder are read.
///
/// # Errors
/// When there is none, or it cannot be read.
pub fn read_log(folder: &Path, trial: &str) -> std::io::Result<String> {
    let name = Path::new(trial).file_name().unwrap_or_default();
    let text = std::fs::read(log_file(folder, &name.to_string_lossy()))?;
    Ok(match String::from_utf8(text) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

/// Where the logs are in the folder of an export.
pub(super) fn log_folder(folder: &Path) -> PathBuf {
    folder.join(LOGS)
}

/// The file of the metrics in the folder of an export.
pub fn metrics_file(folder: &Path) -> PathBuf {
    folder.join(METRICS)
}

/// The names of the trials in the folder of an export; none where they cannot be read.
pub(super) fn trial_names(folder: &Path) -> HashSet<String> {
    #[derive(Deserialize)]
    struct Named {
        metadata: types::ObjectMeta,
    }
    let named = std::fs::read(folder.join(TRIALS))
        .ok()
        .and_then(|text| serde_json::from_slice::<Vec<Named>>(&text).ok());
    let names = named.into_iter().flatten();
    names
        .map(|trial| trial.metadata.name().to_owned())
        .collect()
}

impl Archive {
    /// Adds what was taken later of the same experiment. What is gone since then stays.
    pub fn absorb(&mut self, later: Self) {
        self.experiment = later.experiment;
        let at: HashMap<String, usize> = self
            .trials
            .iter()
            .enumerate()
            .map(|(at, trial)| (trial.metadata.name().to_owned(), at))
            .collect();
        for trial in later.trials {
            match at.get(trial.metadata.name()) {
                Some(at) => self.trials[*at] = trial,
                None => self.trials.push(trial),
            }
        }
        for (trial, work) in later.work {
            let known = self.work.entry(trial).or_default();
            known.began = work.began.or_else(|| known.began.take());
            known.done = work.done.or_else(|| known.done.take());
            known.reason = work.reason.or_else(|| known.reason.take());
            known.failed = known.failed.max(work.failed);
        }
        for (trial, points) in later.metrics {
            let known = self.metrics.entry(trial).or_default();
            if points.len() >= known.len() {
                *known = points;
            }
        }
        match (&mut self.provenance, later.provenance) {
            (Some(known), Some(later)) => known.absorb(later),
            (None, Some(later)) => self.provenance = Some(later),
            (_, None) => {}
        }
        self.evidence.absorb(later.evidence);
        self.evidence.keep_of(&self.trials);
        self.logs.extend(later.logs);
        self.missing = later.missing;
    }

    /// The files of the export, by their path in the folder.
    ///
    /// # Errors
    /// When an object cannot be written as YAML or JSON.
    pub fn files(&self) -> Result<Vec<(PathBuf, String)>, Error> {
        let failed = |file: &str, reason: String| Error::Content {
            path: file.into(),
            reason,
        };
        let experiment = serde_saphyr::to_string(&self.experiment)
            .map_err(|error| failed(EXPERIMENT, error.to_string()))?;
        let trials = serde_json::to_string_pretty(&self.trials)
            .map_err(|error| failed(TRIALS, error.to_string()))?;
        let jobs = serde_json::to_string_pretty(&self.work)
            .map_err(|error| failed(JOBS, error.to_string()))?;
        let evidence = serde_json::to_string_pretty(&self.evidence)
            .map_err(|error| failed(EVIDENCE, error.to_string()))?;
        let mut files = vec![
            (EXPERIMENT.into(), experiment),
            (TRIALS.into(), trials + "\n"),
            (JOBS.into(), jobs + "\n"),
            (METRICS.into(), self.metrics_csv()),
            (EVIDENCE.into(), evidence + "\n"),
        ];
        if let Some(provenance) = &self.provenance {
            let text = serde_json::to_string_pretty(provenance)
                .map_err(|error| failed(PROVENANCE, error.to_string()))?;
            files.push((PROVENANCE.into(), text + "\n"));
        }
        for (trial, log) in &self.logs {
            let end = if log.ends_with('\n') { "" } else { "\n" };
            files.push((log_file(Path::new(""), trial), format!("{log}{end}")));
        }
        Ok(files)
    }

    fn metrics_csv(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        // Memory takes them all, and each has four fields.
        let _ = writer.write_record(FIELDS);
        for (trial, points) in &self.metrics {
            for point in points {
                let time = point.time.map(|time| time.to_string()).unwrap_or_default();
                let value = point
                    .value
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                let _ = writer.write_record([trial, &point.metric, &time, &value]);
            }
        }
        let content = writer.into_inner().unwrap_or_default();
        String::from_utf8_lossy(&content).into_owned()
    }
}

/// The text of a file of an export, if it is there.
fn text(folder: &Path, file: &str) -> Result<Option<String>, Error> {
    let path = folder.join(file);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { path, source }),
    }
}

fn wrong(folder: &Path, file: &str, reason: String) -> Error {
    Error::Content {
        path: folder.join(file),
        reason,
    }
}

/// Reads the observation logs of an export, by trial.
///
/// # Errors
/// [`Error`], when the file cannot be read.
pub fn metrics(folder: &Path) -> Result<BTreeMap<String, Vec<Point>>, Error> {
    let mut metrics: BTreeMap<String, Vec<Point>> = BTreeMap::new();
    let text = text(folder, METRICS)?.unwrap_or_default();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader
        .headers()
        .map_err(|error| wrong(folder, METRICS, error.to_string()))?;
    if !header.is_empty() && header.iter().take(FIELDS.len()).ne(FIELDS) {
        let header: Vec<&str> = header.iter().collect();
        return Err(wrong(
            folder,
            METRICS,
            format!(
                "its first line is `{}` in place of `{}`",
                header.join(","),
                FIELDS.join(",")
            ),
        ));
    }
    for record in reader.records() {
        let record = record.map_err(|error| wrong(folder, METRICS, error.to_string()))?;
        let [trial, metric, time, value] =
            [0, 1, 2, 3].map(|at| record.get(at).unwrap_or_default());
        metrics.entry(trial.to_owned()).or_default().push(Point {
            metric: metric.to_owned(),
            time: time.parse().ok(),
            value: value::metric(value),
        });
    }
    Ok(metrics)
}

/// Reads an export; logs, metrics and evidence are left where they are.
///
/// # Errors
/// [`Error`], when the folder is no export or a file cannot be read.
pub fn read(folder: &Path) -> Result<Archive, Error> {
    let text = |file| text(folder, file);
    let wrong = |file, reason| wrong(folder, file, reason);
    let Some(experiment) = text(EXPERIMENT)? else {
        return Err(Error::NoExport(folder.to_owned()));
    };
    let experiment = serde_saphyr::from_str(&experiment)
        .map_err(|error| wrong(EXPERIMENT, error.to_string()))?;
    let trials = match text(TRIALS)? {
        Some(text) => {
            serde_json::from_str(&text).map_err(|error| wrong(TRIALS, error.to_string()))?
        }
        None => return Err(wrong(TRIALS, "the file is missing".to_owned())),
    };
    let work = match text(JOBS)? {
        Some(text) => {
            serde_json::from_str(&text).map_err(|error| wrong(JOBS, error.to_string()))?
        }
        None => BTreeMap::new(),
    };
    let provenance = match text(PROVENANCE)? {
        Some(text) => Some(
            serde_json::from_str(&text).map_err(|error| wrong(PROVENANCE, error.to_string()))?,
        ),
        None => None,
    };
    Ok(Archive {
        experiment,
        trials,
        work,
        provenance,
        ..Archive::default()
    })
}

#[cfg(test)]
mod tests {
    use super::super::value::Value;
    use super::*;
    use serde_json::json;

    #[test]
    fn metrics_under_other_names_are_no_metrics() {
        let folder = tempfile::tempdir().unwrap();
        let write = |text: &str| std::fs::write(folder.path().join(METRICS), text).unwrap();
        write("foo,bar\n1,2\n");
        let error = metrics(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("its first line is `foo,bar` in place of `trial,metric,time,value`"),
            "{error}"
        );
        for text in ["", "trial,metric,time,value\n"] {
            write(text);
            assert!(metrics(folder.path()).unwrap().is_empty());
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let point = |value| Point {
            metric: "acc, top \"1\"".into(),
            time: "2026-01-01T00:00:01Z".parse().ok(),
            value,
        };
        let archive = Archive {
            without_log: Vec::new(),
            evidence: Evidence::default(),
            experiment: serde_json::from_value(json!({
                "apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment", "metadata": {"name": "digits", "namespace": "lab"},
                "spec": {"objective": {"type": "maximize", "objectiveMetricName": "accuracy"},
                         "parameters": [{"name": "--lr", "parameterType": "double", "feasibleSpace": {"min": "1e-5", "max": "1"}}]},
            }))
            .unwrap(),
            trials: vec![
                serde_json::from_value(json!({
                    "metadata": {"name": "digits-1"},
                    "spec": {"parameterAssignments": [{"name": "--lr", "value": "0.01"}]},
                    "status": {"observation": {"metrics": [{"name": "accuracy", "min": "0.1", "max": "0.9", "latest": "0.8"}]}},
                }))
                .unwrap(),
            ],
            work: [("digits-1".to_owned(), Work { began: Some("2026-01-01T00:00:00Z".into()), ..Work::default() })].into(),
            metrics: [("digits-1".to_owned(), vec![point(Some(Value::Number(0.5))), point(None)])].into(),
            provenance: Some(Provenance { katlab: "0.1.0".into(), ..Provenance::default() }),
            logs: [("digits-1".to_owned(), "accuracy=0.5".to_owned())].into(),
            missing: Vec::new(),
        };
        for (path, content) in archive.files().unwrap() {
            crate::file::replace(&folder.path().join(path), content.as_bytes(), 0o644).unwrap();
        }
        let log = std::fs::read_to_string(folder.path().join("logs/digits-1.log")).unwrap();
        assert_eq!(log, "accuracy=0.5\n");
        let back = read(folder.path()).unwrap();
        assert!(back.provenance.is_some());
        assert_eq!(metrics(folder.path()).unwrap(), archive.metrics);
        assert_eq!(
            back,
            Archive {
                logs: BTreeMap::new(),
                metrics: BTreeMap::new(),
                ..archive
            }
        );
    }

    #[test]
    fn a_folder_that_is_no_export_is_told_from_one_that_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path()), Err(Error::NoExport(_))));
        std::fs::write(folder.path().join(EXPERIMENT), "metadata: {name: a}\n").unwrap();
        let error = read(folder.path()).unwrap_err();
        assert!(error.to_string().contains("trials.json"), "{error}");
        std::fs::write(folder.path().join(TRIALS), "{").unwrap();
        assert!(matches!(read(folder.path()), Err(Error::Content { .. })));
    }
}
