//! Delivers a cell's events to Jupyter clients.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::publisher::Publisher;
use super::stdin::Prompts;
use crate::event::{Bundle, Event, InputError, Sink};

/// The sink of one execute request: everything it emits carries that request as parent, so
/// that cells of several subshells do not mix.
pub struct CellSink {
    publisher: Publisher,
    prompts: Prompts,
    parent: Arc<Value>,
    identities: Vec<Bytes>,
    cancel: CancellationToken,
    count: u64,
    silent: bool,
    allow_stdin: bool,
    pages: Mutex<Vec<Bundle>>,
}

/// What a request allows and how its outputs are labelled.
pub struct CellOptions {
    /// The execution count.
    pub count: u64,
    /// Whether the value of the cell is broadcast.
    pub silent: bool,
    /// Whether the client answers prompts.
    pub allow_stdin: bool,
    /// Ends a prompt that waits.
    pub cancel: CancellationToken,
}

impl CellSink {
    /// A sink for the request with this header and these identities.
    pub fn new(
        publisher: Publisher,
        prompts: Prompts,
        parent: Arc<Value>,
        identities: Vec<Bytes>,
        options: CellOptions,
    ) -> Self {
        let CellOptions {
            count,
            silent,
            allow_stdin,
            cancel,
        } = options;
        Self {
            publisher,
            prompts,
            parent,
            identities,
            cancel,
            count,
            silent,
            allow_stdin,
            pages: Mutex::default(),
        }
    }

    /// The pager texts so far, as the payload of the reply.
    pub fn payload(&self) -> Vec<Value> {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages
            .iter()
            .map(|page| json!({ "source": "page", "data": page.data, "start": 0 }))
            .collect()
    }
}

impl Sink for CellSink {
    fn emit(&self, event: Event) {
        let send = |kind: &str, content| self.publisher.send(kind, &self.parent, content);
        match event {
            Event::Stream { stream, text } => self.publisher.text(&self.parent, stream, text),
            Event::Display { bundle, display_id } => {
                let transient =
                    display_id.map_or_else(|| json!({}), |id| json!({ "display_id": id }));
                send(
                    "display_data",
                    json!({ "data": bundle.data, "metadata": bundle.metadata, "transient": transient }),
                );
            }
            Event::Update { display_id, bundle } => send(
                "update_display_data",
                json!({ "data": bundle.data, "metadata": bundle.metadata, "transient": { "display_id": display_id } }),
            ),
            Event::Result { bundle } => {
                if !self.silent {
                    send(
                        "execute_result",
                        json!({ "execution_count": self.count, "data": bundle.data, "metadata": bundle.metadata }),
                    );
                }
            }
            Event::Clear { wait } => send("clear_output", json!({ "wait": wait })),
            Event::Page { bundle } => {
                self.pages
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(bundle);
            }
        }
    }

    fn input<'a>(
        &'a self,
        prompt: &'a str,
        password: bool,
    ) -> BoxFuture<'a, Result<String, InputError>> {
        Box::pin(async move {
            if !self.allow_stdin {
                return Err(InputError::NotAllowed);
            }
            // What the cell printed before is part of the question.
            self.publisher.flush().await;
            tokio::select! {
                answer = self.prompts.ask(&self.identities, self.parent.clone(), prompt, password) => answer,
                () = self.cancel.cancelled() => Err(InputError::Cancelled),
            }
        })
    }
}
