//! Events: stored in the core group's form, served in both.

use serde_json::{Map, Value, json};

use super::super::status::FieldError;

/// Pairs of field names: `events.k8s.io` and core.
const RENAMED: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

fn rename(o: &mut Value, forward: bool) {
    let Some(map) = o.as_object_mut() else { return };
    let renamed: Map<String, Value> = std::mem::take(map)
        .into_iter()
        .map(|(key, value)| {
            let pair = RENAMED
                .iter()
                .find(|(new, old)| key == if forward { *old } else { *new });
            match pair {
                Some((new, old)) => ((if forward { *new } else { *old }).to_owned(), value),
                None => (key, value),
            }
        })
        .collect();
    *map = renamed;
}

pub(super) fn serve(o: &mut Value) {
    rename(o, true);
    o["apiVersion"] = json!("events.k8s.io/v1");
}

pub(super) fn store(o: &mut Value) {
    rename(o, false);
    o["apiVersion"] = json!("v1");
}

/// The object an event is about is in the event's namespace, or the event is in `default`.
pub(super) fn validate(o: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let namespace = o["metadata"]["namespace"].as_str().unwrap_or("");
    let about = o["involvedObject"]["namespace"].as_str().unwrap_or("");
    if about.is_empty() && !matches!(namespace, "default" | "kube-system")
        || !about.is_empty() && about != namespace
    {
        errors.push(FieldError::invalid(
            "involvedObject.namespace",
            &json!(about),
            "does not match event.namespace",
        ));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_event_hold_the_same() {
        let stored = json!({"apiVersion": "v1", "kind": "Event", "involvedObject": {"kind": "Pod"}, "message": "m", "count": 2, "reason": "r"});
        let mut served = stored.clone();
        serve(&mut served);
        assert_eq!(served["note"], "m");
        assert_eq!(served["regarding"]["kind"], "Pod");
        store(&mut served);
        assert_eq!(served, stored);
    }
}
