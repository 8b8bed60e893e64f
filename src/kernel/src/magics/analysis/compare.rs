//! `:compare`: experiments side by side.

use std::path::Path;

use clap::Parser;
use jiff::Timestamp;
use katlab_analysis::{Row, TrialTable, Value, chart};
use katlab_katib::metrics::number;
use katlab_lab::cluster::valid_name;
use katlab_lab::katib::details::{self, Training};
use katlab_lab::katib::experiments::Summary;

use super::{Origin, Source, SourceArgs, plot, read_folder};
use crate::magics::kubernetes::{NamespaceArgs, quoted};
use crate::magics::{Context, Magic, MagicError, katib};
use crate::render::list::ListArgs;
use crate::render::table::{Cell, Column, Table, number_text};
use crate::render::{age, counted};

/// Lay experiments side by side: what they found, what it cost, and in what they differ
///
/// `NAMESPACE/NAME` is an experiment of another namespace; any other argument with a `/` in it, and one
/// whose folder is there, is the folder of an export. The chart shows the best so far of each, where they
/// have the same objective. What an experiment that runs has cost is counted up to now.
#[derive(Debug, Parser)]
pub struct Compare {
    /// The experiments, also NAMESPACE/NAME, or folders of exports such as `./mnist`
    #[arg(value_name = "EXPERIMENT", required = true, num_args = 2..)]
    names: Vec<String>,
    #[command(flatten)]
    place: NamespaceArgs,
    #[command(flatten)]
    list: ListArgs,
}

impl Magic for Compare {
    const NAME: &'static str = "compare";

    fn explain(&self) -> Vec<String> {
        let here = Path::new(".");
        self.names
            .iter()
            .filter_map(|name| match place(name, &self.place, here) {
                Place::Folder => None,
                Place::Cluster(of, name) => Some((of, name)),
            })
            .map(|(of, name)| {
                format!(
                    "kubectl get experiment {}{} -o yaml",
                    quoted(name),
                    of.kubectl()
                )
            })
            .collect()
    }

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let directory = ctx.session.directory();
        let mut found: Vec<(&String, Source)> = Vec::new();
        for name in &self.names {
            let source = match place(name, &self.place, &directory) {
                Place::Folder => read_folder(ctx, Path::new(name)).await?,
                Place::Cluster(place, experiment) => {
                    let args = SourceArgs {
                        place,
                        ..SourceArgs::default()
                    };
                    args.read(ctx, Some(experiment)).await?
                }
            };
            found.push((name, source));
        }
        let names: Vec<String> = found
            .iter()
            .map(|(_, source)| source.experiment.metadata.name().to_owned())
            .collect();
        let mut sources: Vec<(String, Source)> = Vec::new();
        for ((written, source), name) in found.into_iter().zip(&names) {
            // Those of one name are told apart by where they come from.
            let is_alone = names.iter().filter(|other| *other == name).count() == 1;
            let title = if is_alone { name } else { written };
            if sources.iter().any(|(before, _)| before == title) {
                return Err(MagicError::usage(format!("{title} is named twice")).hint(
                    "name different experiments; one of another namespace is NAMESPACE/NAME",
                ));
            }
            sources.push((title.clone(), source));
        }
        let plain = self.list.save.is_none() && self.list.output.is_none();
        ctx.list(table(&sources, Timestamp::now()), &self.list)?;
        if plain {
            let tables: Vec<(String, TrialTable)> = sources
                .iter()
                .map(|(title, source)| (title.clone(), source.table()))
                .collect();
            match chart::compare(&tables) {
                Ok(chart) => ctx.output.show(plot::bundle(&chart)?),
                Err(error) => ctx.output.note(error.to_string()),
            }
        }
        Ok(())
    }
}

/// Where an argument is looked for.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    Folder,
    Cluster(NamespaceArgs, &'a str),
}

/// A folder, or an experiment of the namespace before the `/` or else of the one given; `directory` is
/// where folders are looked for.
fn place<'a>(written: &'a str, given: &NamespaceArgs, directory: &Path) -> Place<'a> {
    let Some((namespace, name)) = written.split_once('/') else {
        return Place::Cluster(given.clone(), written);
    };
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric()) && valid_name(part).is_none()
    };
    // A mistyped folder is not to be asked of a cluster, which might have to be started for it.
    if is_name(namespace) && is_name(name) && !directory.join(namespace).is_dir() {
        let namespace = Some(namespace.to_owned());
        return Place::Cluster(NamespaceArgs { namespace }, name);
    }
    Place::Folder
}

/// An experiment with what is read of it.
struct One<'s> {
    source: &'s Source,
    summary: Summary,
    table: TrialTable,
    training: Training,
    /// Up to when what runs is counted; nothing where that is not known.
    until: Option<Timestamp>,
}

