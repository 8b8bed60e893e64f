//! `:experiment create`.

use std::time::Duration;

use clap::Parser;
use katlab_katib::lint::Severity;
use katlab_katib::types::Experiment;
use katlab_lab::cluster::{Cluster, valid_name};
use katlab_lab::katib::checks::{self, Check, Verdict};
use katlab_lab::katib::creation::{self, Mode};
use katlab_lab::katib::details;
use katlab_lab::katib::experiments::Summary;
use katlab_lab::reference::Reference;
use katlab_lab::registry::{Options, Registry};

use super::goal;
use super::lint::{Checked, options};
use super::proposal::MEND;
use crate::magics::images::store;
use crate::magics::kubernetes::apply::text_of;
use crate::magics::kubernetes::{NamespaceArgs, elsewhere, quoted, target};
use crate::magics::{Body, Context, Magic, MagicError, nearest};
use crate::render::key_values::Details;
use crate::render::status::Status;
use crate::render::table::{Cell, Column, Table};

/// How long looking for an image may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Create an experiment, checked before it is sent
///
/// The file is linted, then checked against the cluster (namespace, name, pull secrets, images), then
/// sent as a dry run, which runs the cluster's own rules, and only then created. It goes to the namespace
/// of `-n`, or the one in use, whatever the file says; where they differ, that is said.
#[derive(Debug, Parser)]
pub struct Create {
    /// The Experiment's file; `-` takes the rest of the cell
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: String,
    /// Mend in the file what can be mended safely
    #[arg(long)]
    fix: bool,
    /// Stop before it is created
    #[arg(long)]
    dry_run: bool,
    /// Create it although a check says that it cannot work
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    place: NamespaceArgs,
    /// Whether katlab wrote the text in the context's body, so that no hint can speak of a file.
    #[arg(skip)]
    is_proposal: bool,
}

impl Create {
    /// Creates what katlab proposed, which stands in the context's body.
    pub(super) fn of_proposal(place: NamespaceArgs) -> Self {
        Self {
            is_proposal: true,
            ..Self::of_file("-", place)
        }
    }

    /// An error with what to do about what is in the file, or in the flags that made it.
    fn refused(&self, error: MagicError) -> MagicError {
        match self.is_proposal {
            true => error.hint(MEND),
            false => error,
        }
    }

    /// Creates what stands in a file; `-` is the context's body.
    pub fn of_file(file: &str, place: NamespaceArgs) -> Self {
        Self {
            file: file.to_owned(),
            fix: false,
            dry_run: false,
            yes: false,
            place,
            is_proposal: false,
        }
    }

