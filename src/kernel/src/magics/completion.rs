//! Completion of magics' lines, and what stands under the cursor.

use std::path::Path;

use clap::builder::PossibleValue;
use clap::{Arg, Command, ValueHint};

use super::{Entry, MAGICS, find, help, line};
use crate::event::Bundle;
use crate::session::Session;

mod columns;
mod names;

/// One thing that could stand at the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The text that replaces the part of the line named by [`Completion`].
    pub text: String,
    /// What kind of thing it is, as front ends show it.
    pub kind: &'static str,
    /// What it does, in a few words.
    pub help: String,
}

/// All that could stand at the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completion {
    /// The possibilities, in order.
    pub matches: Vec<Match>,
    /// Where the part of the line begins that they replace (in code points).
    pub start: usize,
    /// Where it ends.
    pub end: usize,
}

/// Completes a magic's line at a cursor given in code points of that line.
pub fn complete(session: &Session, text: &str, cursor: usize) -> Completion {
    let cut = text
        .char_indices()
        .nth(cursor)
        .map_or(text.len(), |(at, _)| at);
    let before = &text[..cut];
    let (words, _) = line::split_leniently(before);
    // The word under the cursor, if it touches one.
    let current = words.last().filter(|word| word.span.end == before.len());
    let start = current.map_or(before.len(), |word| word.span.start);
    let mut typed = &before[start..];
    let mut from = start;
    let done = words.len() - usize::from(current.is_some());
    let finished: Vec<String> = words[..done].iter().map(line::Word::raw).collect();

    let mut matches = Vec::new();
    if let Some((at, brace)) = variable_start(typed) {
        from = start + at;
        typed = &before[from..];
        let name = typed.trim_start_matches(['$', '{']);
        let (open, close) = if brace { ("${", "}") } else { ("$", "") };
        let all = session.settings().all().unwrap_or_default();
        let names = session
            .names()
            .into_iter()
            .filter(|have| have.starts_with(name));
        matches.extend(names.map(|have| {
            // Never the value: completions are not filtered.
            let help = match all.get(&have) {
                Some(setting) if setting.secret => "secret".to_owned(),
                Some(setting) => format!("from {}", setting.origin),
                None => "from the sandbox".to_owned(),
            };
            Match {
                text: format!("{open}{have}{close}"),
                kind: "variable",
                help,
            }
        }));
    } else if finished.is_empty() {
        matches.extend(names().filter(|found| found.text.starts_with(typed)));
    } else {
        let first = format!("{} ", finished[0].trim_start_matches(':'));
        if finished.len() == 1 {
            let verbs = MAGICS
                .iter()
                .filter_map(|entry| Some((entry.name.strip_prefix(&first)?, entry)));
            let verbs = verbs.filter(|(verb, _)| verb.starts_with(typed));
            matches.extend(verbs.map(|(verb, entry)| Match {
                text: verb.to_owned(),
                kind: "keyword",
                help: help::summary(entry),
            }));
        }
        if let Some((entry, used)) = find(&finished) {
            let (more, at) = arguments(session, entry, &finished[used..], typed);
            from += at;
            matches.extend(more);
        }
    }
    Completion {
        matches,
        start: before[..from].chars().count(),
        end: before.chars().count(),
    }
}

/// What is known about what stands under the cursor: the option, or the magic's page.
pub fn inspect(text: &str, cursor: usize) -> Option<Bundle> {
    let cut = text
        .char_indices()
        .nth(cursor)
        .map_or(text.len(), |(at, _)| at);
    let (words, _) = line::split_leniently(text);
    let raw: Vec<String> = words.iter().map(line::Word::raw).collect();
    let Some((entry, _)) = find(&raw) else {
        return help::help_page(raw.first()?);
    };
    let word = words
        .iter()
        .zip(&raw)
        .find(|(word, _)| word.span.start <= cut && cut <= word.span.end);
    if let Some((_, word)) = word.filter(|(_, word)| word.starts_with('-')) {
        let command = (entry.command)();
        if let Some(option) = command.get_arguments().find(|arg| names_option(arg, word)) {
            let help = option
                .get_long_help()
                .or(option.get_help())
                .map(ToString::to_string)
                .unwrap_or_default();
            return Some(Bundle::text(format!(":{} {word}\n{help}", entry.name)));
        }
    }
    Some(help::page(entry))
}

