//! Columns and cells: what is shown, and the value behind it.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::render::age;
use crate::render::html::Html;
use crate::render::status::Status;

/// Where the texts of a column stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Align {
    /// At the left: words.
    #[default]
    Left,
    /// At the right: numbers.
    Right,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// What it is called in `--sort`, `--columns`, CSV and JSON.
    pub key: String,
    /// What stands above it.
    pub title: String,
    /// Where its texts stand.
    pub align: Align,
    /// Whether it is shown only with `--output wide`.
    pub wide: bool,
    /// What it means, shown on hover.
    pub hover: Option<String>,
    /// Whether its numbers are whole by chance only, as those of a metric are.
    pub real: bool,
    /// Whether its cells measure different things, so that none is written as its neighbours are.
    pub mixed: bool,
}

impl Column {
    /// A column of words. An all-capitals title gives a small-letters key; another (the name of a
    /// parameter or metric) stays as it is.
    pub fn new(title: impl Into<String>) -> Self {
        let title = title.into();
        let key = if title.chars().any(char::is_lowercase) {
            title.clone()
        } else {
            title.to_lowercase().replace([' ', '-'], "_")
        };
        Self {
            key,
            title,
            align: Align::Left,
            wide: false,
            hover: None,
            real: false,
            mixed: false,
        }
    }

    /// A column of numbers.
    pub fn number(title: impl Into<String>) -> Self {
        Self {
            align: Align::Right,
            ..Self::new(title)
        }
    }

    /// With numbers that are whole by chance only.
    #[must_use]
    pub fn real(self) -> Self {
        Self { real: true, ..self }
    }

    /// With cells that measure different things.
    #[must_use]
    pub fn mixed(self) -> Self {
        Self {
            mixed: true,
            ..self
        }
    }

    /// Shown only with `--output wide`.
    #[must_use]
    pub fn wide(self) -> Self {
        Self { wide: true, ..self }
    }

    /// With an explanation on hover.
    #[must_use]
    pub fn hover(self, hover: impl Into<String>) -> Self {
        Self {
            hover: Some(hover.into()),
            ..self
        }
    }
}

/// What a cell measures, where its value alone does not say it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// How long something took, or how old it is.
    Seconds(f64),
    /// How large something is.
    Bytes(f64),
}

impl Measure {
    /// The number.
    pub fn number(self) -> f64 {
        match self {
            Self::Seconds(number) | Self::Bytes(number) => number,
        }
    }
}

/// What a cell is sorted and filtered by.
#[derive(Clone, Debug, PartialEq)]
pub struct Key<'c> {
    /// The value.
    pub value: Cow<'c, Value>,
    /// What it measures, where that goes before the value.
    pub measure: Option<Measure>,
}

impl Key<'_> {
    /// Of a value that measures nothing.
    pub fn of(value: impl Into<Value>) -> Self {
        Self {
            value: Cow::Owned(value.into()),
            measure: None,
        }
    }
}

impl From<Cell> for Key<'_> {
    fn from(cell: Cell) -> Self {
        Self {
            value: Cow::Owned(cell.value),
            measure: cell.measure,
        }
    }
}

/// One cell: what is shown, and the value behind it that is sorted by and exported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// What is shown.
    pub text: String,
    /// What a mouse over it shows.
    pub hover: Option<String>,
    /// Its state: gives glyph and colour.
    pub status: Option<Status>,
    /// The value behind the text.
    pub value: Value,
    /// What it is sorted and filtered by, where that is not the value.
    pub measure: Option<Measure>,
}

