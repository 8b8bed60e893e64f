//! A bound on what one cell shows: front ends keep it all in memory and in the notebook's file, and
//! some tens of megabytes make them useless.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::BoxFuture;
use serde_json::Value;

use crate::event::{Bundle, Event, InputError, Sink, Stream};
use crate::render::age;

/// Bytes of printed text that a cell shows.
const PRINTED: usize = 10 << 20;
/// Bytes of one output, such as a table or a picture.
const SHOWN: usize = 10 << 20;
/// Bytes of all outputs of a cell; behind that there is room for words only.
const TOGETHER: usize = 40 << 20;
const LEAST: usize = 64 << 10;

/// Passes on what a cell shows, as far as a front end can bear it.
pub struct Bounded {
    inner: Arc<dyn Sink>,
    printed: AtomicUsize,
    shown: AtomicUsize,
}

impl Bounded {
    /// The bound of one cell, which shows to `inner`.
    pub fn new(inner: Arc<dyn Sink>) -> Self {
        Self {
            inner,
            printed: AtomicUsize::new(0),
            shown: AtomicUsize::new(0),
        }
    }

    /// An output beside those that the cell has shown already.
    fn further(&self, bundle: Bundle) -> Bundle {
        let bundle = bearable(bundle, SHOWN);
        let left = TOGETHER.saturating_sub(self.shown.load(Ordering::Relaxed));
        let bundle = bearable(bundle, left.max(LEAST));
        self.shown.fetch_add(size(&bundle), Ordering::Relaxed);
        bundle
    }

    fn print(&self, stream: Stream, mut text: String) {
        let before = self.printed.fetch_add(text.len(), Ordering::Relaxed);
        if before > PRINTED {
            return;
        }
        let is_last = before + text.len() > PRINTED;
        if is_last {
            text.truncate(text.floor_char_boundary(PRINTED - before));
        }
        self.inner.emit(Event::Stream { stream, text });
        if is_last {
            let text = format!(
                "\n! more than {} were printed: the rest of this cell's text is left out; write it to a file\n",
                age::size(PRINTED as u64)
            );
            let stream = Stream::Stderr;
            self.inner.emit(Event::Stream { stream, text });
        }
    }
}

impl Sink for Bounded {
    fn emit(&self, event: Event) {
        let event = match event {
            Event::Stream { stream, text } => return self.print(stream, text),
            Event::Display { bundle, display_id } => Event::Display {
                bundle: self.further(bundle),
                display_id,
            },
            Event::Update { display_id, bundle } => Event::Update {
                display_id,
                bundle: bearable(bundle, SHOWN),
            },
            Event::Result { bundle } => Event::Result {
                bundle: self.further(bundle),
            },
            Event::Clear { wait } => {
                self.printed.store(0, Ordering::Relaxed);
                self.shown.store(0, Ordering::Relaxed);
                Event::Clear { wait }
            }
            event @ Event::Page { .. } => event,
        };
        self.inner.emit(event);
    }

    fn input<'a>(
        &'a self,
        prompt: &'a str,
        password: bool,
    ) -> BoxFuture<'a, Result<String, InputError>> {
        self.inner.input(prompt, password)
    }
}

fn size(bundle: &Bundle) -> usize {
    bundle.data.values().map(length).sum()
}

fn bearable(bundle: Bundle, most: usize) -> Bundle {
    let size = size(&bundle);
    match size > most {
        true => Bundle::text(format!(
            "! an output of {} is left out, more than a notebook bears; show less of it, or write it to a file",
            age::size(size as u64)
        )),
        false => bundle,
    }
}

/// About how many bytes a value has as JSON.
fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(length).sum(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| name.len() + length(value))
            .sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::testing::Recorder;

    #[test]
    fn the_rest_of_what_a_cell_prints_is_left_out_and_that_is_said_once() {
        let recorder = Arc::new(Recorder::default());
        let bounded = Bounded::new(recorder.clone());
        for _ in 0..12 {
            let text = "é".repeat(1 << 19);
            bounded.emit(Event::Stream {
                stream: Stream::Stdout,
                text,
            });
        }
        assert_eq!(recorder.stdout().len(), PRINTED);
        assert_eq!(recorder.stderr().matches("is left out").count(), 1);
    }

    #[test]
    fn an_output_that_no_front_end_bears_is_left_out() {
        let shown = |size: usize| {
            let recorder = Arc::new(Recorder::default());
            let bundle = Bundle::text("x".repeat(size));
            Bounded::new(recorder.clone()).emit(Event::Result { bundle });
            recorder.plain()
        };
        assert!(shown(20 << 20).starts_with("! an output of 21"));
        let recorder = Arc::new(Recorder::default());
        let bounded = Bounded::new(recorder.clone());
        let show = || {
            let bundle = Bundle::text("x".repeat(9 << 20));
            bounded.emit(Event::Result { bundle });
        };
        (0..6).for_each(|_| show());
        assert_eq!(recorder.plain().matches("is left out").count(), 2);
        bounded.emit(Event::Clear { wait: false });
        show();
        assert_eq!(recorder.plain().matches("is left out").count(), 2);
        assert_eq!(shown(1000).trim().len(), 1000);
    }
}
