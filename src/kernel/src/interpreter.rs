//! Runs a cell: each of its parts by whoever knows how.
//!
//! Jupyter and `katlab run` both stand on this; all they differ in is the sink.

mod study;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use katlab_lab::settings::is_secret_name;
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use crate::bound::Bounded;
use crate::bridge::Bridge;
use crate::cell::{self, Grammar, Part, Verb};
use crate::engine::{Engine, WhenBusy, commands};
use crate::event::{Bundle, Sink};
use crate::failure::Failure;
use crate::magics::{self, Context, MagicError, completion};
use crate::render::error;
use crate::session::Session;
use crate::shell;

/// Runs cells on a session and a Rust engine.
pub struct Interpreter {
    session: Arc<Session>,
    engine: Engine,
    bridge: tokio::sync::OnceCell<Arc<Bridge>>,
    /// Said once, before the first cell.
    notice: Mutex<Option<String>>,
}

/// The magics' own word on what a magic line is.
pub struct Magics;

impl Grammar for Magics {
    fn is_magic(&self, name: &str) -> bool {
        magics::is_magic(name)
    }

    fn takes_body(&self, line: &str) -> bool {
        magics::takes_body(line)
    }
}

impl Interpreter {
    /// An interpreter on a session and an engine.
    pub fn new(session: Arc<Session>, engine: Engine) -> Self {
        Self {
            session,
            engine,
            bridge: tokio::sync::OnceCell::new(),
            notice: Mutex::default(),
        }
    }

    /// Has something said before the first cell.
    pub fn with_notice(self, notice: String) -> Self {
        Self {
            notice: Mutex::new(Some(notice)),
            ..self
        }
    }

    /// What lasts from cell to cell.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The Rust engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Runs a cell.
    ///
    /// # Errors
    /// At the first part that fails; nothing below it runs.
    pub async fn execute(
        &self,
        code: &str,
        sink: Arc<dyn Sink>,
        cancel: &CancellationToken,
        when_busy: WhenBusy,
    ) -> Result<(), Failure> {
        let sink = Arc::new(Bounded::new(sink));
        let context = Context::new(self.session.clone(), sink, cancel.clone(), None);
        let notice = self
            .notice
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(notice) = notice {
            context.output.warn(notice);
        }
        let run = AssertUnwindSafe(self.parts(code, &context, when_busy)).catch_unwind();
        // A fault of ours must end one cell, not the notebook.
        let outcome = run.await.unwrap_or_else(|_| {
            Err(Failure::new(
                "InternalError",
                "katlab itself failed at this cell; this is a fault of katlab",
            ))
        });
        context.output.flush();
        outcome.map_err(|failure| self.masked(failure))
    }

    async fn parts(
        &self,
        code: &str,
        context: &Context,
        when_busy: WhenBusy,
    ) -> Result<(), Failure> {
        for segment in cell::split(code, &Magics) {
            if context.cancel.is_cancelled() {
                return Err(Failure::interrupted(""));
            }
            match segment.part {
                Part::Magic { line, body } => {
                    if let Some(page) = engine_command_asked_for(&line) {
                        context.output.show(page);
                        continue;
                    }
                    let context = Context {
                        body,
                        ..context.clone()
                    };
                    let (magic, variable) =
                        magics::binding::split(&line).map_err(|error| failure(&error))?;
                    if let Some(name) = variable {
                        self.bind(magic, &name, &context, when_busy).await?;
                        continue;
                    }
                    magics::dispatch(&line, &context)
                        .await
                        .map_err(|error| failure(&error))?;
                    if line.trim() == ":help" {
                        context.output.show(engine_help());
                    }
                }
                Part::Shell(command) => {
                    let directory = self.session.directory();
                    shell::run(
                        &command,
                        &directory,
                        &self.variables(),
                        &context.output,
                        &context.cancel,
                    )
                    .await?;
                }
                Part::Rust(code) => {
                    if let Some(error) = unknown_command(&code) {
                        return Err(failure(&error));
                    }
                    if let Some(hint) = code.lines().next().and_then(magics::foreign::shell_line) {
                        let error = MagicError::usage("this is a command, not Rust").hint(hint);
                        return Err(failure(&error));
                    }
                    self.rust(&code, context, when_busy).await?;
                }
                Part::Engine(Verb::Quit) => {
                    let was_running = self.engine.stop().await;
                    context.output.text(if was_running {
                        "The Rust engine was ended: variables, items and dependencies are gone. The kernel runs on."
                    } else {
                        "The Rust engine is not running. The kernel runs on; shut it down from the Kernel menu."
                    });
                }
                Part::Engine(Verb::Restart) => {
                    self.engine
                        .restart(&context.output, &context.cancel)
                        .await?
                }
                Part::Help(name) => {
                    let page = self.help(&name).await.ok_or_else(|| {
                        Failure::new("UsageError", format!("nothing is known about `{name}`"))
                            .with_hint(Some("`:help` lists all magics; names of Rust are known once the engine runs".into()))
                    })?;
                    context.output.page(page);
                }
            }
        }
        Ok(())
    }

