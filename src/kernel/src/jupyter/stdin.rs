//! Prompts: a question goes to the client that sent the request, and its answer comes back.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::message::Message;
use super::transport::Outgoing;
use crate::event::InputError;

struct Question {
    id: String,
    identities: Vec<Bytes>,
    answer: oneshot::Sender<String>,
}

/// The questions that wait for an answer.
#[derive(Clone)]
pub struct Prompts {
    outgoing: Outgoing,
    session: Arc<str>,
    waiting: Arc<Mutex<Vec<Question>>>,
    // Clients show one prompt at a time; a second one would take the first one's answer.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Prompts {
    /// Prompts over a stdin socket.
    pub fn new(outgoing: Outgoing, session: &str) -> Self {
        Self {
            outgoing,
            session: Arc::from(session),
            waiting: Arc::default(),
            turn: Arc::default(),
        }
    }

    /// Asks the client with these identities.
    ///
    /// # Errors
    /// When the client has no stdin channel, or goes away.
    pub async fn ask(
        &self,
        identities: &[Bytes],
        parent: Arc<Value>,
        prompt: &str,
        password: bool,
    ) -> Result<String, InputError> {
        let _turn = self.turn.lock().await;
        let mut request = Message::new(
            "input_request",
            &self.session,
            parent,
            json!({ "prompt": prompt, "password": password }),
        );
        request.identities = identities.to_vec();
        let (answer, wait) = oneshot::channel();
        let guard = Waiting {
            prompts: self,
            id: request.id().to_owned(),
        };
        self.lock().push(Question {
            id: guard.id.clone(),
            identities: identities.to_vec(),
            answer,
        });
        if let Err(error) = self.outgoing.send(&request).await {
            tracing::debug!(%error, "a prompt could not be sent");
            return Err(InputError::NotAllowed);
        }
        wait.await.map_err(|_| InputError::Cancelled)
    }

    /// Hands an `input_reply` to the question it answers.
    pub fn answer(&self, reply: &Message) {
        let value = reply.content["value"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let mut waiting = self.lock();
        // Not every client names the question it answers; then it is the sender's oldest one.
        let found = waiting
            .iter()
            .position(|question| question.id == reply.parent_id())
            .or_else(|| {
                waiting
                    .iter()
                    .position(|question| question.identities == reply.identities)
            });
        match found {
            Some(index) => {
                let _ = waiting.remove(index).answer.send(value);
            }
            None => tracing::debug!("an answer came that nothing asked for"),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Question>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets a question when whoever asked stops waiting (an interrupt).
struct Waiting<'a> {
    prompts: &'a Prompts,
    id: String,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.prompts
            .lock()
            .retain(|question| question.id != self.id);
    }
}
