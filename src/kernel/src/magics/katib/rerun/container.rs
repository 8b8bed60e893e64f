//! A trial's primary container as one that an engine runs, and what its metric filters read from it.

use std::collections::BTreeMap;

use katlab_katib::defaults::default_strategy;
use katlab_katib::metrics::{MetricRow, MetricsError, TextReader, observe};
use katlab_katib::types::{CollectorKind, MetricStrategy, ObjectiveSpec, Observation, Trial};
use katlab_lab::docker::run::Run as Wanted;
use katlab_lab::katib::trials::TrialRow;
use katlab_sandbox::api::kinds::Quantity;
use katlab_sandbox::runtime::expanded;
use serde_json::Value as Json;

use crate::event::Stream;
use crate::magics::MagicError;
use crate::magics::katib::metric_cell;
use crate::render::table::{Cell, Column, Table};

/// What there is to run.
#[derive(Debug)]
pub(super) struct Primary {
    /// The container's name.
    pub(super) name: String,
    /// All but the image, which is still the name that the trial had.
    pub(super) wanted: Wanted,
    /// What an engine cannot give it.
    pub(super) left_out: Vec<String>,
}

impl Primary {
    /// The container of a trial.
    ///
    /// # Errors
    /// When the trial's object has none of the name.
    pub(super) fn of(trial: &Trial) -> Result<Self, MagicError> {
        let name = trial.spec.primary_container_name.as_str();
        let run = trial.spec.run_spec.as_ref();
        let Some((pod, container)) = run.and_then(|run| container(run, name)) else {
            return Err(MagicError::new(format!(
                "the object of trial {} has no container {name} that could be run",
                trial.metadata.name()
            ))
            .hint("leave out --container to run it as an experiment"));
        };
        let (variables, mut left_out) = variables(container);
        let fill = |text: String| {
            let value = |name: &str| {
                let found = variables.iter().rev().find(|(known, _)| known == name);
                found.map(|(_, value)| value.clone())
            };
            expanded(&text, value)
        };
        let mut command = words(container, "command").into_iter().map(&fill);
        let entrypoint = command.next();
        let command = command.chain(words(container, "args").into_iter().map(&fill));
        let wanted = Wanted {
            image: text(container, "image"),
            command: command.collect(),
            env: variables
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
            workdir: Some(text(container, "workingDir")).filter(|path| !path.is_empty()),
            entrypoint,
            user: user(pod, container),
            memory: memory(container),
            ..Wanted::default()
        };
        left_out.extend(list(container, "volumeMounts").map(|mount| {
            let (name, path) = (text(mount, "name"), text(mount, "mountPath"));
            format!("the volume {name} at {path}")
        }));
        if let Some(limits) = container
            .pointer("/resources/limits")
            .and_then(Json::as_object)
        {
            let limits: Vec<String> = limits
                .iter()
                .filter(|(what, _)| *what != "memory" || wanted.memory.is_none())
                .map(|(what, most)| match most.as_str() {
                    Some(most) => format!("{what} {most}"),
                    None => format!("{what} {most}"),
                })
                .collect();
            if !limits.is_empty() {
                left_out.push(format!("the limits ({})", limits.join(", ")));
            }
        }
        left_out.extend(
            list(pod, "initContainers")
                .map(|one| format!("the container {} that runs before it", text(one, "name"))),
        );
        left_out.extend(
            list(pod, "containers")
                .map(|one| text(one, "name"))
                .filter(|other| *other != text(container, "name"))
                .map(|other| format!("the container {other} beside it")),
        );
        Ok(Self {
            name: text(container, "name"),
            wanted,
            left_out,
        })
    }
}

/// The pod of an object in which the container of that name is, and the container; where no name is given,
/// the first. Jobs have one pod, other kinds one for each role.
fn container<'j>(object: &'j Json, name: &str) -> Option<(&'j Json, &'j Json)> {
    let own = list(object, "containers")
        .find(|one| name.is_empty() || one["name"] == name)
        .map(|one| (object, one));
    own.or_else(|| match object {
        Json::Object(fields) => fields.values().find_map(|inner| container(inner, name)),
        _ => None,
    })
}

fn list<'j>(object: &'j Json, field: &str) -> impl Iterator<Item = &'j Json> {
    object
        .get(field)
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
}

fn text(object: &Json, field: &str) -> String {
    let found = object.get(field).and_then(Json::as_str);
    found.unwrap_or_default().to_owned()
}

fn words(container: &Json, field: &str) -> Vec<String> {
    list(container, field)
        .filter_map(|word| word.as_str().map(str::to_owned))
        .collect()
}

/// `UID[:GID]`, of the container's own words or else of the pod's.
fn user(pod: &Json, container: &Json) -> Option<String> {
    let of = |field: &str| {
        let own = container.pointer(&format!("/securityContext/{field}"));
        let own = own.or_else(|| pod.pointer(&format!("/securityContext/{field}")));
        own.and_then(Json::as_i64)
    };
    let (user, group) = (of("runAsUser")?, of("runAsGroup"));
    Some(group.map_or_else(|| user.to_string(), |group| format!("{user}:{group}")))
}