impl<'s> One<'s> {
    fn of(source: &'s Source, now: Timestamp) -> Self {
        let until = match &source.origin {
            Origin::Cluster(_) => Some(now),
            // What runs in an export has run until it was written, as far as it tells.
            Origin::Folder { archive, .. } => archive
                .provenance
                .as_ref()
                .and_then(|made| made.exported.parse().ok()),
        };
        Self {
            source,
            summary: Summary::of(&source.experiment),
            table: source.table(),
            training: details::training(&source.experiment).unwrap_or_default(),
            until,
        }
    }

    /// The durations of all trials added up, those that run counted so far, and whether there are some.
    fn cost(&self) -> (f64, bool) {
        let until = self
            .until
            .map(|until| until.as_millisecond() as f64 / 1000.0);
        let so_far = |row: &Row| {
            let began = row.times.began.or(row.times.created)?;
            (row.status == "Running").then_some((until? - began).max(0.0))
        };
        let rows = self.table.rows.iter();
        let ended: f64 = rows.clone().filter_map(Row::seconds).sum();
        let running: Vec<f64> = rows
            .filter(|row| row.seconds().is_none())
            .filter_map(so_far)
            .collect();
        (ended + running.iter().sum::<f64>(), !running.is_empty())
    }

    fn duration(&self) -> Cell {
        let end = match self.summary.is_completed() {
            true => self.summary.ended,
            false => self.until,
        };
        let took = self.summary.started.zip(end);
        took.and_then(|(from, to)| to.duration_since(from).try_into().ok())
            .map(Cell::took_about)
            .unwrap_or_default()
    }

    fn settings(&self) -> String {
        let algorithm = self.source.experiment.spec.algorithm.as_ref();
        let settings = algorithm
            .into_iter()
            .flat_map(|one| &one.algorithm_settings);
        let mut settings: Vec<String> = settings
            .map(|one| format!("{} {}", one.name, one.value))
            .collect();
        settings.sort();
        settings.join(", ")
    }

    fn filters(&self) -> String {
        let collector = self.source.experiment.spec.metrics_collector_spec.as_ref();
        let source = collector.and_then(|collector| collector.source.as_ref());
        let filter = source.and_then(|source| source.filter.as_ref());
        filter.map_or_else(String::new, |filter| filter.metrics_format.join(" or "))
    }

    /// `File /tmp/metrics.log`.
    fn collector(&self) -> String {
        let Some(spec) = &self.source.experiment.spec.metrics_collector_spec else {
            return String::new();
        };
        let kind = spec.collector.as_ref().map(|collector| &collector.kind);
        let kind = kind.and_then(|kind| serde_json::to_value(kind).ok());
        let kind = kind.as_ref().and_then(serde_json::Value::as_str);
        let source = spec.source.as_ref();
        let path = source.and_then(|source| source.file_system_path.as_ref());
        let path = path.map(|path| path.path.as_str());
        let words: Vec<&str> = [kind, path]
            .into_iter()
            .flatten()
            .filter(|word| !word.is_empty())
            .collect();
        words.join(" ")
    }
}

/// The number that a cell stands for, also where its value is the text of one.
fn number_of(cell: &Cell) -> Option<f64> {
    match &cell.value {
        serde_json::Value::String(text) => number(text),
        value => value.as_f64(),
    }
}

fn is_same(one: &Cell, other: &Cell) -> bool {
    match (number_of(one), number_of(other)) {
        (Some(one), Some(other)) => one == other,
        _ => one.value == other.value,
    }
}

/// When a row is shown.
#[derive(Clone, Copy, PartialEq)]
enum Shown {
    /// Where any has a value.
    Any,
    /// Where they differ: what is the same in all of them would only be long.
    Different,
}

