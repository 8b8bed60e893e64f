//! Jupyter's wire format: identities, a delimiter, a signature, four JSON frames, raw buffers.
//!
//! Frames stay [`Value`]s, so that fields this program does not know (a subshell id, a new header
//! field) survive, and buffers are never touched.

use std::sync::Arc;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

const DELIMITER: &[u8] = b"<IDS|MSG>";

/// The protocol version spoken here.
pub const PROTOCOL: &str = "5.4";

/// Signs and checks messages with the key of a connection.
#[derive(Clone)]
pub struct Signer(Option<Hmac<Sha256>>);

impl Signer {
    /// A signer for a key; an empty key means that messages are not signed.
    pub fn new(key: &str) -> Self {
        // HMAC takes keys of every length, so a failure cannot happen; without a MAC every
        // incoming message would be refused by the shape check below rather than accepted.
        Self(if key.is_empty() {
            None
        } else {
            Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()
        })
    }

    fn sign(&self, frames: &[Bytes]) -> String {
        match &self.0 {
            None => String::new(),
            Some(mac) => {
                let mut mac = mac.clone();
                for frame in frames {
                    mac.update(frame);
                }
                hex::encode(mac.finalize().into_bytes())
            }
        }
    }

    fn verifies(&self, frames: &[Bytes], signature: &[u8]) -> bool {
        let Some(mac) = &self.0 else { return true };
        let Ok(signature) = hex::decode(signature) else {
            return false;
        };
        let mut mac = mac.clone();
        for frame in frames {
            mac.update(frame);
        }
        mac.verify_slice(&signature).is_ok()
    }
}

/// Why a message was dropped.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// No delimiter, or too few frames after it.
    #[error("not a Jupyter message")]
    Shape,
    /// Signed with another key, or changed on the way.
    #[error("the signature does not match")]
    Signature,
    /// One of the four frames is not a JSON object.
    #[error("the {0} frame is not JSON")]
    Json(&'static str),
}

/// One message, in either direction.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Where it came from, or where it goes to (empty on iopub: the topic is the message type).
    pub identities: Vec<Bytes>,
    /// Type, id, session, date.
    pub header: Value,
    /// The header of the request this message belongs to.
    pub parent: Arc<Value>,
    /// Free-form annotations.
    pub metadata: Value,
    /// The payload.
    pub content: Value,
    /// Binary attachments.
    pub buffers: Vec<Bytes>,
}

impl Message {
    /// A message of our own.
    pub fn new(kind: &str, session: &str, parent: Arc<Value>, content: Value) -> Self {
        Self {
            identities: Vec::new(),
            header: header(kind, session),
            parent,
            metadata: json!({}),
            content,
            buffers: Vec::new(),
        }
    }

    /// The reply to this message: addressed to whoever sent it, with it as parent.
    pub fn reply(&self, session: &str, content: Value) -> Self {
        let kind = self.kind().strip_suffix("_request").unwrap_or(self.kind());
        let mut reply = Self::new(&format!("{kind}_reply"), session, self.as_parent(), content);
        reply.identities.clone_from(&self.identities);
        reply
    }

    /// This message's header, to be the parent of others.
    pub fn as_parent(&self) -> Arc<Value> {
        Arc::new(self.header.clone())
    }

    /// The message type.
    pub fn kind(&self) -> &str {
        self.header["msg_type"].as_str().unwrap_or_default()
    }

    /// The message id.
    pub fn id(&self) -> &str {
        self.header["msg_id"].as_str().unwrap_or_default()
    }

    /// The id of the request this message belongs to.
    pub fn parent_id(&self) -> &str {
        self.parent["msg_id"].as_str().unwrap_or_default()
    }

