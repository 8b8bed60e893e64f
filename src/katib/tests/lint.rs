//! Files as people write them, and what is said about them.

use katlab_katib::lint::{
    Finding, Options, RULES, Report, Severity, Target, apply_fixes, fix, lint, rule,
};
use katlab_katib::render::{Found, render};
use katlab_katib::yaml;
use std::collections::BTreeSet;

const LAB: &str = include_str!("fixtures/lab.template.yaml");

fn rendered() -> String {
    let rendered = render(LAB, |name| {
        (name == "PROJECT_NAME").then(|| Found {
            value: "my-project".into(),
            source: "settings".into(),
        })
    });
    assert_eq!(rendered.missing, []);
    rendered.text
}

fn codes(report: &Report) -> Vec<&'static str> {
    report.findings.iter().map(|finding| finding.code).collect()
}

fn of<'r>(report: &'r Report, code: &str) -> Vec<&'r Finding> {
    report
        .findings
        .iter()
        .filter(|finding| finding.code == code)
        .collect()
}

/// The file with one piece exchanged.
fn with(piece: &str, other: &str) -> String {
    let text = rendered();
    assert!(text.contains(piece), "{piece}");
    text.replacen(piece, other, 1)
}

fn found(text: &str, code: &str) -> Vec<(usize, usize, String)> {
    of(&lint(text, &Options::default()), code)
        .into_iter()
        .map(|finding| (finding.line, finding.column, finding.message.clone()))
        .collect()
}

#[test]
fn the_raw_template_is_explained_line_by_line() {
    let options = Options {
        namespace: Some("kubeflow-user".into()),
        ..Options::default()
    };
    let report = lint(LAB, &options);
    let lines: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"));
    let escaped = of(&report, "KL0002");
    assert_eq!(escaped.len(), 2);
    assert_eq!(
        LAB.lines().nth(escaped[0].line - 1).unwrap().trim_start(),
        "- \"--learning_rate=\\${trialParameters.learningRate}\"   # the learner's flag"
    );
}

#[test]
fn rendered_and_mended_the_template_has_no_error_left() {
    let text = rendered();
    assert!(!lint(&text, &Options::default()).has_errors());
    let fixed = fix(&text, &Options::default());
    let report = lint(&fixed.text, &Options::default());
    assert_eq!(report.fixable(), 0, "{:?}", report.findings);
    assert!(fixed.text.contains("# the learner's flag"), "comments stay");
    let before = yaml::parse(&text).unwrap();
    let after = yaml::parse(&fixed.text).unwrap();
    assert_eq!(
        after["spec"]["metricsCollectorSpec"]["source"]["filter"]["metricsFormat"][0],
        r"{metricName: ([\w|-]+), metricValue: ((-?\d+)(\.\d+)?([eE][-+]?\d+)?)}"
    );
    assert_eq!(after["spec"]["parameters"], before["spec"]["parameters"]);
}

#[test]
fn the_raw_template_is_mended_except_for_what_only_a_person_knows() {
    let fixed = fix(LAB, &Options::default());
    let report = lint(&fixed.text, &Options::default());
    let errors: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| finding.code)
        .collect();
    assert_eq!(
        errors,
        ["KL0003"],
        "the project's name is not ours to guess"
    );
}

#[test]
fn numbers_without_quotes_are_found_and_quoted() {
    let text = with("min: \"0.0001\"", "min: 0.0001");
    let line = text
        .lines()
        .position(|l| l.contains("min: 0.0001"))
        .unwrap()
        + 1;
    assert_eq!(
        found(&text, "KL0103"),
        [(line, 14, "min is a number; a string is wanted".to_owned())]
    );
    assert_eq!(
        fix(&text, &Options::default()).text,
        fix(&rendered(), &Options::default()).text
    );
    let goal = with("goal: 0.99", "goal: \"0.99\"");
    assert_eq!(
        fix(&goal, &Options::default()).text,
        fix(&rendered(), &Options::default()).text
    );
    let annotation = with("inject: 'false'", "inject: false");
    assert!(
        fix(&annotation, &Options::default())
            .text
            .contains("inject: \"false\"")
    );
}

#[test]
fn misspelt_fields_get_the_name_that_was_meant() {
    let text = with("parallelTrialCount: 10", "paralelTrialCount: 10");
    let report = lint(&text, &Options::default());
    let finding = of(&report, "KL0102")[0];
    assert_eq!(
        finding.message,
        "ExperimentSpec has no field paralelTrialCount; did you mean parallelTrialCount?"
    );
    assert_eq!(finding.severity, Severity::Warning);
    assert_eq!(
        fix(&text, &Options::default()).text,
        fix(&rendered(), &Options::default()).text
    );
    let job = with("restartPolicy: Never", "restartpolicy: Never");
    let report = lint(&job, &Options::default());
    assert_eq!(of(&report, "KL0102")[0].severity, Severity::Error);
    assert_eq!(
        fix(&job, &Options::default()).text,
        fix(&rendered(), &Options::default()).text
    );
}

