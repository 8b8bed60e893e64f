//! Conditions: how Katib sets them, and what they say.
//!
//! The list is ordered by the time of writing and its last entry is what `kubectl get`
//! shows, so the order in which conditions are set is part of the behaviour.

use crate::names::condition::{
    CREATED, EARLY_STOPPED, FAILED, KILLED, METRICS_UNAVAILABLE, RUNNING, SUCCEEDED,
};
use crate::types::{Condition, Experiment, Suggestion, Trial};

/// Status of a condition that holds.
pub const TRUE: &str = "True";
/// Status of a condition that does not hold.
pub const FALSE: &str = "False";

/// Sets a condition the way Katib does and tells whether anything was written.
///
/// Same status **and** reason: nothing happens, so a message that alone changed is not
/// written. Otherwise the old entry goes and the new one is appended; the transition time
/// survives when the status is the same.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: &str,
) -> bool {
    let old = find(conditions, kind);
    if old.is_some_and(|old| old.status == status && old.reason == reason) {
        return false;
    }
    let last_transition_time = old
        .filter(|old| old.status == status)
        .and_then(|old| old.last_transition_time.clone())
        .or_else(|| Some(now.to_owned()));
    remove_condition(conditions, kind);
    conditions.push(Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_update_time: Some(now.to_owned()),
        last_transition_time,
    });
    true
}

/// Turns a condition that exists and holds to `False`, keeping its reason and message, and
/// moves it to the end: what Katib does with Running before it appends Succeeded or Failed.
pub fn lower_condition(conditions: &mut Vec<Condition>, kind: &str, now: &str) -> bool {
    let Some(old) = find(conditions, kind).cloned() else {
        return false;
    };
    set_condition(conditions, kind, FALSE, &old.reason, &old.message, now)
}

/// Removes a condition and tells whether it was there.
pub fn remove_condition(conditions: &mut Vec<Condition>, kind: &str) -> bool {
    let before = conditions.len();
    conditions.retain(|condition| condition.kind != kind);
    conditions.len() != before
}

/// The entry of a type.
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.kind == kind)
}

/// Whether a condition is there with status `True`.
pub fn has_condition(conditions: &[Condition], kind: &str) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == TRUE)
}

/// The entry `kubectl get` shows.
pub fn last_condition(conditions: &[Condition]) -> Option<&Condition> {
    conditions.last()
}

/// An object whose status has conditions.
pub trait Conditioned {
    /// Its conditions, none when there is no status yet.
    fn conditions(&self) -> &[Condition];

    /// Whether a condition is there with status `True`.
    fn has(&self, kind: &str) -> bool {
        has_condition(self.conditions(), kind)
    }

    /// Whether its controller has seen it.
    fn is_created(&self) -> bool {
        self.has(CREATED)
    }

    /// Whether it runs.
    fn is_running(&self) -> bool {
        self.has(RUNNING)
    }

    /// Whether it succeeded.
    fn is_succeeded(&self) -> bool {
        self.has(SUCCEEDED)
    }

    /// Whether it failed.
    fn is_failed(&self) -> bool {
        self.has(FAILED)
    }
}

macro_rules! conditioned {
    ($($kind:ty),+) => {$(
        impl Conditioned for $kind {
            fn conditions(&self) -> &[Condition] {
                self.status.as_ref().map_or(&[], |status| &status.conditions)
            }
        }
    )+};
}

conditioned!(Experiment, Suggestion, Trial);

impl Experiment {
    /// Succeeded or Failed.
    pub fn is_completed(&self) -> bool {
        self.is_succeeded() || self.is_failed()
    }
}

impl Suggestion {
    /// Succeeded or Failed.
    pub fn is_completed(&self) -> bool {
        self.is_succeeded() || self.is_failed()
    }
}

impl Trial {
    /// Succeeded, Failed, Killed, EarlyStopped or MetricsUnavailable.
    pub fn is_completed(&self) -> bool {
        [
            SUCCEEDED,
            FAILED,
            KILLED,
            EARLY_STOPPED,
            METRICS_UNAVAILABLE,
        ]
        .iter()
        .any(|kind| self.has(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(conditions: &[Condition]) -> Vec<String> {
        conditions
            .iter()
            .map(|c| format!("{} {}", c.kind, c.status))
            .collect()
    }

    #[test]
    fn a_changed_message_alone_is_not_written() {
        let mut list = Vec::new();
        assert!(set_condition(&mut list, "Running", TRUE, "r", "one", "t1"));
        assert!(!set_condition(&mut list, "Running", TRUE, "r", "two", "t2"));
        assert_eq!(list[0].message, "one");
    }

    #[test]
    fn a_new_reason_moves_the_entry_and_keeps_its_transition_time() {
        let mut list = Vec::new();
        set_condition(&mut list, "A", TRUE, "r", "m", "t1");
        set_condition(&mut list, "B", TRUE, "r", "m", "t1");
        assert!(set_condition(&mut list, "A", TRUE, "other", "m", "t2"));
        assert_eq!(kinds(&list), ["B True", "A True"]);
        assert_eq!(list[1].last_transition_time.as_deref(), Some("t1"));
        assert_eq!(list[1].last_update_time.as_deref(), Some("t2"));
    }

    #[test]
    fn a_normal_end_leaves_created_running_succeeded() {
        let mut list = Vec::new();
        set_condition(&mut list, "Created", TRUE, "c", "created", "t1");
        set_condition(&mut list, "Running", TRUE, "r", "running", "t2");
        assert!(lower_condition(&mut list, "Running", "t3"));
        set_condition(&mut list, "Succeeded", TRUE, "s", "done", "t3");
        assert_eq!(
            kinds(&list),
            ["Created True", "Running False", "Succeeded True"]
        );
        assert_eq!(list[1].message, "running");
        assert_eq!(list[1].last_transition_time.as_deref(), Some("t3"));
        assert!(!has_condition(&list, "Running"));
        assert_eq!(
            last_condition(&list).map(|c| c.kind.as_str()),
            Some("Succeeded")
        );
    }
}
