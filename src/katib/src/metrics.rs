//! Metric lines, and what a trial's status says about them.
//!
//! # Where this departs from Katib on purpose
//! Katib takes `loss=nan` or an empty value for a result: it becomes the newest value, counts
//! as available, and an unparsable value is even taken for the best of all. Here the
//! objective's value is **unavailable** unless it is a finite number: [`observe`] writes
//! `unavailable` where Katib would write `nan`, `inf` or nothing, and [`objective_value`]
//! skips such values in observations that come from a real cluster. The text of an
//! additional metric (a genotype, say) is kept as it is, unless it is empty or not a number
//! by its own words. The order of an observation's entries, random in Katib, is that of
//! the strategies.

use crate::names::{UNAVAILABLE, ZERO_TIME};
use crate::re2::PatternError;
use crate::time::{self, Instant};
use crate::types::{
    FileFormat, Metric, MetricsCollectorSpec, ObjectiveSpec, Observation, StrategyType,
};
use serde_json::Value;
use smol_str::SmolStr;

mod text;

pub use text::TextReader;

/// One reported value. Its texts are short ones of which a log has millions: they are held in place, or shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricRow {
    /// When, RFC 3339, as it was written; the year 1 when nothing was written.
    pub time: SmolStr,
    /// The metric.
    pub name: SmolStr,
    /// The value, as it was written.
    pub value: SmolStr,
}

impl MetricRow {
    /// A row.
    pub fn new(
        time: impl Into<SmolStr>,
        name: impl Into<SmolStr>,
        value: impl Into<SmolStr>,
    ) -> Self {
        Self {
            time: time.into(),
            name: name.into(),
            value: value.into(),
        }
    }
}

/// Why metrics can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricsError {
    /// A filter is no regular expression.
    #[error("metrics filter {filter}: {source}")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        source: PatternError,
    },
    /// A line of a JSON metrics file is not JSON. Katib gives up the whole file then.
    #[error("line {line} of the metrics file is no JSON object: {reason}")]
    NotJson {
        /// Which line, from 1.
        line: usize,
        /// What the reader says.
        reason: String,
    },
    /// A row's time is no time.
    #[error("metric {metric} was reported at {time:?}, which is no RFC 3339 time")]
    Time {
        /// The metric.
        metric: String,
        /// What stood there.
        time: String,
    },
}

impl MetricsError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Filter { source, .. } => source.hint(),
            Self::NotJson { .. } => Some(
                "write one JSON object a line, or set source.fileSystemPath.format to TEXT"
                    .to_owned(),
            ),
            Self::Time { .. } => {
                Some("write times like 2024-03-04T17:55:08Z, or leave them out".to_owned())
            }
        }
    }
}

/// Reads one line of the JSON form; nothing on an empty line. Only values that are JSON
/// strings count: Katib ignores numbers.
///
/// # Errors
/// When the line is no JSON object.
pub fn json_line(
    objective: &ObjectiveSpec,
    line: &str,
    number: usize,
) -> Result<Vec<MetricRow>, MetricsError> {
    if line.trim().is_empty() {
        return Ok(Vec::new());
    }
    let object: serde_json::Map<String, Value> =
        serde_json::from_str(line).map_err(|error| MetricsError::NotJson {
            line: number,
            reason: error.to_string(),
        })?;
    let time = object
        .get("timestamp")
        .and_then(json_time)
        .unwrap_or_else(|| ZERO_TIME.to_owned());
    Ok(objective
        .metric_names()
        .filter_map(|name| {
            let value = object.get(name)?.as_str()?;
            Some(MetricRow::new(time.as_str(), name, value))
        })
        .collect())
}

