//! The engine's progress streams: one JSON object a line inside one long answer.

use bytes::{Buf, Bytes, BytesMut};
use futures::StreamExt;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

/// Reads the objects of a stream one by one.
pub struct Messages {
    body: http_body_util::BodyDataStream<Incoming>,
    buffer: BytesMut,
    ended: bool,
}

impl Messages {
    /// The messages of an answer.
    pub fn of(response: Response<Incoming>) -> Self {
        Self {
            body: response.into_body().into_data_stream(),
            buffer: BytesMut::new(),
            ended: false,
        }
    }

    /// The next message; nothing after the last.
    ///
    /// # Errors
    /// When the connection breaks off in the middle.
    pub async fn next(&mut self) -> Result<Option<Value>, String> {
        loop {
            if let Some(value) = take_value(&mut self.buffer, self.ended)? {
                return Ok(Some(value));
            }
            if self.ended {
                return Ok(None);
            }
            match self.body.next().await {
                Some(Ok(data)) => self.buffer.extend_from_slice(&data),
                Some(Err(error)) => return Err(root_cause(&error)),
                None => self.ended = true,
            }
        }
    }
}

/// Takes one object off the front. Some engines put several on a line, or none at its end, so
/// that braces decide and not line ends.
fn take_value(buffer: &mut BytesMut, ended: bool) -> Result<Option<Value>, String> {
    let blank = buffer
        .iter()
        .take_while(|b| b.is_ascii_whitespace())
        .count();
    buffer.advance(blank);
    if buffer.is_empty() {
        return Ok(None);
    }
    // Parsing again and again from the start would be quadratic for a large message: without a
    // closing brace at the end of what has come, there is no whole one yet.
    if !ended && !buffer.contains(&b'}') {
        return Ok(None);
    }
    let mut values = serde_json::Deserializer::from_slice(buffer).into_iter::<Value>();
    match values.next() {
        Some(Ok(value)) => {
            let used = values.byte_offset();
            buffer.advance(used);
            Ok(Some(value))
        }
        Some(Err(error)) if error.is_eof() && !ended => Ok(None),
        Some(Err(error)) => {
            let shown: Bytes = buffer.split_to(buffer.len().min(200)).freeze();
            Err(format!(
                "it sent `{}`, which is not a message ({error})",
                String::from_utf8_lossy(&shown).trim_end()
            ))
        }
        None => Ok(None),
    }
}

/// The innermost cause of an error, which is the one that says something.
pub fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_wherever_the_pieces_end() {
        let text = b"{\"a\":1}\r\n{\"b\":\"}\"}{\"c\":{\"d\":2}}\n";
        for cut in 0..text.len() {
            let mut buffer = BytesMut::from(&text[..cut]);
            let mut found = Vec::new();
            while let Some(value) = take_value(&mut buffer, false).unwrap() {
                found.push(value);
            }
            buffer.extend_from_slice(&text[cut..]);
            while let Some(value) = take_value(&mut buffer, true).unwrap() {
                found.push(value);
            }
            assert_eq!(found.len(), 3, "cut at {cut}");
            assert_eq!(found[1]["b"], "}");
        }
    }

    #[test]
    fn what_is_no_message_is_quoted() {
        let mut buffer = BytesMut::from(&b"<html>oops}"[..]);
        assert!(
            take_value(&mut buffer, true)
                .unwrap_err()
                .contains("<html>")
        );
    }
}
