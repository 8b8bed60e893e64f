//! A condition bound to the columns of a list.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::literal::{self, Literal};
use super::syntax::{Node, Operand, Quote, Sign};
use super::{Columns, Complaint, Kind};

/// The value in a cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum<'a> {
    /// There is none.
    Empty,
    /// A number; of a duration its seconds, of a size its bytes.
    Number(f64),
    /// Text; yes and no are `true` and `false`.
    Text(Cow<'a, str>),
}

impl Datum<'_> {
    /// The number, also where it is written as text.
    fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            Self::Empty => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.to_lowercase(),
            Self::Empty => String::new(),
        }
    }
}

/// A condition that rows can be asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter(Test);

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Both(Box<Test>, Box<Test>),
    Either(Box<Test>, Box<Test>),
    Not(Box<Test>),
    Compare(usize, Sign, Against),
}

#[derive(Clone, Debug, PartialEq)]
enum Against {
    Nothing,
    Literal(Literal, Kind),
    Column(usize),
}

impl Filter {
    /// Whether the condition holds for a row, given the value of each column.
    ///
    /// A row without a value is neither smaller nor larger than anything, and equals nothing but
    /// nothing.
    pub fn holds<'a>(&self, row: &impl Fn(usize) -> Datum<'a>) -> bool {
        self.0.holds(row)
    }

    /// The texts that columns are to contain, in lower case.
    pub fn parts(&self) -> Vec<&str> {
        let mut parts = Vec::new();
        self.0.parts(&mut parts);
        parts
    }

    /// The words that columns of text are to equal, in lower case, with their columns.
    pub fn words(&self) -> Vec<(usize, &str)> {
        let mut words = Vec::new();
        self.0.words(&mut words);
        words
    }
}

impl Test {
    fn parts<'t>(&'t self, parts: &mut Vec<&'t str>) {
        match self {
            Self::Both(left, right) | Self::Either(left, right) => {
                left.parts(parts);
                right.parts(parts);
            }
            Self::Compare(_, Sign::Contains, Against::Literal(literal, _)) => {
                parts.push(&literal.text);
            }
            Self::Not(_) | Self::Compare(..) => {}
        }
    }

    fn words<'t>(&'t self, words: &mut Vec<(usize, &'t str)>) {
        match self {
            Self::Both(left, right) | Self::Either(left, right) => {
                left.words(words);
                right.words(words);
            }
            Self::Compare(column, Sign::Equal, Against::Literal(literal, Kind::Text)) => {
                words.push((*column, &literal.text));
            }
            Self::Not(_) | Self::Compare(..) => {}
        }
    }

    fn holds<'a>(&self, row: &impl Fn(usize) -> Datum<'a>) -> bool {
        match self {
            Self::Both(left, right) => left.holds(row) && right.holds(row),
            Self::Either(left, right) => left.holds(row) || right.holds(row),
            Self::Not(test) => !test.holds(row),
            Self::Compare(column, sign, against) => compare(&row(*column), *sign, against, row),
        }
    }
}

fn compare<'a>(
    datum: &Datum,
    sign: Sign,
    against: &Against,
    row: &impl Fn(usize) -> Datum<'a>,
) -> bool {
    let order = match against {
        Against::Nothing => {
            (*datum == Datum::Empty || datum.text().is_empty()).then_some(Ordering::Equal)
        }
        Against::Literal(literal, kind) => match sign {
            Sign::Contains => return datum.text().contains(&literal.text),
            Sign::Lacks => return !datum.text().contains(&literal.text),
            // `1.10` is another tag than `1.1`.
            Sign::Equal | Sign::Unequal if *kind == Kind::Text => {
                Some(datum.text().cmp(&literal.text))
            }
            _ => against_literal(datum, literal),
        },
        Against::Column(column) => {
            let other = row(*column);
            match sign {
                Sign::Contains => return datum.text().contains(&other.text()),
                Sign::Lacks => return !datum.text().contains(&other.text()),
                _ => against_datum(datum, &other),
            }
        }
    };
    match sign {
        Sign::Equal => order == Some(Ordering::Equal),
        Sign::Unequal => order != Some(Ordering::Equal),
        Sign::Less => order == Some(Ordering::Less),
        Sign::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Sign::Greater => order == Some(Ordering::Greater),
        Sign::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        // Decided above.
        Sign::Contains | Sign::Lacks => false,
    }
}

fn against_literal(datum: &Datum, literal: &Literal) -> Option<Ordering> {
    match (datum, literal.number) {
        (Datum::Empty, _) => None,
        (_, Some(number)) => numbers(datum.number()?, number),
        (_, None) => Some(datum.text().cmp(&literal.text)),
    }
}

fn against_datum(datum: &Datum, other: &Datum) -> Option<Ordering> {
    match (datum, other) {
        (Datum::Empty, Datum::Empty) => Some(Ordering::Equal),
        (Datum::Empty, _) | (_, Datum::Empty) => None,
        _ => match (datum.number(), other.number()) {
            (Some(left), Some(right)) => numbers(left, right),
            _ => Some(datum.text().cmp(&other.text())),
        },
    }
}

fn numbers(left: f64, right: f64) -> Option<Ordering> {
    // `loss = nan` is a question that people ask.
    if left.is_nan() && right.is_nan() {
        return Some(Ordering::Equal);
    }
    left.partial_cmp(&right)
}

