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
//! crate compiles in a second or two, needs no network and no other crate, and holds no connection:
//! every call opens the socket, asks and closes. It starts no runtime and keeps no statics, since each
//! cell is a library of its own with its own copy of everything linked into it.
//!
//! Outside a katlab notebook every call returns [`Error`] and says so.

mod bridge;
pub mod json;
mod plot;
mod table;
mod trials;

pub use bridge::{Error, Request, Response, SOCKET_VARIABLE, TOKEN_VARIABLE};
pub use json::Json;
pub use plot::{Figure, Plot};
pub use table::{Table, ToCell};
pub use trials::{Experiment, Experiments, MetricPoint, MetricPoints, Trial, Trials, Value};

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

/// The whole observation log of a trial: every value of every metric with its time, in order.
///
/// # Errors
/// No trial of that name, or as [`trials`].
pub fn metrics(trial: &str) -> Result<MetricPoints> {
    let answer = bridge::call("metrics", &[("trial", trial)])?;
    MetricPoints::from_json(&answer)
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

/// Hands an output to the kernel, and marks its place among what the cell prints: the kernel
/// shows it when the mark comes by, so that printed lines and displays keep their order.
fn show(call: &str, arguments: &[(&str, &str)]) -> Result<String> {
    let ticket = bridge::call(call, arguments)?.text()?.to_owned();
    println!("\u{1}katlab:show {ticket}\u{1}");
    Ok(ticket)
}
