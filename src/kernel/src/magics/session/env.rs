//! `:env`: named values that last, for `$NAME` in other magics.

use std::path::PathBuf;

use clap::Parser;
use katlab_lab::settings::{Change, Setting, dotenv, is_secret_name};
use secrecy::{ExposeSecret, SecretString};

use crate::magics::{Context, Magic, MagicError, nearest};
use crate::redaction::{MASK, SHORTEST};
use crate::render::list::ListArgs;
use crate::render::table::{Cell, Column, Table};
use crate::session::Session;

/// Keep a value for `$NAME` in other magics, or list the values kept
///
/// `:env NAME=VALUE` is short for `:env set NAME=VALUE`, and `:env` for `:env list`. Values live in a
/// file of katlab's own that only you can read, not in the notebook, and survive a kernel restart.
#[derive(Debug, Parser)]
pub struct Env {
    /// Names and values to keep
    #[arg(value_name = "NAME=VALUE")]
    values: Vec<String>,
    #[command(flatten)]
    list: ListArgs,
}

/// Keep values for `$NAME` in other magics
///
/// What a cell holds is stored in the notebook. Set what is not secret here; for the rest there are
/// `:env ask NAME`, which does not show what is typed, and `:env load FILE`.
#[derive(Debug, Parser)]
pub struct Set {
    /// Names and values to keep
    #[arg(value_name = "NAME=VALUE", required = true)]
    values: Vec<String>,
    /// Mask these values, although their names do not say that they are secret
    #[arg(long)]
    secret: bool,
}

/// Keep the values of a file of NAME=VALUE lines
///
/// Understands `export`, quotes, comments and Windows line ends.
#[derive(Debug, Parser)]
pub struct Load {
    /// The file, such as `.env`
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// Mask these values, although their names do not say that they are secret
    #[arg(long)]
    secret: bool,
}

/// Ask for values without showing what is typed, and keep them
#[derive(Debug, Parser)]
pub struct Ask {
    /// The names to ask for
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Show what is typed, and do not mask the values
    #[arg(long)]
    echo: bool,
}

/// List the values kept, secrets masked
#[derive(Debug, Parser)]
pub struct List {
    #[command(flatten)]
    list: ListArgs,
}

/// Forget values
#[derive(Debug, Parser)]
pub struct Unset {
    /// The names to forget
    #[arg(value_name = "NAME", required_unless_present = "all")]
    names: Vec<String>,
    /// Forget all of them
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Do it; without this it is only said what would be forgotten by `--all`
    #[arg(long)]
    yes: bool,
}

impl Magic for Env {
    const NAME: &'static str = "env";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        if self.values.is_empty() {
            return list(ctx, &self.list);
        }
        set(ctx, self.values, false)
    }

    fn explain(&self) -> Vec<String> {
        if self.values.is_empty() {
            return vec!["env | sort".to_owned()];
        }
        export(&self.values)
    }
}

impl Magic for Set {
    const NAME: &'static str = "env set";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        set(ctx, self.values, self.secret)
    }

    fn explain(&self) -> Vec<String> {
        export(&self.values)
    }
}

impl Magic for Load {
    const NAME: &'static str = "env load";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let path = ctx.session.resolve(&self.file);
        let values = dotenv::read(&path)?;
        if values.is_empty() {
            ctx.output
                .warn(format!("{} holds no values", self.file.display()));
            return Ok(());
        }
        let origin = self.file.display().to_string();
        let changes = values
            .into_iter()
            .map(|(name, value)| Change::Set {
                name,
                value,
                secret: self.secret,
                origin: origin.clone(),
            })
            .collect();
        keep(ctx, changes)
    }

    fn explain(&self) -> Vec<String> {
        vec![format!("set -a; . {}; set +a", self.file.display())]
    }
}

impl Magic for Ask {
    const NAME: &'static str = "env ask";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        for name in &self.names {
            let prompt = format!("{name}: ");
            let value = if self.echo {
                SecretString::from(ctx.output.ask(&prompt).await?)
            } else {
                ctx.output.ask_secret(&prompt).await?
            };
            if value.expose_secret().is_empty() {
                return Err(
                    MagicError::new(format!("nothing was typed for {name}")).hint(format!(
                        "run the cell again, or forget an old value with `:env unset {name}`"
                    )),
                );
            }
            let change = Change::Set {
                name: name.clone(),
                value,
                secret: !self.echo,
                origin: "ask".to_owned(),
            };
            // One by one: what was typed is not lost when the next prompt is cancelled.
            keep(ctx, vec![change])?;
        }
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        self.names
            .iter()
            .map(|name| format!("read -rs {name} && export {name}"))
            .collect()
    }
}

impl Magic for List {
    const NAME: &'static str = "env list";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        list(ctx, &self.list)
    }

    fn explain(&self) -> Vec<String> {
        vec!["env | sort".to_owned()]
    }
}