/// The limit of its memory, in bytes. One of processors may be more than this machine has, and changes nothing but
/// how long it takes.
fn memory(container: &Json) -> Option<i64> {
    let limit = container.pointer("/resources/limits/memory")?;
    let text = limit
        .as_str()
        .map_or_else(|| limit.to_string(), str::to_owned);
    let billionths = Quantity::parse(&text)?.nanos();
    i64::try_from(billionths / 1_000_000_000).ok()
}

/// The variables with plain values, in their order, and those whose values only the cluster has.
fn variables(container: &Json) -> (Vec<(String, String)>, Vec<String>) {
    let mut known: Vec<(String, String)> = Vec::new();
    let mut left_out = Vec::new();
    for from in list(container, "envFrom") {
        for (field, kind) in [("secretRef", "Secret"), ("configMapRef", "ConfigMap")] {
            if let Some(source) = from.get(field) {
                let name = text(source, "name");
                left_out.push(format!("the variables of {kind} {name}"));
            }
        }
    }
    for one in list(container, "env") {
        let name = text(one, "name");
        let Some(from) = one.get("valueFrom").filter(|from| !from.is_null()) else {
            let value = |name: &str| {
                let found = known.iter().rev().find(|(before, _)| before == name);
                found.map(|(_, value)| value.clone())
            };
            let value = expanded(&text(one, "value"), value);
            known.push((name, value));
            continue;
        };
        let source = [("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")]
            .iter()
            .find_map(|(field, kind)| Some(format!("{kind} {}", text(from.get(field)?, "name"))));
        let source = source.unwrap_or_else(|| "the pod".to_owned());
        left_out.push(format!("the variable {name} of {source}"));
    }
    (known, left_out)
}

/// So much of a line without an end is kept, in bytes.
const LONGEST_LINE: usize = 1 << 20;

/// Reads what a container prints as the trial's collector would.
pub(super) struct Heard {
    objective: ObjectiveSpec,
    reader: TextReader,
    /// The last line of each stream, while it has no end.
    open: [String; 2],
    rows: Vec<MetricRow>,
}

impl Heard {
    /// With the filters and the objective of a trial.
    ///
    /// # Errors
    /// When a filter is no regular expression.
    pub(super) fn new(trial: &Trial) -> Result<Self, MetricsError> {
        let mut objective = trial.spec.objective.clone().unwrap_or_default();
        let names: Vec<String> = objective.metric_names().map(str::to_owned).collect();
        for name in names {
            if objective.strategy(&name).is_none() {
                let value = default_strategy(&objective.objective_type);
                objective
                    .metric_strategies
                    .push(MetricStrategy { name, value });
            }
        }
        let source = trial.spec.metrics_collector.source.as_ref();
        let filter = source.and_then(|source| source.filter.as_ref());
        let filters = filter.map(|filter| filter.metrics_format.as_slice());
        Ok(Self {
            reader: TextReader::new(&objective, filters.unwrap_or_default())?,
            objective,
            open: Default::default(),
            rows: Vec::new(),
        })
    }

    /// Takes what was printed next.
    pub(super) fn take(&mut self, stream: Stream, text: &str) {
        let open = &mut self.open[usize::from(stream == Stream::Stderr)];
        let Some(end) = text.rfind('\n') else {
            // A bar of progress may be one line for hours.
            if open.len() < LONGEST_LINE {
                open.push_str(text);
            }
            return;
        };
        let (lines, rest) = text.split_at(end + 1);
        open.push_str(lines);
        self.rows.extend(self.reader.text(open.as_bytes()));
        rest.clone_into(open);
    }

    /// What was read in all; nothing where no metric was printed.
    ///
    /// # Errors
    /// When a metric's time is none.
    pub(super) fn observation(mut self) -> Result<Option<Observation>, MetricsError> {
        for open in &self.open {
            self.rows.extend(self.reader.text(open.as_bytes()));
        }
        if self.rows.is_empty() {
            return Ok(None);
        }
        observe(&self.objective, &self.rows).map(Some)
    }
}

/// What the trial had beside what was read now.
pub(super) fn beside(trial: &Trial, now: Observation) -> Table {
    let mut again = trial.clone();
    again
        .status
        .get_or_insert_with(Default::default)
        .observation = Some(now);
    let values = |trial: &Trial| -> BTreeMap<String, Cell> {
        let row = TrialRow::of(trial, &[]);
        let metrics = row.metrics.iter();
        metrics
            .map(|one| (one.name.clone(), metric_cell(one)))
            .collect()
    };
    let (before, now) = (values(trial), values(&again));
    let mut table = Table::new([
        Column::new("METRIC"),
        Column::number("BEFORE").mixed(),
        Column::number("NOW").mixed(),
    ]);
    let objective = trial.spec.objective.clone().unwrap_or_default();
    for name in objective.metric_names() {
        let cell = |of: &BTreeMap<String, Cell>| of.get(name).cloned().unwrap_or_default();
        table.row([Cell::text(name), cell(&before), cell(&now)]);
    }
    table
}