#[test]
fn an_algorithm_that_may_be_the_users_own_is_a_warning_and_a_misspelt_one_an_error() {
    for (name, severity) in [("climber", Severity::Warning), ("rndom", Severity::Error)] {
        let text = with("algorithmName: random", &format!("algorithmName: {name}"));
        for target in [Target::Sandbox, Target::Cluster] {
            let options = Options {
                target,
                ..Options::default()
            };
            let report = lint(&text, &options);
            let [finding] = of(&report, "KL0201")[..] else {
                panic!("{:?}", report.findings);
            };
            assert_eq!(finding.severity, severity, "{name}");
            assert!(finding.mend.contains("katib-config"), "{}", finding.mend);
        }
    }
}

#[test]
fn every_trap_has_its_rule() {
    for (piece, other, code, message) in [
        (
            "kind: Experiment",
            "kind: Trial",
            "KL0101",
            "kind is Trial, not Experiment",
        ),
        (
            "kubeflow.org/v1beta1",
            "kubeflow.org/v1alpha3",
            "KL0101",
            "apiVersion is kubeflow.org/v1alpha3, not kubeflow.org/v1beta1",
        ),
        (
            "type: maximize",
            "type: maximise",
            "KL0201",
            "spec.objective.type must be minimize or maximize",
        ),
        ("name: digits-tuning", "name: 1digits", "KL0201", ""),
        ("maxTrialCount: 12", "maxTrialCount: 0", "KL0201", ""),
        (
            "  parallelTrialCount: 10\n  maxTrialCount: 12\n  maxFailedTrialCount: 3\n",
            "  maxTrialCount: 2\n",
            "KL0202",
            "parallelTrialCount is left out and so 3, more than maxTrialCount 2",
        ),
        (
            "      - name: batchSize\n        description: Batch size for the model\n        reference: --batch_size\n",
            "",
            "KL0203",
            "no trialParameter refers to --batch_size",
        ),
        (
            "primaryContainerName: training",
            "primaryContainerName: train",
            "KL0204",
            "no container of the template is named train; there is training",
        ),
        (
            "algorithmName: random",
            "algorithmName: random\n    algorithmSettings: [{name: random_state, value: \"-1\"}]",
            "KL0205",
            "random_state should be greater than or equal to 0",
        ),
        (
            "min: \"16\"",
            "min: \"200\"",
            "KL0206",
            "parameter --batch_size: min 200 is greater than max 128",
        ),
        (
            "name: --batch_size",
            "name: --learning_rate",
            "KL0206",
            "--learning_rate is spec.parameters[0] already",
        ),
        (
            "algorithmName: random",
            "algorithmName: darts",
            "KL0207",
            "the sandbox does not run the algorithm darts",
        ),
        (
            "\"train.py\"",
            "\"${trialSpec.Name}\"",
            "KL0208",
            "${trialSpec.…} is not filled in inside the template",
        ),
        (
            "restartPolicy: Never",
            "restartPolicy: Always",
            "KL0301",
            "restartPolicy is Always; a Job takes Never or OnFailure",
        ),
        (
            "retain: true",
            "retain: false",
            "KL0303",
            "jobs and logs go as soon as a trial has ended",
        ),
        (
            "hyperparam:1.0",
            "hyperparam",
            "KL0305",
            "image my-project.registry.example/lab/hyperparam has no tag",
        ),
        (
            "hyperparam:1.0",
            "hyperparam:latest",
            "KL0305",
            "image my-project.registry.example/lab/hyperparam:latest has the tag latest",
        ),
        (
            "\"train.py\"",
            "\"train.py; date\"",
            "KL0307",
            "the word holds ;, which the shell that Katib adds will read",
        ),
        (
            "                  - \"python\"\n",
            "                  - /bin/sh\n                  - \"-c\"\n",
            "KL0307",
            "/bin/sh -c is not recognised: only the script's first word runs",
        ),
        (
            "  metricsCollectorSpec:",
            "  unused:",
            "KL0308",
            "Python keeps its output back until the end",
        ),
        (
            "objectiveMetricName: accuracy",
            "objectiveMetricName: a;b",
            "KL0404",
            "a;b holds a semicolon",
        ),
        (
            r#""{metricName: ([\\w|-]+), metricValue: ((-?\\d+)(\\.\\d+)?)}""#,
            r"'(\w+)=(?:[0-9.]+)'",
            "KL0404",
            "the filter has fewer than two groups",
        ),
        (
            "path: \"/tmp/metrics.log\"",
            "path: \"/app/metrics.log\"",
            "KL0405",
            "an empty volume covers the image's /app",
        ),
        ("  maxFailedTrialCount: 3\n", "", "KL0502", ""),
        ("  maxTrialCount: 12\n", "", "KL0503", ""),
        (
            "  parallelTrialCount: 10",
            "  nasConfig: {}",
            "KL0207",
            "the sandbox does not run architecture search",
        ),
    ] {
        let messages: Vec<String> = found(&with(piece, other), code)
            .into_iter()
            .map(|(_, _, message)| message)
            .collect();
        assert!(
            messages
                .iter()
                .any(|found| message.is_empty() || found == message),
            "{code} for {other:?}: {messages:?}"
        );
    }
}

