//! Records what cells show as notebook outputs, and passes it on to the terminal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::notebook::{self, Notebook};
use super::terminal::Terminal;
use crate::event::{Bundle, Event, InputError, Sink, Stream};
use crate::failure::Failure;

/// The sink of a run.
pub struct Recorder {
    terminal: Arc<Terminal>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: usize,
    cells: BTreeMap<usize, Vec<Output>>,
    changed: BTreeSet<usize>,
    clear_later: bool,
}

enum Output {
    Text {
        stream: Stream,
        text: String,
    },
    Shown {
        kind: &'static str,
        bundle: Bundle,
        display_id: Option<String>,
    },
    Error(Failure),
}

impl Recorder {
    pub fn new(terminal: Arc<Terminal>) -> Self {
        Self {
            terminal,
            state: Mutex::default(),
        }
    }

    /// What comes from here on belongs to this cell.
    pub fn begin(&self, index: usize) {
        let mut state = self.lock();
        state.current = index;
        state.clear_later = false;
        state.cells.entry(index).or_default();
        state.changed.insert(index);
    }

    /// Records how the current cell failed.
    pub fn error(&self, failure: &Failure) {
        let mut state = self.lock();
        state.add(Output::Error(failure.clone()));
    }

    /// Puts what changed into the notebook: the current cell, and those it updated.
    pub fn store(&self, notebook: &mut Notebook) {
        let mut state = self.lock();
        for index in std::mem::take(&mut state.changed) {
            if let Some(outputs) = state.cells.get(&index) {
                let shown = outputs.iter().filter(|output| !output.is_blank());
                notebook.set_outputs(index, shown.map(Output::to_json).collect());
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, output: Output) {
        let current = self.current;
        self.changed.insert(current);
        let outputs = self.cells.entry(current).or_default();
        if std::mem::take(&mut self.clear_later) {
            outputs.clear();
        }
        if let (
            Output::Text { stream, text },
            Some(Output::Text {
                stream: last,
                text: before,
            }),
        ) = (&output, outputs.last_mut())
            && stream == last
        {
            before.push_str(text);
            return;
        }
        outputs.push(output);
    }

    fn update(&mut self, id: &str, bundle: &Bundle) {
        for (index, outputs) in &mut self.cells {
            for output in outputs {
                if let Output::Shown {
                    bundle: shown,
                    display_id: Some(known),
                    ..
                } = output
                    && known == id
                {
                    *shown = bundle.clone();
                    self.changed.insert(*index);
                }
            }
        }
    }
}

impl Output {
    fn is_blank(&self) -> bool {
        matches!(self, Self::Shown { bundle, .. } if bundle.is_blank())
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Text { stream, text } => {
                let name = if *stream == Stream::Stdout {
                    "stdout"
                } else {
                    "stderr"
                };
                json!({ "name": name, "output_type": "stream", "text": notebook::lines(text) })
            }
            Self::Shown { kind, bundle, .. } => {
                let data: Map<String, Value> = bundle
                    .data
                    .iter()
                    .map(|(mime, content)| (mime.clone(), content_of(mime, content)))
                    .collect();
                let mut output = json!({
                    "data": data,
                    "metadata": bundle.metadata,
                    "output_type": kind,
                });
                if *kind == "execute_result" {
                    output["execution_count"] = Value::Null;
                }
                output
            }
            Self::Error(failure) => json!({
                "ename": failure.name,
                "evalue": failure.message,
                "output_type": "error",
                "traceback": failure.traceback,
            }),
        }
    }
}

/// Text goes in by lines; images in base64 and JSON stay whole.
fn content_of(mime: &str, content: &Value) -> Value {
    match content {
        Value::String(text) if mime.starts_with("text/") || mime == "image/svg+xml" => {
            notebook::lines(text)
        }
        other => other.clone(),
    }
}

impl Sink for Recorder {
    fn emit(&self, event: Event) {
        self.terminal.show(&event);
        let mut state = self.lock();
        match event {
            Event::Stream { stream, text } => state.add(Output::Text { stream, text }),
            Event::Display { bundle, display_id } => {
                state.add(Output::Shown {
                    kind: "display_data",
                    bundle,
                    display_id,
                });
            }
            Event::Result { bundle } => {
                state.add(Output::Shown {
                    kind: "execute_result",
                    bundle,
                    display_id: None,
                });
            }
            Event::Update { display_id, bundle } => state.update(&display_id, &bundle),
            Event::Clear { wait: true } => state.clear_later = true,
            Event::Clear { wait: false } => {
                let current = state.current;
                state.cells.entry(current).or_default().clear();
            }
            // The pager is for the moment; notebooks do not keep it.
            Event::Page { .. } => {}
        }
    }

    fn input<'a>(
        &'a self,
        prompt: &'a str,
        password: bool,
    ) -> BoxFuture<'a, Result<String, InputError>> {
        Box::pin(self.terminal.ask(prompt, password))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_merge_updates_replace_and_clearing_waits() {
        let recorder = Recorder::new(Arc::new(Terminal::silent()));
        recorder.begin(0);
        let text = |text: &str| Event::Stream {
            stream: Stream::Stdout,
            text: text.into(),
        };
        recorder.emit(text("a\n"));
        recorder.emit(text("b\n"));
        recorder.emit(Event::Display {
            bundle: Bundle::text("0%"),
            display_id: Some("d".into()),
        });
        recorder.emit(Event::Update {
            display_id: "d".into(),
            bundle: Bundle::text("100%").with_png("iVBORw0KGgo=", 90, 30),
        });
        let outputs = |recorder: &Recorder| -> Vec<Value> {
            recorder.lock().cells[&0]
                .iter()
                .map(Output::to_json)
                .collect()
        };
        let shown = outputs(&recorder);
        assert_eq!(shown.len(), 2);
        assert_eq!(shown[0]["text"], json!(["a\n", "b\n"]));
        assert_eq!(shown[1]["data"]["text/plain"], json!(["100%"]));
        assert_eq!(
            shown[1]["metadata"],
            json!({"image/png": {"width": 90, "height": 30}})
        );
        recorder.emit(Event::Clear { wait: true });
        assert_eq!(outputs(&recorder).len(), 2);
        recorder.emit(text("new"));
        assert_eq!(outputs(&recorder).len(), 1);
    }

    #[test]
    fn a_later_cell_updates_an_earlier_one() {
        let recorder = Recorder::new(Arc::new(Terminal::silent()));
        recorder.begin(0);
        recorder.emit(Event::Display {
            bundle: Bundle::text("old"),
            display_id: Some("d".into()),
        });
        recorder.begin(1);
        recorder.emit(Event::Update {
            display_id: "d".into(),
            bundle: Bundle::text("new"),
        });
        assert_eq!(
            recorder.lock().cells[&0][0].to_json()["data"]["text/plain"],
            json!(["new"])
        );
    }
}