/// Where the trial's metrics come from, where that is not what it prints.
pub(super) fn elsewhere(trial: &Trial) -> Option<String> {
    let collector = &trial.spec.metrics_collector;
    let path = collector.source.as_ref()?.file_system_path.as_ref()?;
    let kind = &collector.collector.as_ref()?.kind;
    (*kind != CollectorKind::StdOut).then(|| path.path.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn trial(container: &Json) -> Trial {
        serde_json::from_value(json!({
            "metadata": {"name": "a-1"},
            "spec": {
                "objective": {"type": "maximize", "objectiveMetricName": "accuracy",
                              "additionalMetricNames": ["loss"]},
                "metricsCollector": {"source": {"filter": {"metricsFormat": ["(\\w+): ([0-9.]+)"]}}},
                "primaryContainerName": "training",
                "runSpec": {"kind": "PyTorchJob", "spec": {"pytorchReplicaSpecs": {"Master": {"template": {"spec": {
                    "securityContext": {"runAsUser": 1000},
                    "initContainers": [{"name": "fetch"}],
                    "containers": [{"name": "proxy"}, container]}}}}}},
            },
            "status": {"observation": {"metrics": [
                {"name": "accuracy", "min": "0.1", "max": "0.9", "latest": "0.8"}]}},
        }))
        .unwrap()
    }

    #[test]
    fn a_trials_container_is_run_with_what_an_engine_can_give_it() {
        let made = Primary::of(&trial(&json!({
            "name": "training", "image": "h:5/digits:1", "workingDir": "/work",
            "command": ["python3", "$(SCRIPT)"], "args": ["--lr=0.1", "$(TOKEN)", "$$(date)"],
            "env": [
                {"name": "SCRIPT", "value": "train.py"}, {"name": "COPY", "value": "$(SCRIPT).bak"},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            ],
            "envFrom": [{"configMapRef": {"name": "sizes"}}],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            "resources": {"limits": {"memory": "1Gi", "nvidia.com/gpu": 1}},
        })))
        .unwrap();
        let wanted = &made.wanted;
        assert_eq!(wanted.image, "h:5/digits:1");
        assert_eq!(wanted.entrypoint.as_deref(), Some("python3"));
        assert_eq!(
            wanted.command,
            ["train.py", "--lr=0.1", "$(TOKEN)", "$(date)"]
        );
        assert_eq!(wanted.env, ["SCRIPT=train.py", "COPY=train.py.bak"]);
        assert_eq!(wanted.workdir.as_deref(), Some("/work"));
        assert_eq!(wanted.user.as_deref(), Some("1000"));
        assert_eq!(
            made.left_out,
            [
                "the variables of ConfigMap sizes",
                "the variable TOKEN of Secret keys",
                "the variable POD of the pod",
                "the volume data at /data",
                "the limits (nvidia.com/gpu 1)",
                "the container fetch that runs before it",
                "the container proxy beside it",
            ]
        );
        assert_eq!(
            crate::magics::images::run::command_line(wanted),
            "docker run --rm -e SCRIPT=train.py -e COPY=train.py.bak -w /work -u 1000 --memory 1073741824 --entrypoint \
             python3 h:5/digits:1 train.py --lr=0.1 '$(TOKEN)' '$(date)'"
        );
        let error = Primary::of(&trial(&json!({"name": "other"}))).unwrap_err();
        assert!(
            error.message.contains("no container training"),
            "{}",
            error.message
        );
    }

    #[test]
    fn what_is_printed_is_read_with_the_trials_own_filters() {
        let trial = trial(&json!({"name": "training", "image": "a:1"}));
        let mut heard = Heard::new(&trial).unwrap();
        // Lines come in pieces, and the two streams do not tear each other's lines apart.
        heard.take(Stream::Stdout, "accuracy: 0.5\naccu");
        heard.take(Stream::Stderr, "loss: 7\nloss=3\n");
        heard.take(Stream::Stdout, "racy: 0.75\naccuracy: 0.7");
        let now = heard.observation().unwrap().unwrap();
        let table = beside(&trial, now);
        let now = |at: usize| table.rows[at].cells[2].hover.as_deref();
        assert_eq!(now(0), Some("min 0.5, max 0.75, latest 0.7"));
        assert_eq!(now(1), Some("min 7, max 7, latest 7"));
        let before = table.rows[0].cells[1].hover.as_deref();
        assert_eq!(before, Some("min 0.1, max 0.9, latest 0.8"));
        assert!(table.rows[1].cells[1].is_empty());
        let nothing = Heard::new(&trial).unwrap().observation().unwrap();
        assert_eq!(nothing, None);
    }
}
