//! What a magic shows with: the event sink behind the redaction filter, with conveniences.

use std::sync::Arc;

use secrecy::SecretString;

use crate::event::{Bundle, Event, InputError, Sink, Stream};
use crate::redaction::{RedactingSink, Redactor};
use crate::render::html::{self, Html};
use crate::render::status::Status;
use crate::render::table::Table;

/// Where a magic's output goes. Cheap to clone; all clones share one order of events.
#[derive(Clone)]
pub struct Output {
    sink: Arc<RedactingSink>,
}

impl Output {
    /// Output to a sink, with the secrets that the redactor knows (now and later) masked.
    pub fn new(sink: Arc<dyn Sink>, redactor: Arc<Redactor>) -> Self {
        Self {
            sink: Arc::new(RedactingSink::new(sink, redactor)),
        }
    }

    /// Shows a bundle; the id returned is for [`update`](Self::update).
    pub fn display(&self, bundle: Bundle) -> String {
        let id = uuid::Uuid::new_v4().to_string();
        self.sink.emit(Event::Display {
            bundle,
            display_id: Some(id.clone()),
        });
        id
    }

    /// Shows a bundle that will not change any more.
    pub fn show(&self, bundle: Bundle) {
        self.sink.emit(Event::Display {
            bundle,
            display_id: None,
        });
    }

    /// Shows the value of the cell.
    pub fn result(&self, bundle: Bundle) {
        self.sink.emit(Event::Result { bundle });
    }

    /// Shows a bundle under an id that was given out already.
    pub fn display_as(&self, id: &str, bundle: Bundle) {
        self.sink.emit(Event::Display {
            bundle,
            display_id: Some(id.to_owned()),
        });
    }

    /// Removes what the cell showed so far; with `wait`, when the next output comes.
    pub fn clear(&self, wait: bool) {
        self.sink.emit(Event::Clear { wait });
    }

    /// Replaces what was displayed under an id.
    pub fn update(&self, id: &str, bundle: Bundle) {
        self.sink.emit(Event::Update {
            display_id: id.to_owned(),
            bundle,
        });
    }

    /// Writes a line of text.
    pub fn text(&self, line: impl AsRef<str>) {
        self.stream(Stream::Stdout, format!("{}\n", line.as_ref()));
    }

    /// Writes raw text as it comes (logs of a container, output of a command).
    pub fn stream(&self, stream: Stream, text: impl Into<String>) {
        self.sink.emit(Event::Stream {
            stream,
            text: text.into(),
        });
    }

    /// Says that something was done: a line with a tick.
    pub fn done(&self, message: impl AsRef<str>) {
        self.line(Status::Ok, message.as_ref());
    }

    /// Says something in passing: a line with a quiet mark.
    pub fn note(&self, message: impl AsRef<str>) {
        self.line(Status::Neutral, message.as_ref());
    }

    /// Warns about something that did not stop the magic.
    pub fn warn(&self, message: impl AsRef<str>) {
        self.line(Status::Warn, message.as_ref());
    }

    fn line(&self, status: Status, message: &str) {
        let html = html::element(
            "div",
            &[("class", "katlab-line")],
            &html::join([status.glyph_html(), Html::text(" "), Html::text(message)]),
        );
        self.show(Bundle::text(format!("{} {message}", status.glyph())).with_html(html));
    }

    /// Shows a table.
    pub fn table(&self, table: &Table) {
        self.show(table.bundle());
    }

    /// Opens a page in the front end's pager.
    pub fn page(&self, bundle: Bundle) {
        self.sink.emit(Event::Page { bundle });
    }

    /// Asks a person for one line.
    ///
    /// # Errors
    /// When there is nobody to ask, or the prompt was cancelled.
    pub async fn ask(&self, prompt: &str) -> Result<String, InputError> {
        self.sink.input(prompt, false).await
    }

    /// Asks a person for a secret, which is not shown while it is typed.
    ///
    /// # Errors
    /// When there is nobody to ask, or the prompt was cancelled.
    pub async fn ask_secret(&self, prompt: &str) -> Result<SecretString, InputError> {
        self.sink.input(prompt, true).await.map(SecretString::from)
    }

    /// Shows what the filter held back at the end of a stream.
    pub fn flush(&self) {
        self.sink.flush();
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! A sink that remembers, for tests of magics.

    use std::collections::VecDeque;
    use std::sync::Mutex;

    use futures::future::BoxFuture;

    use super::*;

    /// Remembers events, and answers prompts from a list.
    #[derive(Default)]
    pub struct Recorder {
        events: Mutex<Vec<Event>>,
        answers: Mutex<VecDeque<String>>,
    }

    impl Recorder {
        /// A recorder that answers prompts with these lines, in order.
        pub fn answering(answers: &[&str]) -> Self {
            Self {
                answers: Mutex::new(answers.iter().map(|line| (*line).to_owned()).collect()),
                ..Self::default()
            }
        }

        /// Everything so far.
        pub fn events(&self) -> Vec<Event> {
            self.events.lock().unwrap().clone()
        }

        fn stream(&self, wanted: Stream) -> String {
            let events = self.events();
            let texts = events.iter().filter_map(|event| match event {
                Event::Stream { stream, text } if *stream == wanted => Some(text.as_str()),
                _ => None,
            });
            texts.collect()
        }

        /// All of standard output.
        pub fn stdout(&self) -> String {
            self.stream(Stream::Stdout)
        }

        /// All of standard error.
        pub fn stderr(&self) -> String {
            self.stream(Stream::Stderr)
        }

        /// The displays as a reader sees them at the end, updates applied.
        pub fn displays(&self) -> Vec<Bundle> {
            let mut shown: Vec<(Option<String>, Bundle)> = Vec::new();
            for event in self.events() {
                match event {
                    Event::Display { bundle, display_id } => shown.push((display_id, bundle)),
                    Event::Result { bundle } | Event::Page { bundle } => shown.push((None, bundle)),
                    Event::Update { display_id, bundle } => {
                        for entry in shown
                            .iter_mut()
                            .filter(|entry| entry.0.as_ref() == Some(&display_id))
                        {
                            entry.1 = bundle.clone();
                        }
                    }
                    Event::Stream { .. } | Event::Clear { .. } => {}
                }
            }
            shown.into_iter().map(|(_, bundle)| bundle).collect()
        }

        /// All that can be read in plain text.
        pub fn plain(&self) -> String {
            let displays = self.displays();
            let mut text: Vec<String> = displays
                .iter()
                .map(|bundle| bundle.plain().to_owned())
                .collect();
            text.push(self.stdout());
            text.push(self.stderr());
            text.join("\n")
        }
    }

    impl Sink for Recorder {
        fn emit(&self, event: Event) {
            self.events.lock().unwrap().push(event);
        }

        fn input<'a>(
            &'a self,
            _prompt: &'a str,
            _password: bool,
        ) -> BoxFuture<'a, Result<String, InputError>> {
            let answer = self
                .answers
                .lock()
                .unwrap()
                .pop_front()
                .ok_or(InputError::NotAllowed);
            Box::pin(async move { answer })
        }
    }
}
