//! From text to a tree.

use std::ops::Range;

use winnow::combinator::{Infix, Prefix, alt, expression, fail, opt, repeat, terminated};
use winnow::error::{ErrMode, ModalResult, ParserError};
use winnow::prelude::*;
use winnow::stream::{LocatingSlice, Location as _};
use winnow::token::{any, literal as exactly, one_of, take_while};

use super::{Complaint, literal};

/// More joints and brackets than this are a slip, or an attempt to exhaust the stack.
const DEEPEST: usize = 100;

/// A sign between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Contains,
    Lacks,
}

impl Sign {
    /// The sign that says the same with its sides exchanged, where there is one.
    pub(super) fn flipped(self) -> Option<Self> {
        Some(match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            Self::Equal | Self::Unequal => self,
            Self::Contains | Self::Lacks => return None,
        })
    }
}

/// How a value was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quote {
    /// As a bare word.
    None,
    /// In quotes: text, or a column where only a column can stand.
    Text,
    /// In backticks: always a column.
    Column,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operand {
    pub text: String,
    pub quote: Quote,
    pub span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
    /// `a < b`; the right side is `None` for `a =`, which asks for rows without a value.
    Compare(Operand, Vec<(Sign, Range<usize>, Option<Operand>)>),
    In(Operand, Vec<Operand>),
}

#[derive(Clone, Debug, PartialEq)]
enum Lexeme {
    Value(String, Quote),
    Sign(Sign),
    And,
    Or,
    Not,
    In,
    Open,
    Close,
    Comma,
}

#[derive(Clone, Debug, PartialEq)]
struct Token {
    lexeme: Lexeme,
    span: Range<usize>,
}

type Text<'t> = LocatingSlice<&'t str>;
type Tokens<'t> = &'t [Token];

/// Why a parser did not go on: nothing to say as long as others may be tried.
#[derive(Clone, Debug, PartialEq)]
struct Trouble(Option<Complaint>);

impl<I: winnow::stream::Stream> ParserError<I> for Trouble {
    type Inner = Self;

    fn from_input(_: &I) -> Self {
        Self(None)
    }

    fn into_inner(self) -> Result<Self::Inner, Self> {
        Ok(self)
    }
}

fn complain<T>(
    message: impl Into<String>,
    span: Range<usize>,
    hint: impl Into<String>,
) -> ModalResult<T, Trouble> {
    Err(ErrMode::Cut(Trouble(Some(Complaint {
        message: message.into(),
        span,
        hint: hint.into(),
    }))))
}

const EXAMPLE: &str =
    "write a condition such as 'status=Running' or 'accuracy > 0.9 and (lr < 0.01 or age < 5m)'";
const SIGNS: &str = "one of = != < <= > >= ~ (contains) !~, or in (A, B)";

pub(super) fn parse(text: &str) -> Result<Node, Complaint> {
    let told = |error: ErrMode<Trouble>| {
        let complaint = error.into_inner().ok().and_then(|trouble| trouble.0);
        complaint.unwrap_or_else(|| Complaint {
            message: format!("cannot understand the condition {text:?}"),
            span: 0..text.len(),
            hint: EXAMPLE.to_owned(),
        })
    };
    let tokens = tokens
        .parse_next(&mut LocatingSlice::new(text))
        .map_err(told)?;
    let tokens = with_units(tokens);
    let deep = |token: &&Token| {
        matches!(
            token.lexeme,
            Lexeme::Open | Lexeme::Not | Lexeme::And | Lexeme::Or
        )
    };
    if let Some(token) = tokens.iter().filter(deep).nth(DEEPEST) {
        return Err(Complaint {
            message: format!(
                "a condition has at most {DEEPEST} of `and`, `or`, `not` and brackets"
            ),
            span: token.span.clone(),
            hint: "several --where must all hold, and each can be simple".to_owned(),
        });
    }
    let mut rest: Tokens = &tokens;
    if rest.is_empty() {
        return Err(Complaint {
            message: "the condition is empty".to_owned(),
            span: 0..text.len(),
            hint: EXAMPLE.to_owned(),
        });
    }
    let end = text.len();
    let root = condition(&mut rest, end).map_err(told)?;
    match rest.first() {
        None => Ok(root),
        Some(token) => Err(unexpected(text, token)),
    }
}

