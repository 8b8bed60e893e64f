//! The way to iopub: in order, with the text of streams gathered into few messages.
//!
//! A cell that prints 20,000 lines would otherwise be 20,000 messages, and a notebook that took
//! them all as separate outputs. Text waits at most 50 ms or until 64 KiB are
//! together, and never past another message: order is what a reader sees.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::message::Message;
use crate::event::Stream;

const HOLD: Duration = Duration::from_millis(50);
const CHUNK: usize = 64 * 1024;

enum Item {
    Message(Box<Message>),
    Text {
        parent: Arc<Value>,
        stream: Stream,
        text: String,
    },
    Flush(oneshot::Sender<()>),
}

/// Queues messages for iopub; cheap to clone, never blocks.
#[derive(Clone)]
pub struct Publisher {
    items: mpsc::UnboundedSender<Item>,
    session: Arc<str>,
}

impl Publisher {
    /// A publisher whose messages arrive, in order, on the returned channel.
    pub fn new(session: &str) -> (Self, mpsc::UnboundedReceiver<Message>) {
        let (items, queue) = mpsc::unbounded_channel();
        let (out, messages) = mpsc::unbounded_channel();
        let session: Arc<str> = Arc::from(session);
        tokio::spawn(pump(queue, out, session.clone()));
        (Self { items, session }, messages)
    }

    /// Queues one message.
    pub fn send(&self, kind: &str, parent: &Arc<Value>, content: Value) {
        self.send_message(Message::new(kind, &self.session, parent.clone(), content));
    }

    /// Queues a message that is complete already.
    pub fn send_message(&self, message: Message) {
        // The queue closes only when the kernel goes down; output after that has no reader.
        let _ = self.items.send(Item::Message(Box::new(message)));
    }

    /// Queues text of a stream.
    pub fn text(&self, parent: &Arc<Value>, stream: Stream, text: String) {
        if !text.is_empty() {
            let _ = self.items.send(Item::Text {
                parent: parent.clone(),
                stream,
                text,
            });
        }
    }

    /// `busy` or `idle`, on behalf of a request.
    pub fn status(&self, parent: &Arc<Value>, state: &str) {
        self.send("status", parent, json!({ "execution_state": state }));
    }

    /// Waits until everything queued so far is on its way.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.items.send(Item::Flush(done)).is_ok() {
            let _ = wait.await;
        }
    }
}

struct Held {
    parent: Arc<Value>,
    stream: Stream,
    text: String,
    since: Instant,
}

impl Held {
    fn into_message(self, session: &str) -> Message {
        let name = match self.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        Message::new(
            "stream",
            session,
            self.parent,
            json!({ "name": name, "text": self.text }),
        )
    }
}

async fn pump(
    mut queue: mpsc::UnboundedReceiver<Item>,
    out: mpsc::UnboundedSender<Message>,
    session: Arc<str>,
) {
    let mut held: Option<Held> = None;
    let release = |held: &mut Option<Held>| {
        if let Some(text) = held.take() {
            let _ = out.send(text.into_message(&session));
        }
    };
    loop {
        let item = match &held {
            None => queue.recv().await,
            Some(text) => match tokio::time::timeout_at(text.since + HOLD, queue.recv()).await {
                Ok(item) => item,
                Err(_) => {
                    release(&mut held);
                    continue;
                }
            },
        };
        match item {
            None => {
                release(&mut held);
                return;
            }
            Some(Item::Flush(done)) => {
                release(&mut held);
                let _ = done.send(());
            }
            Some(Item::Message(message)) => {
                release(&mut held);
                let _ = out.send(*message);
            }
            Some(Item::Text {
                parent,
                stream,
                text,
            }) => {
                match &mut held {
                    Some(open) if open.stream == stream && Arc::ptr_eq(&open.parent, &parent) => {
                        open.text.push_str(&text);
                    }
                    _ => {
                        release(&mut held);
                        held = Some(Held {
                            parent,
                            stream,
                            text,
                            since: Instant::now(),
                        });
                    }
                }
                if held.as_ref().is_some_and(|open| open.text.len() >= CHUNK) {
                    release(&mut held);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn collect(
        publisher: Publisher,
        mut messages: mpsc::UnboundedReceiver<Message>,
    ) -> Vec<(String, String)> {
        publisher.flush().await;
        drop(publisher);
        let mut seen = Vec::new();
        while let Some(message) = messages.recv().await {
            let text = message.content["text"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            seen.push((message.kind().to_owned(), text));
        }
        seen
    }

    #[tokio::test]
    async fn lines_are_gathered_and_none_is_lost_or_reordered() {
        let (publisher, messages) = Publisher::new("s");
        let parent = Arc::new(json!({"msg_id": "p"}));
        let mut expected = String::new();
        for line in 0..20_000 {
            let line = format!("line {line}\n");
            expected.push_str(&line);
            publisher.text(&parent, Stream::Stdout, line);
        }
        let seen = collect(publisher, messages).await;
        assert!(seen.len() < 50, "{} messages", seen.len());
        assert_eq!(
            seen.into_iter().map(|(_, text)| text).collect::<String>(),
            expected
        );
    }

    #[tokio::test]
    async fn text_never_overtakes_a_message_nor_the_other_stream() {
        let (publisher, messages) = Publisher::new("s");
        let parent = Arc::new(json!({"msg_id": "p"}));
        publisher.text(&parent, Stream::Stdout, "a".into());
        publisher.text(&parent, Stream::Stderr, "b".into());
        publisher.text(&parent, Stream::Stdout, "c".into());
        publisher.send("display_data", &parent, json!({}));
        publisher.text(&parent, Stream::Stdout, "d".into());
        let seen = collect(publisher, messages).await;
        let texts: Vec<_> = seen
            .iter()
            .map(|(kind, text)| format!("{kind}:{text}"))
            .collect();
        assert_eq!(
            texts,
            [
                "stream:a",
                "stream:b",
                "stream:c",
                "display_data:",
                "stream:d"
            ]
        );
    }

    #[tokio::test]
    async fn cells_do_not_mix_their_text() {
        let (publisher, messages) = Publisher::new("s");
        for id in ["one", "two"] {
            publisher.text(
                &Arc::new(json!({ "msg_id": id })),
                Stream::Stdout,
                id.to_owned(),
            );
        }
        assert_eq!(collect(publisher, messages).await.len(), 2);
    }
}
