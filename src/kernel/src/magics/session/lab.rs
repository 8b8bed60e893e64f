//! `:lab`: what is this notebook connected to, and what is missing.

use std::future::Future;
use std::time::Duration;

use clap::Parser;
use katlab_lab::cluster::{Cluster, Plan, Source};
use katlab_lab::credentials::{Place, Store};
use katlab_lab::docker::Product;
use katlab_lab::kubernetes::namespaces::{self, Standing};

use katlab_sandbox::lifecycle;

use secrecy::ExposeSecret;

use crate::engine::toolchain;
use crate::magics::{Context, Magic, MagicError};
use crate::render::key_values::Details;
use crate::render::status::Status;
use crate::render::table::Cell;
use crate::render::{age, counted, error};

/// How long each part may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Show what this notebook is connected to, and what is missing
///
/// Nothing is started or changed by looking: a sandbox that does not run yet starts when a magic
/// first needs it.
#[derive(Debug, Parser)]
pub struct Lab {
    /// Show only what is missing
    #[arg(long)]
    missing: bool,
}

/// What one part of the lab has to say.
#[derive(Default)]
struct Part {
    rows: Vec<(&'static str, Cell)>,
    missing: Vec<(String, Option<String>)>,
}

impl Part {
    fn row(&mut self, name: &'static str, cell: impl Into<Cell>) {
        self.rows.push((name, cell.into()));
    }

    fn lacks(&mut self, name: &'static str, error: &MagicError) {
        self.rows.push((
            name,
            Cell::text(error.message.clone()).with_status(Status::Failed),
        ));
        self.missing
            .push((error.message.clone(), error.hint.clone()));
    }
}

impl Magic for Lab {
    const NAME: &'static str = "lab";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let parts = async {
            let (cluster, docker, registries, rust) =
                futures::join!(cluster(ctx), docker(ctx), registries(ctx), rust());
            Ok::<_, MagicError>([
                ("Cluster", cluster),
                ("Docker Engine", docker),
                ("Registries", registries),
                ("Rust cells", rust),
                ("This kernel", kernel(ctx)),
            ])
        };
        let parts = ctx.or_interrupted(parts).await?;
        let mut details = Details::untitled();
        if !self.missing {
            for (name, part) in &parts {
                details.section(*name);
                for (name, cell) in &part.rows {
                    details.row(*name, cell.clone());
                }
            }
        }
        let missing: Vec<_> = parts
            .iter()
            .flat_map(|(name, part)| part.missing.iter().map(move |missing| (*name, missing)))
            .collect();
        details.section("Missing");
        if missing.is_empty() {
            details.row(
                "nothing",
                Cell::text("everything is here").with_status(Status::Ok),
            );
        }
        for (name, (what, mend)) in missing {
            let mend = mend
                .as_ref()
                .map(|mend| format!("\n→ {}", error::sentence(mend)))
                .unwrap_or_default();
            details.row(
                name,
                Cell::text(format!("{what}{mend}")).with_status(Status::Warn),
            );
        }
        ctx.output.show(details.bundle());
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        [
            "kubectl config current-context",
            "kubectl version",
            "docker version",
            "cat ~/.docker/config.json",
            "cargo --version",
        ]
        .map(str::to_owned)
        .to_vec()
    }
}

/// Shows the cluster alone.
pub(super) async fn show_cluster(ctx: &Context) -> Result<(), MagicError> {
    let part = ctx
        .or_interrupted(async { Ok::<_, MagicError>(cluster(ctx).await) })
        .await?;
    let mut details = Details::untitled();
    for (name, cell) in part.rows {
        details.row(name, cell);
    }
    ctx.output.show(details.bundle());
    Ok(())
}

/// An answer, unless it takes too long.
async fn soon<T, E: Into<MagicError>>(
    what: &str,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, MagicError> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(MagicError::new(format!(
            "{what} does not answer within {} s",
            PATIENCE.as_secs()
        ))),
    }
}

