//! `:analyze`: what the trials say in numbers, and how sure that is.

use clap::{Parser, ValueEnum};
use katlab_analysis::best::{self, Noise};
use katlab_analysis::importance;
use katlab_analysis::{TrialTable, effects, findings};

use super::SourceArgs;
use crate::magics::{Context, Magic, MagicError, nearest};
use crate::render::counted;
use crate::render::list::ListArgs;
use crate::render::status::Status;
use crate::render::table::{Cell, Column, Table, number_text};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Topic {
    /// The best trials, and how likely each is really the best
    Best,
    /// How much each parameter matters, by PED-ANOVA
    Importance,
    /// What each parameter did to the objective
    Effects,
    /// Trials that ran the same parameters
    Duplicates,
    /// Trials that look wrong
    Suspicious,
}

/// Say what the trials of an experiment taught, and how sure that is
///
/// Without a topic all of them are shown. Every table says on how many trials it rests, and warns where
/// those are too few.
#[derive(Debug, Parser)]
pub struct Analyze {
    /// The experiment; not needed with --from
    #[arg(value_name = "EXPERIMENT")]
    name: Option<String>,
    /// What to look at
    #[arg(value_enum, value_name = "TOPIC")]
    topics: Vec<Topic>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    list: ListArgs,
}

impl Magic for Analyze {
    const NAME: &'static str = "analyze";

    fn explain(&self) -> Vec<String> {
        self.source.explain(self.name.as_deref())
    }

    async fn run(mut self, ctx: &Context) -> Result<(), MagicError> {
        // `:analyze --from DIR importance`: the folder names the experiment.
        if self.source.from.is_some()
            && let Some(topic) = self
                .name
                .as_deref()
                .and_then(|name| Topic::from_str(name, true).ok())
        {
            self.topics.insert(0, topic);
            self.name = None;
        }
        let asked = !self.topics.is_empty();
        let topics = if asked {
            self.topics.clone()
        } else {
            Topic::value_variants().to_vec()
        };
        if let [_, _, ..] = topics.as_slice() {
            for (given, option) in [
                (self.list.save.is_some(), "--save"),
                (!self.list.conditions.is_empty(), "--where"),
                (!self.list.sort.is_empty(), "--sort"),
                (!self.list.columns.is_empty(), "--columns"),
            ] {
                if given {
                    return Err(MagicError::usage(format!("{option} needs one topic"))
                        .hint("write best, importance, effects, duplicates or suspicious after the experiment"));
                }
            }
        }
        let source = match &self.source.from {
            Some(folder) => {
                let source = self.source.read(ctx, None).await?;
                let found = source.experiment.metadata.name();
                if let Some(word) = self.name.as_deref().filter(|word| *word != found) {
                    return Err(no_topic(word, found, folder));
                }
                source
            }
            None => self.source.read(ctx, self.name.as_deref()).await?,
        };
        let (context, list) = (ctx.clone(), self.list.clone());
        let answers = ctx.compute(move || {
            let table = source.table();
            let answer = |topic: &Topic| {
                let shown = match topic {
                    Topic::Best => best(&table),
                    Topic::Importance => importance(&table),
                    Topic::Effects => effects(&table),
                    Topic::Duplicates => duplicates(&table),
                    Topic::Suspicious => suspicious(&table),
                };
                context.ready(shown, &list)
            };
            topics.iter().map(answer).collect::<Result<Vec<_>, _>>()
        });
        for answer in answers.await? {
            ctx.show(answer)?;
        }
        Ok(())
    }
}

/// A word behind --from that is neither the experiment's name nor a topic.
fn no_topic(word: &str, experiment: &str, folder: &std::path::Path) -> MagicError {
    let known: Vec<String> = Topic::value_variants()
        .iter()
        .filter_map(Topic::to_possible_value)
        .map(|value| value.get_name().to_owned())
        .collect();
    match nearest::to(word, known.iter().map(String::as_str)).first() {
        Some(near) => MagicError::usage(format!("there is no topic `{word}`"))
            .hint(format!("did you mean `{near}`?")),
        None => MagicError::usage(format!(
            "{} holds the experiment {experiment}, not {word}",
            folder.display()
        ))
        .hint(format!(
            "leave the name out, or write a topic: {}",
            known.join(", ")
        )),
    }
}