/// The tutorial's own template.
const TUTORIAL: &str = include_str!("../../../notebooks/hpt/Experiment.template.yaml");

#[test]
fn variables_of_one_value_are_one_finding() {
    let found = found(TUTORIAL, "KL0003");
    let (_, _, message) = &found[0];
    assert_eq!(found.len(), 1);
    assert_eq!(
        message,
        "${REGISTRY}, ${PROJECT_NAME}, ${IMAGE_NAME} and ${IMAGE_TAG} are not filled in"
    );
}

#[test]
fn the_tutorials_own_experiment_has_nothing_to_complain_about() {
    let image = "${REGISTRY}/${PROJECT_NAME}/${IMAGE_NAME}:${IMAGE_TAG}";
    assert!(TUTORIAL.contains(image));
    let text = TUTORIAL.replace(image, "r.example/digits/hyperparam:1.0");
    for target in [Target::Sandbox, Target::Cluster] {
        let options = Options {
            target,
            ..Options::default()
        };
        assert_eq!(lint(&text, &options).findings, []);
    }
    // Its filter takes what its training writes, and small numbers whole.
    let report = lint(&text, &Options::default());
    let filter = report
        .object
        .as_ref()
        .and_then(|object| {
            object
                .pointer("/spec/metricsCollectorSpec/source/filter/metricsFormat/0")?
                .as_str()
        })
        .unwrap();
    let filter = katlab_katib::re2::compile(filter).unwrap();
    let line = "2026-11-24T17:30:00.123456Z {metricName: loss, metricValue: 1.5e-05}";
    let taken = filter.captures(line).unwrap();
    assert_eq!((&taken[1], &taken[2]), ("loss", "1.5e-05"));
}

#[test]
fn a_filter_without_groups_is_an_error_for_every_collector_that_uses_one() {
    let filter = r#""{metricName: ([\\w|-]+), metricValue: ((-?\\d+)(\\.\\d+)?)}""#;
    let text = with(filter, "abc");
    for (kind, code) in [("File", "KL0201"), ("StdOut", "KL0404")] {
        let text = text.replace(
            "collector:\n      kind: File",
            &format!("collector:\n      kind: {kind}"),
        );
        let report = lint(&text, &Options::default());
        let about: Vec<_> = report
            .findings
            .iter()
            .filter(|one| one.path.contains("metricsFormat"))
            .filter(|one| one.severity == Severity::Error)
            .map(|one| (one.code, one.severity))
            .collect();
        assert_eq!(about, [(code, Severity::Error)], "{kind}");
    }
}

#[test]
fn what_can_be_mended_safely_is_gone_afterwards() {
    for (piece, other) in [
        ("kubeflow.org/v1beta1", "kubeflow.org/v1alpha3"),
        ("type: maximize", "type: maximise"),
        (
            "  parallelTrialCount: 10\n  maxTrialCount: 12\n  maxFailedTrialCount: 3\n",
            "  maxTrialCount: 2\n",
        ),
        (
            "primaryContainerName: training",
            "primaryContainerName: train",
        ),
        ("            restartPolicy: Never\n", ""),
        ("    algorithmName: random", "    algorithmName: randon"),
    ] {
        let text = with(piece, other);
        assert!(lint(&text, &Options::default()).has_errors(), "{other}");
        let fixed = fix(&text, &Options::default());
        let report = lint(&fixed.text, &Options::default());
        assert!(!report.has_errors(), "{other}: {:?}", report.findings);
    }
}

