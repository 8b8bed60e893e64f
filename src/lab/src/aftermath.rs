//! Cleaning up that outlives the step it belongs to: an interrupted step returns at once, what it left is still removed.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

static TASKS: LazyLock<TaskTracker> = LazyLock::new(TaskTracker::new);

/// Runs to its end even if the caller is dropped on the way, as long as the program waits with [`finished`].
pub(crate) fn spawn<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    TASKS.spawn(work)
}

/// Waits until everything is cleaned up, for as long as `patience`; warns when something is left then.
///
/// A program calls this before it ends, or containers of interrupted steps could stay.
pub async fn finished(patience: Duration) {
    TASKS.close();
    if tokio::time::timeout(patience, TASKS.wait()).await.is_err() {
        tracing::warn!(
            "the engine did not answer in time: containers of interrupted cells may be left"
        );
    }
}
