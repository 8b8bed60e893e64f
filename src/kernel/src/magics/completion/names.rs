//! Names of experiments and trials, as far as cells had to do with them: an editor must not wait for a
//! cluster.

use clap::Arg;

use crate::magics::{Entry, Family};
use crate::session::Session;

/// The names that an argument may take.
pub(super) fn of(session: &Session, entry: &Entry, arg: &Arg) -> Vec<String> {
    let kind = arg.get_value_names().and_then(|names| names.first());
    let is_own = arg.is_positional() && entry.family == Family::Katib;
    match (kind.map(|kind| kind.as_str()), entry.name) {
        (Some("EXPERIMENT"), _) => experiments(session),
        (Some("TRIAL|best"), _) => [vec!["best".to_owned()], trials(session)].concat(),
        (Some("NAME"), "trial") => trials(session),
        (Some("NAME"), "why" | "logs") if arg.is_positional() => {
            [experiments(session), trials(session)].concat()
        }
        // A new one gets a name of its own.
        (Some("NAME"), "tune") => Vec::new(),
        (Some("NAME"), _) if is_own => experiments(session),
        _ => Vec::new(),
    }
}

fn experiments(session: &Session) -> Vec<String> {
    let mut all = session.experiments();
    all.extend(session.listed("experiments").names);
    all.sort();
    all.dedup();
    all
}

fn trials(session: &Session) -> Vec<String> {
    session.listed("trials").names
}

#[cfg(test)]
mod tests {
    use super::super::complete;
    use crate::magics::tests::session;
    use crate::session::Listed;

    #[test]
    fn experiments_and_trials_that_cells_had_to_do_with_are_completed() {
        let (_home, session) = session();
        session.note_experiment("mnist");
        let list = |names: [&str; 2]| Listed {
            names: names.map(str::to_owned).to_vec(),
            ..Listed::default()
        };
        session.note_list("experiments", list(["mnist", "digits"]));
        session.note_list("trials", list(["mnist-1", "mnist-2"]));
        for (line, names) in [
            (":trials m", &["mnist"][..]),
            (":plot d", &["digits"]),
            (":why mnist", &["mnist", "mnist-1", "mnist-2"]),
            (":trial ", &["mnist-1", "mnist-2"]),
            (":experiment wait ", &["digits", "mnist"]),
            (":tune m", &[]),
            (":plot --from out con", &["contour"]),
            (":analyze --from=out im", &["importance"]),
        ] {
            let found = complete(&session, line, line.len()).matches;
            let found: Vec<&str> = found.iter().map(|one| one.text.as_str()).collect();
            assert_eq!(found, names, "{line}");
        }
    }
}
