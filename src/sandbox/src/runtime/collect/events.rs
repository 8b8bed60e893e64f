//! TensorFlow's event files: records of `Event` messages, of which the scalar summaries count.
//!
//! A record is its length, the length's checksum, the data, and the data's checksum; numbers are little-endian,
//! checksums are CRC-32C, masked. The messages are written by hand as `prost` structures, with the few fields that are
//! looked at; field numbers are those of TensorFlow's `event.proto`, `summary.proto` and `tensor.proto`.
//!
//! # Deliberate differences from Katib
//!
//! - Values keep their time to the microsecond; Katib cuts it to seconds.
//! - Early stopping works here too.

use std::io::Read;
use std::path::Path;

use crc::{CRC_32_ISCSI, Crc};
use jiff::Timestamp;
use katlab_katib::metrics::MetricRow;
use katlab_katib::types::ObjectiveSpec;
use prost::Message;

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
/// The longest record that is read, in bytes: longer ones are damage.
const LONGEST_RECORD: u64 = 1 << 30;

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "8")]
    tensor: Option<Tensor>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
    #[prost(bytes = "vec", tag = "4")]
    content: Vec<u8>,
    #[prost(float, repeated, tag = "5")]
    floats: Vec<f32>,
    #[prost(double, repeated, tag = "6")]
    doubles: Vec<f64>,
    #[prost(int32, repeated, tag = "7")]
    ints: Vec<i32>,
    #[prost(int64, repeated, tag = "10")]
    longs: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "2")]
    dims: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
struct Dim {
    #[prost(int64, tag = "1")]
    size: i64,
}

impl Tensor {
    /// The value of a tensor of one element, as text; nothing for others.
    fn scalar(&self) -> Option<String> {
        let dims = self.shape.iter().flat_map(|shape| &shape.dims);
        if dims.into_iter().any(|dim| dim.size != 1) {
            return None;
        }
        // DT_FLOAT, DT_DOUBLE, DT_INT32, DT_INT64.
        match self.dtype {
            1 => number(&self.content, f32::from_le_bytes, self.floats.first()),
            2 => number(&self.content, f64::from_le_bytes, self.doubles.first()),
            3 => number(&self.content, i32::from_le_bytes, self.ints.first()),
            9 => number(&self.content, i64::from_le_bytes, self.longs.first()),
            _ => None,
        }
    }
}

/// A number from a tensor's bytes, or from its list when it has no bytes.
fn number<const N: usize, T: ToString + Copy>(
    content: &[u8],
    read: fn([u8; N]) -> T,
    listed: Option<&T>,
) -> Option<String> {
    let value = match content {
        [] => *listed?,
        bytes => read(bytes.try_into().ok()?),
    };
    Some(value.to_string())
}

impl Value {
    fn scalar(&self) -> Option<String> {
        match self.simple_value {
            Some(value) => Some(value.to_string()),
            None => self.tensor.as_ref()?.scalar(),
        }
    }
}

/// Which metrics to look for, and in which directories.
pub(super) struct Wanted<'a> {
    metrics: Vec<(&'a str, Option<&'a str>, &'a str)>,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(objective: &'a ObjectiveSpec) -> Self {
        let parted = |name: &'a str| match name.rsplit_once('/') {
            Some((directory, tag)) => (name, Some(directory), tag),
            None => (name, None, name),
        };
        Self {
            metrics: objective.metric_names().map(parted).collect(),
        }
    }

    /// The metrics a tag of a file in this directory stands for: those whose name, after the last slash, begins
    /// the tag; what stands before the slash must end the directory.
    fn named(&self, directory: &Path, tag: &str) -> impl Iterator<Item = &'a str> {
        let metrics = self.metrics.iter();
        metrics
            .filter(|(_, place, start)| {
                tag.starts_with(start) && place.is_none_or(|place| directory.ends_with(place))
            })
            .map(|(name, ..)| *name)
    }
}

/// Why a file cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {number} is damaged")]
pub(super) struct Damaged {
    /// Which record, from 1.
    number: usize,
}

/// The metrics in one event file, in their order. What stands at the end and is not whole is still being written.
///
/// # Errors
/// When a checksum does not fit or a record is no `Event`.
pub(super) fn rows(
    wanted: &Wanted<'_>,
    directory: &Path,
    file: &[u8],
) -> Result<Vec<MetricRow>, Damaged> {
    let mut rows = Vec::new();
    let mut rest = file;
    let mut number = 0;
    while let Some(record) = record(&mut rest).map_err(|()| Damaged { number: number + 1 })? {
        number += 1;
        let event = Event::decode(record).map_err(|_| Damaged { number })?;
        let time = moment(event.wall_time);
        for value in event.summary.iter().flat_map(|summary| &summary.values) {
            for name in wanted.named(directory, &value.tag) {
                if let Some(text) = value.scalar() {
                    rows.push(MetricRow::new(time.as_str(), name, text));
                }
            }
        }
    }
    Ok(rows)
}