    /// Reads a message from its frames.
    ///
    /// # Errors
    /// When the frames are no message, or the signature is wrong.
    pub fn decode(frames: Vec<Bytes>, signer: &Signer) -> Result<Self, WireError> {
        let delimiter = frames
            .iter()
            .position(|frame| frame == DELIMITER)
            .ok_or(WireError::Shape)?;
        let body = delimiter + 2;
        if frames.len() < body + 4 {
            return Err(WireError::Shape);
        }
        if !signer.verifies(&frames[body..body + 4], &frames[delimiter + 1]) {
            return Err(WireError::Signature);
        }
        let parse = |index: usize, name| {
            serde_json::from_slice::<Value>(&frames[body + index])
                .ok()
                .filter(Value::is_object)
                .ok_or(WireError::Json(name))
        };
        Ok(Self {
            header: parse(0, "header")?,
            parent: Arc::new(parse(1, "parent header")?),
            metadata: parse(2, "metadata")?,
            content: parse(3, "content")?,
            buffers: frames[body + 4..].to_vec(),
            identities: frames[..delimiter].to_vec(),
        })
    }

    /// The frames of a message, signed.
    pub fn encode(&self, signer: &Signer) -> Vec<Bytes> {
        let json = |value: &Value| Bytes::from(value.to_string());
        let body = [
            json(&self.header),
            json(&self.parent),
            json(&self.metadata),
            json(&self.content),
        ];
        let mut frames = self.identities.clone();
        frames.push(Bytes::from_static(DELIMITER));
        frames.push(Bytes::from(signer.sign(&body)));
        frames.extend(body);
        frames.extend(self.buffers.iter().cloned());
        frames
    }
}

/// A fresh header.
pub fn header(kind: &str, session: &str) -> Value {
    json!({
        "msg_id": uuid::Uuid::new_v4().to_string(),
        "msg_type": kind,
        "session": session,
        "username": "katlab",
        "date": jiff::Timestamp::now().to_string(),
        "version": PROTOCOL,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Message {
        let mut message = Message::new(
            "execute_request",
            "s",
            Arc::new(json!({})),
            json!({"code": "한글 🦀"}),
        );
        message.identities = vec![Bytes::from_static(b"peer")];
        message.header["subshell_id"] = json!("sub-1");
        message.buffers = vec![Bytes::from_static(&[0, 255, 1])];
        message
    }

    #[test]
    fn a_signed_message_survives_the_wire_with_unknown_fields_and_buffers() {
        let signer = Signer::new("secret");
        let back = Message::decode(sample().encode(&signer), &signer).expect("decoded");
        assert_eq!(back.header["subshell_id"], "sub-1");
        assert_eq!(back.content["code"], "한글 🦀");
        assert_eq!(back.buffers, sample().buffers);
        assert_eq!(back.identities, sample().identities);
    }

    #[test]
    fn a_message_signed_with_another_key_is_refused() {
        let frames = sample().encode(&Signer::new("one"));
        assert_eq!(
            Message::decode(frames, &Signer::new("two")).err(),
            Some(WireError::Signature)
        );
    }

    #[test]
    fn a_changed_content_is_refused() {
        let signer = Signer::new("secret");
        let mut frames = sample().encode(&signer);
        frames[6] = Bytes::from_static(b"{\"code\":\"rm\"}");
        assert_eq!(
            Message::decode(frames, &signer).err(),
            Some(WireError::Signature)
        );
    }

    #[test]
    fn noise_is_refused_without_a_panic() {
        let signer = Signer::new("");
        assert_eq!(
            Message::decode(vec![], &signer).err(),
            Some(WireError::Shape)
        );
        assert_eq!(
            Message::decode(vec![Bytes::from_static(DELIMITER)], &signer).err(),
            Some(WireError::Shape)
        );
        let frames = vec![
            Bytes::from_static(DELIMITER),
            Bytes::new(),
            Bytes::from_static(b"["),
        ]
        .into_iter()
        .chain(std::iter::repeat_n(Bytes::from_static(b"{}"), 3))
        .collect();
        assert_eq!(
            Message::decode(frames, &signer).err(),
            Some(WireError::Json("header"))
        );
    }

    #[test]
    fn a_reply_goes_to_the_sender_with_the_request_as_parent() {
        let request = sample();
        let reply = request.reply("k", json!({"status": "ok"}));
        assert_eq!(reply.kind(), "execute_reply");
        assert_eq!(reply.parent_id(), request.id());
        assert_eq!(reply.identities, request.identities);
    }
}
