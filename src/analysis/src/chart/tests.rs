//! Every chart beside what experiments may be: large, empty, failed, or strangely named.

use serde_json::json;

use super::*;
use crate::trials::tests::{space, table};

const NOTHING: &[String] = &[];

/// Every chart of a table.
fn all(table: &TrialTable) -> Vec<(&'static str, Result<Chart, ChartError>)> {
    let logs: Vec<Log> = table
        .observed()
        .take(20)
        .map(|(row, objective)| Log {
            trial: row.name.clone(),
            values: (0..50)
                .map(|step| (step % 7 != 3).then_some(objective * f64::from(step)))
                .collect(),
        })
        .collect();
    vec![
        ("history", history(table)),
        ("parallel", parallel(table, NOTHING)),
        ("slice", slice(table, NOTHING)),
        ("contour", contour(table, NOTHING)),
        ("importance", importance(table)),
        ("correlation", correlation(table)),
        ("pareto", pareto(table, NOTHING)),
        ("curves", curves(table, &table.objective, &logs)),
        ("timeline", timeline(table, 1_767_300_000.0)),
    ]
}

fn wavy(lr: f64, units: f64, optimizer: &str) -> f64 {
    let choice = if optimizer == "adam" { 0.05 } else { 0.0 };
    0.9 - (lr.log10() + 2.0).powi(2) * 0.05 - (units - 64.0).abs() / 1000.0 + choice
}

#[test]
fn ten_thousand_trials_stay_below_a_megabyte_and_a_half_and_say_what_was_summed_up() {
    for (name, chart) in all(&space(10_000, wavy)) {
        let chart = chart.unwrap_or_else(|error| panic!("{name}: {error}"));
        let picture = crate::png::from_svg(&chart.svg).unwrap();
        let size = chart.vega_lite.to_string().len() + picture.png.len() * 4 / 3 + chart.text.len();
        assert!(size < 1_500_000, "{name}: {size} bytes");
        assert!(picture.width <= 2000 && picture.height <= 2000, "{name}");
        if matches!(name, "history" | "parallel" | "slice" | "pareto") {
            let notes = chart.vega_lite["title"]["subtitle"].to_string();
            assert!(notes.contains("10000 trials"), "{name}: {notes}");
        }
    }
}

/// JupyterLab's dark theme has light ink, which on a painted white paper nobody sees.
#[test]
fn a_chart_that_paints_its_paper_brings_its_ink() {
    for (name, chart) in all(&space(30, wavy)) {
        let figure = chart
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .vega_lite;
        assert_eq!(figure["background"], "#ffffff", "{name}");
        for path in [
            "/axis/labelColor",
            "/axis/titleColor",
            "/title/color",
            "/title/subtitleColor",
            "/text/color",
        ] {
            assert_eq!(
                figure["config"].pointer(path),
                Some(&json!("#333333")),
                "{name}: {path}"
            );
        }
    }
}

#[test]
fn what_cannot_be_drawn_is_said_and_nothing_panics() {
    let mut odd = space(12, wavy);
    for (number, row) in odd.rows.iter_mut().enumerate() {
        row.objective = [Some(1e308), Some(-1e308), Some(0.0), None][number % 4];
        row.metrics = vec![row.objective, Some(1e-320)];
    }
    let mut bare = space(3, wavy);
    bare.parameters.clear();
    for row in &mut bare.rows {
        row.parameters.clear();
    }
    let tables = [
        ("none", table(&[])),
        ("failed", table(&[None, None, None])),
        ("one", table(&[Some(0.5)])),
        ("two", table(&[Some(0.5), Some(0.6)])),
        ("equal", table(&[Some(0.5); 9])),
        ("extreme", odd),
        ("without parameters", bare),
    ];
    for (what, table) in tables {
        for (name, chart) in all(&table) {
            match chart {
                Ok(chart) => {
                    crate::png::from_svg(&chart.svg).unwrap();
                    for wrong in ["NaN", "inf\""] {
                        assert!(
                            !chart.svg.contains(wrong),
                            "{name} of {what}: {}",
                            chart.svg
                        );
                    }
                    assert!(!chart.text.is_empty());
                }
                Err(error) => {
                    assert!(
                        !matches!(what, "two" | "extreme") || name != "history",
                        "{error}"
                    );
                    assert!(!error.hint().is_empty(), "{name} of {what}: {error}");
                }
            }
        }
    }
    let (_, history) = &all(&table(&[Some(0.5)]))[0];
    assert!(history.is_ok());
}