/// All first words, families once.
fn names() -> impl Iterator<Item = Match> {
    let mut seen = std::collections::BTreeSet::new();
    MAGICS.iter().filter_map(move |entry| {
        let first = entry.name.split(' ').next()?;
        seen.insert(first).then(|| {
            let help = match MAGICS.iter().find(|entry| entry.name == first) {
                Some(entry) => help::summary(entry),
                None => entry.family.name().to_owned(),
            };
            Match {
                text: format!(":{first}"),
                kind: "keyword",
                help,
            }
        })
    })
}

/// Where a `$NAME` begins that the word ends with, and whether it has a brace.
fn variable_start(typed: &str) -> Option<(usize, bool)> {
    let at = typed.rfind('$')?;
    if typed[..at].ends_with('\\') || typed.starts_with('\'') {
        return None;
    }
    let rest = &typed[at + 1..];
    let name = rest.strip_prefix('{').unwrap_or(rest);
    let open = name
        .chars()
        .all(|char| char.is_ascii_alphanumeric() || char == '_');
    open.then_some((at, rest.starts_with('{')))
}

fn names_option(arg: &Arg, word: &str) -> bool {
    let word = word.split('=').next().unwrap_or(word);
    arg.get_long()
        .is_some_and(|long| word.strip_prefix("--") == Some(long))
        || arg.get_short().is_some_and(|short| {
            word.strip_prefix('-')
                .is_some_and(|rest| rest.starts_with(short) && !rest.starts_with('-'))
        })
}

/// What could stand as the next argument, and where in the typed word it begins.
fn arguments(
    session: &Session,
    entry: &Entry,
    finished: &[String],
    typed: &str,
) -> (Vec<Match>, usize) {
    let command = (entry.command)();
    let takes_value = |arg: &Arg| arg.get_action().takes_values();
    // `--output=js`
    if let Some((option, value)) = typed.split_once('=')
        && option.starts_with("--")
        && let Some(arg) = command
            .get_arguments()
            .find(|arg| names_option(arg, option))
    {
        let (values, at) = values(session, entry, arg, value);
        return (values, option.len() + 1 + at);
    }
    // `--output js`
    if let Some(last) = finished
        .last()
        .filter(|last| last.starts_with('-') && !last.contains('='))
        && let Some(arg) = command
            .get_arguments()
            .find(|arg| names_option(arg, last) && takes_value(arg))
    {
        return values(session, entry, arg, typed);
    }
    if typed.starts_with('-') {
        return (options(&command, finished, typed), 0);
    }
    let mut count = 0;
    let mut skip = false;
    for word in finished {
        if std::mem::take(&mut skip) {
            continue;
        }
        if word.starts_with('-') && word.len() > 1 {
            skip = !word.contains('=')
                && command
                    .get_arguments()
                    .any(|arg| names_option(arg, word) && takes_value(arg));
        } else {
            count += 1;
        }
    }
    let positionals: Vec<&Arg> = command.get_positionals().collect();
    let many = |arg: &&&Arg| {
        arg.get_num_args()
            .is_some_and(|range| range.max_values() > 1)
            || matches!(arg.get_action(), clap::ArgAction::Append)
    };
    let positional = positionals
        .get(count)
        .or_else(|| positionals.last().filter(many));
    match positional {
        Some(arg) => {
            let (mut found, at) = values(session, entry, arg, typed);
            // `:plot --from DIR`: the folder names the experiment, and the next may follow at once.
            let from = |word: &String| word == "--from" || word.starts_with("--from=");
            if let Some(next) = positionals.get(count + 1)
                && arg.get_id() == "name"
                && !next.get_possible_values().is_empty()
                && finished.iter().any(from)
            {
                found.extend(values(session, entry, next, typed).0);
            }
            (found, at)
        }
        None if typed.is_empty() => (options(&command, finished, typed), 0),
        None => (Vec::new(), 0),
    }
}