impl Magic for Unset {
    const NAME: &'static str = "env unset";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let settings = ctx.session.settings();
        let all = settings.all()?;
        let names: Vec<String> = if self.all {
            all.keys().cloned().collect()
        } else {
            self.names
        };
        if let Some(name) = names.iter().find(|name| !all.contains_key(*name)) {
            return Err(ctx.session.unknown_setting(name));
        }
        if self.all && !self.yes {
            ctx.output.warn(format!(
                "this would forget {}; add --yes to do it",
                names.join(", ")
            ));
            return Ok(());
        }
        settings.change(
            names
                .iter()
                .map(|name| Change::Unset { name: name.clone() })
                .collect(),
        )?;
        ctx.output.done(format!("forgot {}", names.join(", ")));
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        vec![format!("unset {}", self.names.join(" "))]
    }

    fn candidates(_argument: &str, session: &Session) -> Vec<String> {
        session
            .settings()
            .all()
            .map(|all| all.into_keys().collect())
            .unwrap_or_default()
    }
}

/// The assignments with secret values left out: what is explained may be copied.
fn export(values: &[String]) -> Vec<String> {
    values
        .iter()
        .filter_map(|value| value.split_once('='))
        .map(|(name, value)| {
            if is_secret_name(name) {
                format!("read -rs {name} && export {name}")
            } else {
                format!("export {name}='{}'", value.replace('\'', "'\\''"))
            }
        })
        .collect()
}

fn set(ctx: &Context, values: Vec<String>, secret: bool) -> Result<(), MagicError> {
    let mut changes = Vec::new();
    for value in &values {
        let Some((name, value)) = value.split_once('=') else {
            return Err(no_value(ctx, &values, value));
        };
        let change = Change::Set {
            name: name.to_owned(),
            value: SecretString::from(value),
            secret,
            origin: "set".to_owned(),
        };
        changes.push(change);
    }
    let exposed: Vec<String> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Set { name, secret, .. } if *secret || is_secret_name(name) => {
                Some(name.clone())
            }
            _ => None,
        })
        .collect();
    keep(ctx, changes)?;
    if !exposed.is_empty() {
        ctx.output.warn(format!(
            "this cell holds the value of {}, and the notebook is stored with it; `:env ask {}` keeps it out",
            exposed.join(", "),
            exposed.join(" ")
        ));
    }
    Ok(())
}

/// What people write where NAME=VALUE is wanted: another magic's verb, a name to look at, a blank.
fn no_value(ctx: &Context, values: &[String], value: &str) -> MagicError {
    let look =
        |name: &str| format!("`:env list --where name={name}` shows {name}, `:env` shows all");
    if ["show", "get", "print", "ls"].contains(&value) {
        let name = values.iter().find(|other| *other != value);
        return MagicError::usage(format!("there is no magic `:env {value}`")).hint(match name {
            Some(name) => look(name),
            None => "`:env` shows all values".to_owned(),
        });
    }
    let error = MagicError::usage(format!("`{value}` has no `=`"));
    if ctx.session.names().iter().any(|name| name == value) {
        return error.hint(look(value));
    }
    match nearest::to(value, ["set", "load", "ask", "list", "unset"]).first() {
        Some(verb) => error.hint(format!("did you mean `:env {verb}`?")),
        None => error.hint(format!("write NAME=VALUE without blanks around the `=`, or `:env ask {value}` to be asked for it")),
    }
}

/// Keeps values, and shows them as they were taken.
fn keep(ctx: &Context, changes: Vec<Change>) -> Result<(), MagicError> {
    let names: Vec<String> = changes
        .iter()
        .map(|change| match change {
            Change::Set { name, .. } | Change::Unset { name } => name.clone(),
        })
        .collect();
    ctx.session.settings().change(changes)?;
    ctx.session.learn_secrets();
    let all = ctx.session.settings().all()?;
    let kept: Vec<(&String, &Setting)> = names
        .iter()
        .filter_map(|name| all.get_key_value(name))
        .collect();
    for (name, setting) in &kept {
        let length = setting.value.expose_secret().chars().count();
        if setting.secret && length < SHORTEST {
            ctx.output.warn(format!(
                "the value of {name} is too short to be found and masked in outputs"
            ));
        }
    }
    ctx.output
        .show(ListArgs::default().render(table(kept, jiff::Timestamp::now()))?);
    Ok(())
}

fn list(ctx: &Context, list: &ListArgs) -> Result<(), MagicError> {
    let all = ctx.session.settings().all()?;
    let mut table = table(all.iter(), jiff::Timestamp::now());
    for (name, value) in ctx.session.implied() {
        let value = if is_secret_name(name) {
            MASK
        } else {
            value.expose_secret()
        };
        table.row([
            Cell::text(name),
            Cell::text(value),
            Cell::text("the sandbox"),
        ]);
    }
    ctx.list(table, list)
}

fn table<'a>(
    settings: impl IntoIterator<Item = (&'a String, &'a Setting)>,
    now: jiff::Timestamp,
) -> Table {
    let mut table = Table::new([
        Column::new("NAME"),
        Column::new("VALUE"),
        Column::new("FROM"),
        // Not by default: it would change at every run, and a notebook with it.
        Column::number("AGE").wide(),
    ])
    .empty(
        "no values are kept; `:env set NAME=VALUE`, `:env ask NAME` or `:env load FILE` keeps some",
    );
    for (name, setting) in settings {
        let value = if setting.secret {
            Cell::text(MASK)
        } else {
            Cell::text(setting.value.expose_secret())
        };
        let from = if setting.kept {
            setting.origin.clone()
        } else {
            format!("{} (this run only)", setting.origin)
        };
        table.row([
            Cell::text(name),
            value,
            Cell::text(from),
            Cell::age(setting.changed, now),
        ]);
    }
    table
}