fn unexpected(text: &str, token: &Token) -> Complaint {
    let written = &text[token.span.clone()];
    let hint = match token.lexeme {
        Lexeme::Close => "there is no bracket that it closes".to_owned(),
        Lexeme::Value(..) => {
            "join conditions with `and` or `or`, and put text with spaces in quotes".to_owned()
        }
        _ => EXAMPLE.to_owned(),
    };
    Complaint {
        message: format!("`{written}` cannot stand here"),
        span: token.span.clone(),
        hint,
    }
}

fn tokens(input: &mut Text) -> ModalResult<Vec<Token>, Trouble> {
    let spaces = |input: &mut Text| -> ModalResult<(), Trouble> {
        take_while(0.., char::is_whitespace)
            .void()
            .parse_next(input)
    };
    let token =
        (alt((punctuation, quoted, word)).with_span()).map(|(lexeme, span)| Token { lexeme, span });
    spaces(input)?;
    let tokens = repeat(0.., terminated(token, spaces))
        .fold(Vec::new, |mut tokens, token| {
            tokens.push(token);
            tokens
        })
        .parse_next(input)?;
    if input.is_empty() {
        return Ok(tokens);
    }
    let at = input.current_token_start();
    let width = input.chars().next().map_or(0, char::len_utf8);
    complain(
        format!("`{}` cannot stand here", &input[..width]),
        at..at + width,
        EXAMPLE,
    )
}

fn punctuation(input: &mut Text) -> ModalResult<Lexeme, Trouble> {
    let long = alt((
        alt(("!=", "<>")).value(Sign::Unequal),
        exactly("!~").value(Sign::Lacks),
        alt(("<=", "=<")).value(Sign::LessOrEqual),
        alt((">=", "=>")).value(Sign::GreaterOrEqual),
        exactly("==").value(Sign::Equal),
        exactly("=~").value(Sign::Contains),
    ));
    let short = alt((
        exactly("=").value(Sign::Equal),
        exactly("<").value(Sign::Less),
        exactly(">").value(Sign::Greater),
        exactly("~").value(Sign::Contains),
    ));
    alt((
        alt((long, short)).map(Lexeme::Sign),
        exactly("&&").value(Lexeme::And),
        exactly("||").value(Lexeme::Or),
        exactly("!").value(Lexeme::Not),
        exactly("(").value(Lexeme::Open),
        exactly(")").value(Lexeme::Close),
        exactly(",").value(Lexeme::Comma),
    ))
    .parse_next(input)
}

/// Text in quotes, in which a backslash keeps the quote and itself from their meaning.
fn quoted(input: &mut Text) -> ModalResult<Lexeme, Trouble> {
    let start = input.current_token_start();
    let quote = one_of(['"', '\'', '`']).parse_next(input)?;
    let kept = (
        '\\',
        one_of(move |char: char| char == quote || char == '\\'),
    )
        .map(|(_, char)| char);
    let plain = any.verify(move |char: &char| *char != quote);
    let text = repeat(0.., alt((kept, plain)))
        .fold(String::new, |mut text, char: char| {
            text.push(char);
            text
        })
        .parse_next(input)?;
    if opt(quote).parse_next(input)?.is_none() {
        let end = input.current_token_start();
        return complain(
            format!("the quote {quote} is not closed"),
            start..end,
            format!("put another {quote} where the text ends"),
        );
    }
    let quote = if quote == '`' {
        Quote::Column
    } else {
        Quote::Text
    };
    Ok(Lexeme::Value(text, quote))
}

