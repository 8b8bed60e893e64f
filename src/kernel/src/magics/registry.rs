//! The table of all magics: one line each.

use std::time::Duration;

use clap::{ArgMatches, Command};
use futures::future::BoxFuture;

use super::{
    Body, Context, Magic, MagicError, analysis, command, images, katib, kubernetes, session,
};
use crate::session::Session;

/// What magics belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// The session itself: settings, files, what it is connected to.
    Session,
    /// Docker images and containers.
    Images,
    /// Image registries.
    Registry,
    /// Objects of the cluster.
    Kubernetes,
    /// Experiments, trials, suggestions.
    Katib,
    /// What is computed from trials.
    Analysis,
}

impl Family {
    /// All of them, in the order of the index.
    pub const ALL: [Self; 6] = [
        Self::Session,
        Self::Images,
        Self::Registry,
        Self::Kubernetes,
        Self::Katib,
        Self::Analysis,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "Session",
            Self::Images => "Images and containers",
            Self::Registry => "Registries",
            Self::Kubernetes => "Kubernetes",
            Self::Katib => "Experiments",
            Self::Analysis => "Analysis",
        }
    }
}

/// A magic in the table.
pub struct Entry {
    /// Its name without the colon.
    pub name: &'static str,
    /// What it belongs to.
    pub family: Family,
    /// Whether it takes the rest of the cell.
    pub body: Body,
    /// Its command line.
    pub command: fn() -> Command,
    /// Reads its arguments.
    pub(super) call: fn(&ArgMatches) -> Result<Box<dyn Call>, clap::Error>,
    /// What could stand as the value of an argument.
    pub(super) candidates: fn(&str, &Session) -> Vec<String>,
}

/// A magic with its arguments.
pub(super) trait Call: Send {
    fn run<'a>(self: Box<Self>, ctx: &'a Context) -> BoxFuture<'a, Result<(), MagicError>>;
    fn explain(&self) -> Vec<String>;
    fn grace(&self) -> Duration;
}

struct Called<M>(M);

impl<M: Magic> Call for Called<M> {
    fn run<'a>(self: Box<Self>, ctx: &'a Context) -> BoxFuture<'a, Result<(), MagicError>> {
        Box::pin(self.0.run(ctx))
    }

    fn explain(&self) -> Vec<String> {
        self.0.explain()
    }

    fn grace(&self) -> Duration {
        M::GRACE
    }
}

/// A line of the table.
pub const fn entry<M: Magic>(family: Family) -> Entry {
    fn call<M: Magic>(matches: &ArgMatches) -> Result<Box<dyn Call>, clap::Error> {
        Ok(Box::new(Called(M::from_arg_matches(matches)?)))
    }
    Entry {
        name: M::NAME,
        family,
        body: M::BODY,
        command: command::of::<M>,
        call: call::<M>,
        candidates: M::candidates,
    }
}

/// All magics, by family, in the order of the index.
pub static MAGICS: &[Entry] = &[
    entry::<session::help::Help>(Family::Session),
    entry::<session::lab::Lab>(Family::Session),
    entry::<session::clean::Clean>(Family::Session),
    entry::<session::use_::Use>(Family::Session),
    entry::<session::env::Env>(Family::Session),
    entry::<session::env::Set>(Family::Session),
    entry::<session::env::Load>(Family::Session),
    entry::<session::env::Ask>(Family::Session),
    entry::<session::env::List>(Family::Session),
    entry::<session::env::Unset>(Family::Session),
    entry::<images::download::Download>(Family::Session),
    entry::<session::write::Write>(Family::Session),
    entry::<session::show::Show>(Family::Session),
    // Images.
    entry::<images::build::Build>(Family::Images),
    entry::<images::list::Images>(Family::Images),
    entry::<images::run::Run>(Family::Images),
    entry::<images::tag::Tag>(Family::Images),
    entry::<images::push::Push>(Family::Images),
    entry::<images::pull::Pull>(Family::Images),
    entry::<images::rmi::Rmi>(Family::Images),
    // Registry.
    entry::<images::registry::Login>(Family::Registry),
    entry::<images::registry::Logout>(Family::Registry),
    entry::<images::registry::Check>(Family::Registry),
    entry::<images::registry::Repos>(Family::Registry),
    entry::<images::registry::Tags>(Family::Registry),
    entry::<images::registry::Inspect>(Family::Registry),
    // Kubernetes.
    entry::<kubernetes::get::Get>(Family::Kubernetes),
    entry::<kubernetes::describe::Describe>(Family::Kubernetes),
    entry::<kubernetes::secret::Secrets>(Family::Kubernetes),
    entry::<kubernetes::secret::Create>(Family::Kubernetes),
    entry::<kubernetes::secret::Delete>(Family::Kubernetes),
    entry::<kubernetes::jobs::Jobs>(Family::Kubernetes),
    entry::<kubernetes::pods::Pods>(Family::Kubernetes),
    entry::<kubernetes::logs::Logs>(Family::Kubernetes),
    entry::<kubernetes::events::Events>(Family::Kubernetes),
    entry::<kubernetes::apply::Apply>(Family::Kubernetes),
    entry::<kubernetes::delete::Delete>(Family::Kubernetes),
    // Katib.
    entry::<katib::experiments::Experiments>(Family::Katib),
    entry::<katib::render::Render>(Family::Katib),
    entry::<katib::lint::Lint>(Family::Katib),
    entry::<katib::create::Create>(Family::Katib),
    entry::<katib::show::Show>(Family::Katib),
    entry::<katib::details::Details>(Family::Katib),
    entry::<katib::watch::Watch>(Family::Katib),
    entry::<katib::wait::Wait>(Family::Katib),
    entry::<katib::edit::Edit>(Family::Katib),
    entry::<katib::delete::Delete>(Family::Katib),
    entry::<analysis::export::Export>(Family::Katib),
    entry::<katib::suggestions::Suggestions>(Family::Katib),
    entry::<katib::trials::Trials>(Family::Katib),
    entry::<katib::trial::Trial>(Family::Katib),
    entry::<katib::best::Best>(Family::Katib),
    entry::<katib::why::Why>(Family::Katib),
    entry::<katib::metrics::Test>(Family::Katib),
    entry::<katib::tune::Tune>(Family::Katib),
    entry::<katib::rerun::Rerun>(Family::Katib),
    // Analysis.
    entry::<analysis::plot::Plot>(Family::Analysis),
    entry::<analysis::analyze::Analyze>(Family::Analysis),
    entry::<analysis::compare::Compare>(Family::Analysis),
];
