//! What a Rust cell of a katlab notebook can ask its kernel for.
//!
//! ```no_run
//! # fn main() -> Result<(), katlab::Error> {
//! let trials = katlab::trials("mnist-hyperparameter-tuning")?;
//! let best = trials.best().expect("a trial with a result");
//! println!("{} reached {:?}", best.name, best.objective);
//! # Ok(())
//! # }
//! ```
//!
//! The kernel does the work, over a Unix socket, with the very clients that the magics use. So this
//! crate compiles in a second or two, needs no network and no other crate, and holds no connection but
//! that of a [`Watch`]: every call opens the socket, asks and closes. It starts no runtime and keeps no statics, since each
//! cell is a library of its own with its own copy of everything linked into it.
//!
//! Calls wait as long as what they wait for takes. An interrupt of the cell ends them with an error, so a
//! cell that hands errors on with `?` ends by itself and its variables stay.
//!
//! Outside a katlab notebook every call returns [`Error`] and says so.
//!
//! # Clients of one's own
//!
//! Every cell has `KUBECONFIG` for the cluster that the magics use, so one line gives a client of kube's for
//! the very same one:
//!
//! ```text
//! :dep kube = { version = "5", default-features = false, features = ["client", "rustls-tls", "ring"] }
//! :dep k8s-openapi = { version = "0.29", features = ["latest"] }
//! let client = kube::Client::try_default().await?;
//! ```
//!
//! The first such cell builds kube, which takes minutes. Use a client in the cell that makes it: what it does
//! in the background ends with that.

mod bridge;
mod follow;
mod images;
pub mod json;
mod plot;
mod shown;
mod table;
mod trials;

pub use bridge::{Error, Request, Response, SOCKET_VARIABLE, TOKEN_VARIABLE};
pub use follow::{Event, Log, Watch};
pub use images::{Build, Built, Image, Images};
pub use json::Json;
pub use plot::{Figure, Plot};
#[doc(hidden)]
pub use shown::Shown;
pub use table::{Table, ToCell};
pub use trials::{
    Experiment, Experiments, MetricPoint, MetricPoints, Observed, Time, Trial, Trials, Value,
};

use std::time::Duration;

/// A `Result` whose error is [`Error`] unless said otherwise.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The trials of an experiment, oldest first.
///
/// # Errors
/// No experiment of that name, no cluster that answers, or no katlab kernel around this cell.
pub fn trials(experiment: &str) -> Result<Trials> {
    let answer = bridge::call("trials", &[("experiment", experiment)])?;
    Trials::from_json(&answer)
}

/// The trials of an export, which `:experiment export NAME -o FOLDER` has written: no cluster is asked.
///
/// ```no_run
/// # fn main() -> Result<(), katlab::Error> {
/// use katlab::Plot;
///
/// let trials = katlab::trials_from("data/digits-random")?;
/// let good = trials.filter(|trial| trial.objective > Some(0.95));
/// good.plot(Plot::parallel())?.show()?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The folder is no export, or no katlab kernel is around this cell.
pub fn trials_from(folder: &str) -> Result<Trials> {
    let answer = bridge::call("trials", &[("from", folder)])?;
    Trials::from_json(&answer)
}

/// Draws the trials of an experiment, as `:plot` does: `katlab::plot("mnist", Plot::history())?`
///
/// The figure shows itself when it ends a cell, and where [`Figure::show`] is called.
/// [`Trials::plot`] draws trials that are at hand, filtered as one likes.
///
/// # Errors
/// No trial that the chart can be of, a name that the experiment does not have, or as [`trials`].
pub fn plot(experiment: &str, what: Plot) -> Result<Figure> {
    let source = trials::Source {
        experiment: experiment.to_owned(),
        ..trials::Source::default()
    };
    plot::draw(&source, what)
}

/// The result of the magic that ran just before, for `:trials NAME => variable`.
#[doc(hidden)]
pub fn bound(ticket: &str) -> Result<Trials> {
    Trials::from_json(&bridge::call("bound", &[("ticket", ticket)])?)
}

