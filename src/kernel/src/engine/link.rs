//! Messages to and from the engine, each for the request it belongs to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use zeromq::{SocketRecv, SocketSend, ZmqMessage};

use crate::jupyter::message::{Message, Signer};

/// Something the engine sent that belongs to one request.
#[derive(Debug)]
pub enum Incoming {
    /// Output.
    Output(Message),
    /// The reply on the shell channel.
    Reply(Message),
    /// A prompt of the cell's program.
    Prompt(Message),
}

/// Who listens to which request.
pub(super) type Routes = Arc<Mutex<HashMap<String, mpsc::UnboundedSender<Incoming>>>>;

/// One request and what comes back for it.
pub struct Conversation {
    id: String,
    incoming: mpsc::UnboundedReceiver<Incoming>,
    routes: Routes,
}

impl Conversation {
    /// Listens to a request before it is sent.
    pub(super) fn open(id: &str, routes: &Routes) -> Self {
        let (sender, incoming) = mpsc::unbounded_channel();
        routes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.to_owned(), sender);
        Self {
            id: id.to_owned(),
            incoming,
            routes: routes.clone(),
        }
    }

    /// The next thing; `None` never comes while the engine lives.
    pub async fn next(&mut self) -> Option<Incoming> {
        self.incoming.recv().await
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.routes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}

/// Whether a message says that its request is over.
pub fn is_idle(message: &Message) -> bool {
    message.kind() == "status" && message.content["execution_state"] == "idle"
}

/// Hands what a socket brings to whoever listens.
pub(super) async fn receive<S: SocketRecv>(
    mut socket: S,
    signer: Signer,
    routes: Routes,
    kind: fn(Message) -> Incoming,
) {
    loop {
        let frames = match socket.recv().await {
            Ok(frames) => frames,
            Err(error) => {
                tracing::debug!(%error, "the engine's socket failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        match Message::decode(frames.into_vec(), &signer) {
            Ok(message) => {
                let routes = routes.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(route) = routes.get(message.parent_id()) {
                    let _ = route.send(kind(message));
                }
            }
            Err(error) => tracing::warn!(%error, "dropped a message of the engine"),
        }
    }
}

/// Sends what is queued.
pub(super) async fn transmit<S: SocketSend>(
    mut socket: S,
    signer: Signer,
    mut queue: mpsc::UnboundedReceiver<Message>,
) {
    while let Some(message) = queue.recv().await {
        if let Ok(frames) = ZmqMessage::try_from(message.encode(&signer))
            && let Err(error) = socket.send(frames).await
        {
            tracing::debug!(%error, "a message did not reach the engine");
        }
    }
}