#[test]
fn names_are_words_to_vega_and_to_svg_whatever_they_hold() {
    let mut table = space(40, wavy);
    let names = [
        "--lr.decay[0]",
        "<script>alert(\"1\")</script>",
        "학습률 'x'",
    ];
    for (parameter, name) in table.parameters.iter_mut().zip(names) {
        parameter.name = name.to_owned();
    }
    table.parameters[2].choices = vec!["<b>a</b>".into(), "adam & co".into()];
    table.experiment = "<img src=x onerror=alert(1)>".into();
    table.objective = "acc.uracy[\"top\"]".into();
    table.metrics[0].name.clone_from(&table.objective);
    for row in &mut table.rows {
        row.parameters[2] = Some(Value::Text("adam & co".into()));
        row.name = format!("{}'\"<i>", row.name);
    }
    for (name, chart) in all(&table) {
        let chart = chart.unwrap_or_else(|error| panic!("{name}: {error}"));
        crate::png::from_svg(&chart.svg).unwrap();
        assert!(
            !chart.svg.contains("<script") && !chart.svg.contains("<img"),
            "{name}"
        );
        fields(&chart.vega_lite, &mut |field| {
            let plain = field.chars().all(|char| char.is_ascii_alphanumeric());
            assert!(plain, "{name} uses the field {field}");
        });
    }
}

/// Calls with the name of every field that a figure refers to.
fn fields(json: &serde_json::Value, seen: &mut impl FnMut(&str)) {
    match json {
        serde_json::Value::Object(members) => {
            for (name, value) in members {
                match (name.as_str(), value) {
                    ("values", _) => {}
                    ("field", serde_json::Value::String(field)) => seen(field),
                    _ => fields(value, seen),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| fields(item, seen)),
        _ => {}
    }
}

#[test]
fn a_log_space_has_a_log_axis_and_the_better_is_the_darker() {
    let mut table = space(30, wavy);
    let chart = slice(&table, &["lr".to_owned()]).unwrap();
    let layer = |chart: &Chart| chart.vega_lite["layer"][0].clone();
    assert_eq!(
        layer(&chart)["encoding"]["x"]["scale"]["type"],
        json!("log")
    );
    let darkest = |chart: &Chart| {
        let values = layer(chart)["data"]["values"].as_array().unwrap().clone();
        let by_shade = |point: &serde_json::Value| (point["s"].as_f64().unwrap() * 1e6) as i64;
        values.into_iter().max_by_key(by_shade).unwrap()["trial"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(darkest(&chart), table.best().unwrap().0.name);
    table.minimize = true;
    let chart = slice(&table, &["lr".to_owned()]).unwrap();
    assert_eq!(darkest(&chart), table.best().unwrap().0.name);
    assert!(
        chart.vega_lite["title"]["subtitle"]
            .to_string()
            .contains("smaller accuracy")
    );
}

#[test]
fn names_that_are_not_there_come_with_those_that_are() {
    let table = space(10, wavy);
    let error = slice(&table, &["momentum".to_owned()]).unwrap_err();
    assert_eq!(error.to_string(), "`digits` has no parameter `momentum`");
    assert_eq!(error.hint(), "there are --lr, units, optimizer");
    let error = pareto(&table, &["acc".to_owned()]).unwrap_err();
    assert!(error.hint().contains("accuracy, loss"), "{error:?}");
    let error = contour(&table, &["lr".to_owned()]).unwrap_err();
    assert!(
        error.to_string().contains("two parameters, and 1"),
        "{error}"
    );
}

#[test]
fn equal_input_gives_equal_bytes() {
    let table = space(50, wavy);
    assert_eq!(all(&table), all(&table));
}

#[test]
fn charts_say_in_words_what_they_show() {
    let table = space(60, wavy);
    let words: Vec<String> = all(&table)
        .into_iter()
        .map(|(name, chart)| format!("{name}: {}", chart.unwrap().text))
        .collect();
    insta::assert_snapshot!(words.join("\n\n"));
}