impl Cell {
    /// Text that is its own value.
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            value: Value::from(text.clone()),
            text,
            ..Self::default()
        }
    }

    /// A text that stands for a value.
    pub fn of(value: impl Into<Value>, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            value: value.into(),
            ..Self::default()
        }
    }

    /// Nothing to show.
    pub fn none() -> Self {
        Self::default()
    }

    /// A whole number.
    pub fn count(number: impl Into<serde_json::Number>) -> Self {
        let number = number.into();
        Self::of(Value::Number(number.clone()), number.to_string())
    }

    /// A number, with no more digits than it takes to tell it from its neighbours.
    pub fn number(number: f64) -> Self {
        Self::of(json!(number), number_text(number))
    }

    /// A state, by its word.
    pub fn status(word: impl Into<String>) -> Self {
        let cell = Self::text(word);
        Self {
            status: Some(Status::of(&cell.text)),
            ..cell
        }
    }

    /// A number of bytes, as docker writes it.
    pub fn size(bytes: u64) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "exact up to petabytes")]
        let measure = Some(Measure::Bytes(bytes as f64));
        Self {
            measure,
            ..Self::of(bytes, age::size(bytes)).hover(format!("{bytes} bytes"))
        }
    }

    /// The age of something, with the time itself on hover.
    pub fn age(then: jiff::Timestamp, now: jiff::Timestamp) -> Self {
        // To the second, as the cluster's own times are.
        let time = format!("{then:.0}");
        Self {
            measure: Some(Measure::Seconds(now.duration_since(then).as_secs_f64())),
            ..Self::of(time.clone(), age::since(then, now)).hover(time)
        }
    }

    /// How long something took.
    pub fn took(duration: std::time::Duration) -> Self {
        Self::lasted(duration, age::took(duration), json!(duration.as_secs_f64()))
    }

    /// How long something took that the cluster tells to the second.
    pub fn took_about(duration: std::time::Duration) -> Self {
        Self::lasted(duration, age::age(duration), json!(duration.as_secs()))
    }

    fn lasted(duration: std::time::Duration, text: String, seconds: Value) -> Self {
        Self {
            measure: Some(Measure::Seconds(duration.as_secs_f64())),
            ..Self::of(seconds, text)
        }
    }

    /// Yes or no.
    pub fn bool(value: bool) -> Self {
        Self::of(value, if value { "yes" } else { "no" })
    }

    /// With more to say on hover.
    #[must_use]
    pub fn hover(self, hover: impl Into<String>) -> Self {
        Self {
            hover: Some(hover.into()),
            ..self
        }
    }

    /// With a state, whatever the word says.
    #[must_use]
    pub fn with_status(self, status: Status) -> Self {
        Self {
            status: Some(status),
            ..self
        }
    }

    /// What it is sorted and filtered by.
    pub fn key(&self) -> Key<'_> {
        Key {
            value: Cow::Borrowed(&self.value),
            measure: self.measure,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.value.is_null()
    }

    /// What plain text shows: one line, with the glyph of the state.
    pub(crate) fn shown(&self) -> String {
        let text = one_line(&self.text);
        match self.status {
            Some(status) if !text.is_empty() => status.label(&text),
            _ => text,
        }
    }

    pub(super) fn html(&self) -> Html {
        match self.status {
            Some(status) if !self.text.is_empty() => status.label_html(&self.text),
            _ => Html::text(&self.text),
        }
    }

    /// The value as text, as CSV and conditions want it.
    pub(crate) fn plain_value(&self) -> String {
        plain_value(&self.value)
    }
}

/// A value as text: nothing is empty, and a text stands without quotes.
pub(crate) fn plain_value(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(Self::none, Into::into)
    }
}

/// A number as people write it: six significant digits, no trailing zeros, an exponent when it is very small or large.
pub fn number_text(number: f64) -> String {
    if !number.is_finite() {
        return number.to_string();
    }
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-4..1e9).contains(&magnitude) {
        let text = format!("{number:.5e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{exponent}", trim_zeros(mantissa));
    }
    let first_digit = if magnitude == 0.0 {
        0.0
    } else {
        magnitude.log10().floor()
    };
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 9"
    )]
    let decimals = (5.0 - first_digit).clamp(0.0, 9.0) as usize;
    trim_zeros(&format!("{number:.decimals$}")).to_owned()
}

fn trim_zeros(number: &str) -> &str {
    if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    }
}

/// Line breaks, tabs and control characters would tear a row apart.
pub(crate) fn one_line(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .map(|char| match char {
            '\n' => '⏎',
            char if char.is_control() => ' ',
            char => char,
        })
        .collect()
}