    /// Does it, and returns what was created: nothing where it was a dry run.
    ///
    /// # Errors
    /// When a check says that it cannot work, or the cluster refuses it.
    pub async fn create(self, ctx: &Context) -> Result<Option<Summary>, MagicError> {
        let (origin, text) = text_of(ctx, &self.file)?;
        let cluster = self.place.cluster(ctx).await?;
        let options = options(cluster.is_sandbox(), Some(cluster.namespace.clone()));
        let mut checked = Checked::new(&origin, text, &options);
        if self.fix {
            checked.fix(
                ctx,
                (self.file != "-").then_some(self.file.as_str()),
                &options,
            )?;
        }
        // Whatever else is to be said of a file is of no use while its name is taken.
        let name = checked.report.object.as_ref();
        let name = name.and_then(|object| object.pointer("/metadata/name")?.as_str());
        let free = match name.filter(|name| valid_name(name).is_none()) {
            Some(name) => {
                ctx.or_interrupted(checks::name(&cluster, &cluster.namespace, name))
                    .await?
            }
            None => None,
        };
        // Advice belongs to `:experiment lint`; here it would stand between a person and the deed.
        if checked.report.count(Severity::Error) + checked.report.count(Severity::Warning) > 0 {
            ctx.output.show(checked.bundle(Severity::Warning));
        }
        let advice = checked.report.count(Severity::Advice);
        if advice > 0 && !self.is_proposal {
            let pieces = if advice == 1 { "piece" } else { "pieces" };
            let same = match self.file.as_str() {
                "-" => " with the same text below it",
                _ => "",
            };
            ctx.output.note(format!(
                "{advice} {pieces} of advice: `:experiment lint {}`{same}",
                quoted(&self.file)
            ));
        }
        checked.judge(false).map_err(|error| self.refused(error))?;
        let manifest = checked
            .report
            .object
            .clone()
            .ok_or_else(|| MagicError::new(format!("{origin} holds no object")))?;
        let experiment: Experiment = serde_json::from_value(manifest.clone())
            .map_err(|error| MagicError::new(format!("{origin} is no Experiment: {error}")))?;

        let mut found = ctx
            .or_interrupted(checks::run(&cluster, &cluster.namespace, &experiment))
            .await?;
        found.splice(1..1, free);
        found.extend(
            ctx.or_interrupted(async {
                Ok::<_, MagicError>(images(ctx, &cluster, &experiment).await)
            })
            .await?,
        );
        ctx.output.table(&table(&found));
        if found.iter().any(|check| check.verdict == Verdict::Bad) && !self.yes {
            let error = MagicError::new("a check says that this cannot work; nothing was created")
                .hint("mend it; `:experiment create --yes` tries all the same");
            return Err(self.refused(error));
        }

        let namespace = cluster.namespace.as_str();
        ctx.or_interrupted(creation::send(&cluster, namespace, &manifest, Mode::DryRun))
            .await?;
        if self.dry_run {
            ctx.output.done(format!(
                "the cluster would take it, in {} (dry run: nothing was created)",
                target(&cluster)
            ));
            return Ok(None);
        }
        let created = ctx
            .or_interrupted(creation::send(&cluster, namespace, &manifest, Mode::Create))
            .await?;
        let summary = Summary::of(&created);
        ctx.keep(&cluster, &summary.name);
        let mut details = Details::new(
            Cell::text(format!(
                "experiment {} created in {}",
                summary.name,
                target(&cluster)
            ))
            .with_status(Status::Ok),
        );
        details.row("Goal", goal(&summary.objective));
        details.row("Algorithm", summary.algorithm.clone());
        details.row("Parameters", summary.parameters.join(", "));
        let count = |count: Option<u32>| {
            count.map_or_else(|| "no limit".to_owned(), |count| count.to_string())
        };
        details.row(
            "Trials",
            format!(
                "{}, {} at once",
                count(summary.max_trials),
                count(summary.parallel)
            ),
        );
        let place = elsewhere(ctx, &cluster.namespace).await;
        details.row("Next", format!(":experiment watch {}{place}", summary.name));
        ctx.output.show(details.bundle());
        Ok(Some(summary))
    }
}

impl Magic for Create {
    const NAME: &'static str = "experiment create";
    const BODY: Body = Body::Dash;

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        self.create(ctx).await.map(drop)
    }

    fn explain(&self) -> Vec<String> {
        let file = quoted(&self.file);
        let place = self.place.kubectl();
        let mut lines = vec![format!("kubectl create --dry-run=server -f {file}{place}")];
        if !self.dry_run {
            lines.push(format!("kubectl create -f {file}{place}"));
        }
        lines
    }
}

fn table(checks: &[Check]) -> Table {
    let mut table = Table::new([
        Column::new("CHECK"),
        Column::new("RESULT"),
        Column::new("WHAT TO DO"),
    ])
    .title("checks on the cluster");
    for check in checks {
        let status = match check.verdict {
            Verdict::Good => Status::Ok,
            Verdict::Unknown => Status::Neutral,
            Verdict::Warning => Status::Warn,
            Verdict::Bad => Status::Failed,
        };
        table.row([
            Cell::text(&check.subject),
            Cell::text(&check.detail).with_status(status),
            check.mend.clone().into(),
        ]);
    }
    if checks.iter().all(|check| check.mend.is_none()) {
        table.select(&[0, 1]);
    }
    table
}

