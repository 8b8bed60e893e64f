//! A display whose whole content changes while something is watched.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::event::Bundle;
use crate::output::Output;

/// The shortest time between two pictures.
pub(super) const PACE: Duration = Duration::from_millis(100);

/// A display whose whole content changes, at most ten times a second however often it is updated.
/// Clones share it. Equal content is not sent again, and the last content is never lost.
#[derive(Clone)]
pub struct Live {
    inner: Arc<Inner>,
}

struct Inner {
    output: Output,
    id: String,
    state: Mutex<State>,
}

struct State {
    shown: Bundle,
    at: Instant,
    waiting: Option<Bundle>,
    due: bool,
}

impl Live {
    /// Shows the first content at once.
    pub fn start(output: &Output, bundle: Bundle) -> Self {
        let id = output.display(bundle.clone());
        let state = State {
            shown: bundle,
            at: Instant::now(),
            waiting: None,
            due: false,
        };
        Self {
            inner: Arc::new(Inner {
                output: output.clone(),
                id,
                state: Mutex::new(state),
            }),
        }
    }

    /// Replaces the content.
    pub fn update(&self, bundle: Bundle) {
        let mut state = self.inner.lock();
        let since = state.at.elapsed();
        state.waiting = Some(bundle);
        if since >= PACE {
            self.inner.show(&mut state);
        } else if !state.due
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            state.due = true;
            let inner = Arc::downgrade(&self.inner);
            runtime.spawn(async move {
                tokio::time::sleep(PACE - since).await;
                Inner::catch_up(&inner);
            });
        }
    }

    /// Shows the last content, which stays.
    pub fn finish(&self, bundle: Bundle) {
        let mut state = self.inner.lock();
        state.waiting = Some(bundle);
        self.inner.show(&mut state);
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, state: &mut State) {
        if let Some(bundle) = state.waiting.take().filter(|bundle| *bundle != state.shown) {
            self.output.update(&self.id, bundle.clone());
            state.shown = bundle;
            state.at = Instant::now();
        }
    }

    fn catch_up(inner: &Weak<Self>) {
        if let Some(inner) = inner.upgrade() {
            let mut state = inner.lock();
            state.due = false;
            inner.show(&mut state);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(bundle) = state.waiting.take().filter(|bundle| *bundle != state.shown) {
            self.output.update(&self.id, bundle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::testing::Recorder;
    use crate::redaction::Redactor;

    #[test]
    fn many_updates_make_few_pictures_and_the_last_one_stays() {
        let recorder = Arc::new(Recorder::default());
        let output = Output::new(recorder.clone(), Arc::new(Redactor::default()));
        let live = Live::start(&output, Bundle::text("0"));
        for number in 1..=1000 {
            live.update(Bundle::text(number.to_string()));
        }
        drop(live);
        assert!(recorder.events().len() < 10, "{}", recorder.events().len());
        assert_eq!(recorder.displays()[0].plain(), "1000");
    }

    #[test]
    fn equal_content_is_not_sent_again() {
        let recorder = Arc::new(Recorder::default());
        let output = Output::new(recorder.clone(), Arc::new(Redactor::default()));
        let live = Live::start(&output, Bundle::text("same"));
        live.finish(Bundle::text("same"));
        drop(live);
        assert_eq!(recorder.events().len(), 1);
    }

    #[tokio::test]
    async fn an_update_that_came_too_early_is_shown_although_nothing_follows() {
        let recorder = Arc::new(Recorder::default());
        let output = Output::new(recorder.clone(), Arc::new(Redactor::default()));
        let live = Live::start(&output, Bundle::text("a"));
        live.update(Bundle::text("b"));
        let shown = async {
            while recorder.displays()[0].plain() != "b" {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), shown)
            .await
            .unwrap();
        drop(live);
    }
}