    /// Runs a magic whose result becomes a Rust variable.
    async fn bind(
        &self,
        line: &str,
        name: &str,
        context: &Context,
        when_busy: WhenBusy,
    ) -> Result<(), Failure> {
        let taker: Arc<Mutex<Option<magics::binding::Given>>> = Arc::default();
        let taking = Context {
            taker: Some(Arc::clone(&taker)),
            ..context.clone()
        };
        magics::dispatch(line, &taking)
            .await
            .map_err(|error| failure(&error))?;
        let given = taker.lock().unwrap_or_else(PoisonError::into_inner).take();
        // `--help` and `--explain` find nothing, and have shown what they are for.
        let Some(given) = given else { return Ok(()) };
        let bridge = self.bridge().await.map_err(|error| {
            failure(
                &MagicError::new(format!(
                    "`{name}` cannot be made: Rust cells cannot reach the kernel: {error}"
                ))
                .hint("make room in the temporary directory and restart the kernel"),
            )
        })?;
        let ticket = bridge.keep(given.value);
        let code = format!("let {name}: katlab::Trials = katlab::bound(\"{ticket}\")?;");
        let outcome = self.rust(&code, context, when_busy).await;
        bridge.forget(&ticket);
        outcome?;
        context
            .output
            .done(format!("{name}: katlab::Trials, {}", given.words));
        Ok(())
    }

    async fn bridge(&self) -> std::io::Result<&Arc<Bridge>> {
        let open = || async {
            let bridge = Bridge::open()?;
            self.engine.set_held(bridge.clone());
            Ok(bridge)
        };
        self.bridge.get_or_try_init(open).await
    }

    /// Tells the engine what it starts with and what its cells see.
    async fn furnish(&self) -> std::io::Result<&Arc<Bridge>> {
        let bridge = self.bridge().await;
        let mut variables = self.variables();
        if let Ok(bridge) = bridge {
            variables.extend(bridge.variables());
        }
        self.engine.set_variables(variables);
        self.engine.set_directory(self.session.directory());
        bridge
    }

    async fn rust(
        &self,
        code: &str,
        context: &Context,
        when_busy: WhenBusy,
    ) -> Result<(), Failure> {
        let bridge = self.furnish().await;
        let turn = self.engine.turn(&context.cancel, when_busy).await?;
        let run = self
            .engine
            .execute(&turn, code, &context.output, &context.cancel);
        let outcome = match bridge {
            Ok(bridge) => bridge.serving(context.clone(), run).await,
            Err(error) => {
                context
                    .output
                    .warn(format!("Rust cells cannot reach the kernel: {error}"));
                run.await
            }
        };
        context.output.flush();
        outcome
    }

