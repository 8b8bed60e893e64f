//! The fields of an Experiment and of a Job, and where an object departs from them.
//!
//! The API server stores Experiments without looking inside, and Katib's webhooks drop what
//! they do not know. Both leave a person alone with a misspelt field, so the fields are
//! kept here as data and every departure is reported with its place.

use crate::path::FieldPath;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::OnceLock;

/// What a field may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Text(&'static str),
    Int32,
    Int64,
    Float,
    Bool,
    /// A number or a string.
    Either,
    Any,
    Object,
    List(Box<Kind>),
    Map(Box<Kind>),
    Struct(&'static str),
}

/// A table of types.
#[derive(Debug)]
pub struct Schema {
    types: HashMap<&'static str, Vec<(&'static str, Kind)>>,
}

/// A departure from a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    /// Where.
    pub path: FieldPath,
    /// What.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The type has no such field.
    UnknownField {
        /// The type that lacks it.
        owner: &'static str,
        /// The field that was probably meant.
        near: Option<&'static str>,
    },
    /// The field holds something else.
    WrongType {
        /// What was found, in JSON's words.
        found: String,
        /// What is wanted, in Go's words.
        wanted: String,
        /// The type that has the field, in Go's words.
        owner: &'static str,
    },
}

impl Schema {
    /// The schema of an Experiment.
    pub fn experiment() -> &'static Schema {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| Schema::read(include_str!("schema/experiment.txt")))
    }

    /// The schema of a `batch/v1` Job.
    pub fn job() -> &'static Schema {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| Schema::read(include_str!("schema/job.txt")))
    }

    fn read(table: &'static str) -> Self {
        let types = table
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                let name = words.next()?;
                let fields = words
                    .filter_map(|word| word.split_once('='))
                    .map(|(field, kind)| (field, Kind::read(kind)))
                    .collect();
                Some((name, fields))
            })
            .collect();
        Self { types }
    }

    /// Every departure of an object of the named type, in the object's order.
    pub fn departures(&self, type_name: &str, value: &Value) -> Vec<Departure> {
        let mut found = Vec::new();
        if let Some((name, _)) = self.types.get_key_value(type_name) {
            let root = FieldPath::root();
            self.walk_struct(name, "", value, &root, &mut found);
        }
        found
    }

    /// The names of a type's fields.
    pub fn fields(&self, type_name: &str) -> Vec<&'static str> {
        self.types
            .get(type_name)
            .map(|fields| fields.iter().map(|(name, _)| *name).collect())
            .unwrap_or_default()
    }

    fn walk_struct(
        &self,
        name: &'static str,
        owner: &'static str,
        value: &Value,
        path: &FieldPath,
        found: &mut Vec<Departure>,
    ) {
        let Some(fields) = self.types.get(name) else {
            return;
        };
        let Value::Object(entries) = value else {
            found.push(wrong(path, value, &format!("v1beta1.{name}"), owner));
            return;
        };
        for (key, inner) in entries {
            let path = path.key(key);
            match fields.iter().find(|(field, _)| field == key) {
                Some((_, kind)) => self.walk(kind, name, inner, &path, found),
                None => found.push(Departure {
                    path,
                    problem: Problem::UnknownField {
                        owner: name,
                        near: near(key, fields.iter().map(|(field, _)| *field)),
                    },
                }),
            }
        }
    }

    fn walk(
        &self,
        kind: &Kind,
        owner: &'static str,
        value: &Value,
        path: &FieldPath,
        found: &mut Vec<Departure>,
    ) {
        if value.is_null() {
            return;
        }
        match kind {
            Kind::Any => {}
            Kind::Struct(name) => self.walk_struct(name, owner, value, path, found),
            Kind::List(inner) => match value {
                Value::Array(items) => {
                    for (index, item) in items.iter().enumerate() {
                        self.walk(inner, owner, item, &path.index(index), found);
                    }
                }
                _ => found.push(wrong(path, value, &kind.go_name(), owner)),
            },
            Kind::Map(inner) => match value {
                Value::Object(entries) => {
                    for (key, item) in entries {
                        self.walk(inner, owner, item, &path.key(key), found);
                    }
                }
                _ => found.push(wrong(path, value, &kind.go_name(), owner)),
            },
            _ if kind.holds(value) => {}
            _ => found.push(wrong(path, value, &kind.go_name(), owner)),
        }
    }
}

