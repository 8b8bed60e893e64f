//! Columns of values as a Parquet file, for whatever reads data frames.
//!
//! Every column may have empty places. Numbers are INT64 or DOUBLE, times are timestamps in UTC to the
//! microsecond, and text is UTF-8.

use std::sync::Arc;

use jiff::Timestamp;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};

use crate::magics::MagicError;

/// Who wrote a file, as Parquet has it: the program and its version.
const CREATED_BY: &str = concat!("katlab version ", env!("CARGO_PKG_VERSION"));

/// The values of a column, one for each row.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Yes and no.
    Bool(Vec<Option<bool>>),
    /// Whole numbers.
    Int(Vec<Option<i64>>),
    /// Other numbers, those that are not finite among them.
    Real(Vec<Option<f64>>),
    /// Points in time.
    Time(Vec<Option<Timestamp>>),
    /// Everything else.
    Text(Vec<Option<String>>),
}

/// A column: its name and its values.
pub type Column = (String, Values);

/// Writes columns of one length.
///
/// # Errors
/// When the columns do not go together: they are of different lengths.
pub fn write(columns: &[Column]) -> Result<Vec<u8>, MagicError> {
    written(columns).map_err(|error| {
        MagicError::new(format!("this cannot be written as Parquet: {error}"))
            .hint("write .csv or .json instead")
    })
}

fn written(columns: &[Column]) -> Result<Vec<u8>, ParquetError> {
    let fields = columns
        .iter()
        .map(|(name, values)| Ok(Arc::new(values.field(name)?)))
        .collect::<Result<Vec<TypePtr>, ParquetError>>()?;
    let schema = Type::group_type_builder("table")
        .with_fields(fields)
        .build()?;
    let properties = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::GZIP(Default::default()))
        .build();
    let mut file = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?;
    if columns.iter().any(|(_, values)| values.len() > 0) {
        let mut group = file.next_row_group()?;
        let mut left = columns.iter();
        while let Some(mut column) = group.next_column()? {
            if let Some((_, values)) = left.next() {
                values.write(&mut column)?;
            }
            column.close()?;
        }
        group.close()?;
    }
    file.into_inner()
}

impl Values {
    /// How many rows there are.
    fn len(&self) -> usize {
        match self {
            Self::Bool(values) => values.len(),
            Self::Int(values) => values.len(),
            Self::Real(values) => values.len(),
            Self::Time(values) => values.len(),
            Self::Text(values) => values.len(),
        }
    }

    fn field(&self, name: &str) -> Result<Type, ParquetError> {
        let (physical, logical) = match self {
            Self::Bool(_) => (Physical::BOOLEAN, None),
            Self::Int(_) => (Physical::INT64, None),
            Self::Real(_) => (Physical::DOUBLE, None),
            Self::Time(_) => {
                let micros = LogicalType::timestamp(true, TimeUnit::MICROS);
                (Physical::INT64, Some(micros))
            }
            Self::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()
    }

    fn write(&self, column: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        match self {
            Self::Bool(values) => put::<BoolType, _>(column, values, |value| *value),
            Self::Int(values) => put::<Int64Type, _>(column, values, |value| *value),
            Self::Real(values) => put::<DoubleType, _>(column, values, |value| *value),
            Self::Time(values) => put::<Int64Type, _>(column, values, |time| time.as_microsecond()),
            Self::Text(values) => {
                put::<ByteArrayType, _>(column, values, |text| ByteArray::from(text.as_str()))
            }
        }
    }
}

/// Writes what is there, and for each row whether something is.
fn put<T: DataType, V>(
    column: &mut SerializedColumnWriter<'_>,
    values: &[Option<V>],
    value: impl Fn(&V) -> T::T,
) -> Result<(), ParquetError> {
    let there: Vec<T::T> = values.iter().flatten().map(value).collect();
    let levels: Vec<i16> = values.iter().map(|value| value.is_some().into()).collect();
    column
        .typed::<T>()
        .write_batch(&there, Some(&levels), None)?;
    Ok(())
}