/// A row for each thing to compare, a column for each experiment.
fn table(sources: &[(String, Source)], now: Timestamp) -> Table {
    // What stands in a column is of as many sorts as there are rows.
    let titles = sources
        .iter()
        .map(|(title, _)| Column::new(title.clone()).mixed());
    let mut table = Table::new(std::iter::once(Column::new("WHAT")).chain(titles));
    let all: Vec<One<'_>> = sources
        .iter()
        .map(|(_, source)| One::of(source, now))
        .collect();
    type Of<'a> = &'a dyn Fn(&One<'_>) -> Cell;
    let mut add = |what: &str, shown: Shown, of: Of<'_>| {
        let cells: Vec<Cell> = all.iter().map(of).collect();
        let differ = cells.iter().any(|cell| !is_same(cell, &cells[0]));
        if cells.iter().any(|cell| !cell.is_empty()) && (differ || shown == Shown::Any) {
            table
                .row(std::iter::once(Cell::text(what)).chain(cells))
                .marked = differ;
        }
    };
    let words = |text: String| match text.is_empty() {
        true => Cell::none(),
        false => Cell::text(text),
    };
    let mut row = |what: &str, of: Of<'_>| add(what, Shown::Any, of);
    row("status", &|one| Cell::status(&one.summary.status));
    row("objective", &|one| {
        Cell::text(katib::goal(&one.summary.objective))
    });
    row("best", &|one| {
        let best = one.table.best();
        best.map(|(_, value)| Cell::number(value))
            .unwrap_or_default()
    });
    row("best trial", &|one| {
        let best = one.table.best();
        best.map(|(row, _)| Cell::text(&row.name))
            .unwrap_or_default()
    });
    row("reached at trial", &|one| {
        let best = one.table.best().map(|(row, _)| row.name.clone());
        let mut rows = one.table.rows.iter();
        let at = rows.position(|row| Some(&row.name) == best.as_ref());
        at.map(|at| Cell::count(at + 1)).unwrap_or_default()
    });
    row("trials", &|one| Cell::count(one.table.rows.len()));
    row("trials by state", &|one| {
        Cell::text(katib::counts(&one.summary.counts))
    });
    row("duration", &|one| one.duration());
    row("trial time in all", &|one| {
        let (seconds, is_running) = one.cost();
        let time = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let so_far = if is_running { " so far" } else { "" };
        Cell::of(seconds, format!("{}{so_far}", age::age(time)))
            .hover("the durations of all trials added up")
    });
    row("algorithm", &|one| Cell::text(&one.summary.algorithm));
    add("algorithm settings", Shown::Different, &|one| {
        words(one.settings())
    });
    let mut row = |what: &str, of: Of<'_>| add(what, Shown::Any, of);
    row("at once", &|one| {
        let parallel = one.summary.parallel;
        parallel.map(Cell::count).unwrap_or_default()
    });
    row("trials at most", &|one| {
        let most = one.summary.max_trials;
        most.map(Cell::count).unwrap_or_default()
    });
    add("image", Shown::Different, &|one| {
        words(one.training.image.clone())
    });
    add("command", Shown::Different, &|one| {
        let quoted = one.training.command.iter().map(|word| quoted(word));
        words(quoted.collect::<Vec<_>>().join(" "))
    });
    add("metrics from", Shown::Different, &|one| {
        words(one.collector())
    });
    add("metrics filter", Shown::Different, &|one| {
        words(one.filters())
    });
    let mut parameters: Vec<&str> = Vec::new();
    for parameter in all.iter().flat_map(|one| &one.table.parameters) {
        if !parameters.contains(&parameter.name.as_str()) {
            parameters.push(&parameter.name);
        }
    }
    for name in parameters {
        add(&format!("space of {name}"), Shown::Any, &|one| {
            let specs = &one.source.experiment.spec.parameters;
            let spec = specs.iter().find(|spec| spec.name == name);
            spec.map(|spec| Cell::text(space(spec))).unwrap_or_default()
        });
        add(&format!("best {name}"), Shown::Any, &|one| {
            let value = one.table.best().and_then(|(row, _)| {
                let mut known = one.table.parameters.iter();
                let at = known.position(|known| known.name == name)?;
                row.parameters[at].clone()
            });
            // A trial that is run again has its values as texts.
            let value = match value {
                Some(Value::Text(text)) => number(&text).map_or(Value::Text(text), Value::Number),
                Some(value) => value,
                None => return Cell::none(),
            };
            match value {
                Value::Number(number) => Cell::of(number, number_text(number)),
                Value::Text(text) => Cell::text(text),
            }
        });
    }
    table.footer(format!(
        "★ where {} differ",
        counted(all.len(), "experiment")
    ))
}

/// A space in short: `0.001 to 1, log` or the choices.
fn space(spec: &katlab_katib::types::ParameterSpec) -> String {
    let space = &spec.feasible_space;
    if !space.list.is_empty() {
        return space.list.join(", ");
    }
    let mut words = format!("{} to {}", space.min, space.max);
    if !space.step.is_empty() {
        words.push_str(&format!(", step {}", space.step));
    }
    let distribution = serde_json::to_value(&space.distribution).unwrap_or_default();
    match distribution.as_str() {
        None | Some("" | "uniform") => {}
        Some(word) => words.push_str(&format!(", {word}")),
    }
    words
}

#[cfg(test)]
mod tests {
    use katlab_katib::types::{Experiment, Trial};
    use katlab_lab::katib::archive::Archive;
    use katlab_lab::katib::provenance::Provenance;
    use serde_json::{Value as Json, json};

    use super::*;