async fn cluster(ctx: &Context) -> Part {
    let mut part = Part::default();
    let plan = match ctx.session.plan() {
        Ok(plan) => plan,
        Err(error) => {
            part.lacks("Name", &error);
            return part;
        }
    };
    part.row("Name", named(&plan));
    part.row("Chosen by", plan.origin.to_string());
    let stopped = lifecycle::status(ctx.session.home().path()) == lifecycle::Status::Stopped;
    if plan.needs_sandbox() && stopped {
        part.row(
            "State",
            Cell::text("not started; starts when a magic first needs it")
                .with_status(Status::Waiting),
        );
        return part;
    }
    let cluster = match soon("the cluster", ctx.connect(&ctx.session.chosen(), None)).await {
        Ok(cluster) => cluster,
        Err(error) => {
            part.lacks("State", &error);
            return part;
        }
    };
    part.row("Server", cluster.server.clone());
    match soon("the cluster", cluster.version()).await {
        Ok(version) => part.row(
            "State",
            Cell::text(format!("answers, {version}")).with_status(Status::Ok),
        ),
        Err(error) => {
            part.lacks("State", &error);
            return part;
        }
    }
    namespace(&cluster, &mut part).await;
    katib(&cluster, &mut part).await;
    part
}

fn named(plan: &Plan) -> String {
    match &plan.source {
        Source::Sandbox { .. } => "sandbox".to_owned(),
        Source::ServiceAccount => "the cluster this pod runs in".to_owned(),
        Source::Settings(provider) => provider.name.clone(),
        Source::Files {
            context: Some(context),
            ..
        } => context.clone(),
        Source::Files { paths, .. } => {
            let paths: Vec<String> = paths
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            format!("the current context of {}", paths.join(", "))
        }
    }
}

/// What it means that a namespace has not got Katib's label.
pub(super) fn unlabelled(namespace: &str) -> String {
    let label = namespaces::INJECTION_LABEL;
    format!(
        "the namespace {namespace} lacks the label {label}=enabled, so trials there report no metrics"
    )
}

async fn namespace(cluster: &Cluster, part: &mut Part) {
    let name = cluster.namespace.clone();
    match soon("the cluster", namespaces::standing(cluster, &name)).await {
        Ok(Standing::Labelled) => part.row("Namespace", Cell::text(name).with_status(Status::Ok)),
        Ok(Standing::Hidden) => part.row(
            "Namespace",
            Cell::text(format!("{name} (may not be looked at)")),
        ),
        Ok(Standing::Unlabelled) => {
            part.row(
                "Namespace",
                Cell::text(format!("{name} (Katib collects no metrics here)"))
                    .with_status(Status::Warn),
            );
            part.missing.push((
                unlabelled(&name),
                Some(format!("run `kubectl label namespace {name} {}=enabled`, or choose another one with `:use -n`", namespaces::INJECTION_LABEL)),
            ));
        }
        Err(error) => part.lacks("Namespace", &error),
    }
}

async fn katib(cluster: &Cluster, part: &mut Part) {
    match soon("the cluster", cluster.discovery()).await {
        Ok(discovery) => match discovery.kind("experiments") {
            Ok(kind) => part.row(
                "Katib",
                Cell::text(kind.api_version()).with_status(Status::Ok),
            ),
            Err(_) => {
                let error = MagicError::new("Katib is not installed on this cluster")
                    .hint("install Katib, or run the lab on the sandbox: `:use sandbox`");
                part.lacks("Katib", &error);
            }
        },
        Err(error) => part.lacks("Katib", &error),
    }
}

async fn docker(ctx: &Context) -> Part {
    let mut part = Part::default();
    let engine = match soon("the Docker Engine", ctx.session.docker()).await {
        Ok(engine) => engine,
        Err(error) => {
            part.lacks("State", &error);
            return part;
        }
    };
    let address = engine.candidate().endpoint.to_string();
    part.row("Endpoint", address.clone());
    part.row("Chosen by", engine.candidate().source.clone());
    let sandbox = lifecycle::status(ctx.session.home().path());
    if let lifecycle::Status::Running(sandbox) = sandbox
        && sandbox.engine != address
    {
        part.missing.push((
            format!(
                "the sandbox runs its pods on another engine, {}: it does not have the images built here",
                sandbox.engine
            ),
            Some("run `!katlab sandbox down`; the next magic starts it on this engine".to_owned()),
        ));
    }
    match soon("the Docker Engine", engine.facts()).await {
        Ok(facts) => {
            let product = match facts.product {
                Product::Docker => "Docker Engine",
                Product::Podman => "Podman",
            };
            let state = format!(
                "{product} {}, API {}, {}/{}",
                facts.version, facts.api, facts.os, facts.architecture
            );
            part.row("State", Cell::text(state).with_status(Status::Ok));
            if let (Some(cpus), Some(memory)) = (
                facts.cpus,
                facts.memory.and_then(|memory| u64::try_from(memory).ok()),
            ) {
                part.row(
                    "Machine",
                    format!("{cpus} CPUs, {} of memory", age::binary_size(memory)),
                );
            }
            let count = |number: Option<i64>| usize::try_from(number?).ok();
            if let (Some(images), Some(running)) = (count(facts.images), count(facts.running)) {
                part.row(
                    "Holds",
                    format!(
                        "{}, {}",
                        counted(images, "image"),
                        counted(running, "running container")
                    ),
                );
            }
        }
        Err(error) => part.lacks("State", &error),
    }
    part
}