/// One experiment: its state, objective and counts.
///
/// # Errors
/// As [`trials`].
pub fn experiment(name: &str) -> Result<Experiment> {
    let answer = bridge::call("experiment", &[("experiment", name)])?;
    Experiment::from_json(&answer)
}

/// The experiments of the session's namespace.
///
/// # Errors
/// No cluster that answers, or no katlab kernel around this cell.
pub fn experiments() -> Result<Experiments> {
    let answer = bridge::call("experiments", &[])?;
    Experiments::from_json(&answer)
}

/// The whole observation log of a trial of the cluster, which is named or given: every value of every metric
/// with its step and time, in order. Of an export's trials it is had by [`Trials::metrics`].
///
/// # Errors
/// No trial of that name, or as [`trials`].
pub fn metrics(trial: impl AsRef<str>) -> Result<MetricPoints> {
    let answer = bridge::call("metrics", &[("trial", trial.as_ref())])?;
    MetricPoints::from_json(&answer)
}

/// The images of the Docker Engine, newest first, as `:images` lists them.
///
/// ```no_run
/// # fn main() -> Result<(), katlab::Error> {
/// let big = katlab::images()?.filter(|image| image.size > 500_000_000);
/// for image in &big {
///     println!("{image} takes {} MB", image.size / 1_000_000);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// No Docker Engine that answers, or no katlab kernel around this cell.
pub fn images() -> Result<Images> {
    Images::from_json(&bridge::call("images", &[])?)
}

/// Builds an image from a folder with a Dockerfile, as `:build` does.
///
/// ```no_run
/// # fn main() -> Result<(), katlab::Error> {
/// let image = katlab::build("hpt/docker").tag("hyperparam:1.0").run()?;
/// println!("{image} was built in {:.1} s", image.seconds);
/// # Ok(())
/// # }
/// ```
pub fn build(folder: &str) -> Build {
    Build::new(folder)
}

/// Creates an experiment from a file, or from the text of one (YAML or JSON): linted, checked against the
/// cluster and tried as a dry run first, with what was found shown, as by `:experiment create`.
///
/// What has a line break in it or begins with `{` is taken for the text, all else for a path.
///
/// ```no_run
/// # fn main() -> Result<(), katlab::Error> {
/// let experiment = katlab::create("hpt/Experiment.yaml")?;
/// let ended = katlab::wait(&experiment.name)?;
/// println!("{}: {}", ended.status, ended.message);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// No such file, a finding or a check that says that it cannot work, a refusal of the cluster, an
/// interrupt, or as [`trials`].
pub fn create(experiment: &str) -> Result<Experiment> {
    let is_text = experiment.contains('\n') || experiment.trim_start().starts_with('{');
    let name = if is_text { "text" } else { "file" };
    Experiment::from_json(&call_here("create", &[(name, experiment)])?)
}

/// Waits until an experiment has ended, well or badly ([`Experiment::status`] says which), however long
/// that takes; [`wait_timeout`] gives up. How it stands meanwhile is shown, as by `:experiment wait`.
///
/// ```no_run
/// # fn main() -> Result<(), katlab::Error> {
/// if katlab::wait("mnist")?.status == "Succeeded" {
///     println!("{:?}", katlab::trials("mnist")?.best());
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The experiment is deleted meanwhile, an interrupt, or as [`trials`]. Whatever ends the waiting, the
/// experiment goes on.
pub fn wait(experiment: &str) -> Result<Experiment> {
    let answer = call_here("wait", &[("experiment", experiment)])?;
    Experiment::from_json(&answer)
}

/// As [`wait`], but no longer than this.
///
/// ```no_run
/// # fn main() -> Result<(), katlab::Error> {
/// use std::time::Duration;
///
/// let ended = katlab::wait_timeout("mnist", Duration::from_secs(600)).is_ok();
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The time is up, or as [`wait`].
pub fn wait_timeout(experiment: &str, timeout: Duration) -> Result<Experiment> {
    let seconds = timeout.as_secs_f64().to_string();
    let answer = call_here("wait", &[("experiment", experiment), ("seconds", &seconds)])?;
    Experiment::from_json(&answer)
}