/// A time string, or a number of seconds whose digits after the point are taken for a count
/// of nanoseconds (so `.5` is five of them): Katib reads them so, and rows must keep their
/// order on both.
fn json_time(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => time::parse(text).map(|_| text.clone()),
        Value::Number(number) => {
            let text = match number.as_i64() {
                Some(whole) => whole.to_string(),
                None => number.as_f64()?.to_string(),
            };
            let (seconds, fraction) = text.split_once('.').unwrap_or((&text, "0"));
            let nanoseconds: u64 = fraction.parse().ok()?;
            let seconds: i64 = seconds.parse().ok()?;
            time::format(Instant {
                seconds: seconds.checked_add((nanoseconds / 1_000_000_000) as i64)?,
                nanoseconds: (nanoseconds % 1_000_000_000) as u32,
            })
        }
        _ => None,
    }
}

/// Reads what a trial has written, as its collector would: TEXT or JSON, with the filters of
/// the spec, and with one `unavailable` row when the objective never appears.
///
/// # Errors
/// When a filter is no regular expression, or a JSON file has a line that is not JSON.
pub fn collect(
    spec: &MetricsCollectorSpec,
    objective: &ObjectiveSpec,
    text: &str,
) -> Result<Vec<MetricRow>, MetricsError> {
    let source = spec.source.as_ref();
    let json = source
        .and_then(|source| source.file_system_path.as_ref())
        .is_some_and(|path| path.format == FileFormat::Json);
    let rows = if json {
        let mut rows = Vec::new();
        for (index, line) in text.split('\n').enumerate() {
            rows.extend(json_line(objective, line, index + 1)?);
        }
        rows
    } else {
        let filters = source
            .and_then(|source| source.filter.as_ref())
            .map(|filter| filter.metrics_format.as_slice())
            .unwrap_or_default();
        TextReader::new(objective, filters)?.text(text.as_bytes())
    };
    Ok(or_unavailable(rows, objective))
}

/// The rows as they are when the objective is among them; else one row that says it is not.
pub fn or_unavailable(rows: Vec<MetricRow>, objective: &ObjectiveSpec) -> Vec<MetricRow> {
    if rows
        .iter()
        .any(|row| row.name == objective.objective_metric_name)
    {
        rows
    } else {
        vec![unavailable_row(objective)]
    }
}

/// The row that stands for an objective that was never reported.
pub fn unavailable_row(objective: &ObjectiveSpec) -> MetricRow {
    MetricRow::new(
        ZERO_TIME,
        objective.objective_metric_name.as_str(),
        UNAVAILABLE,
    )
}

/// The lines of a text that name a metric, with their numbers from 1: what to show when a
/// metric never came.
pub fn lines_naming<'t>(text: &'t str, metric: &str) -> Vec<(usize, &'t str)> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| line.contains(metric))
        .map(|(index, line)| (index + 1, line))
        .collect()
}

/// A finite number, if that is what the text is.
pub fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// Whether a text, by its own words, is no number: `nan`, `inf`, nothing.
pub(crate) fn is_void(text: &str) -> bool {
    text.is_empty()
        || text == UNAVAILABLE
        || text.parse::<f64>().is_ok_and(|value| !value.is_finite())
}

/// Computes a trial's observation: per strategy one metric with its smallest, greatest and
/// newest value, as they were written.
///
/// # Errors
/// When a row's time is no time.
pub fn observe(objective: &ObjectiveSpec, rows: &[MetricRow]) -> Result<Observation, MetricsError> {
    let mut metrics = Vec::new();
    for strategy in &objective.metric_strategies {
        let is_objective = strategy.name == objective.objective_metric_name;
        let mut smallest: Option<(f64, &str)> = None;
        let mut greatest: Option<(f64, &str)> = None;
        let mut newest: Option<(Instant, &str)> = None;
        for row in rows.iter().filter(|row| row.name == strategy.name) {
            let time = time::parse(&row.time).ok_or_else(|| MetricsError::Time {
                metric: row.name.to_string(),
                time: row.time.to_string(),
            })?;
            if newest.is_none_or(|(before, _)| time >= before) {
                newest = Some((time, &row.value));
            }
            if let Some(value) = number(&row.value) {
                if smallest.is_none_or(|(least, _)| value < least) {
                    smallest = Some((value, &row.value));
                }
                if greatest.is_none_or(|(most, _)| value > most) {
                    greatest = Some((value, &row.value));
                }
            }
        }
        let text = |found: Option<(f64, &str)>| {
            found.map_or_else(|| UNAVAILABLE.to_owned(), |(_, text)| text.to_owned())
        };
        let latest = newest
            .map(|(_, text)| text)
            .filter(|text| !is_void(text) && (!is_objective || number(text).is_some()))
            .unwrap_or(UNAVAILABLE);
        metrics.push(Metric {
            name: strategy.name.clone(),
            min: text(smallest),
            max: text(greatest),
            latest: latest.to_owned(),
        });
    }
    Ok(Observation { metrics })
}

