//! The command line of `katlab`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::install::Target;

/// The hyperparameter-tuning lab in notebook cells: a Jupyter kernel with magics, and Rust
#[derive(Debug, Parser)]
#[command(name = "katlab", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What `katlab` does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the kernel (Jupyter does this)
    Kernel {
        /// The connection file that Jupyter wrote
        #[arg(short = 'f', long = "connection-file", value_name = "FILE")]
        connection_file: PathBuf,
    },
    /// Execute a notebook in the terminal, without Jupyter
    Run(Run),
    /// Make the kernel known to Jupyter
    Install(Place),
    /// Take the kernel away from Jupyter
    Uninstall(Place),
    /// Look after the sandbox, the embedded cluster
    #[command(subcommand)]
    Sandbox(Sandbox),
}

/// What is done to the sandbox.
#[derive(Debug, Subcommand)]
pub enum Sandbox {
    /// Start it, if it does not run
    Up,
    /// Stop it; what it holds stays, and running trials go on
    Down,
    /// Say whether it runs, and where
    Status,
    /// Stop it and remove everything in it
    Reset {
        /// Do it; without this it is only said what would be removed
        #[arg(long)]
        yes: bool,
    },
    /// Print the path of its kubeconfig, for kubectl and other clients
    Kubeconfig,
    /// Run it in the foreground (`up` does this in the background)
    Serve,
}

/// Arguments of `katlab run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The notebook
    #[arg(value_name = "NOTEBOOK")]
    pub notebook: PathBuf,
    /// Where the executed notebook goes [default: NOTEBOOK.executed.ipynb]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// A setting for this run only; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,
    /// A YAML file of settings for this run only
    #[arg(long, value_name = "FILE")]
    pub parameters: Option<PathBuf>,
    /// How long one cell may take, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
}

/// Where to install to, or uninstall from.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct Place {
    /// The user's own Jupyter directory (the default)
    #[arg(long)]
    user: bool,
    /// DIRECTORY/share/jupyter
    #[arg(long, value_name = "DIRECTORY")]
    prefix: Option<PathBuf>,
    /// The active virtual or conda environment
    #[arg(long)]
    sys_prefix: bool,
}

impl Place {
    /// The place the flags name.
    pub fn target(&self) -> Target {
        match &self.prefix {
            Some(prefix) => Target::Prefix(prefix.clone()),
            None if self.sys_prefix => Target::Environment,
            None => Target::User,
        }
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|limit| !limit.is_zero())
        .ok_or_else(|| "expected a positive number of seconds".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn values_may_hold_equals_signs() {
        assert_eq!(assignment("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert!(assignment("=x").is_err());
        assert!(seconds("0").is_err() && seconds("-1").is_err() && seconds("1e300").is_err());
    }
}
