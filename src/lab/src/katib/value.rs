//! Values of parameters and metrics: text in Katib, numbers for people.

use std::fmt;

use katlab_katib::names::UNAVAILABLE;

/// A value that is a number where it reads as one.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Int(i64),
    /// Any other finite number.
    Number(f64),
    /// Anything else.
    Text(String),
}

impl Value {
    /// Reads a value.
    pub fn parse(text: &str) -> Self {
        if let Ok(number) = text.parse::<i64>() {
            return Self::Int(number);
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Self::Number(number),
            _ => Self::Text(text.to_owned()),
        }
    }

    /// The number, if it is one.
    #[allow(clippy::cast_precision_loss)]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Number(number) => Some(*number),
            Self::Text(_) => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(formatter, "{number}"),
            Self::Number(number) => write!(formatter, "{number}"),
            Self::Text(text) => formatter.write_str(text),
        }
    }
}

/// A metric's value: nothing where Katib says `unavailable` or has an empty text.
pub fn metric(text: &str) -> Option<Value> {
    (!text.is_empty() && text != UNAVAILABLE).then(|| Value::parse(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_numbers_and_the_rest_is_text() {
        assert_eq!(Value::parse("51"), Value::Int(51));
        assert_eq!(Value::parse("1e-05"), Value::Number(1e-5));
        assert_eq!(Value::parse("adam"), Value::Text("adam".into()));
        assert_eq!(Value::parse("nan"), Value::Text("nan".into()));
        assert_eq!(metric("unavailable"), None);
        assert_eq!(metric(""), None);
        assert_eq!(metric("0.96"), Some(Value::Number(0.96)));
    }
}