fn word(input: &mut Text) -> ModalResult<Lexeme, Trouble> {
    let inside = |char: char| !char.is_whitespace() && !"=<>!~(),\"'`".contains(char);
    let mut length = input.find(|char| !inside(char)).unwrap_or(input.len());
    // `a&&b` is three words, `a&b` is one.
    for joint in ["&&", "||"] {
        length = input[..length].find(joint).unwrap_or(length);
    }
    if length == 0 {
        return fail.parse_next(input);
    }
    let text = winnow::token::take(input[..length].chars().count()).parse_next(input)?;
    Ok(match text.to_lowercase().as_str() {
        "and" => Lexeme::And,
        "or" => Lexeme::Or,
        "not" => Lexeme::Not,
        "in" => Lexeme::In,
        _ => Lexeme::Value(text.to_owned(), Quote::None),
    })
}

fn is<'t>(wanted: Lexeme) -> impl Parser<Tokens<'t>, Token, ErrMode<Trouble>> {
    any.verify(move |token: &Token| token.lexeme == wanted)
}

fn condition(input: &mut Tokens, end: usize) -> ModalResult<Node, Trouble> {
    let not = |input: &mut Tokens| {
        is(Lexeme::Not).parse_next(input)?;
        Ok(Prefix(3, |_: &mut Tokens, node| {
            Ok(Node::Not(Box::new(node)))
        }))
    };
    let joint = |input: &mut Tokens| {
        let token = any.parse_next(input)?;
        match token.lexeme {
            Lexeme::And => Ok(Infix::Left(2, |_: &mut Tokens, left, right| {
                Ok(Node::And(Box::new(left), Box::new(right)))
            })),
            Lexeme::Or => Ok(Infix::Left(1, |_: &mut Tokens, left, right| {
                Ok(Node::Or(Box::new(left), Box::new(right)))
            })),
            _ => fail.parse_next(input),
        }
    };
    expression(|input: &mut Tokens| bracketed_or_comparison(input, end))
        .prefix(not)
        .infix(joint)
        .parse_next(input)
}

fn bracketed_or_comparison(input: &mut Tokens, end: usize) -> ModalResult<Node, Trouble> {
    if let Some(open) = opt(is(Lexeme::Open)).parse_next(input)? {
        let node = condition(input, end)?;
        if opt(is(Lexeme::Close)).parse_next(input)?.is_none() {
            return match input.first() {
                None => complain(
                    "the bracket is not closed",
                    open.span,
                    "put a `)` where the condition in brackets ends",
                ),
                Some(token) => complain(
                    "this cannot stand here",
                    token.span.clone(),
                    "join conditions with `and` or `or`, and put text with spaces in quotes",
                ),
            };
        }
        return Ok(node);
    }
    if input
        .first()
        .is_some_and(|token| token.lexeme == Lexeme::Not)
    {
        // A prefix, which is tried after this.
        return fail.parse_next(input);
    }
    let Some(left) = opt(operand).parse_next(input)? else {
        let (message, span) = match input.first() {
            Some(token) => ("a column should stand here", token.span.clone()),
            None => ("a condition is missing here", end..end),
        };
        return complain(message, span, EXAMPLE);
    };
    comparison(left, input)
}

