//! A pod that works for a trial: its metrics are followed and collected, and it may be stopped early.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use bollard::query_parameters::StopContainerOptionsBuilder;
use k8s_openapi::api::core::v1::Container;

use super::Life;
use crate::runtime::ENGINE_PAUSE;
use crate::runtime::collect::{CollectError, Subject};
use crate::runtime::engine::is_unreachable;
use crate::runtime::status::Termination;

impl Life {
    async fn subject(&self) -> Result<Option<&Subject>, CollectError> {
        let subject = self
            .subject
            .get_or_try_init(|| self.runtime.subject(&self.pod));
        subject.await.map(Option::as_ref)
    }

    /// The trial whose metrics this container has.
    pub(super) async fn subject_in(&self, container: &Container) -> Option<&Subject> {
        match self.subject().await {
            Ok(subject) => subject.filter(|subject| subject.is_primary(&container.name)),
            Err(error) => {
                tracing::debug!(%error, pod = self.full_name(), "no metrics while the pod runs");
                None
            }
        }
    }

    pub(super) async fn collect(&self) -> Result<(), CollectError> {
        let mut tries = 0;
        loop {
            match self.try_to_collect().await {
                Err(CollectError::Engine { source, .. }) if is_unreachable(&source) => {}
                Err(CollectError::Mark { .. } | CollectError::Store(_)) if tries < 5 => tries += 1,
                outcome => return outcome,
            }
            tokio::time::sleep(ENGINE_PAUSE).await;
        }
    }

    async fn try_to_collect(&self) -> Result<(), CollectError> {
        let Some(subject) = self.subject().await? else {
            return Ok(());
        };
        let container = {
            let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
            let mut views = report.main.iter();
            let primary = views.find(|view| subject.is_primary(&view.name));
            primary.and_then(|view| view.id.clone())
        };
        self.runtime.collect(&self.pod, subject, container).await
    }

    /// Follows the metrics of a running container, and stops it when its trial is to be stopped early. Never
    /// returns.
    pub(super) async fn watch(&self, container: &Container, id: &str) {
        if let Some(subject) = self.subject_in(container).await {
            if let Some(trouble) = subject.unusable_rules() {
                self.kubelet
                    .warning(self.pod.as_ref(), "EarlyStoppingImpossible", trouble);
            }
            let address = {
                let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
                report.address.clone()
            };
            let watch = self.runtime.watch(subject, id, address.as_deref());
            let reason = watch.await;
            self.stop_early(container, id, subject, &reason).await;
        }
        std::future::pending::<()>().await;
    }

    /// The note on the pod comes first: a sandbox that is killed in between stops the container when it is back.
    async fn stop_early(&self, container: &Container, id: &str, subject: &Subject, reason: &str) {
        while let Err(error) = self.runtime.mark_stopped(&self.pod, subject, reason).await {
            tracing::warn!(%error, "stopping a trial early");
            tokio::time::sleep(ENGINE_PAUSE).await;
        }
        self.stopped.store(true, Ordering::Relaxed);
        let message = format!("Stopping container {} early: {reason}", container.name);
        self.events_of(&container.name)
            .normal(self.pod.as_ref(), "Killing", message);
        let grace = i32::try_from(self.grace()).unwrap_or(30);
        let docker = self.runtime.engine().docker();
        loop {
            let query = StopContainerOptionsBuilder::default().t(grace).build();
            match docker.stop_container(id, Some(query)).await {
                Err(error) if is_unreachable(&error) => tokio::time::sleep(ENGINE_PAUSE).await,
                _ => return,
            }
        }
    }

    /// How a container that has ended is shown, and what becomes of what it has reported.
    pub(super) async fn judged(&self, container: &Container, ended: Termination) -> Termination {
        if ended.exit_code == 0 {
            return ended;
        }
        let Some(subject) = self.subject_in(container).await else {
            return ended;
        };
        if self.stopped.load(Ordering::Relaxed) {
            return ended.stopped_early();
        }
        while let Err(error) = self.runtime.discard(subject, &ended.container).await {
            tracing::warn!(%error, "taking back what a failed container has reported");
            tokio::time::sleep(ENGINE_PAUSE).await;
        }
        ended
    }
}