/// A share as percent; the value stays a number between 0 and 1.
fn percent(share: f64) -> Cell {
    Cell::of(share, importance::percent(share))
}

fn best(table: &TrialTable) -> Table {
    let mut shown = Table::new([
        Column::new("TRIAL"),
        Column {
            key: "objective".to_owned(),
            ..Column::number(table.objective.clone())
        },
        Column::number("CHANCE")
            .hover("how often it is the best when every trial is run again in thought"),
        Column::number("RANK FROM").hover(
            "its rank in nine of ten such draws, and the one it has now; equals share theirs",
        ),
        Column::number("RANK TO"),
    ])
    .title("The best")
    .empty(nothing(table));
    let Some(standing) = best::standing(table, 5) else {
        return shown;
    };
    let rank = |rank: Option<usize>| rank.map(Cell::count).unwrap_or_default();
    for (at, one) in standing.candidates.iter().enumerate() {
        let row = shown.row([
            Cell::text(&one.trial),
            Cell::number(one.objective),
            one.chance.map(percent).unwrap_or_default(),
            rank(one.ranks.map(|ranks| ranks.0)),
            rank(one.ranks.map(|ranks| ranks.1)),
        ]);
        row.marked = at == 0;
    }
    let trials = counted(standing.trials, "trial");
    shown = shown.footer(match (standing.noise, standing.from) {
        _ if standing.trials > 1 && standing.equal == standing.trials => format!(
            "rests on {trials}, which all have the same {}: none of them is better",
            table.objective
        ),
        (Some(noise), Some(Noise::Repeats(count))) => format!(
            "rests on {trials}; equal trials differ by about {} ({count} repeats); {} close to the best",
            number_text(noise),
            lie(standing.close)
        ),
        (Some(noise), _) => format!(
            "rests on {trials}; like trials differ by about {}; {} close to the best",
            number_text(noise),
            lie(standing.close)
        ),
        (None, Some(_)) => format!(
            "rests on {trials}; most like trials have the very same {}",
            table.objective
        ),
        (None, None) => format!(
            "rests on {trials}; how much equal trials differ is not known, so no chance is given"
        ),
    });
    warned(left_out(shown, table), &standing.warnings)
}

/// Why there is nothing to say, and what to do.
fn nothing(table: &TrialTable) -> String {
    let absence = table.absence();
    format!("{}; {}", absence.what, absence.hint)
}

/// Says which trials a table does not rest on.
fn left_out(shown: Table, table: &TrialTable) -> Table {
    match table.left_out() {
        Some(left_out) => shown.footer(left_out),
        None => shown,
    }
}

fn lie(count: usize) -> String {
    match count {
        0 => "none lies".to_owned(),
        1 => "1 other lies".to_owned(),
        count => format!("{count} others lie"),
    }
}

fn warned(table: Table, warnings: &[String]) -> Table {
    warnings.iter().fold(table, |table, warning| {
        table.footer(format!("note: {warning}"))
    })
}

fn importance(table: &TrialTable) -> Table {
    let shown = Table::new([
        Column::new("PARAMETER"),
        Column::number("SHARE").hover("of all that sets the best tenth apart"),
        Column::number("FROM").hover("where the share lies in nine of ten resamplings"),
        Column::number("TO"),
    ])
    .title("What matters");
    let found = match importance::importance(table) {
        Ok(found) => found,
        Err(_) if table.best().is_none() => return shown.empty(nothing(table)),
        Err(error) => {
            let left_out = table.left_out().map(|words| format!("; {words}"));
            return shown.empty(format!("{error}{}", left_out.unwrap_or_default()));
        }
    };
    let mut shown = shown;
    for one in &found.shares {
        shown.row([
            Cell::text(&one.parameter),
            percent(one.share),
            percent(one.interval.0),
            percent(one.interval.1),
        ]);
    }
    let mut line = format!(
        "rests on {}, of which {} count as good (PED-ANOVA)",
        counted(found.trials, "trial"),
        found.good
    );
    if !found.constant.is_empty() {
        line.push_str(&format!("; never varied: {}", found.constant.join(", ")));
    }
    warned(left_out(shown.footer(line), table), &found.warnings)
}

