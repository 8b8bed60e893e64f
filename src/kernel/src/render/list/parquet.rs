//! A table as a Parquet file: a type for each column, null where there is no value.

use std::sync::Arc;

use ::parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use ::parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use ::parquet::schema::types::Type;
use serde_json::Value;

use super::columns::not_finite;
use crate::magics::MagicError;
use crate::render::table::{Cell, Measure, Table};

/// What a column is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Integer,
    Number,
    Time,
    Truth,
    Text,
}

/// Writes a table; texts go through `shown` first.
///
/// # Errors
/// When two columns have one name.
pub(super) fn write(table: &Table, shown: impl Fn(&str) -> String) -> Result<Vec<u8>, MagicError> {
    let mut keys: Vec<&str> = table
        .columns
        .iter()
        .map(|column| column.key.as_str())
        .collect();
    keys.sort_unstable();
    if let Some(twice) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(MagicError::new(format!(
            "two columns of this list are called `{}`, and a Parquet file cannot tell them apart",
            twice[0]
        ))
        .hint("choose columns with --columns"));
    }
    if keys.is_empty() {
        return Err(MagicError::new(
            "a list without columns makes no Parquet file",
        ));
    }
    file(table, &shown)
        .map_err(|error| MagicError::new(format!("cannot write these rows as Parquet: {error}")))
}

fn file(table: &Table, shown: &dyn Fn(&str) -> String) -> Result<Vec<u8>, ParquetError> {
    let kinds: Vec<Kind> = (0..table.columns.len()).map(|at| kind(table, at)).collect();
    let mut fields = Vec::new();
    for (column, kind) in table.columns.iter().zip(&kinds) {
        let (physical, logical) = match kind {
            Kind::Integer => (Physical::INT64, None),
            Kind::Number => (Physical::DOUBLE, None),
            Kind::Time => (
                Physical::INT64,
                Some(LogicalType::timestamp(true, TimeUnit::MICROS)),
            ),
            Kind::Truth => (Physical::BOOLEAN, None),
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let field = Type::primitive_type_builder(&column.key, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()?;
        fields.push(Arc::new(field));
    }
    let schema = Type::group_type_builder("list")
        .with_fields(fields)
        .build()?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by("katlab".to_owned())
        .build();
    let mut content = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut content, Arc::new(schema), Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    for (at, kind) in kinds.into_iter().enumerate() {
        let cells = table.rows.iter().map(|row| &row.cells[at]);
        match kind {
            Kind::Integer => {
                column::<Int64Type>(&mut group, cells.map(|cell| cell.value.as_i64()))?
            }
            Kind::Number => column::<DoubleType>(&mut group, cells.map(number))?,
            Kind::Time => column::<Int64Type>(&mut group, cells.map(microseconds))?,
            Kind::Truth => column::<BoolType>(&mut group, cells.map(|cell| cell.value.as_bool()))?,
            Kind::Text => column::<ByteArrayType>(
                &mut group,
                cells.map(|cell| {
                    let text = (!cell.is_empty()).then(|| shown(&cell.plain_value()))?;
                    Some(ByteArray::from(text.into_bytes()))
                }),
            )?,
        }
    }
    group.close()?;
    writer.close()?;
    Ok(content)
}

fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, &mut Vec<u8>>,
    values: impl Iterator<Item = Option<T::T>>,
) -> Result<(), ParquetError> {
    let (mut present, mut levels) = (Vec::new(), Vec::new());
    for value in values {
        levels.push(i16::from(value.is_some()));
        present.extend(value);
    }
    let mut writer = group
        .next_column()?
        .ok_or_else(|| ParquetError::General("more columns than the schema has".to_owned()))?;
    writer
        .typed::<T>()
        .write_batch(&present, Some(&levels), None)?;
    writer.close()
}

/// What all values of a column can be written as. A column without values is one of text.
fn kind(table: &Table, at: usize) -> Kind {
    let mut kind = None;
    for cell in table.rows.iter().map(|row| &row.cells[at]) {
        let one = match &cell.value {
            Value::Null => continue,
            Value::Bool(_) => Kind::Truth,
            Value::Number(number) if number.as_i64().is_some() => Kind::Integer,
            Value::Number(_) => Kind::Number,
            Value::String(_) if microseconds(cell).is_some() => Kind::Time,
            Value::String(text) if not_finite(text).is_some() => Kind::Number,
            _ => Kind::Text,
        };
        kind = Some(match (kind, one) {
            (None, one) => one,
            (Some(before), one) if before == one => one,
            (Some(Kind::Integer | Kind::Number), Kind::Integer | Kind::Number) => Kind::Number,
            _ => return Kind::Text,
        });
    }
    kind.unwrap_or(Kind::Text)
}

fn number(cell: &Cell) -> Option<f64> {
    match &cell.value {
        Value::String(text) => not_finite(text),
        value => value.as_f64(),
    }
}

/// The time behind an age.
fn microseconds(cell: &Cell) -> Option<i64> {
    match (&cell.value, cell.measure) {
        (Value::String(text), Some(Measure::Seconds(_))) => {
            let time: jiff::Timestamp = text.parse().ok()?;
            Some(time.as_microsecond())
        }
        _ => None,
    }
}
