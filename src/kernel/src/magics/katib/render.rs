//! `:experiment render`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Parser;
use katlab_katib::render::{self, Found, Rendered};
use katlab_lab::document;

use crate::magics::kubernetes::quoted;
use crate::magics::{Context, Magic, MagicError, nearest};
use crate::render::code::Listing;
use crate::render::counted;
use crate::render::diff::Diff;
use crate::render::table::{Cell, Column, Table};

/// Fill a template's variables from the settings, and leave Katib's own placeholders alone
///
/// `${NAME}` is filled from `--set`, then the settings, then the environment. `${trialParameters.x}` and
/// `${trialSpec.x}` stay. A backslash before `${`, which a shell left behind, goes.
#[derive(Debug, Parser)]
pub struct Render {
    /// The template
    #[arg(value_name = "TEMPLATE", value_hint = clap::ValueHint::FilePath)]
    template: PathBuf,
    /// The file to write; without it the result is shown
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// A value for this time only
    #[arg(long = "set", value_name = "NAME=VALUE")]
    values: Vec<String>,
    /// Overwrite a file that is there already with other content
    #[arg(long)]
    force: bool,
}

impl Magic for Render {
    const NAME: &'static str = "experiment render";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let shown = self.template.display().to_string();
        let template = document::read(&ctx.session.resolve(&self.template))?;
        let mut given = BTreeMap::new();
        for pair in &self.values {
            match pair.split_once('=') {
                Some((name, value)) => given.insert(name.to_owned(), value.to_owned()),
                None => {
                    return Err(MagicError::usage(format!("`{pair}` has no value"))
                        .hint("write --set NAME=VALUE"));
                }
            };
        }
        // Once without values, to learn the names; looking one up may start the sandbox.
        let names: Vec<String> = render::render(&template, |_| None)
            .missing_names()
            .into_iter()
            .map(str::to_owned)
            .collect();
        let mut found: BTreeMap<String, Found> = BTreeMap::new();
        let mut secrets = Vec::new();
        for name in names {
            if let Some(value) = given.remove(&name) {
                found.insert(
                    name,
                    Found {
                        value,
                        source: "--set".into(),
                    },
                );
                continue;
            }
            if let Some(value) = ctx.value(&name).await? {
                let setting = ctx.session.settings().get(&name)?;
                if setting.as_ref().is_some_and(|setting| setting.secret) {
                    secrets.push(name.clone());
                }
                let source = ctx.session.origin(&name)?;
                found.insert(name, Found { value, source });
            }
        }
        if let Some(name) = given.keys().next() {
            ctx.output.warn(format!("{shown} has no ${{{name}}}"));
        }
        let rendered = render::render(&template, |name| found.get(name).cloned());
        ctx.output
            .table(&table(&rendered, &found).title(format!("variables of {shown}")));
        if !rendered.missing.is_empty() {
            return Err(missing(ctx, &shown, &rendered));
        }
        for name in &secrets {
            ctx.output.warn(format!(
                "{name} is a secret, and the file will hold it in plain text"
            ));
        }
        if !rendered.mended.is_empty() {
            let lines: Vec<String> = rendered
                .mended
                .iter()
                .map(|spot| spot.line.to_string())
                .collect();
            ctx.output.note(format!(
                "a backslash before ${{ removed in line {}",
                lines.join(", ")
            ));
        }
        if rendered.kept > 0 {
            ctx.output.note(format!(
                "{} of Katib's own left alone",
                counted(rendered.kept, "placeholder")
            ));
        }
        let diff = Diff::between(&template, &rendered.text);
        let Some(output) = &self.output else {
            let lines: Vec<&str> = rendered.text.lines().collect();
            let total = lines.len();
            ctx.output.show(
                Listing {
                    path: "Experiment.yaml",
                    lines,
                    first: 1,
                    total,
                }
                .bundle(),
            );
            return Ok(());
        };
        let path = ctx.session.resolve(output);
        let target = output.display();
        match document::read(&path) {
            Ok(old) if old == rendered.text => {
                ctx.output.done(format!("{target} is as it should be"));
                return Ok(());
            }
            Ok(old) if !self.force => {
                let diff = Diff::between(&old, &rendered.text);
                ctx.output
                    .show(diff.bundle(&format!("{target} would change: {}", diff.summary())));
                return Err(MagicError::new(format!(
                    "{target} is there already, with other content"
                ))
                .hint("add --force to overwrite it"));
            }
            Ok(_) | Err(document::Error::Missing { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        document::write(&path, &rendered.text)?;
        ctx.output
            .show(diff.bundle(&format!("{shown} → {target}: {}", diff.summary())));
        ctx.output
            .done(format!("wrote {target}; next: :experiment lint {target}"));
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        let output = self
            .output
            .as_ref()
            .map(|path| format!(" > {}", quoted(&path.display().to_string())))
            .unwrap_or_default();
        vec![format!(
            "envsubst '$PROJECT_NAME …' < {}{output}",
            quoted(&self.template.display().to_string())
        )]
    }
}

fn table(rendered: &Rendered, found: &BTreeMap<String, Found>) -> Table {
    let mut table = Table::new([
        Column::new("NAME"),
        Column::new("VALUE"),
        Column::new("FROM"),
        Column::number("LINE"),
    ])
    .empty("it has no variables to fill");
    for used in &rendered.uses {
        let value = found.get(&used.name).map(|found| found.value.clone());
        table.row([
            Cell::text(&used.name),
            value.map_or_else(|| Cell::text("(its default)"), Cell::text),
            Cell::text(&used.source),
            Cell::count(used.line),
        ]);
    }
    for missing in &rendered.missing {
        table.row([
            Cell::text(&missing.name),
            Cell::text("missing").with_status(crate::render::status::Status::Failed),
            missing.note.clone().into(),
            Cell::count(missing.line),
        ]);
    }
    table
}

fn missing(ctx: &Context, template: &str, rendered: &Rendered) -> MagicError {
    let names = rendered.missing_names();
    let known = ctx.session.names();
    let near: Vec<String> = names
        .iter()
        .filter_map(|name| {
            let near = nearest::to(name, known.iter().map(String::as_str));
            near.first().map(|near| format!("{near} instead of {name}"))
        })
        .collect();
    let first = names.first().copied().unwrap_or_default();
    let set = format!(
        ":env set {first}=VALUE keeps a value, --set {first}=VALUE gives one for this time"
    );
    let hint = if near.is_empty() {
        set
    } else {
        format!("did you mean {}? {set}", near.join(", "))
    };
    MagicError::new(format!(
        "{template} needs {}, which has no value",
        names.join(", ")
    ))
    .hint(hint)
}