async fn registries(ctx: &Context) -> Part {
    let mut part = Part::default();
    if let Some((_, host)) = ctx
        .session
        .implied()
        .iter()
        .find(|(name, _)| *name == "REGISTRY")
    {
        part.row(
            "Sandbox",
            Cell::text(format!("{} (`$REGISTRY`)", host.expose_secret())),
        );
    }
    let variable = |name: &str| ctx.session.value(name).ok().flatten();
    let hosts = async { Store::from_variables(variable)?.hosts().await };
    match soon("the credential helper", hosts).await {
        Ok(hosts) if hosts.is_empty() => {
            part.row(
                "Logins",
                Cell::text("none; `:registry login HOST` makes one").with_status(Status::Waiting),
            );
        }
        Ok(hosts) => {
            for (host, place) in hosts {
                let place = match place {
                    Place::File(path) => path.display().to_string(),
                    Place::Helper(helper) => format!("the credential helper {helper}"),
                };
                part.row(
                    "Login",
                    Cell::text(format!("{host} (in {place})")).with_status(Status::Ok),
                );
            }
        }
        Err(error) => part.lacks("Logins", &error),
    }
    part
}

fn kernel(ctx: &Context) -> Part {
    let mut part = Part::default();
    part.row("katlab", env!("CARGO_PKG_VERSION"));
    let home = ctx.session.home();
    match home.ensure() {
        Ok(()) => part.row("State", home.path().display().to_string()),
        Err(error) => part.lacks("State", &error.into()),
    }
    match ctx.session.kept() {
        Ok(store) => {
            let kept = store.list();
            let size = kept.iter().map(|entry| entry.size).sum();
            part.row(
                "Kept",
                format!(
                    "{} of {} in {} (`:lab clean` shows and frees it)",
                    age::size(size),
                    age::size(store.limit()),
                    counted(kept.len(), "experiment")
                ),
            );
        }
        Err(error) => part.lacks("Kept", &error),
    }
    match ctx.session.settings().all() {
        Ok(all) => {
            let count = all.len();
            part.row(
                "Settings",
                Cell::of(count, format!("{count} kept (`:env` lists them)")),
            );
        }
        Err(error) => part.lacks("Settings", &error.into()),
    }
    part
}

async fn rust() -> Part {
    let mut part = Part::default();
    let found = async {
        let toolchain = toolchain::find().await?;
        let version = toolchain.version().await;
        Ok::<_, toolchain::MissingToolchain>((toolchain, version))
    };
    match tokio::time::timeout(PATIENCE, found).await {
        Ok(Ok((toolchain, version))) => {
            let libraries = toolchain.libraries.display().to_string();
            let version = version.unwrap_or_else(|| libraries.clone());
            part.row(
                "Toolchain",
                Cell::text(version).with_status(Status::Ok).hover(libraries),
            );
            if !toolchain.has_source {
                part.row(
                    "rust-src",
                    Cell::text("not installed").with_status(Status::Warn),
                );
                part.missing.push((
                    "the standard library's source is not installed, so types in Rust cells are not inferred".to_owned(),
                    Some("run `rustup component add rust-src` in a terminal".to_owned()),
                ));
            }
        }
        Ok(Err(missing)) => part.lacks(
            "Toolchain",
            &MagicError::new(missing.to_string()).maybe_hint(missing.hint()),
        ),
        Err(_) => part.row(
            "Toolchain",
            Cell::text("rustc does not answer").with_status(Status::Warn),
        ),
    }
    part
}
