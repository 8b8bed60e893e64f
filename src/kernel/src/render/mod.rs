//! How outcomes look: one value gives plain text, HTML and machine formats, so they cannot disagree.
//!
//! HTML carries its meaning without style sheets and scripts: front ends strip both from notebooks
//! they do not trust. Colours are chosen to be readable on white and on black.

pub mod age;
pub mod captures;
pub mod code;
pub mod diff;
pub mod error;
pub mod escapes;
pub mod findings;
pub mod html;
pub mod key_values;
pub mod list;
pub mod live;
pub mod parquet;
pub mod progress;
pub mod status;
pub mod table;

/// `1 trial`, `2 trials`.
pub fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}
