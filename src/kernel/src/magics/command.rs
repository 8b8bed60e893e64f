//! Command lines by clap, which here neither prints nor exits.

use clap::error::{ContextKind, ContextValue, ErrorKind as ClapErrorKind};
use clap::{Arg, ArgAction, Command};

use super::registry::Call;
use super::{Entry, Magic, MagicError};

/// The flag that every magic has.
const EXPLAIN: &str = "explain";

/// The command line of a magic.
pub(super) fn of<M: Magic>() -> Command {
    let name = format!(":{}", M::NAME);
    M::command()
        .name(name.clone())
        .bin_name(name)
        .no_binary_name(true)
        .disable_help_subcommand(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .term_width(100)
        .color(clap::ColorChoice::Never)
        .arg(
            Arg::new(EXPLAIN)
                .long(EXPLAIN)
                .action(ArgAction::SetTrue)
                .help("Show the docker or kubectl commands that do the same, and do nothing")
                .display_order(998),
        )
        .arg(
            Arg::new("help")
                .short('h')
                .long("help")
                .action(ArgAction::HelpLong)
                .help("Show this page")
                .display_order(999),
        )
}

/// What a command line asks for.
pub(super) enum Parsed {
    /// The magic's help.
    Help,
    /// The magic itself, or what it would be with docker and kubectl.
    Call { call: Box<dyn Call>, explain: bool },
}

/// Reads the arguments of a magic.
pub(super) fn parse(entry: &Entry, arguments: &[String]) -> Result<Parsed, MagicError> {
    let command = (entry.command)();
    let refused = |error: clap::Error| match error.kind() {
        ClapErrorKind::DisplayHelp | ClapErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Ok(Parsed::Help)
        }
        _ => Err(usage(entry, &error, arguments)),
    };
    if let Some((option, next)) = without_value(&command, arguments) {
        return Err(
            MagicError::usage(format!("{option} lacks its value")).hint(format!(
                "`{next}` behind it is an option itself; {option}={next} takes it for the value"
            )),
        );
    }
    let matches = match command.try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return refused(error),
    };
    match (entry.call)(&matches) {
        Ok(call) => Ok(Parsed::Call {
            call,
            explain: matches.get_flag(EXPLAIN),
        }),
        Err(error) => refused(error),
    }
}

/// An option whose value may begin with dashes, before another option: `--sort --limit 1`. Its value is
/// missing, and clap would take that option for it.
fn without_value<'a>(command: &Command, arguments: &'a [String]) -> Option<(&'a str, &'a str)> {
    let is_option = |word: &str, same: &dyn Fn(&Arg) -> bool| {
        let long = word.strip_prefix("--").filter(|long| !long.is_empty());
        long.is_some_and(|long| {
            let mut known = command.get_arguments();
            known.any(|arg| arg.get_long() == Some(long) && same(arg))
        })
    };
    let takes_dashes =
        |arg: &Arg| arg.get_action().takes_values() && arg.is_allow_hyphen_values_set();
    let before_end = arguments.iter().take_while(|word| *word != "--");
    let words: Vec<&str> = before_end.map(String::as_str).collect();
    words.windows(2).find_map(|pair| {
        let [option, next] = pair else { return None };
        (is_option(option, &takes_dashes) && is_option(next, &|_| true)).then_some((*option, *next))
    })
}

/// Whether a condition fell apart into words: `--where accuracy > 0.9`.
fn is_open_condition(arguments: &[String]) -> bool {
    const SIGNS: [&str; 12] = [
        "=", "==", "!=", "<", "<=", ">", ">=", "~", "!~", "and", "or", "in",
    ];
    let mut after = arguments
        .iter()
        .skip_while(|word| *word != "--where")
        .skip(2);
    after
        .next()
        .is_some_and(|word| SIGNS.contains(&word.as_str()))
}

/// A search parameter that was taken for a flag: `--lr=1e-3..0.1`.
fn dashed_parameter<'a>(
    entry: &Entry,
    error: &clap::Error,
    arguments: &'a [String],
) -> Option<&'a str> {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let is_parameter = |word: &&String| {
        let named = word.strip_prefix(flag.as_str());
        named.is_some_and(|rest| rest.starts_with('=') && rest.contains(['.', ',']))
    };
    let found = arguments.iter().find(is_parameter)?;
    (entry.name == "tune").then_some(found)
}

/// clap's message without its frame: what is wrong, the usage line, and what may have been meant.
fn usage(entry: &Entry, error: &clap::Error, arguments: &[String]) -> MagicError {
    if error.kind() == ClapErrorKind::UnknownArgument && is_open_condition(arguments) {
        return MagicError::usage("a condition with spaces stands in quotes")
            .hint("write it such as --where 'accuracy > 0.9 and status=Succeeded'");
    }
    if error.kind() == ClapErrorKind::UnknownArgument
        && let Some(parameter) = dashed_parameter(entry, error, arguments)
    {
        return MagicError::usage(format!("`{parameter}` is no flag of :{}", entry.name)).hint(format!(
            "a parameter whose name begins with dashes stands last, behind ` -- `: `:{} NAME … -- {parameter}`",
            entry.name
        ));
    }
    let text = error.render().to_string();
    let mut message = Vec::new();
    let mut usage = None;
    let mut tips = Vec::new();
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(line) = trimmed.strip_prefix("Usage: ") {
            usage = Some(line.to_owned());
        } else if let Some(tip) = trimmed.strip_prefix("tip: ") {
            // That everything may also be a value helps nobody who mistyped an option.
            if !tip.starts_with("to pass ") {
                tips.push(tip.to_owned());
            }
        } else if trimmed.starts_with("For more information") || trimmed.is_empty() {
            // The hint below says it in our words.
        } else {
            message.push(
                trimmed
                    .strip_prefix("error: ")
                    .unwrap_or(trimmed)
                    .to_owned(),
            );
        }
    }
    // A misspelt value comes with those there are; clap lists them in the message already.
    if let Some(ContextValue::String(near)) = error.get(ContextKind::SuggestedValue)
        && tips.is_empty()
    {
        tips.push(format!("did you mean `{near}`?"));
    }
    let help = format!("`:help {}` shows all that can stand here", entry.name);
    let hint = if tips.is_empty() {
        help
    } else {
        format!("{}; {help}", tips.join("; "))
    };
    let failure = MagicError::usage(message.join(" ")).hint(hint);
    match usage {
        Some(usage) => failure.detail(format!("  usage: {usage}")),
        None => failure,
    }
}
