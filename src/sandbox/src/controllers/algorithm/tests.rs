use super::wire::{Assignments, Pair};
use super::*;
use serde_json::json;

fn parameters() -> Vec<ParameterSpec> {
    serde_json::from_value(json!([
        {"name": "lr", "parameterType": "double", "feasibleSpace": {"min": "0.1", "max": "0.5", "step": "0.1"}},
        {"name": "optimizer", "parameterType": "categorical", "feasibleSpace": {"list": ["sgd", "adam"]}}
    ]))
    .expect("parameters")
}

fn assigned(pairs: &[(&str, &str)], trial_name: &str) -> Assignments {
    let pair = |(name, value): &(&str, &str)| Pair {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    };
    Assignments {
        assignments: pairs.iter().map(pair).collect(),
        trial_name: trial_name.to_owned(),
        labels: [("generation".to_owned(), "1".to_owned())].into(),
    }
}

const GOOD: &[(&str, &str)] = &[("optimizer", "sgd"), ("lr", "0.2")];

#[test]
fn a_reply_is_read_if_trials_can_be_made_from_it() {
    let given = [TrialAssignment {
        name: "old".to_owned(),
        ..TrialAssignment::default()
    }];
    let long = "n".repeat(64);
    let rows: [(Vec<Assignments>, &str); 9] = [
        (
            vec![assigned(GOOD, "")],
            "2 were asked for (current_request_number) and 1 given",
        ),
        (
            vec![assigned(GOOD, ""); 3],
            "2 were asked for (current_request_number) and 3 given",
        ),
        (
            vec![assigned(GOOD, ""), assigned(&GOOD[..1], "")],
            "number 2 lacks the search parameter \"lr\"",
        ),
        (
            vec![assigned(&[GOOD[0], GOOD[1], ("x", "1")], ""); 2],
            "number 1 assigns \"x\"",
        ),
        (
            vec![assigned(&[GOOD[0], GOOD[0]], ""); 2],
            "number 1 assigns \"optimizer\"",
        ),
        (
            vec![assigned(GOOD, "Trial"); 2],
            "number 1 has the trial_name \"Trial\", which is no name",
        ),
        (
            vec![assigned(GOOD, &long); 2],
            "number 1 has the trial_name \"nnn",
        ),
        (
            vec![assigned(GOOD, "old"); 2],
            "number 1 has the trial_name old, which has been given before",
        ),
        (
            vec![assigned(GOOD, "new"); 2],
            "number 2 has the trial_name new, which has been given before",
        ),
    ];
    let reply = |parameter_assignments| GetSuggestionsReply {
        parameter_assignments,
        algorithm: None,
    };
    for (assignments, wanted) in rows {
        let error = read(reply(assignments), 2, &parameters(), &given).expect_err(wanted);
        let error = error.to_string();
        let begin = format!("The response contains unexpected trials: {wanted}");
        assert!(error.starts_with(&begin), "{error}");
    }
    let good = vec![assigned(GOOD, ""), assigned(GOOD, "mine-1")];
    let read = read(reply(good), 2, &parameters(), &given).expect("assignments");
    let names: Vec<&str> = read.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["", "mine-1"]);
    assert_eq!(read[0].labels["generation"], "1");
    assert_eq!(
        read[0].parameter_assignments,
        [
            ParameterAssignment::new("optimizer", "sgd"),
            ParameterAssignment::new("lr", "0.2")
        ]
    );
}

#[test]
fn a_value_outside_the_space_is_named_with_what_is_allowed() {
    let of = |lr: &str, optimizer: &str| {
        let values = [("lr", lr), ("optimizer", optimizer)];
        let values = values.map(|(name, value)| ParameterAssignment::new(name, value));
        let one = TrialAssignment {
            parameter_assignments: values.into(),
            ..TrialAssignment::default()
        };
        outside(&[one], &parameters())
    };
    assert_eq!(of("0.3", "adam"), None);
    let rows = [
        (
            of("7", "adam"),
            "lr = \"7\", and spec.parameters allows 0.1 to 0.5 in steps of 0.1",
        ),
        (of("0.25", "adam"), "lr = \"0.25\""),
        (of("much", "adam"), "lr = \"much\""),
        (
            of("0.3", "rmsprop"),
            "optimizer = \"rmsprop\", and spec.parameters allows one of sgd, adam",
        ),
    ];
    for (said, wanted) in rows {
        let said = said.expect(wanted);
        assert!(said.contains(wanted), "{said}");
    }
}
