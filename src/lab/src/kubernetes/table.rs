//! Server-side tables: the very columns that `kubectl get` shows, for any kind.

use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::Scope;
use super::discovery::Kind;
use crate::cluster::{Cluster, Error, Result};

/// What we ask for; a plain list is accepted too.
pub(super) const ACCEPT: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";

/// A table as the server makes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    /// The columns.
    #[serde(default)]
    pub column_definitions: Vec<Column>,
    /// The rows, in the server's order.
    #[serde(default, deserialize_with = "nullable")]
    pub rows: Vec<Row>,
    /// Whether the rows come from several namespaces.
    #[serde(skip)]
    pub across_namespaces: bool,
}

/// A column.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Column {
    /// Its heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// `name` for the column with the object's name.
    #[serde(default)]
    pub format: String,
    /// What it means.
    #[serde(default)]
    pub description: String,
    /// Zero for the columns shown by default, more for the wide ones.
    #[serde(default)]
    pub priority: i32,
}

/// A row.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Row {
    /// One value for each column.
    #[serde(default)]
    pub cells: Vec<Value>,
    /// The object's metadata (or all of it).
    #[serde(default)]
    pub object: Value,
}

impl Row {
    fn metadata(&self, field: &str) -> Option<&str> {
        self.object.get("metadata")?.get(field)?.as_str()
    }

    /// The object's name.
    pub fn name(&self) -> &str {
        self.metadata("name")
            .or_else(|| self.cells.first().and_then(Value::as_str))
            .unwrap_or_default()
    }

    /// The object's namespace.
    pub fn namespace(&self) -> &str {
        self.metadata("namespace").unwrap_or_default()
    }

    /// When the object was made.
    pub fn created(&self) -> Option<Timestamp> {
        self.metadata("creationTimestamp")?.parse().ok()
    }
}

impl Table {
    /// The cell of a row under a heading.
    pub fn cell<'a>(&self, row: &'a Row, heading: &str) -> Option<&'a Value> {
        let index = self
            .column_definitions
            .iter()
            .position(|column| column.name.eq_ignore_ascii_case(heading))?;
        row.cells.get(index)
    }
}

fn nullable<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(
    input: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(input)?.unwrap_or_default())
}

/// Which objects.
#[derive(Clone, Debug)]
pub struct Query {
    /// Where.
    pub scope: Scope,
    /// One object only.
    pub name: Option<String>,
    /// A label selector.
    pub labels: Option<String>,
    /// A field selector.
    pub fields: Option<String>,
}

impl Query {
    /// Everything in a scope.
    pub fn all(scope: Scope) -> Self {
        Self {
            scope,
            name: None,
            labels: None,
            fields: None,
        }
    }
}

/// Asks for a table of objects.
///
/// # Errors
/// Beside the usual ones: an unknown object comes with near misses, an empty list in a namespace
/// that does not exist is reported as such (the server itself answers with an empty list).
pub async fn read(cluster: &Cluster, kind: &Kind, query: &Query) -> Result<Table> {
    let mut table = Table::default();
    let mut next = String::new();
    loop {
        let answer = super::objects::request(cluster, kind, query, ACCEPT, &next).await?;
        next = super::objects::continuation(&answer);
        let page = understand(answer).map_err(|error| Error::Answer {
            action: cluster.action("list", &kind.plural),
            reason: error.to_string(),
        })?;
        if table.column_definitions.is_empty() {
            table.column_definitions = page.column_definitions;
        }
        table.rows.extend(page.rows);
        if next.is_empty() {
            break;
        }
    }
    if table.rows.is_empty() && kind.namespaced {
        super::namespaces::expect(cluster, query.scope.namespace()).await?;
    }
    table.across_namespaces = kind.namespaced && query.scope == Scope::All;
    Ok(table)
}

/// Reads a table, or makes one from a plain list or object.
fn understand(answer: Value) -> Result<Table, serde_json::Error> {
    if answer.get("kind").and_then(Value::as_str) == Some("Table") {
        return serde_json::from_value(answer);
    }
    let objects = match answer {
        Value::Object(mut list) if list.contains_key("items") => match list.remove("items") {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        },
        object => vec![object],
    };
    let column = |name: &str, kind: &str, format: &str| Column {
        name: name.into(),
        kind: kind.into(),
        format: format.into(),
        ..Column::default()
    };
    let rows = objects
        .into_iter()
        .map(|object| {
            let field = |name: &str| {
                object
                    .pointer(&format!("/metadata/{name}"))
                    .cloned()
                    .unwrap_or_default()
            };
            Row {
                cells: vec![field("name"), field("creationTimestamp")],
                object: object.clone(),
            }
        })
        .collect();
    Ok(Table {
        column_definitions: vec![
            column("Name", "string", "name"),
            column("Created At", "date", ""),
        ],
        rows,
        across_namespaces: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_of_the_server_keeps_its_columns() {
        let table = understand(json!({
            "kind": "Table", "apiVersion": "meta.k8s.io/v1",
            "columnDefinitions": [
                {"name": "Name", "type": "string", "format": "name", "priority": 0},
                {"name": "Type", "type": "string", "priority": 0}],
            "rows": [{"cells": ["mnist", "Succeeded"], "object": {"metadata": {"name": "mnist", "namespace": "a",
                "creationTimestamp": "2026-11-23T17:47:35Z"}}}]
        }))
        .unwrap();
        let row = &table.rows[0];
        assert_eq!((row.name(), row.namespace()), ("mnist", "a"));
        assert_eq!(table.cell(row, "type"), Some(&json!("Succeeded")));
        assert!(row.created().is_some());
    }

    #[test]
    fn an_empty_table_may_have_null_rows() {
        assert!(
            understand(json!({"kind": "Table", "columnDefinitions": [], "rows": null}))
                .unwrap()
                .rows
                .is_empty()
        );
    }

    #[test]
    fn a_server_without_tables_still_gives_names_and_ages() {
        let table =
            understand(json!({"kind": "PodList", "items": [{"metadata": {"name": "a"}}]})).unwrap();
        assert_eq!(table.rows[0].name(), "a");
    }
}