fn effects(table: &TrialTable) -> Table {
    let mut shown = Table::new([
        Column::new("PARAMETER"),
        Column::new("VALUES"),
        Column::number("TRIALS"),
        Column::number("MIDDLE").hover(format!("the middle {} of these trials", table.objective)),
        Column::number("BEST"),
        Column::number("TREND")
            .hover("Spearman's rank correlation with how good a trial is: above 0, more is better"),
    ])
    .title("What each parameter did")
    .empty(if table.best().is_some() {
        format!("`{}` has no parameters", table.experiment)
    } else {
        nothing(table)
    });
    let (found, warning) = effects::effects(table);
    let mut rests = 0;
    for effect in &found {
        rests = rests.max(effect.trials);
        let middles = effect.levels.iter().map(|level| level.median);
        let best = middles.reduce(|best, next| if table.better(next, best) { next } else { best });
        for (at, level) in effect.levels.iter().enumerate() {
            let trend = effect.trend.filter(|_| at == 0);
            let row = shown.row([
                Cell::text(&effect.parameter),
                Cell::text(&level.words),
                Cell::count(level.trials),
                Cell::number(level.median),
                Cell::number(level.best),
                trend
                    .map(|trend| Cell::of(trend, format!("{trend:+.2}")))
                    .unwrap_or_default(),
            ]);
            row.marked = effect.levels.len() > 1 && Some(level.median) == best;
        }
    }
    if found.is_empty() {
        return shown;
    }
    let shown = shown.footer(format!(
        "rests on {}; ★ the values with the best middle",
        counted(rests, "trial")
    ));
    warned(
        left_out(shown, table),
        &warning.into_iter().collect::<Vec<_>>(),
    )
}

fn duplicates(table: &TrialTable) -> Table {
    let mut shown = Table::new([
        Column::number("COUNT"),
        Column::new("TRIALS"),
        Column::new("PARAMETERS"),
        Column::number("FROM").hover(format!("the smallest {} among them", table.objective)),
        Column::number("TO").hover(format!("the largest {} among them", table.objective)),
    ])
    .title("Run more than once")
    .empty(match table.rows.len() {
        0 => format!("`{}` has no trials", table.experiment),
        1 => "there is one trial, so nothing ran twice".to_owned(),
        count => format!("no two of {count} trials ran the same parameters"),
    });
    for one in findings::duplicates(table) {
        let parameters: Vec<String> = one
            .parameters
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        let names = match one.trials.as_slice() {
            [first, second, third, _, ..] => {
                format!(
                    "{first}, {second}, {third} and {} more",
                    one.trials.len() - 3
                )
            }
            all => all.join(", "),
        };
        let number = |number: Option<f64>| number.map(Cell::number).unwrap_or_default();
        let row = shown.row([
            Cell::count(one.trials.len()),
            Cell::of(one.trials.join(", "), names).hover(one.trials.join("\n")),
            Cell::text(parameters.join(", ")),
            number(one.objectives.map(|ends| ends.0)),
            number(one.objectives.map(|ends| ends.1)),
        ]);
        row.name = one.trials.first().cloned().unwrap_or_default();
    }
    if shown.rows.is_empty() {
        return shown;
    }
    shown.footer(format!("looked at {}", counted(table.rows.len(), "trial")))
}

fn suspicious(table: &TrialTable) -> Table {
    let (found, warning) = findings::suspicious(table);
    let looked = counted(table.rows.len(), "trial");
    let mut shown = Table::new([
        Column::new("TRIAL"),
        Column::new("WHAT IS STRANGE"),
        Column::new("WHAT TO DO"),
    ])
    .title("Worth a look")
    .empty(match &warning {
        Some(warning) => format!("nothing looks wrong in {looked}; {warning}"),
        None => format!("nothing looks wrong in {looked}"),
    });
    for one in found {
        shown.row([
            Cell::text(one.trial),
            Cell::text(one.why).with_status(Status::Warn),
            Cell::text(one.next),
        ]);
    }
    if shown.rows.is_empty() {
        return shown;
    }
    let shown = shown.footer(format!("looked at {looked}"));
    warned(shown, &warning.into_iter().collect::<Vec<_>>())
}
