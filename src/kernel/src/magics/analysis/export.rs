//! `:experiment export`: an experiment and all it left, as files.

use std::path::{Path, PathBuf};

use clap::Parser;
use katlab_lab::cluster::Cluster;
use katlab_lab::file;
use katlab_lab::katib::archive::{self, Archive};
use katlab_lab::katib::experiments::Summary;
use katlab_lab::katib::kept::Whose;
use katlab_lab::katib::trials::TrialTable;
use katlab_lab::katib::value::Value;

use crate::magics::kubernetes::logs::kept_log;
use crate::magics::kubernetes::{NamespaceArgs, quoted};
use crate::magics::{Context, Magic, MagicError, katib};
use crate::redaction::Redactor;
use crate::render::counted;
use crate::render::list::ListArgs;
use crate::render::parquet::{self, Values};

/// Write an experiment and all it left to a folder
///
/// Its manifests, its trials as CSV, Parquet and JSON, every value of its metrics as CSV and Parquet, the
/// logs of trials whose pods are still there or were kept, how the pods of those fared that did not succeed
/// (`evidence.json`), and in `export.json` the images they ran, by digest, with
/// the versions of katlab, Kubernetes and Katib. `:trials --from DIR`, `:plot --from DIR` and `:analyze --from DIR` read it
/// again, with no cluster.
#[derive(Debug, Parser)]
pub struct Export {
    /// The experiment
    #[arg(value_name = "EXPERIMENT")]
    name: String,
    /// The folder; it is made where it is not there
    #[arg(short, long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    output: PathBuf,
    /// Replace what an earlier export left in the folder
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    place: NamespaceArgs,
}

impl Magic for Export {
    const NAME: &'static str = "experiment export";

    fn explain(&self) -> Vec<String> {
        let (name, place) = (quoted(&self.name), self.place.kubectl());
        let folder = quoted(&self.output.display().to_string());
        vec![
            format!("kubectl get experiment {name}{place} -o yaml > {folder}/experiment.yaml"),
            format!(
                "kubectl get trials{place} -l katib.kubeflow.org/experiment={name} -o json > {folder}/trials.json"
            ),
            format!(
                "kubectl logs{place} -l katib.kubeflow.org/experiment={name} --tail -1 --prefix > {folder}/logs"
            ),
        ]
    }

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let folder = ctx.session.resolve(&self.output);
        self.check(&folder)?;
        let cluster = self.place.cluster(ctx).await?;
        let mut found = ctx
            .or_interrupted(archive::collect(&cluster, &self.name))
            .await?;
        take_kept_logs(ctx, &cluster, &mut found).await;
        take_kept_evidence(ctx, &cluster, &mut found);
        take_kept_images(ctx, &cluster, &mut found);
        let redactor = ctx.session.redactor();
        let mut files: Vec<(PathBuf, Vec<u8>)> = found
            .files()?
            .into_iter()
            .map(|(path, text)| (path, redactor.text(&text).into_bytes()))
            .collect();
        let listed = TrialTable::of(Some(Summary::of(&found.experiment)), &found.trials);
        let table = katib::trials::Listing::new(&listed, jiff::Timestamp::now()).whole();
        files.push(("trials.parquet".into(), table.parquet(&redactor)?));
        let list = ListArgs {
            save: Some("trials.csv".into()),
            ..ListArgs::default()
        };
        files.push(("trials.csv".into(), list.file(table, &redactor)?.0));
        let metrics = parquet::write(&metrics(&found, &redactor))?;
        files.push(("metrics.parquet".into(), metrics));
        if self.yes {
            remove_old_logs(&folder, &found);
        }
        for (path, content) in &files {
            let path = folder.join(path);
            file::replace(&path, content, 0o644).map_err(|error| {
                MagicError::new(format!("{} cannot be written: {error}", path.display()))
                    .hint("choose another folder with -o")
            })?;
        }
        for missing in &found.missing {
            ctx.output.warn(format!("left out: {missing}"));
        }
        let points: usize = found.metrics.values().map(Vec::len).sum();
        ctx.output.done(format!(
            "wrote {}, {} and {} of {} to {}",
            counted(found.trials.len(), "trial"),
            counted(points, "metric value"),
            counted(found.logs.len(), "log"),
            self.name,
            self.output.display()
        ));
        ctx.output.note(format!(
            "`:trials --from {}` reads it again, with no cluster",
            quoted(&self.output.display().to_string())
        ));
        Ok(())
    }
}