impl Kind {
    fn read(word: &'static str) -> Self {
        let inside = |open, close| {
            word.strip_prefix(open)
                .and_then(|rest: &'static str| rest.strip_suffix(close))
                .map(|inner| Box::new(Kind::read(inner)))
        };
        if let Some(inner) = inside('[', ']') {
            return Kind::List(inner);
        }
        if let Some(inner) = inside('{', '}') {
            return Kind::Map(inner);
        }
        match word {
            "string" => Kind::Text("string"),
            "int32" => Kind::Int32,
            "int64" => Kind::Int64,
            "float64" => Kind::Float,
            "bool" => Kind::Bool,
            "quantity" | "intOrString" => Kind::Either,
            "time" => Kind::Text("time"),
            "any" => Kind::Any,
            "object" => Kind::Object,
            other => match other.strip_prefix("string:") {
                Some(go_name) => Kind::Text(go_name),
                None => Kind::Struct(other),
            },
        }
    }

    fn go_name(&self) -> String {
        match self {
            Kind::Text(name) => (*name).to_owned(),
            Kind::Int32 => "int32".into(),
            Kind::Int64 => "int64".into(),
            Kind::Float => "float64".into(),
            Kind::Bool => "bool".into(),
            Kind::Either => "string or number".into(),
            Kind::Any | Kind::Object => "map[string]interface {}".into(),
            Kind::List(inner) => format!("[]{}", inner.go_name()),
            Kind::Map(inner) => format!("map[string]{}", inner.go_name()),
            Kind::Struct(name) => format!("v1beta1.{name}"),
        }
    }

    fn holds(&self, value: &Value) -> bool {
        match self {
            Kind::Text(_) => value.is_string(),
            Kind::Int32 => value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            Kind::Int64 => value.is_i64(),
            Kind::Float => value.is_number(),
            Kind::Bool => value.is_boolean(),
            Kind::Either => value.is_number() || value.is_string(),
            Kind::Object => value.is_object(),
            Kind::Any | Kind::List(_) | Kind::Map(_) | Kind::Struct(_) => true,
        }
    }
}

fn wrong(path: &FieldPath, value: &Value, wanted: &str, owner: &'static str) -> Departure {
    let found = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        // Go names the number only when a number was wanted.
        Value::Number(number) if wanted.starts_with("int") => format!("number {number}"),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    };
    Departure {
        path: path.clone(),
        problem: Problem::WrongType {
            found,
            wanted: wanted.to_owned(),
            owner,
        },
    }
}

/// The candidate that a misspelt word was probably meant to be.
pub fn near<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| {
            (
                distance(&word.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Letters to add, remove, change or swap.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(64).collect();
    let right: Vec<char> = right.chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in right.iter().enumerate() {
            let mut cost = (last[j] + usize::from(a != b))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *a == right[j - 1] && left[i - 1] == *b {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_type_named_in_a_table_is_described_there() {
        fn check(schema: &Schema, kind: &Kind) {
            match kind {
                Kind::List(inner) | Kind::Map(inner) => check(schema, inner),
                Kind::Struct(name) => assert!(schema.types.contains_key(name), "{name}"),
                _ => {}
            }
        }
        for schema in [Schema::experiment(), Schema::job()] {
            for (_, kind) in schema.types.values().flatten() {
                check(schema, kind);
            }
        }
    }

    #[test]
    fn a_misspelt_job_field_is_found_with_the_one_that_was_meant() {
        let job = json!({"spec": {"backofLimit": 1, "template": {"spec": {"containers": [
            {"name": "c", "comand": ["x"]}]}}}});
        let found: Vec<_> = Schema::job()
            .departures("Job", &job)
            .into_iter()
            .map(|departure| (departure.path.to_string(), departure.problem))
            .collect();
        assert_eq!(
            found,
            [
                (
                    "spec.backofLimit".to_owned(),
                    Problem::UnknownField {
                        owner: "JobSpec",
                        near: Some("backoffLimit")
                    }
                ),
                (
                    "spec.template.spec.containers[0].comand".to_owned(),
                    Problem::UnknownField {
                        owner: "Container",
                        near: Some("command")
                    }
                ),
            ]
        );
    }

    #[test]
    fn a_whole_float_is_no_string_and_a_string_no_number() {
        let spec = json!({"spec": {"objective": {"goal": "0.9"}, "maxTrialCount": 1.5,
            "parameters": [{"feasibleSpace": {"min": 1}}]}});
        let found = Schema::experiment().departures("Experiment", &spec);
        assert_eq!(found.len(), 3, "{found:?}");
    }
}
