//! A display that lives while something goes on: bars, counts, the last lines; in the end a summary.
//!
//! The first picture is shown at once, later ones at most ten times a second, however often the
//! work reports. What is shown is bounded, so that a long build does not fill a notebook.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::age;
use super::escapes::plain_line;
use super::html::{self, Html};
use super::live::PACE;
use super::status::Status;
use super::table::one_line;
use crate::event::Bundle;
use crate::output::Output;

/// How many items (layers, files) are shown; the finished ones go first.
const ITEMS: usize = 12;
/// How many lines of a log are shown.
const LINES: usize = 10;
const BAR_WIDTH: usize = 24;

#[derive(Clone, Debug)]
struct Item {
    name: String,
    state: String,
    done: Option<u64>,
    total: Option<u64>,
    status: Status,
}

struct Picture {
    title: String,
    detail: String,
    bar: Option<(u64, u64)>,
    items: Vec<Item>,
    lines: VecDeque<String>,
    hidden_lines: usize,
    started: Instant,
    finished: Option<(Status, String, Option<Duration>)>,
    keep: bool,
}

struct Inner {
    output: Output,
    id: String,
    state: Mutex<(Picture, Instant, bool)>,
}

/// A display that lives while something goes on. Clones share it. When the last one goes away and
/// nobody said how it ended, it ends as stopped.
#[derive(Clone)]
pub struct Progress {
    inner: Arc<Inner>,
}

