//! `:use`: which cluster, which namespace.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use katlab_lab::cluster::{Choice, Cluster};
use katlab_lab::kubernetes::namespaces::{self, Standing};

use crate::magics::{Context, Magic, MagicError};
use crate::session::Chosen;

use super::lab;

/// Choose the cluster and the namespace that magics talk to
///
/// Without this, katlab takes the cluster of the pod it runs in, else the one that the variable
/// KUBECONFIG names, else the sandbox on this machine. A kubeconfig in the home directory is used
/// only when asked for. The choice holds until the kernel ends; `:use auto` takes it back. Without
/// arguments, what is in use is shown.
#[derive(Debug, Parser)]
pub struct Use {
    /// What to talk to
    #[arg(value_enum)]
    target: Option<Target>,
    /// The context of the kubeconfig, when it is not the current one
    context: Option<String>,
    /// The namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// A kubeconfig other than the one that KUBECONFIG names or that lies in the home directory
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    kubeconfig: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// The embedded cluster on this machine
    Sandbox,
    /// A cluster that a kubeconfig describes
    Cluster,
    /// What katlab would choose by itself
    Auto,
}

impl Use {
    fn chosen(&self, ctx: &Context) -> Result<Chosen, MagicError> {
        let mut chosen = ctx.session.chosen();
        let kubeconfig = self
            .kubeconfig
            .as_ref()
            .map(|path| ctx.session.resolve(path));
        let target = self
            .target
            .or((kubeconfig.is_some() || self.context.is_some()).then_some(Target::Cluster));
        if let Some(target) = target {
            if target != Target::Cluster && (self.context.is_some() || kubeconfig.is_some()) {
                return Err(MagicError::usage(
                    "a context and a kubeconfig go with `:use cluster` only",
                ));
            }
            chosen = Chosen {
                choice: match target {
                    Target::Sandbox => Choice::Sandbox,
                    Target::Cluster => Choice::Cluster {
                        context: self.context.clone(),
                    },
                    Target::Auto => Choice::Automatic,
                },
                // Another cluster has other namespaces.
                namespace: None,
                kubeconfig,
            };
        }
        if let Some(namespace) = &self.namespace {
            chosen.namespace = Some(namespace.clone());
        }
        Ok(chosen)
    }
}

impl Magic for Use {
    const NAME: &'static str = "use";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        if self.target.is_none()
            && self.context.is_none()
            && self.namespace.is_none()
            && self.kubeconfig.is_none()
        {
            return lab::show_cluster(ctx).await;
        }
        let chosen = self.chosen(ctx)?;
        // Only what answers is taken, so that a typing error leaves everything as it was.
        let (cluster, version, standing) = ctx
            .or_interrupted(async {
                let cluster = ctx.connect(&chosen, None).await?;
                let version = cluster.version().await?;
                let standing = namespaces::standing(&cluster, &cluster.namespace).await?;
                Ok::<_, MagicError>((cluster, version, standing))
            })
            .await?;
        ctx.session.choose(chosen);
        ctx.output
            .done(format!("using {}", described(&cluster, &version)));
        if standing == Standing::Unlabelled {
            ctx.output.warn(lab::unlabelled(&cluster.namespace));
        }
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        let mut commands = Vec::new();
        if let Some(path) = &self.kubeconfig {
            commands.push(format!("export KUBECONFIG={}", path.display()));
        }
        match (self.target, &self.context) {
            (Some(Target::Sandbox), _) => {
                commands.push("katlab sandbox up".to_owned());
                commands.push("export KUBECONFIG=$(katlab sandbox kubeconfig)".to_owned());
            }
            (_, Some(context)) => commands.push(format!("kubectl config use-context {context}")),
            _ => {}
        }
        if let Some(namespace) = &self.namespace {
            commands.push(format!(
                "kubectl config set-context --current --namespace={namespace}"
            ));
        }
        if commands.is_empty() {
            commands.push("kubectl config current-context".to_owned());
        }
        commands
    }
}

/// A cluster in a few words.
pub(super) fn described(cluster: &Cluster, version: &str) -> String {
    let name = if cluster.is_sandbox() {
        "the sandbox".to_owned()
    } else {
        format!("the cluster {}", cluster.name)
    };
    format!(
        "{name} ({version} at {}), namespace {}: {}",
        cluster.server, cluster.namespace, cluster.origin
    )
}