/// The value that stands for a trial, as it was written: chosen by the objective's strategy,
/// min and max falling back to the newest value.
pub fn objective_text<'o>(
    objective: &ObjectiveSpec,
    observation: &'o Observation,
) -> Option<&'o str> {
    chosen(objective, observation).map(|(text, _)| text)
}

/// The same as a number.
pub fn objective_value(objective: &ObjectiveSpec, observation: &Observation) -> Option<f64> {
    chosen(objective, observation).map(|(_, value)| value)
}

fn chosen<'o>(objective: &ObjectiveSpec, observation: &'o Observation) -> Option<(&'o str, f64)> {
    let name = &objective.objective_metric_name;
    let text = strategy_text(objective.strategy(name)?, observation.metric(name)?);
    Some((text, number(text)?))
}

/// The value of a metric that a strategy picks; `unavailable` when there is none.
pub fn strategy_text<'m>(strategy: &StrategyType, metric: &'m Metric) -> &'m str {
    let picked = match strategy {
        StrategyType::Min => &metric.min,
        StrategyType::Max => &metric.max,
        StrategyType::Latest => return &metric.latest,
        StrategyType::Other(_) => return UNAVAILABLE,
    };
    if picked.is_empty() || picked == UNAVAILABLE {
        &metric.latest
    } else {
        picked
    }
}