impl Export {
    /// A folder with other things in it is left alone.
    fn check(&self, folder: &Path) -> Result<(), MagicError> {
        let shown = self.output.display();
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                return Err(MagicError::new(format!("{shown} cannot be used: {error}"))
                    .hint("choose another folder with -o"));
            }
        };
        if entries.count() == 0 {
            return Ok(());
        }
        if !folder.join(archive::EXPERIMENT).exists() {
            return Err(MagicError::new(format!("{shown} holds other things"))
                .hint("choose a new folder with -o"));
        }
        if !self.yes {
            return Err(MagicError::new(format!(
                "{shown} holds an export already; nothing was done"
            ))
            .hint("add --yes to replace it"));
        }
        Ok(())
    }
}

/// Takes logs of pods that are gone from what katlab kept while they ran.
async fn take_kept_logs(ctx: &Context, cluster: &Cluster, found: &mut Archive) {
    let mut without = 0;
    for trial in std::mem::take(&mut found.without_log) {
        match kept_log(ctx, cluster, &trial, None).await {
            Ok(kept) => {
                let text = Vec::from(kept.lines).join("\n");
                found.logs.insert(trial, text);
            }
            Err(_) => without += 1,
        }
    }
    if without > 0 {
        found.missing.push(format!(
            "logs of {}, whose pods are gone or have not started",
            counted(without, "trial")
        ));
    }
}

/// Takes pods that are gone from what katlab saw of them.
fn take_kept_evidence(ctx: &Context, cluster: &Cluster, found: &mut Archive) {
    if let Ok(store) = ctx.session.kept() {
        let mut known = store.evidence(&Whose::of(cluster, &found.experiment));
        known.absorb(std::mem::take(&mut found.evidence));
        known.keep_of(&found.trials);
        found.evidence = known;
    }
}

/// Takes the images of pods that are gone from what katlab saw of them.
fn take_kept_images(ctx: &Context, cluster: &Cluster, found: &mut Archive) {
    let Some(seen) = found.provenance.take() else {
        return;
    };
    let kept = ctx.session.kept().ok();
    let kept = kept.and_then(|store| store.provenance(&Whose::of(cluster, &found.experiment)));
    let mut known = kept.unwrap_or_default();
    known.absorb(seen);
    let without = found.trials.len().saturating_sub(known.known());
    if without > 0 {
        found.missing.push(format!(
            "image digests of {}, whose pods are gone or have not started",
            counted(without, "trial")
        ));
    }
    found.provenance = Some(known);
}

/// The columns of `metrics.csv`, as numbers and times. A value that is a word makes its column text.
fn metrics(found: &Archive, redactor: &Redactor) -> Vec<parquet::Column> {
    let points = || {
        found
            .metrics
            .iter()
            .flat_map(|(trial, points)| points.iter().map(move |point| (trial, point)))
    };
    let number = |value: &Value| match value {
        // What is no finite number is kept as text: `nan`, `inf`.
        Value::Text(text) => text.parse().ok(),
        value => value.number(),
    };
    let words = points()
        .filter_map(|(_, point)| point.value.as_ref())
        .any(|value| number(value).is_none());
    let value = if words {
        let text = |value: &Value| redactor.text(&value.to_string());
        Values::Text(
            points()
                .map(|(_, point)| point.value.as_ref().map(text))
                .collect(),
        )
    } else {
        Values::Real(
            points()
                .map(|(_, point)| point.value.as_ref().and_then(number))
                .collect(),
        )
    };
    let time = points().map(|(_, point)| point.time).collect();
    let text = |text: &String| Some(redactor.text(text));
    let trial = points().map(|(trial, _)| text(trial)).collect();
    let metric = points().map(|(_, point)| text(&point.metric)).collect();
    vec![
        ("trial".to_owned(), Values::Text(trial)),
        ("metric".to_owned(), Values::Text(metric)),
        ("time".to_owned(), Values::Time(time)),
        ("value".to_owned(), value),
    ]
}

/// Logs of trials that are no longer part of the experiment would mislead.
fn remove_old_logs(folder: &Path, found: &Archive) {
    let Ok(entries) = std::fs::read_dir(folder.join("logs")) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let trial = path
            .file_stem()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let is_log = path.extension().is_some_and(|ending| ending == "log");
        let known = found.trials.iter().any(|one| one.metadata.name() == trial);
        // The log of a trial that is still there is kept, also where its pod is gone by now.
        if is_log && !known {
            let _ = std::fs::remove_file(path);
        }
    }
}
