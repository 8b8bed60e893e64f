//! What to write in place of what did not compile, where that is about the crate `katlab`: the
//! compiler's own help does not reach the cell.

use super::helper;

/// A hint for an error, which is its message and what was shown of it. `is_equipped` says whether
/// cells have the crate.
pub(super) fn of(message: &str, shown: &str, is_equipped: bool) -> Option<String> {
    if message.starts_with("cannot find") && message.ends_with("in this scope") {
        let name = message.split('`').nth(1)?;
        return helper::named(name).map(|ours| format!("write `katlab::{ours}`"));
    }
    let is_missing_some = is_equipped
        && (shown.contains("expected `Option<f64>`, found floating-point number")
            || shown.contains("expected `Option<f64>`, found integer"));
    is_missing_some.then(|| {
        "a trial may lack the value: compare it with `Some(0.9)`, or take it with `unwrap_or`"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_crate_are_known_without_its_name() {
        for (message, advice) in [
            (
                "cannot find type `Plot` in this scope",
                Some("write `katlab::Plot`"),
            ),
            (
                "cannot find macro `table` in this scope",
                Some("write `katlab::table!`"),
            ),
            ("cannot find value `x` in this scope", None),
        ] {
            assert_eq!(of(message, "", false).as_deref(), advice, "{message}");
        }
    }

    #[test]
    fn a_number_beside_a_value_that_may_be_missing_is_told_apart() {
        let shown = "  ╰── expected `Option<f64>`, found floating-point number";
        assert!(of("mismatched types", shown, true).is_some());
        assert_eq!(of("mismatched types", shown, false), None);
    }
}