/// Whether the images of the trials can be had, as far as that is known in a few seconds.
async fn images(ctx: &Context, cluster: &Cluster, experiment: &Experiment) -> Vec<Check> {
    let Some(pod) = details::pod_spec(experiment) else {
        return Vec::new();
    };
    let secrets = !details::pull_secrets(pod).is_empty();
    let mut checks = Vec::new();
    for image in details::images(pod) {
        // What a trial's parameters decide cannot be looked up.
        if image.contains("${") {
            continue;
        }
        let check = match tokio::time::timeout(PATIENCE, look(ctx, cluster, &image, secrets)).await
        {
            Ok(check) => check,
            Err(_) => unknown(&image, "the registry does not answer in time"),
        };
        checks.push(check);
    }
    checks
}

fn unknown(image: &str, why: &str) -> Check {
    Check {
        subject: format!("image {image}"),
        verdict: Verdict::Unknown,
        detail: why.to_owned(),
        mend: None,
    }
}

/// `secrets` says whether the pods bring a pull secret.
async fn look(ctx: &Context, cluster: &Cluster, image: &str, secrets: bool) -> Check {
    let subject = format!("image {image}");
    let reference = match Reference::parse(image) {
        Ok(reference) => reference,
        Err(error) => {
            return Check {
                subject,
                verdict: Verdict::Bad,
                detail: error.to_string(),
                mend: error.hint(),
            };
        }
    };
    // On the sandbox the pods run on this machine's engine: what it has need not be pulled.
    if cluster.is_sandbox()
        && let Ok(engine) = ctx.session.docker().await
        && engine.has_image(image).await.unwrap_or(false)
        && !reference.names_host()
    {
        return Check {
            subject,
            verdict: Verdict::Good,
            detail: "is on this machine's engine".into(),
            mend: None,
        };
    }
    let host = reference.host().to_owned();
    let Ok(store) = store(ctx) else {
        return unknown(image, "there is no place for logins");
    };
    let registry = match Registry::connect(&host, &store, Options::default()).await {
        Ok(registry) => registry,
        Err(error) => return unknown(image, &error.to_string()),
    };
    match registry.digest(&reference).await {
        Ok(Some(_)) if registry.scheme().is_some() && registry.user().is_some() && !secrets => {
            Check {
                subject,
                verdict: Verdict::Warning,
                detail: format!(
                    "is in the registry {host}, which asks for a login, and the template names no pull secret"
                ),
                mend: Some(format!(
                    ":secret create regcred --from-login {host}, and imagePullSecrets: [{{name: regcred}}] in the template"
                )),
            }
        }
        Ok(Some(_)) => Check {
            subject,
            verdict: Verdict::Good,
            detail: format!("is in the registry {host}"),
            mend: None,
        },
        Ok(None) => {
            let mend = match near(&registry, &reference).await {
                Some(near) => format!("did you mean {near}? Or push it: :push {image}"),
                None => format!("push it first: :push {image}"),
            };
            Check {
                subject,
                verdict: Verdict::Bad,
                detail: format!("is not in the registry {host}"),
                mend: Some(mend),
            }
        }
        Err(error) => unknown(image, &error.to_string()),
    }
}

/// An image of the same registry with a similar name or another tag.
async fn near(registry: &Registry, reference: &Reference) -> Option<String> {
    let repository = reference.repository();
    let wanted = reference.tag_or_latest().unwrap_or("latest");
    if let Ok(tags) = registry.tag_names(&repository).await
        && !tags.is_empty()
    {
        let near = nearest::to(wanted, tags.iter().map(String::as_str));
        let tag = near
            .first()
            .map(|tag| (*tag).to_owned())
            .or_else(|| tags.last().cloned())?;
        return Some(format!("{}/{repository}:{tag}", reference.host()));
    }
    let repositories = registry.repositories().await.ok()?;
    let near = nearest::to(&repository, repositories.iter().map(String::as_str));
    near.first()
        .map(|name| format!("{}/{name}", reference.host()))
}
