//! The reading of metrics while a container runs: for curves, and to stop a trial early.

use std::time::Duration;

use bollard::query_parameters::LogsOptionsBuilder;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use katlab_katib::types::CollectorKind;
use tokio::time::{Instant, sleep};

use super::pass::{Batch, Pass};
use super::{CollectError, STOPPED, Subject};
use crate::runtime::Runtime;

/// How often rows are written at most. A trial that ends sooner is written once, at its end.
const WRITE: Duration = Duration::from_millis(500);
/// How often a file is looked at, and how long a reading that broke off waits.
const LOOK: Duration = Duration::from_secs(1);
/// A file that takes long to read is read more seldom: this many times what it took lies in between.
const REST: u32 = 10;

impl Runtime {
    /// Reports what a running container says. Returns why its trial is to be stopped early, if that comes;
    /// else never: whoever waits for the container's end drops this.
    pub(in crate::runtime) async fn watch(
        &self,
        subject: &Subject,
        container: &str,
        address: Option<&str>,
    ) -> String {
        loop {
            let read = match (subject.kind(), subject.path()) {
                (CollectorKind::StdOut, _) => self.follow_output(subject, container).await,
                (CollectorKind::File, Some(path)) => {
                    self.follow_file(subject, container, path).await
                }
                (CollectorKind::TensorFlowEvent, Some(path)) => {
                    self.follow_events(subject, container, path).await
                }
                (CollectorKind::PrometheusMetric, _) => {
                    self.scrape(subject, container, address).await
                }
                // Somebody else reports.
                _ => std::future::pending().await,
            };
            match read {
                Ok(Some(reason)) => return reason,
                Ok(None) => {}
                Err(error @ CollectError::Unreadable { .. }) => {
                    tracing::debug!(%error, "no metrics while the trial runs");
                    // The reading at the end tells it.
                    std::future::pending::<()>().await;
                }
                Err(error) => tracing::debug!(%error, "reading from the beginning"),
            }
            sleep(LOOK).await;
        }
    }

    /// Notes on a pod that its trial was stopped early, and why.
    pub(in crate::runtime) async fn mark_stopped(
        &self,
        pod: &Pod,
        subject: &Subject,
        reason: &str,
    ) -> Result<(), CollectError> {
        self.mark(pod, subject, STOPPED, reason).await
    }

    async fn follow_output(
        &self,
        subject: &Subject,
        container: &str,
    ) -> Result<Option<String>, CollectError> {
        let mut pass = Pass::new(&subject.trial).map_err(|error| subject.unreadable(error))?;
        let query = LogsOptionsBuilder::default().stdout(true).stderr(true);
        let docker = self.engine().docker();
        let mut chunks = std::pin::pin!(docker.logs(container, Some(query.follow(true).build())));
        let mut waiting = Batch::default();
        let mut write = std::pin::pin!(sleep(WRITE));
        loop {
            tokio::select! {
                chunk = chunks.next() => {
                    let Some(chunk) = chunk else { return Ok(None) };
                    let chunk = chunk.map_err(|source| subject.engine(source))?.into_bytes();
                    let batch = pass.push(&chunk).map_err(|error| subject.unreadable(error))?;
                    if waiting.rows.is_empty() {
                        waiting.first = batch.first;
                    }
                    waiting.rows.extend(batch.rows);
                    if let Some(reason) = pass.sheet.stop() {
                        self.append(subject, container, waiting).await?;
                        return Ok(Some(reason));
                    }
                }
                () = &mut write, if !waiting.rows.is_empty() => {
                    self.append(subject, container, std::mem::take(&mut waiting)).await?;
                    write.as_mut().reset(Instant::now() + WRITE);
                }
            }
        }
    }

    async fn follow_file(
        &self,
        subject: &Subject,
        container: &str,
        path: &str,
    ) -> Result<Option<String>, CollectError> {
        let mut seen = None;
        let mut pause = LOOK;
        loop {
            sleep(pause).await;
            let began = Instant::now();
            // Before the reading: what is written meanwhile is seen the next time.
            let mark = self.file_mark(subject, container, path).await?;
            if mark.is_some()
                && mark != seen
                && let Some(bytes) = self.file(subject, container, path).await?
            {
                let unreadable = |error| subject.unreadable(error);
                let mut pass = Pass::new(&subject.trial).map_err(unreadable)?;
                let batch = pass.push(&bytes).map_err(unreadable)?;
                self.append(subject, container, batch).await?;
                if let Some(reason) = pass.sheet.stop() {
                    return Ok(Some(reason));
                }
                seen = mark;
            }
            pause = LOOK.max(began.elapsed().saturating_mul(REST));
        }
    }

    async fn follow_events(
        &self,
        subject: &Subject,
        container: &str,
        path: &str,
    ) -> Result<Option<String>, CollectError> {
        let mut pause = LOOK;
        loop {
            sleep(pause).await;
            let began = Instant::now();
            let events = self.events(subject, container, path).await?;
            if events.has_objective {
                let stop = events.stop();
                self.append_events(subject, container, events).await?;
                if stop.is_some() {
                    return Ok(stop);
                }
            }
            // The whole directory is read each time.
            pause = (LOOK * 2).max(began.elapsed().saturating_mul(2 * REST));
        }
    }
}