fn comparison(left: Operand, input: &mut Tokens) -> ModalResult<Node, Trouble> {
    let negated = (is(Lexeme::Not), is(Lexeme::In)).map(|(_, token)| (true, token));
    let plain = is(Lexeme::In).map(|token| (false, token));
    if let Some((negated, token)) = opt(alt((negated, plain))).parse_next(input)? {
        let values = list(input, token.span)?;
        let node = Node::In(left, values);
        return Ok(if negated {
            Node::Not(Box::new(node))
        } else {
            node
        });
    }
    let sign = any.verify_map(|token: Token| match token.lexeme {
        Lexeme::Sign(sign) => Some((sign, token.span)),
        _ => None,
    });
    let parts: Vec<_> = repeat(0.., (sign, opt(operand)))
        .fold(Vec::new, |mut parts, ((sign, span), right)| {
            parts.push((sign, span, right));
            parts
        })
        .parse_next(input)?;
    let side_by_side = parts
        .windows(2)
        .find(|pair| pair[0].2.is_none())
        .map(|pair| pair[0].1.start..pair[1].1.end);
    if let Some(span) = side_by_side {
        return complain(
            "one sign should stand here, and these are two",
            span,
            format!("write {SIGNS}"),
        );
    }
    match parts.as_slice() {
        [] => complain(
            format!("after `{}` a comparison is missing", left.text),
            left.span,
            format!("compare it with {SIGNS}: 'status=Running'"),
        ),
        [_, _, (_, span, _), ..] => complain(
            "at most three values can be compared at once",
            span.clone(),
            "join comparisons with `and`",
        ),
        [(first, ..), (second, span, _)]
            if first.flipped().is_none() || second.flipped().is_none() =>
        {
            complain(
                "text is compared two at a time",
                span.clone(),
                "join comparisons with `and`",
            )
        }
        [.., (sign, span, None)]
            if parts.len() > 1 || !matches!(sign, Sign::Equal | Sign::Unequal) =>
        {
            complain(
                "a value is missing after this sign",
                span.clone(),
                "write a number, a word or a text in quotes; only `COLUMN =` stands alone, for rows without a value",
            )
        }
        _ => Ok(Node::Compare(left, parts)),
    }
}

/// The values behind an `in`, which stands at `span`.
fn list(input: &mut Tokens, span: Range<usize>) -> ModalResult<Vec<Operand>, Trouble> {
    const LIST: &str = "write in (A, B, C)";
    let Some(open) = opt(is(Lexeme::Open)).parse_next(input)? else {
        return complain("after `in` a list in brackets is missing", span, LIST);
    };
    let mut values = Vec::new();
    let mut before = open.span.clone();
    loop {
        if let Some(value) = opt(operand).parse_next(input)? {
            values.push(value);
        } else if values.is_empty()
            && input
                .first()
                .is_some_and(|token| token.lexeme == Lexeme::Close)
        {
            let end = input.first().map_or(before.end, |token| token.span.end);
            return complain(
                "the list in brackets is empty",
                before.start..end,
                format!("{LIST}; `COLUMN =` finds rows without a value"),
            );
        } else if !input.is_empty() {
            return complain("behind this a value is missing", before, LIST);
        }
        let Some(token) = opt(any).parse_next(input)? else {
            return complain(
                "the bracket is not closed",
                open.span,
                "put a `)` where the list ends",
            );
        };
        match token.lexeme {
            Lexeme::Close => return Ok(values),
            Lexeme::Comma => before = token.span,
            Lexeme::Value(..) => {
                return complain(
                    "a comma is missing before this",
                    token.span,
                    format!("{LIST}, and put text with spaces in quotes"),
                );
            }
            _ => return complain("this cannot stand in a list", token.span, LIST),
        }
    }
}

/// Makes one of a number and the unit that stands behind it with a space, as in `1 h 30 m`: nowhere else
/// do two words follow each other.
fn with_units(tokens: Vec<Token>) -> Vec<Token> {
    let is_bare = |token: &Token| matches!(token.lexeme, Lexeme::Value(_, Quote::None));
    let mut joined = Vec::new();
    for run in tokens.chunk_by(|left, right| is_bare(left) && is_bare(right)) {
        let whole: String = run
            .iter()
            .filter_map(|token| match &token.lexeme {
                Lexeme::Value(text, Quote::None) => Some(text.as_str()),
                _ => None,
            })
            .collect();
        let is_one = run.len() > 1 && whole.parse::<f64>().is_err() && literal::is_value(&whole);
        match run {
            [first, .., last] if is_one => joined.push(Token {
                lexeme: Lexeme::Value(whole, Quote::None),
                span: first.span.start..last.span.end,
            }),
            run => joined.extend_from_slice(run),
        }
    }
    joined
}

fn operand(input: &mut Tokens) -> ModalResult<Operand, Trouble> {
    any.verify_map(|token: Token| match token.lexeme {
        Lexeme::Value(text, quote) => Some(Operand {
            text,
            quote,
            span: token.span,
        }),
        _ => None,
    })
    .parse_next(input)
}