/// RFC 3339 of seconds since 1970.
fn moment(seconds: f64) -> String {
    // A float is exact to the microsecond for times of our age.
    let microseconds = (seconds * 1e6).round() as i64;
    let time = Timestamp::from_microsecond(microseconds);
    time.unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// The data of the next record; nothing when it is not whole.
fn record<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, ()> {
    let Some((head, after)) = rest.split_at_checked(12) else {
        return Ok(None);
    };
    let (length, check) = head.split_at(8);
    check_sum(length, check)?;
    let length = u64::from_le_bytes(length.try_into().map_err(drop)?);
    if length > LONGEST_RECORD {
        return Err(());
    }
    let length = usize::try_from(length).map_err(drop)?;
    let Some((data, after)) = after.split_at_checked(length) else {
        return Ok(None);
    };
    let Some((check, after)) = after.split_at_checked(4) else {
        return Ok(None);
    };
    check_sum(data, check)?;
    *rest = after;
    Ok(Some(data))
}

fn check_sum(data: &[u8], check: &[u8]) -> Result<(), ()> {
    match check == masked(data).to_le_bytes() {
        true => Ok(()),
        false => Err(()),
    }
}

/// TensorFlow's mask: a checksum of data that holds checksums should not be weak.
fn masked(data: &[u8]) -> u32 {
    CRC.checksum(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

/// The event files of an archive of a directory, by their paths in it.
pub(super) fn files(archive: &[u8]) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut archive = tar::Archive::new(archive);
    let mut found = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let is_events = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().contains("tfevents"));
        if is_events && entry.header().entry_type().is_file() {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            found.push((path.to_string_lossy().into_owned(), bytes));
        }
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn objective(metric: &str, more: &[&str]) -> ObjectiveSpec {
        serde_json::from_value(
            json!({"objectiveMetricName": metric, "additionalMetricNames": more}),
        )
        .expect("objective")
    }

    fn framed(data: &[u8]) -> Vec<u8> {
        let length = (data.len() as u64).to_le_bytes();
        let parts: [&[u8]; 4] = [
            &length,
            &masked(&length).to_le_bytes(),
            data,
            &masked(data).to_le_bytes(),
        ];
        parts.concat()
    }

    fn event(seconds: f64, tag: &str, simple: Option<f32>, tensor: Option<Tensor>) -> Vec<u8> {
        let event = Event {
            wall_time: seconds,
            summary: Some(Summary {
                values: vec![Value {
                    tag: tag.into(),
                    simple_value: simple,
                    tensor,
                }],
            }),
        };
        framed(&event.encode_to_vec())
    }

    fn shown(metric: &str, directory: &str, file: &[u8]) -> Vec<String> {
        let objective = objective(metric, &["loss"]);
        let rows = rows(&Wanted::new(&objective), Path::new(directory), file).expect("rows");
        let rows = rows.into_iter();
        rows.map(|row| format!("{} {} {}", row.time, row.name, row.value))
            .collect()
    }

    #[test]
    fn scalars_of_both_kinds_are_read_with_their_times() {
        let double = Tensor {
            dtype: 2,
            content: 0.75f64.to_le_bytes().into(),
            ..Tensor::default()
        };
        let listed = Tensor {
            dtype: 1,
            floats: vec![0.5],
            shape: Some(Shape {
                dims: vec![Dim { size: 1 }],
            }),
            ..Tensor::default()
        };
        let matrix = Tensor {
            shape: Some(Shape {
                dims: vec![Dim { size: 2 }],
            }),
            floats: vec![1.0, 2.0],
            dtype: 1,
            ..Tensor::default()
        };
        let mut file = framed(&Event::default().encode_to_vec());
        file.extend(event(1_709_574_908.25, "accuracy", Some(0.9), None));
        file.extend(event(1_709_574_909.0, "accuracy_1", None, Some(double)));
        file.extend(event(1_709_574_910.0, "loss", None, Some(listed)));
        file.extend(event(1_709_574_911.0, "loss", None, Some(matrix)));
        file.extend(event(1_709_574_912.0, "weights", Some(7.0), None));
        let all = [
            "2024-03-04T17:55:08.25Z accuracy 0.9",
            "2024-03-04T17:55:09Z accuracy 0.75",
            "2024-03-04T17:55:10Z loss 0.5",
        ];
        assert_eq!(shown("accuracy", "logs", &file), all);
        // What is not whole yet comes the next time.
        let cut = &file[..file.len() - 40];
        assert_eq!(shown("accuracy", "logs", cut), all);
        let objective = objective("accuracy", &[]);
        let mut damaged = file.clone();
        damaged[40] ^= 1;
        let read = rows(&Wanted::new(&objective), Path::new("logs"), &damaged);
        assert_eq!(
            read.expect_err("damaged").to_string(),
            "record 2 is damaged"
        );
    }

    #[test]
    fn a_name_with_a_directory_is_looked_for_there_only() {
        let file = event(0.0, "accuracy", Some(1.0), None);
        for (metric, directory, count) in [
            ("accuracy", "/logs/train", 1),
            ("train/accuracy", "/logs/train", 1),
            ("train/accuracy", "/logs/pretrain", 0),
            ("train/accuracy", "/logs/test", 0),
            ("acc", "/logs", 1),
            ("accuracy_top", "/logs", 0),
        ] {
            assert_eq!(
                shown(metric, directory, &file).len(),
                count,
                "{metric} in {directory}"
            );
        }
    }

    #[test]
    fn checksums_are_those_of_the_published_example() {
        // RFC 3720, appendix B.4: thirty-two zeros.
        assert_eq!(CRC.checksum(&[0; 32]), 0x8a91_36aa);
    }
}