fn options(command: &Command, finished: &[String], typed: &str) -> Vec<Match> {
    let repeats = |arg: &Arg| {
        matches!(
            arg.get_action(),
            clap::ArgAction::Append | clap::ArgAction::Count
        )
    };
    command
        .get_arguments()
        .filter(|arg| {
            !arg.is_hide_set()
                && (repeats(arg) || !finished.iter().any(|word| names_option(arg, word)))
        })
        .filter_map(|arg| {
            let text = arg.get_long().map(|long| format!("--{long}"))?;
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            text.starts_with(typed).then_some(Match {
                text,
                kind: "keyword",
                help,
            })
        })
        .collect()
}

/// What could stand as the value of an argument, and where in the typed part of it that begins.
fn values(session: &Session, entry: &Entry, arg: &Arg, typed: &str) -> (Vec<Match>, usize) {
    let possible = arg.get_possible_values();
    let value = |text: String, help: Option<String>| Match {
        text,
        kind: "value",
        help: help.unwrap_or_default(),
    };
    if !possible.is_empty() {
        let possible = possible
            .iter()
            .filter(|one| one.get_name().starts_with(typed));
        let help = |one: &PossibleValue| one.get_help().map(ToString::to_string);
        return (
            possible
                .map(|one| value(one.get_name().to_owned(), help(one)))
                .collect(),
            0,
        );
    }
    if let Some((columns, at)) = columns::of_list(session, entry.name, arg.get_id().as_str(), typed)
    {
        return (
            columns.into_iter().map(|text| value(text, None)).collect(),
            at,
        );
    }
    let mut candidates = (entry.candidates)(arg.get_id().as_str(), session);
    candidates.extend(names::of(session, entry, arg));
    if !candidates.is_empty() {
        let matching = candidates.into_iter().filter(|one| one.starts_with(typed));
        return (matching.map(|text| value(text, None)).collect(), 0);
    }
    let paths = match arg.get_value_hint() {
        ValueHint::AnyPath | ValueHint::FilePath => paths(session, typed, false),
        ValueHint::DirPath => paths(session, typed, true),
        _ => Vec::new(),
    };
    (paths, 0)
}

fn paths(session: &Session, typed: &str, directories: bool) -> Vec<Match> {
    let typed = typed.trim_start_matches(['"', '\'']);
    let (folder, prefix) = typed.rsplit_once('/').map_or(("", typed), |(_, prefix)| {
        (&typed[..=typed.len() - prefix.len() - 1], prefix)
    });
    let Ok(entries) = std::fs::read_dir(session.resolve(Path::new(folder))) else {
        return Vec::new();
    };
    let mut found: Vec<Match> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let hidden = name.starts_with('.') && !prefix.starts_with('.');
            let folder_too = entry.path().is_dir();
            if hidden || !name.starts_with(prefix) || (directories && !folder_too) {
                return None;
            }
            let path = format!("{folder}{name}{}", if folder_too { "/" } else { "" });
            let text =
                if path.contains(|char: char| char.is_whitespace() || "'\"\\$#".contains(char)) {
                    format!("'{}'", path.replace('\'', "'\\''"))
                } else {
                    path
                };
            Some(Match {
                text,
                kind: "path",
                help: String::new(),
            })
        })
        .collect();
    found.sort_by(|a, b| a.text.cmp(&b.text));
    found.truncate(200);
    found
}
