//! Magics about objects of the cluster.

use katlab_lab::cluster::Cluster;
use katlab_lab::kubernetes::Scope;
pub use katlab_lab::words::quoted;
use serde_json::Value;

use crate::magics::{Context, MagicError};
use crate::render::table::{Cell, Table};

pub mod apply;
pub mod delete;
pub mod describe;
pub mod events;
pub mod get;
pub mod jobs;
pub mod logs;
pub mod pods;
pub mod secret;

// A doc comment here would become the description of every magic that takes these flags.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct NamespaceArgs {
    /// The namespace; otherwise that of `:use -n`, of this pod or of the context
    #[arg(short, long, value_name = "NAME", help_heading = "Cluster")]
    pub namespace: Option<String>,
}

#[allow(missing_docs)]
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ScopeArgs {
    /// The namespace; otherwise that of `:use -n`, of this pod or of the context
    #[arg(short, long, value_name = "NAME", help_heading = "Cluster")]
    pub namespace: Option<String>,
    /// All namespaces
    #[arg(
        short = 'A',
        long,
        conflicts_with = "namespace",
        help_heading = "Cluster"
    )]
    pub all_namespaces: bool,
}

impl NamespaceArgs {
    /// The cluster in the namespace meant.
    pub async fn cluster(&self, ctx: &Context) -> Result<Cluster, MagicError> {
        ctx.cluster(self.namespace.as_deref()).await
    }

    /// The same for kubectl.
    pub fn kubectl(&self) -> String {
        self.namespace
            .as_ref()
            .map(|name| format!(" -n {}", quoted(name)))
            .unwrap_or_default()
    }
}

impl ScopeArgs {
    /// The cluster, and where in it to look.
    pub async fn cluster(&self, ctx: &Context) -> Result<(Cluster, Scope), MagicError> {
        let cluster = ctx.cluster(self.namespace.as_deref()).await?;
        let scope = if self.all_namespaces {
            Scope::All
        } else {
            Scope::Namespace(cluster.namespace.clone())
        };
        Ok((cluster, scope))
    }

    /// The same for kubectl.
    pub fn kubectl(&self) -> String {
        match &self.namespace {
            Some(name) => format!(" -n {}", quoted(name)),
            None if self.all_namespaces => " -A".to_owned(),
            None => String::new(),
        }
    }
}

/// Where something was looked for, in words.
pub fn place(scope: &Scope) -> String {
    match scope.namespace() {
        Some(name) => format!("in namespace {name}"),
        None => "in any namespace".to_owned(),
    }
}

/// Where something was done, for magics that change something.
pub fn target(cluster: &Cluster) -> String {
    format!("namespace {} on {}", cluster.namespace, cluster.name)
}

/// ` -n NAMESPACE` for a command in a hint, where it is not the chosen namespace that it is about.
pub async fn elsewhere(ctx: &Context, namespace: &str) -> String {
    match ctx.cluster(None).await {
        Ok(chosen) if chosen.namespace == namespace => String::new(),
        _ => format!(" -n {}", quoted(namespace)),
    }
}

/// The age of something, or nothing.
pub fn age(created: Option<jiff::Timestamp>, now: jiff::Timestamp) -> Cell {
    created
        .map(|created| Cell::age(created, now))
        .unwrap_or_default()
}

/// An object as YAML.
pub fn yaml(object: &Value) -> Result<String, MagicError> {
    serde_saphyr::to_string(object)
        .map(|text| text.trim_end().to_owned())
        .map_err(|error| MagicError::new(format!("this object cannot be written as YAML: {error}")))
}

/// Shows a plan that waits for `--yes`.
pub fn show_plan(ctx: &Context, plan: Table) {
    ctx.output
        .table(&plan.footer("nothing was done; add --yes to do it"));
}