/// Watches an experiment: an iterator over what happens, which waits for the next event and ends after the
/// experiment's end. What has happened before comes first, so that nothing is missed.
///
/// ```no_run
/// # fn main() -> Result<(), katlab::Error> {
/// use katlab::Event;
///
/// for event in katlab::watch("mnist")? {
///     if let Event::TrialEnded(trial) = event? {
///         println!("{} {} {:?}", trial.name, trial.status, trial.objective);
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// Trials that still run when the experiment has ended are not waited for.
///
/// # Errors
/// As [`trials`]. An item is an error where the experiment is deleted or the cell is interrupted; it is
/// the last one.
pub fn watch(experiment: &str) -> Result<Watch> {
    Watch::begin(experiment)
}

/// The log of a trial, or of an experiment's youngest trial that has one; of a Pod or a Job as well. It
/// is read while the pod is there, so `retain: true` in the trial template keeps it.
///
/// ```no_run
/// # fn main() -> Result<(), katlab::Error> {
/// let log = katlab::logs("mnist")?;
/// let losses = log.iter().filter(|line| line.contains("loss")).count();
/// println!("{losses} of {} lines", log.len());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Nothing of that name, no pod, an interrupt, or as [`trials`].
pub fn logs(name: &str) -> Result<Log> {
    Log::read(name, None)
}

/// The last lines of a log, as [`logs`]: all that is read of a long one.
///
/// ```no_run
/// # fn main() -> Result<(), katlab::Error> {
/// for trial in katlab::trials("mnist")?.filter(|trial| trial.status == "Failed") {
///     println!("{}\n{}", trial.name, katlab::logs_tail(&trial.name, 5)?);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// As [`logs`].
pub fn logs_tail(name: &str, lines: usize) -> Result<Log> {
    Log::read(name, Some(lines))
}

/// A setting of the session (`:env`). Secrets are not handed out.
///
/// # Errors
/// No setting of that name, or a secret one, or no katlab kernel around this cell.
pub fn env(name: &str) -> Result<String> {
    Ok(bridge::call("env", &[("name", name)])?.text()?.to_owned())
}

/// Shows a MIME bundle on the running cell at once and returns its display id for [`update`].
///
/// # Errors
/// No katlab kernel around this cell.
pub fn display(bundle: &[(&str, &str)]) -> Result<String> {
    show("display", bundle)
}

/// Replaces what [`display`] showed under `display_id`.
///
/// # Errors
/// No katlab kernel around this cell.
pub fn update(display_id: &str, bundle: &[(&str, &str)]) -> Result<()> {
    let mut arguments = vec![("display_id", display_id)];
    arguments.extend_from_slice(bundle);
    show("update", &arguments).map(drop)
}

/// Removes what the running cell showed so far; with `wait`, when the next output comes.
///
/// # Errors
/// No katlab kernel around this cell.
pub fn clear(wait: bool) -> Result<()> {
    show("clear", &[("wait", if wait { "true" } else { "false" })]).map(drop)
}

/// A call that shows something: where the cell has come to.
fn call_here(call: &str, arguments: &[(&str, &str)]) -> Result<Json> {
    let mut arguments = arguments.to_vec();
    let place = show("place", &[])?;
    arguments.push(("place", &place));
    bridge::call(call, &arguments)
}

/// Hands an output to the kernel, and marks its place among what the cell prints: the kernel
/// shows it when the mark comes by, so that printed lines and displays keep their order.
fn show(call: &str, arguments: &[(&str, &str)]) -> Result<String> {
    let ticket = bridge::call(call, arguments)?.text()?.to_owned();
    println!("\u{1}katlab:show {ticket}\u{1}");
    Ok(ticket)
}
