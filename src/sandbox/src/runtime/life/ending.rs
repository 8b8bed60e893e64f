//! The end of a pod: asked to stop, killed when its time is over, taken off the engine and out of the API.

use std::sync::PoisonError;
use std::time::Duration;

use bollard::query_parameters::StopContainerOptionsBuilder;
use futures::future::join_all;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{DeleteParams, Preconditions};
use tokio::sync::watch;

use crate::runtime::container::{Found, found, label};
use crate::runtime::status::{State, View};
use crate::runtime::{ENGINE_PAUSE, Error, pause, remove_containers, remove_volumes};

use super::{Life, News, Which};

/// How long the logs of containers that ended by themselves can be asked for after that, although
/// their pod is deleted: a node takes about as long to remove one, and whoever follows the logs of
/// short pods counts on it.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Life {
    pub(super) fn grace(&self) -> i64 {
        self.pod
            .spec
            .as_ref()
            .and_then(|spec| spec.termination_grace_period_seconds)
            .unwrap_or(30)
    }

    /// Asks the pod's running containers to end, and kills them when the time is over.
    pub(super) async fn stop_containers(&self, grace: i64) -> usize {
        let found = match self.runtime.containers(&[(label::UID, &self.uid())]).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "stopping containers");
                return 0;
            }
        };
        let stops = found
            .iter()
            .filter(|container| container.running)
            // The infrastructure container holds on until the others are gone.
            .filter(|container| {
                container.labels.get(label::CONTAINER).map(String::as_str) != Some(pause::NAME)
            })
            .map(|container| async {
                if let Some(name) = container.labels.get(label::CONTAINER) {
                    self.events_of(name).normal(
                        self.pod.as_ref(),
                        "Killing",
                        format!("Stopping container {name}"),
                    );
                }
                let query = StopContainerOptionsBuilder::default()
                    .t(i32::try_from(grace).unwrap_or(30))
                    .build();
                if let Err(error) = self
                    .runtime
                    .engine()
                    .docker()
                    .stop_container(&container.id, Some(query))
                    .await
                {
                    tracing::debug!(%error, container = container.id, "stopping");
                }
            });
        join_all(stops).await.len()
    }

    /// Shows how the containers ended that something else than themselves has stopped.
    pub(super) async fn look_again(&self) {
        let ids: Vec<(Which, String)> = {
            let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
            let init = report.init.iter().enumerate();
            let main = report.main.iter().enumerate();
            init.map(|(index, view)| (Which::Init(index), view))
                .chain(main.map(|(index, view)| (Which::Main(index), view)))
                .filter_map(|(which, view)| Some((which, view.id.clone()?)))
                .collect()
        };
        for (which, id) in ids {
            let transport = self.runtime.engine().transport();
            if let Ok(inspected) = transport.inspect_container(&id).await
                && let Found::Ended(ended) = found(&inspected)
            {
                self.view(which, |view| view.state = State::Terminated(ended));
            }
        }
    }

    /// Removes the pod's containers, volumes and files, then the pod itself.
    pub(super) async fn tear_down(&self, news: &watch::Receiver<News>) {
        let (pod, gone) = {
            let news = news.borrow();
            (news.pod.clone(), news.gone)
        };
        let grace = if gone {
            0
        } else {
            pod.metadata
                .deletion_grace_period_seconds
                .unwrap_or_else(|| self.grace())
        };
        // What the engine was asked to make must be there before it can be removed.
        drop(self.making.write().await);
        let mut forced = news.clone();
        tokio::select! {
            () = async {
                let stopped = self.stop_containers(grace).await;
                if gone {
                    return;
                }
                if stopped > 0 {
                    self.look_again().await;
                    self.publish().await;
                } else {
                    self.last_words().await;
                }
            } => {}
            // Deleted by force in the meantime: nothing is left to be patient for.
            _ = forced.wait_for(|news| news.gone) => {}
        }
        loop {
            match self.remove().await {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(%error, pod = self.full_name(), "removing what the pod left")
                }
            }
            tokio::time::sleep(ENGINE_PAUSE).await;
        }
        if gone {
            return;
        }
        let options = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(self.uid()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        loop {
            match self.pods().delete(&self.pod.name_any(), &options).await {
                Ok(_) => return,
                Err(kube::Error::Api(answer)) if answer.code < 500 => return,
                Err(error) => tracing::warn!(%error, pod = self.full_name(), "removing the pod"),
            }
            tokio::time::sleep(ENGINE_PAUSE).await;
        }
    }

    /// Leaves the logs of containers that have just ended where they can be asked for.
    async fn last_words(&self) {
        let ended = {
            let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
            let ended = |view: &View| match &view.state {
                State::Terminated(termination) => termination.finished,
                State::Waiting { .. } | State::Running { .. } => None,
            };
            report.main.iter().filter_map(ended).max()
        };
        let ago = ended.and_then(|ended| Duration::try_from(Timestamp::now() - ended).ok());
        let left = ago.and_then(|ago| LAST_WORDS.checked_sub(ago));
        if let Some(left) = left {
            drop(
                self.seat
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(),
            );
            tokio::time::sleep(left).await;
        }
    }

    /// Removes what the pod left on the engine and on disk.
    async fn remove(&self) -> Result<(), Error> {
        let uid = self.uid();
        let engine = self.runtime.engine();
        let found = self.runtime.containers(&[(label::UID, &uid)]).await?;
        remove_containers(engine, found.into_iter().map(|found| found.id).collect()).await?;
        let volumes = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.volumes.as_ref());
        let volumes = || volumes.into_iter().flatten();
        // Asking the engine costs more than looking: most pods have no volume but their credentials.
        if volumes().any(|volume| volume.empty_dir.is_some()) || !engine.sees_files() {
            remove_volumes(engine, self.runtime.id(), &[(label::UID, &uid)]).await?;
        }
        let directory = self.directory();
        if let Err(source) = std::fs::remove_dir_all(&directory)
            && source.kind() != std::io::ErrorKind::NotFound
        {
            return Err(Error::File {
                path: directory,
                source,
            });
        }
        Ok(())
    }
}
