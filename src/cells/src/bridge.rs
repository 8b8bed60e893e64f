//! The socket between a Rust cell and the kernel: a line of JSON each way for each call.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use crate::Json;
use crate::shown::Shown;

/// Environment variable that names the kernel's socket.
pub const SOCKET_VARIABLE: &str = "KATLAB_BRIDGE";

/// Environment variable with the token that the kernel asks for.
pub const TOKEN_VARIABLE: &str = "KATLAB_BRIDGE_TOKEN";

/// Why a call to the kernel failed; reads like the message of the magic that does the same.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    message: String,
    hint: Option<String>,
}

impl Error {
    /// An error without advice.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    /// Adds what to do next.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn unexpected(wanted: &str, found: &Json) -> Self {
        let mut text = found.to_string();
        if let Some((end, _)) = text.char_indices().nth(80) {
            text.truncate(end);
            text.push('…');
        }
        Self::new(format!(
            "the kernel answered {text} where {wanted} was expected"
        ))
        .with_hint("the kernel and this crate may be of different versions; restart the kernel")
    }

    pub(crate) fn missing(member: &str) -> Self {
        Self::new(format!("the kernel's answer has no `{member}`"))
            .with_hint("the kernel and this crate may be of different versions; restart the kernel")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "katlab: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(out, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Tells the kernel, which ends the cell with it.
impl Shown for Error {
    fn evcxr_display(&self) {
        let line = |text: &str| text.replace('\n', "\u{1e}");
        let hint = self.hint.as_deref().unwrap_or_default();
        println!(
            "\u{1}katlab:error katlab: {}\u{1f}{}\u{1}",
            line(&self.message),
            line(hint)
        );
    }
}

/// As `Display`: a failed `unwrap` in a cell should read like a sentence.
impl fmt::Debug for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl std::error::Error for Error {}

/// What a cell asks.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Proves that the caller runs in the kernel's own cells.
    pub token: String,
    /// What to do, for instance `trials`.
    pub call: String,
    /// Named arguments, in order; all are strings.
    pub arguments: Vec<(String, String)>,
}

impl Request {
    /// The line that goes over the socket, without the newline.
    pub fn to_line(&self) -> String {
        let text = |text: &str| Json::Text(text.to_owned());
        let arguments = self
            .arguments
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect();
        Json::Object(vec![
            ("token".into(), text(&self.token)),
            ("call".into(), text(&self.call)),
            ("arguments".into(), Json::Object(arguments)),
        ])
        .to_string()
    }

    /// Reads a line that [`Request::to_line`] made.
    ///
    /// # Errors
    /// The line is no request.
    pub fn from_line(line: &str) -> Result<Self, Error> {
        let value = Json::parse(line)?;
        let member = |name: &'static str| value.get(name).ok_or_else(|| Error::missing(name));
        let Json::Object(members) = member("arguments")? else {
            return Err(Error::missing("arguments"));
        };
        Ok(Self {
            token: member("token")?.text()?.to_owned(),
            call: member("call")?.text()?.to_owned(),
            arguments: members
                .iter()
                .map(|(name, value)| Ok((name.clone(), value.text()?.to_owned())))
                .collect::<Result<_, Error>>()?,
        })
    }

    /// The argument of that name.
    pub fn argument(&self, name: &str) -> Option<&str> {
        self.arguments
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// What the kernel answers.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq)]
pub enum Response {
    /// It worked.
    Answer(Json),
    /// It did not.
    Failure {
        /// What failed, on what, and why.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
}

impl Response {
    /// Reads a line of the kernel.
    ///
    /// # Errors
    /// The line is no response.
    pub fn from_line(line: &str) -> Result<Self, Error> {
        let value = Json::parse(line)?;
        if let Some(answer) = value.get("answer") {
            return Ok(Self::Answer(answer.clone()));
        }
        let failure = value
            .get("failure")
            .ok_or_else(|| Error::missing("answer"))?;
        Ok(Self::Failure {
            message: failure
                .get("message")
                .ok_or_else(|| Error::missing("message"))?
                .text()?
                .to_owned(),
            hint: failure
                .get("hint")
                .and_then(|hint| hint.text().ok())
                .map(str::to_owned),
        })
    }
}

/// A connection to the kernel, which keeps what was begun on it until it is closed: what is watched or
/// read in parts goes on from one question to the next.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<UnixStream>,
    token: String,
}

impl Connection {
    /// Opens one.
    pub(crate) fn open() -> Result<Self, Error> {
        let (Ok(socket), Ok(token)) = (
            std::env::var(SOCKET_VARIABLE),
            std::env::var(TOKEN_VARIABLE),
        ) else {
            return Err(
                Error::new("this program does not run in a cell of a katlab notebook")
                    .with_hint("open the notebook with the katlab kernel"),
            );
        };
        let stream = UnixStream::connect(&socket).map_err(lost)?;
        Ok(Self {
            stream: BufReader::new(stream),
            token,
        })
    }

    /// Asks, and waits for the answer however long it takes; an interrupt of the cell is one as well.
    pub(crate) fn call(&mut self, call: &str, arguments: &[(&str, &str)]) -> Result<Json, Error> {
        let request = Request {
            token: self.token.clone(),
            call: call.to_owned(),
            arguments: arguments
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        self.stream
            .get_mut()
            .write_all(format!("{}\n", request.to_line()).as_bytes())
            .map_err(lost)?;
        let mut line = String::new();
        if self.stream.read_line(&mut line).map_err(lost)? == 0 {
            return Err(lost(std::io::ErrorKind::UnexpectedEof.into()));
        }
        match Response::from_line(&line)? {
            Response::Answer(answer) => Ok(answer),
            Response::Failure { message, hint } => Err(Error { message, hint }),
        }
    }
}

/// Asks once.
pub(crate) fn call(call: &str, arguments: &[(&str, &str)]) -> Result<Json, Error> {
    Connection::open()?.call(call, arguments)
}

fn lost(error: std::io::Error) -> Error {
    Error::new(format!(
        "the katlab kernel does not answer on its socket: {error}"
    ))
    .with_hint("restart the kernel; experiments go on without it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_the_line() {
        let request = Request {
            token: "t".into(),
            call: "display".into(),
            arguments: vec![("text/plain".into(), "a \"b\"\nc".into())],
        };
        let line = request.to_line();
        assert!(!line.contains('\n'));
        assert_eq!(Request::from_line(&line).unwrap(), request);
    }

    #[test]
    fn a_failure_carries_its_hint() {
        let line =
            r#"{"failure":{"message":"no experiment `x`","hint":"`:experiments` lists them"}}"#;
        let expected = Response::Failure {
            message: "no experiment `x`".into(),
            hint: Some("`:experiments` lists them".into()),
        };
        assert_eq!(Response::from_line(line).unwrap(), expected);
    }
}