impl Progress {
    /// Shows at once that something has begun.
    pub fn start(output: &Output, title: impl Into<String>) -> Self {
        let picture = Picture {
            title: title.into(),
            detail: String::new(),
            bar: None,
            items: Vec::new(),
            lines: VecDeque::new(),
            hidden_lines: 0,
            started: Instant::now(),
            finished: None,
            keep: false,
        };
        let id = output.display(picture.bundle());
        let inner = Inner {
            output: output.clone(),
            id,
            state: Mutex::new((picture, Instant::now(), false)),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Changes what is said to go on.
    pub fn title(&self, title: impl Into<String>) {
        self.change(|picture| picture.title = title.into());
    }

    /// Says what goes on just now, in a few words.
    pub fn detail(&self, detail: impl Into<String>) {
        self.change(|picture| picture.detail = one_line(&detail.into()));
    }

    /// Sets the bar: how much of the whole is done.
    pub fn bar(&self, done: u64, total: u64) {
        self.change(|picture| picture.bar = Some((done, total)));
    }

    /// Sets one of several things under way (a layer, a file), by name: its state in a word, and in
    /// bytes how much is done.
    pub fn item(&self, name: &str, state: &str, done: Option<u64>, total: Option<u64>) {
        let status = Status::of(state);
        self.item_with(
            name,
            state,
            done,
            total,
            if status == Status::Neutral {
                Status::Running
            } else {
                status
            },
        );
    }

    /// As [`item`](Self::item), with a status of its own.
    pub fn item_with(
        &self,
        name: &str,
        state: &str,
        done: Option<u64>,
        total: Option<u64>,
        status: Status,
    ) {
        let item = Item {
            name: one_line(name),
            state: one_line(state),
            done,
            total,
            status,
        };
        self.change(
            |picture| match picture.items.iter_mut().find(|have| have.name == item.name) {
                Some(have) => *have = item,
                None => picture.items.push(item),
            },
        );
    }

    /// Adds a line (of a build's output, say); the last ones are shown.
    pub fn line(&self, line: impl AsRef<str>) {
        let line = plain_line(line.as_ref());
        self.change(|picture| {
            picture.lines.push_back(line);
            if picture.lines.len() > LINES {
                picture.lines.pop_front();
                picture.hidden_lines += 1;
            }
        });
    }

    /// Ends it well. Items and lines give way to the summary.
    pub fn done(&self, summary: impl Into<String>) {
        self.finish(Status::Ok, summary, false);
    }

    /// Ends it badly. Items and lines stay, for they may tell why.
    pub fn failed(&self, summary: impl Into<String>) {
        self.finish(Status::Failed, summary, true);
    }

    /// Ends it with a status; `keep` says whether items and lines stay.
    pub fn finish(&self, status: Status, summary: impl Into<String>, keep: bool) {
        let mut state = self.inner.lock();
        let (picture, ..) = &mut *state;
        if picture.finished.is_some() {
            return;
        }
        picture.finished = Some((status, summary.into(), Some(picture.started.elapsed())));
        picture.keep = keep;
        let bundle = picture.bundle();
        self.inner.output.update(&self.inner.id, bundle);
    }

    /// Ends it by showing something else in its place (a table of results).
    pub fn replace(&self, bundle: Bundle) {
        let mut state = self.inner.lock();
        state.0.finished = Some((Status::Ok, String::new(), None));
        self.inner.output.update(&self.inner.id, bundle);
    }

    fn change(&self, change: impl FnOnce(&mut Picture)) {
        let mut state = self.inner.lock();
        let (picture, shown, due) = &mut *state;
        if picture.finished.is_some() {
            return;
        }
        change(picture);
        let since = shown.elapsed();
        if since >= PACE {
            *shown = Instant::now();
            let bundle = picture.bundle();
            self.inner.output.update(&self.inner.id, bundle);
        } else if !*due && let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Work that falls silent must not leave an old picture standing.
            *due = true;
            let inner = Arc::downgrade(&self.inner);
            runtime.spawn(async move {
                tokio::time::sleep(PACE - since).await;
                Inner::catch_up(&inner);
            });
        }
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, (Picture, Instant, bool)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn catch_up(inner: &Weak<Self>) {
        let Some(inner) = inner.upgrade() else { return };
        let mut state = inner.lock();
        let (picture, shown, due) = &mut *state;
        *due = false;
        if picture.finished.is_none() {
            *shown = Instant::now();
            let bundle = picture.bundle();
            inner.output.update(&inner.id, bundle);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let (picture, ..) = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if picture.finished.is_none() {
            let stopped = format!("{}: stopped", picture.title);
            picture.finished = Some((Status::Stopped, stopped, Some(picture.started.elapsed())));
            picture.keep = true;
            self.output.update(&self.id, picture.bundle());
        }
    }
}

impl Picture {
    fn bundle(&self) -> Bundle {
        Bundle::text(self.plain()).with_html(self.html())
    }

    fn head(&self) -> (Status, String) {
        match &self.finished {
            Some((status, summary, took)) => {
                let took = took
                    .map(|took| format!("  ({})", age::took(took)))
                    .unwrap_or_default();
                (*status, format!("{summary}{took}"))
            }
            None if self.detail.is_empty() => (Status::Running, format!("{}…", self.title)),
            None => (Status::Running, format!("{}: {}", self.title, self.detail)),
        }
    }

    fn body_shown(&self) -> bool {
        self.finished.is_none() || self.keep
    }

    /// The items that fit, those under way before those that are done, each in its old place.
    fn items_shown(&self) -> (Vec<&Item>, usize) {
        let hide = self.items.len().saturating_sub(ITEMS);
        let mut hidden = 0;
        let mut shown: Vec<&Item> = Vec::new();
        for item in &self.items {
            if hidden < hide && item.status == Status::Ok {
                hidden += 1;
            } else {
                shown.push(item);
            }
        }
        let more = shown.len().saturating_sub(ITEMS);
        shown.truncate(ITEMS);
        (shown, hidden + more)
    }

    fn plain(&self) -> String {
        let (status, head) = self.head();
        let mut lines = vec![status.label(&head)];
        if self.body_shown() {
            if let Some((done, total)) = self.bar {
                lines.push(format!("  {} {done}/{total}", bar(done, total)));
            }
            let (items, hidden) = self.items_shown();
            let name_width = items
                .iter()
                .map(|item| item.name.chars().count())
                .max()
                .unwrap_or(0);
            for item in items {
                let pad = " ".repeat(name_width - item.name.chars().count());
                let line = format!(
                    "  {} {}{pad}  {}",
                    item.status.glyph(),
                    item.name,
                    item.measure()
                );
                lines.push(line.trim_end().to_owned());
            }
            if hidden > 0 {
                lines.push(format!("  … and {hidden} more"));
            }
            if self.hidden_lines > 0 {
                lines.push(format!("  … {} earlier lines", self.hidden_lines));
            }
            lines.extend(
                self.lines
                    .iter()
                    .map(|line| format!("  {line}").trim_end().to_owned()),
            );
        }
        lines.join("\n")
    }

    fn html(&self) -> Html {
        let (status, head) = self.head();
        let mut parts = html::element(
            "div",
            &[],
            &html::join([status.glyph_html(), Html::text(" "), Html::text(&head)]),
        );
        if self.body_shown() {
            if let Some((done, total)) = self.bar {
                parts.push(&html::element(
                    "div",
                    &[],
                    &html::join([meter(done, total), Html::text(&format!(" {done}/{total}"))]),
                ));
            }
            let (items, hidden) = self.items_shown();
            if !items.is_empty() {
                let rows = items.iter().map(|item| {
                    let gauge = match (item.done, item.total) {
                        (Some(done), Some(total)) if item.status == Status::Running => {
                            meter(done, total)
                        }
                        _ => Html::default(),
                    };
                    let style = [("style", "padding:0 0.8em 0 0;border:none;text-align:left")];
                    html::element(
                        "tr",
                        &[],
                        &html::join([
                            html::element("td", &style, &item.status.glyph_html()),
                            html::element(
                                "td",
                                &style,
                                &html::text_element("code", &[], &item.name),
                            ),
                            html::element("td", &style, &gauge),
                            html::text_element("td", &style, &item.words()),
                        ]),
                    )
                });
                let body = html::element("tbody", &[], &html::join(rows));
                parts.push(&html::element(
                    "table",
                    &[("style", "border-collapse:collapse")],
                    &body,
                ));
            }
            if hidden > 0 {
                parts.push(&html::text_element(
                    "div",
                    &[("style", "color:#808080")],
                    &format!("… and {hidden} more"),
                ));
            }
            if !self.lines.is_empty() {
                let mut text = String::new();
                if self.hidden_lines > 0 {
                    text = format!("… {} earlier lines\n", self.hidden_lines);
                }
                text.push_str(
                    &self
                        .lines
                        .iter()
                        .map(String::as_str)
                        .collect::<Vec<_>>()
                        .join("\n"),
                );
                parts.push(&html::preformatted(&text));
            }
        }
        html::element("div", &[("class", "katlab katlab-progress")], &parts)
    }
}

impl Item {
    fn words(&self) -> String {
        match (self.done, self.total) {
            (Some(done), Some(total)) if self.status == Status::Running => {
                format!("{} {} of {}", self.state, age::size(done), age::size(total))
            }
            (_, Some(size)) | (Some(size), None) => format!("{} {}", self.state, age::size(size)),
            (None, None) => self.state.clone(),
        }
    }

    fn measure(&self) -> String {
        match (self.done, self.total) {
            (Some(done), Some(total)) if self.status == Status::Running => {
                format!("{} {}", bar(done, total), self.words())
            }
            _ => self.words(),
        }
    }
}

/// A bar of text.
pub fn bar(done: u64, total: u64) -> String {
    let share = if total == 0 {
        0
    } else {
        u128::from(done.min(total)) * BAR_WIDTH as u128 / u128::from(total)
    };
    let full = usize::try_from(share).unwrap_or(BAR_WIDTH);
    format!("{}{}", "█".repeat(full), "░".repeat(BAR_WIDTH - full))
}

fn meter(done: u64, total: u64) -> Html {
    let (value, max) = (done.min(total).to_string(), total.max(1).to_string());
    html::element(
        "progress",
        &[("value", &value), ("max", &max), ("style", "width:14em")],
        &Html::text(&bar(done, total)),
    )
}

#[cfg(test)]
mod tests;