/// Whether a trial that succeeded has its objective: else it is MetricsUnavailable.
pub fn objective_available(objective: &ObjectiveSpec, observation: &Observation) -> bool {
    objective_text(objective, observation).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn objective() -> ObjectiveSpec {
        serde_json::from_value(json!({"type": "maximize", "objectiveMetricName": "accuracy",
            "additionalMetricNames": ["loss"],
            "metricStrategies": [{"name": "accuracy", "value": "max"}, {"name": "loss", "value": "min"}]}))
        .unwrap()
    }

    fn text(filters: &[&str], text: &str) -> Vec<MetricRow> {
        let filters: Vec<String> = filters.iter().map(|f| (*f).to_owned()).collect();
        TextReader::new(&objective(), &filters)
            .unwrap()
            .text(text.as_bytes())
    }

    fn row(time: &str, name: &str, value: &str) -> MetricRow {
        MetricRow::new(time, name, value)
    }

    #[test]
    fn the_default_filter_reads_name_equals_value() {
        let rows = text(
            &[],
            "start\n2024-03-04T17:55:08Z accuracy=0.5, loss = -1.5e-03 other=1\nval/accuracy=7\nnote accuracy\n",
        );
        assert_eq!(
            rows,
            [
                row("2024-03-04T17:55:08Z", "accuracy", "0.5"),
                row("2024-03-04T17:55:08Z", "loss", "-1.5e-03"),
                row(ZERO_TIME, "accuracy", "7"),
            ]
        );
    }

    #[test]
    fn the_labs_filter_cuts_an_exponent() {
        let lab = r"{metricName: ([\w|-]+), metricValue: ((-?\d+)(\.\d+)?)}";
        assert_eq!(
            text(&[lab], "{metricName: accuracy, metricValue: 0.97}"),
            [row(ZERO_TIME, "accuracy", "0.97")]
        );
        let open = r"metricName: ([\w|-]+), metricValue: ((-?\d+)(\.\d+)?)";
        assert_eq!(
            text(&[open], "metricName: loss, metricValue: 1e-05"),
            [row(ZERO_TIME, "loss", "1")]
        );
    }

    #[test]
    fn json_lines_want_strings_and_take_two_kinds_of_time() {
        let objective = objective();
        let read = |line: &str| json_line(&objective, line, 1).unwrap();
        assert_eq!(
            read(r#"{"timestamp": "2021-12-02T06:27:27.5Z", "accuracy": "0.9", "loss": 0.1}"#),
            [row("2021-12-02T06:27:27.5Z", "accuracy", "0.9")]
        );
        assert_eq!(
            read(r#"{"timestamp": 1638422847.28721, "loss": "0.1"}"#),
            [row("2021-12-02T05:27:27.000028721Z", "loss", "0.1")]
        );
        assert_eq!(
            read(r#"{"timestamp": 1638422847, "loss": "0.1"}"#),
            [row("2021-12-02T05:27:27Z", "loss", "0.1")]
        );
        assert_eq!(read("  "), []);
        assert!(json_line(&objective, "epoch 1", 3).is_err());
    }

    #[test]
    fn without_the_objective_one_unavailable_row_is_left() {
        let spec = MetricsCollectorSpec::default();
        let rows = collect(&spec, &objective(), "loss=0.5\n").unwrap();
        assert_eq!(rows, [row(ZERO_TIME, "accuracy", UNAVAILABLE)]);
        let observation = observe(&objective(), &rows).unwrap();
        assert!(!objective_available(&objective(), &observation));
    }

    #[test]
    fn an_observation_keeps_the_strings_and_orders_by_time() {
        let observation = observe(
            &objective(),
            &[
                row("2024-01-01T00:00:02Z", "accuracy", "0.90"),
                row("2024-01-01T00:00:01Z", "accuracy", "0.950"),
                row("2024-01-01T00:00:02Z", "accuracy", "0.8"),
                row(ZERO_TIME, "unknown", "1"),
            ],
        )
        .unwrap();
        assert_eq!(
            serde_json::to_value(&observation).unwrap(),
            json!({"metrics": [
                {"name": "accuracy", "min": "0.8", "max": "0.950", "latest": "0.8"},
                {"name": "loss", "min": "unavailable", "max": "unavailable", "latest": "unavailable"}]})
        );
        assert_eq!(objective_value(&objective(), &observation), Some(0.95));
    }

    #[test]
    fn what_is_no_number_is_unavailable() {
        for value in ["nan", "NaN", "inf", "-Infinity", "", "abc"] {
            let rows = [row(ZERO_TIME, "accuracy", value)];
            let observation = observe(&objective(), &rows).unwrap();
            assert_eq!(observation.metrics[0].latest, UNAVAILABLE, "{value}");
            assert!(!objective_available(&objective(), &observation));
        }
        let genotype = [row(ZERO_TIME, "loss", "Genotype(x)")];
        let observation = observe(&objective(), &genotype).unwrap();
        assert_eq!(observation.metrics[1].latest, "Genotype(x)");
    }

    #[test]
    fn a_value_that_went_bad_at_the_end_still_has_its_maximum() {
        let rows = [
            row(ZERO_TIME, "accuracy", "0.7"),
            row(ZERO_TIME, "accuracy", "nan"),
        ];
        let observation = observe(&objective(), &rows).unwrap();
        assert_eq!(objective_value(&objective(), &observation), Some(0.7));
        let mut latest = objective();
        latest.metric_strategies[0].value = StrategyType::Latest;
        assert!(!objective_available(&latest, &observation));
    }

    #[test]
    fn a_time_that_is_none_is_an_error() {
        let error = observe(&objective(), &[row("yesterday", "accuracy", "1")]).unwrap_err();
        assert!(error.to_string().contains("yesterday"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(accuracy|loss|[ -~é\n{}]){0,12}") {
            let _ = collect(&MetricsCollectorSpec::default(), &objective(), &text);
            for line in text.lines() {
                let _ = json_line(&objective(), line, 1);
            }
        }
    }
}