    fn source(name: &str, parameter: Json, image: &str, trials: &[(&str, &str, &str)]) -> Source {
        let lr = |value: &str| json!([{"name": "lr", "value": value}]);
        let experiment: Experiment = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {
                "objective": {"type": "maximize", "objectiveMetricName": "accuracy",
                              "metricStrategies": [{"name": "accuracy", "value": "max"}]},
                "algorithm": {"algorithmName": "tpe", "algorithmSettings": [{"name": "gamma", "value": "0.25"}]},
                "parallelTrialCount": 4, "parameters": [parameter],
                "metricsCollectorSpec": {"collector": {"kind": "StdOut"}},
                "trialTemplate": {"primaryContainerName": "training", "trialSpec": {"spec": {"template": {"spec":
                    {"containers": [{"name": "training", "image": image, "command": ["train", "a b"]}]}}}}},
            },
            "status": {"startTime": "2026-01-01T00:00:00Z", "trials": 2, "trialsSucceeded": 1, "trialsRunning": 1},
        }))
        .unwrap();
        let trials = trials.iter().map(|(trial, rate, value)| {
            let is_running = value.is_empty();
            let (kind, ended) = match is_running {
                true => ("Running", Json::Null),
                false => ("Succeeded", json!("2026-01-01T00:00:05Z")),
            };
            serde_json::from_value::<Trial>(json!({
                "metadata": {"name": trial, "creationTimestamp": "2026-01-01T00:00:02Z"},
                "spec": {"parameterAssignments": lr(rate)},
                "status": {"completionTime": ended, "conditions": [{"type": kind, "status": "True"}],
                    "observation": if is_running { Json::Null } else {
                        json!({"metrics": [{"name": "accuracy", "min": value, "max": value, "latest": value}]})
                    }},
            }))
            .unwrap()
        });
        Source {
            experiment,
            trials: trials.collect(),
            known_as: name.to_owned(),
            flags: String::new(),
            origin: Origin::Folder {
                path: "x".into(),
                archive: Box::new(Archive {
                    provenance: Some(Provenance {
                        exported: "2026-01-01T00:00:10Z".to_owned(),
                        ..Provenance::default()
                    }),
                    ..Archive::default()
                }),
            },
        }
    }

    #[test]
    fn what_differs_is_marked_and_each_number_is_as_it_is() {
        let range = json!({"name": "lr", "parameterType": "double", "feasibleSpace": {"min": "0", "max": "1"}});
        let list = json!({"name": "lr", "parameterType": "categorical", "feasibleSpace": {"list": ["0.029222918616499075"]}});
        let first = [
            ("a-1", "0.029222918616499075", "0.9375"),
            ("a-2", "0.5", ""),
        ];
        let sources = [
            ("a".to_owned(), source("a", range, "digits:1", &first)),
            ("b".to_owned(), source("b", list, "digits:2", &first[..1])),
        ];
        let table = table(&sources, Timestamp::UNIX_EPOCH);
        let plain = table.plain();
        assert!(
            !plain.contains("1.0000") && !plain.contains("4.0000"),
            "{plain}"
        );
        let row = |what: &str| {
            let row = table.rows.iter().find(|row| row.name == what)?;
            let cells = row.cells[1..].iter().map(|cell| cell.text.clone());
            Some((cells.collect::<Vec<_>>().join(" | "), row.marked))
        };
        let is = |what: &str, text: &str, marked| {
            assert_eq!(row(what), Some((text.to_owned(), marked)), "{what}");
        };
        is("best", "0.9375 | 0.9375", false);
        is("reached at trial", "1 | 1", false);
        is("at once", "4 | 4", false);
        is("best lr", "0.0292229 | 0.0292229", false);
        is("image", "digits:1 | digits:2", true);
        is("trial time in all", "11s so far | 3s", true);
        assert_eq!((row("command"), row("algorithm settings")), (None, None));
        let csv = table.csv();
        assert!(
            csv.contains("trials by state,\"1 succeeded, 1 running\""),
            "{csv}"
        );
    }

    #[test]
    fn an_argument_is_a_folder_or_an_experiment_of_some_namespace() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let given = NamespaceArgs {
            namespace: Some("team-a".to_owned()),
        };
        let of = |written| place(written, &given, folder.path());
        let cluster = |namespace: &str, name| {
            let namespace = Some(namespace.to_owned());
            Place::Cluster(NamespaceArgs { namespace }, name)
        };
        assert_eq!(of("twin"), cluster("team-a", "twin"));
        assert_eq!(of("team-b/twin"), cluster("team-b", "twin"));
        for written in [
            "./twin",
            "data/twin",
            "/tmp/twin",
            "~/twin",
            "a/b/c",
            "../twin",
            "twin/",
        ] {
            assert_eq!(of(written), Place::Folder, "{written}");
        }
    }
}