pub(super) fn bind(node: &Node, columns: &impl Columns) -> Result<Filter, Complaint> {
    test(node, columns).map(Filter)
}

fn test(node: &Node, columns: &impl Columns) -> Result<Test, Complaint> {
    Ok(match node {
        Node::And(left, right) => Test::Both(
            Box::new(test(left, columns)?),
            Box::new(test(right, columns)?),
        ),
        Node::Or(left, right) => Test::Either(
            Box::new(test(left, columns)?),
            Box::new(test(right, columns)?),
        ),
        Node::Not(inner) => Test::Not(Box::new(test(inner, columns)?)),
        Node::In(left, values) => {
            let column = column(left, columns)?;
            let mut tests = Vec::new();
            for value in values {
                let against = right_side(value, left, column, columns)?;
                tests.push(Test::Compare(column, Sign::Equal, against));
            }
            let either = |left, right| Test::Either(Box::new(left), Box::new(right));
            tests.into_iter().reduce(either).unwrap_or(Test::Compare(
                column,
                Sign::Equal,
                Against::Nothing,
            ))
        }
        Node::Compare(first, parts) => {
            let mut left = first;
            let mut whole = None;
            // `0.001 < lr < 0.1` and `0.9 < accuracy` begin with a value.
            let mut left_is_column = is_column(first, columns);
            for (number, (sign, span, right)) in parts.iter().enumerate() {
                let one = if left_is_column {
                    let at = column(left, columns)?;
                    let against = match right {
                        Some(right) => right_side(right, left, at, columns)?,
                        None => Against::Nothing,
                    };
                    left_is_column = right
                        .as_ref()
                        .is_some_and(|right| right.quote == Quote::Column);
                    Test::Compare(at, *sign, against)
                } else {
                    let (Some(right), Some(sign)) = (right, sign.flipped()) else {
                        return Err(no_column(left, columns));
                    };
                    let Ok(at) = column(right, columns) else {
                        return Err(if number == 0 {
                            no_column(left, columns)
                        } else {
                            no_range(first, left, right, span.clone())
                        });
                    };
                    left_is_column = true;
                    Test::Compare(at, sign, right_side(left, right, at, columns)?)
                };
                whole = Some(match whole {
                    Some(before) => Test::Both(Box::new(before), Box::new(one)),
                    None => one,
                });
                if let Some(right) = right {
                    left = right;
                }
            }
            match whole {
                Some(test) => test,
                None => return Err(no_column(first, columns)),
            }
        }
    })
}

fn is_column(operand: &Operand, columns: &impl Columns) -> bool {
    match operand.quote {
        Quote::Column => true,
        Quote::None if literal::is_value(&operand.text) => columns.find(&operand.text).is_ok(),
        Quote::None | Quote::Text => true,
    }
}

fn column(operand: &Operand, columns: &impl Columns) -> Result<usize, Complaint> {
    columns
        .find(&operand.text)
        .map_err(|_| no_column(operand, columns))
}

fn no_column(operand: &Operand, columns: &impl Columns) -> Complaint {
    Complaint {
        message: format!("there is no column `{}` in this list", operand.text),
        span: operand.span.clone(),
        hint: columns.find(&operand.text).err().unwrap_or_default(),
    }
}

/// `accuracy > 0.9 > 0.93`.
fn no_range(
    column: &Operand,
    one: &Operand,
    other: &Operand,
    span: std::ops::Range<usize>,
) -> Complaint {
    let (mut low, mut high) = (&one.text, &other.text);
    if let (Ok(one), Ok(other)) = (low.parse::<f64>(), high.parse::<f64>())
        && one > other
    {
        std::mem::swap(&mut low, &mut high);
    }
    Complaint {
        message: "this compares two values; a range has its column between them".to_owned(),
        span,
        hint: format!(
            "write '{low} < {} < {high}', or two comparisons with `and`",
            in_condition(&column.text)
        ),
    }
}

/// A column as it stands in a condition.
fn in_condition(name: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    match name.chars().all(is_plain) {
        true => name.to_owned(),
        false => format!("`{name}`"),
    }
}

fn right_side(
    value: &Operand,
    beside: &Operand,
    at: usize,
    columns: &impl Columns,
) -> Result<Against, Complaint> {
    if value.quote == Quote::Column {
        return column(value, columns).map(Against::Column);
    }
    if value.text.is_empty() {
        return Ok(Against::Nothing);
    }
    let kind = columns.kind(at);
    match literal::read(&value.text, kind) {
        Ok(literal) => Ok(Against::Literal(literal, kind)),
        Err(_) if value.quote == Quote::None && columns.find(&value.text).is_ok() => {
            Err(Complaint {
                message: format!("`{}` on the right is read as a value", value.text),
                span: value.span.clone(),
                hint: format!("a column there stands in backticks: `{}`", value.text),
            })
        }
        Err(holds) => Err(Complaint {
            message: format!(
                "`{}` does not fit: the column `{}` {}",
                value.text,
                beside.text,
                holds.split(';').next().unwrap_or_default()
            ),
            span: value.span.clone(),
            hint: holds
                .split_once("; ")
                .map_or("write yes or no", |(_, hint)| hint)
                .to_owned(),
        }),
    }
}