#[test]
fn a_cluster_has_rules_of_its_own() {
    let cluster = Options {
        target: Target::Cluster,
        ..Options::default()
    };
    let text = with("algorithmName: random", "algorithmName: hyperband");
    assert!(codes(&lint(&text, &cluster)).contains(&"KL0506"));
    assert!(!codes(&lint(&text, &cluster)).contains(&"KL0207"));
    let space = with(
        "algorithmName: random",
        "algorithmName: bayesianoptimization",
    )
    .replace("\"0.0001\"", "\"0\"");
    assert!(
        of(&lint(&space, &cluster), "KL0506")
            .iter()
            .any(|f| f.severity == Severity::Error)
    );
}

#[test]
fn files_that_are_no_yaml_get_one_finding_with_its_place() {
    for (text, line) in [
        ("a: 1\na: 2\n", 2),
        ("kind: Experiment\n  spec: x\n", 2),
        ("", 1),
        ("a: 1\n---\nb: 1\n", 2),
        ("kind: 'Experiment\n", 1),
    ] {
        let report = lint(text, &Options::default());
        assert_eq!(codes(&report), ["KL0001"], "{text:?}");
        assert!(report.findings[0].line <= line + 1, "{:?}", report.findings);
        assert!(!report.findings[0].mend.is_empty());
    }
    assert_eq!(codes(&lint("[1, 2]", &Options::default())), ["KL0101"]);
}

#[test]
fn every_rule_has_a_page_and_a_code_of_its_own() {
    let codes: BTreeSet<_> = RULES.iter().map(|rule| rule.code).collect();
    let names: BTreeSet<_> = RULES.iter().map(|rule| rule.name).collect();
    assert_eq!((codes.len(), names.len()), (RULES.len(), RULES.len()));
    for known in RULES {
        assert!(known.code.starts_with("KL") && known.code.len() == 6);
        for text in [known.what, known.why, known.mend, known.example] {
            assert!(!text.is_empty(), "{}", known.code);
        }
        assert!(known.page().contains("Why it hurts"));
    }
    assert_eq!(rule("kl0202").unwrap().name, "parallel-default");
    assert_eq!(rule("parallel-default").unwrap().code, "KL0202");
    assert!(rule("KL9999").is_none());
}

#[test]
fn edits_that_touch_each_other_are_not_both_applied() {
    let report = lint(&with("min: \"0.0001\"", "min: 0.0001"), &Options::default());
    let mut findings = report.findings.clone();
    findings.extend(report.findings);
    let once = apply_fixes(&with("min: \"0.0001\"", "min: 0.0001"), &findings);
    assert!(yaml::parse(&once.text).is_ok());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_lint_panic(text in "(kind: Experiment\n|spec:\n|  |- |: |\\$\\{x\\}|\\\\\\$|[\"'\\[\\]{},#&*|>\n a-z0-9é]){0,60}") {
        let report = lint(&text, &Options::default());
        let _ = apply_fixes(&text, &report.findings);
    }

    #[test]
    fn a_damaged_file_makes_lint_neither_panic_nor_point_outside(
        at in 0usize..2200, length in 0usize..40, piece in "[ \n:\"'{}\\[\\]$\\\\a-z0-9-]{0,12}", target in proptest::bool::ANY,
    ) {
        let mut text = LAB.to_owned();
        let start = at.min(text.len());
        let end = (start + length).min(text.len());
        text.replace_range(start..end, &piece);
        let options = Options { target: if target { Target::Sandbox } else { Target::Cluster }, ..Options::default() };
        let report = lint(&text, &options);
        let lines = text.lines().count() + 1;
        for finding in &report.findings {
            proptest::prop_assert!((1..=lines).contains(&finding.line), "{finding}");
        }
        let fixed = fix(&text, &options);
        proptest::prop_assert!(fixed.text.len() < text.len() + 4000);
    }
}

#[test]
fn what_the_sandbox_does_not_run_is_named() {
    for (piece, other, message) in [
        (
            "    source:\n",
            "    source:\n      httpGet: {scheme: HTTPS, port: 8080, path: /metrics}\n",
            "the sandbox reads metrics from the trial's pod over plain HTTP, not with scheme HTTPS",
        ),
        (
            "        template:\n",
            "        completionMode: Indexed\n        template:\n",
            "the sandbox's Jobs do not have completionMode: Indexed",
        ),
        (
            "        template:\n",
            "        successPolicy: {rules: []}\n        template:\n",
            "the sandbox's Jobs do not have successPolicy",
        ),
    ] {
        let text = with(piece, other);
        let messages: Vec<String> = found(&text, "KL0207")
            .into_iter()
            .map(|(_, _, message)| message)
            .collect();
        assert_eq!(messages, [message]);
        let cluster = Options {
            target: Target::Cluster,
            ..Options::default()
        };
        assert!(of(&lint(&text, &cluster), "KL0207").is_empty());
    }
}