    /// What programs that a cell starts find in their environment: settings that are no secrets,
    /// and the cluster that magics talk to, so that `!kubectl` talks to it as well.
    fn variables(&self) -> BTreeMap<String, String> {
        let mut variables = BTreeMap::new();
        let implied = self
            .session
            .implied()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        let plain = implied.filter(|(name, _)| !is_secret_name(name));
        variables.extend(plain.map(|(name, value)| (name, value.expose_secret().to_owned())));
        for (name, setting) in self.session.settings().all().unwrap_or_default() {
            if !setting.secret {
                variables.insert(name, setting.value.expose_secret().to_owned());
            }
        }
        if let Some(kubeconfig) = self.session.kubeconfig() {
            variables.insert("KUBECONFIG".to_owned(), kubeconfig);
        }
        variables
    }

    fn masked(&self, failure: Failure) -> Failure {
        let redactor = self.session.redactor();
        Failure {
            name: failure.name,
            message: redactor.text(&failure.message),
            traceback: failure
                .traceback
                .iter()
                .map(|line| redactor.text(line))
                .collect(),
        }
    }

    async fn help(&self, name: &str) -> Option<Bundle> {
        if let Some(page) = completion::inspect(name, name.chars().count()) {
            return Some(page);
        }
        if let Some(text) = commands::describe(name) {
            return Some(Bundle::text(format!(
                "{name}: {text} (a command of the Rust engine)"
            )));
        }
        self.inspect_rust(name, name.chars().count()).await
    }
}

/// A line with a colon that neither the magics nor the engine know: the engine would only say
/// "unrecognised", the magics know near misses.
fn unknown_command(code: &str) -> Option<MagicError> {
    for line in code.lines() {
        if line.trim().is_empty() || line.trim_start().starts_with("//") {
            continue;
        }
        let name = cell::word(line)?;
        let known = format!(":{name}");
        if commands::describe(&known).is_none() && name != "internal_debug" {
            return Some(magics::unknown_magic(line));
        }
    }
    None
}

fn failure(error: &MagicError) -> Failure {
    let rendered = error::render(error);
    Failure {
        name: rendered.ename,
        message: rendered.evalue,
        traceback: rendered.traceback,
    }
}

/// `:help :dep`: the page of one of the engine's commands, where no magic has that name.
fn engine_command_asked_for(line: &str) -> Option<Bundle> {
    let name = line
        .trim()
        .strip_prefix(":help ")?
        .trim()
        .trim_start_matches(':');
    let name = format!(":{name}");
    if magics::is_magic(&name) {
        return None;
    }
    let text = commands::describe(&name)?;
    Some(Bundle::text(format!(
        "{name}: {text} (a command of the Rust engine)"
    )))
}

fn engine_help() -> Bundle {
    use crate::render::html::{self, Html};
    let mut text = String::from("Commands of the Rust engine (before the Rust of a cell)\n");
    let mut rows = Vec::new();
    for (name, what) in commands::COMMANDS {
        text.push_str(&format!("  {name:<24} {what}\n"));
        let cells = [
            html::element("td", &[], &html::text_element("code", &[], name)),
            html::text_element("td", &[], what),
        ];
        rows.push(html::element("tr", &[], &html::join(cells)));
    }
    let table = html::element("table", &[("class", "katlab")], &html::join(rows));
    let summary = html::text_element(
        "summary",
        &[],
        "Commands of the Rust engine (before the Rust of a cell)",
    );
    let html: Html = html::element(
        "details",
        &[("class", "katlab-help")],
        &html::join([summary, table]),
    );
    Bundle::text(text.trim_end()).with_html(html)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_command_is_told_before_an_engine_starts() {
        assert!(unknown_command(":nosuchthing 1").is_some());
        assert!(unknown_command(":dep serde = \"1\"\nuse serde;").is_none());
        assert!(unknown_command("let x: i32 = 1;").is_none());
    }
}
