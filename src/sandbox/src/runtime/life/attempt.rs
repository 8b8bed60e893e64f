//! The runs of one container: made, started, followed to its end, and again as the restart policy says.

use std::time::Duration;

use bollard::errors::Error as BollardError;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, UploadToContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use kube::ResourceExt;

use crate::runtime::collect::Subject;
use crate::runtime::container::{Found, Identity, body, found};
use crate::runtime::engine::{is_taken, is_unreachable, refusal};
use crate::runtime::environment::{ConfigError, Place, Sources, resolve};
use crate::runtime::status::{State, Termination, restart_policy};
use crate::runtime::volume::{self, Volumes, mounts, open_paths, writable_for_all};
use crate::runtime::{ENGINE_PAUSE, carried, node, non_root, termination};

use super::{FIRST_DELAY, HOST, Life, Which, delay};

/// A container that ran for so long is not one that crashes again and again.
const STEADY: Duration = Duration::from_secs(600);

/// The engine's id of a container that was seen running, and since when it ran.
type Ran = (String, Option<Timestamp>);

impl Life {
    /// Runs a container to its last end. Its view shows that end, which is not published yet.
    pub(super) async fn container(
        &self,
        which: Which,
        container: &Container,
        volumes: &Volumes,
    ) -> Termination {
        let policy = restart_policy(&self.pod);
        let mut before = (0, None);
        self.view(which, |view| before = (view.restarts, view.ran()));
        let (restarts, mut ran) = before;
        let mut attempt = loop {
            match self.runtime.attempts(&self.uid(), &container.name).await {
                Ok(attempts) => break attempts.last().copied().unwrap_or(0).max(restarts),
                Err(error) => tracing::warn!(%error, "waiting for the engine"),
            }
            tokio::time::sleep(ENGINE_PAUSE).await;
        };
        // Runs in a row that did not last.
        let mut short_lived = attempt;
        loop {
            self.view(which, |view| view.restarts = attempt);
            let ran = ran.take().filter(|_| attempt == restarts);
            let ended = self.attempt(which, container, volumes, attempt, ran).await;
            self.view(which, |view| view.state = State::Terminated(ended.clone()));
            let again = match (which, policy) {
                (_, "Never") => false,
                (Which::Main(_), "Always") => true,
                _ => ended.exit_code != 0,
            };
            if !again {
                return ended;
            }
            self.publish().await;
            let lasted = ended.started.zip(ended.finished);
            if lasted.is_some_and(|(from, to)| to.duration_since(from).unsigned_abs() >= STEADY) {
                short_lived = 0;
            }
            short_lived += 1;
            self.view(which, |view| view.last = Some(ended));
            // The first time it may be bad luck.
            let Some(waits) = short_lived.checked_sub(2) else {
                attempt += 1;
                continue;
            };
            let delay = delay(waits);
            let full_name = self.full_name();
            let message = format!(
                "back-off {}s restarting failed container={} pod={full_name}",
                delay.as_secs(),
                container.name
            );
            let event = format!(
                "Back-off restarting failed container {} in pod {full_name}",
                container.name
            );
            self.events_of(&container.name)
                .warning(self.pod.as_ref(), "BackOff", event);
            self.show(which, State::waiting("CrashLoopBackOff", Some(message)))
                .await;
            tokio::time::sleep(delay).await;
            attempt += 1;
        }
    }

    /// One run of a container: made unless it is there, started unless it was, followed to its end.
    async fn attempt(
        &self,
        which: Which,
        container: &Container,
        volumes: &Volumes,
        attempt: u32,
        mut ran: Option<Ran>,
    ) -> Termination {
        let (namespace, uid, pod) = (self.namespace(), self.uid(), self.pod.name_any());
        let identity = Identity {
            sandbox: self.runtime.id(),
            namespace: &namespace,
            pod: &pod,
            uid: &uid,
            container: &container.name,
            attempt,
        };
        let name = identity.name();
        let docker = self.runtime.engine().docker();
        loop {
            let inspected = match self
                .runtime
                .engine()
                .transport()
                .inspect_container(&name)
                .await
            {
                Ok(inspected) => Some(inspected),
                Err(error) if matches!(refusal(&error), Some((404, _))) => None,
                Err(error) => {
                    tracing::warn!(%error, container = name, "asking for a container");
                    tokio::time::sleep(ENGINE_PAUSE).await;
                    continue;
                }
            };
            let Some(inspected) = inspected else {
                // Somebody took it off the engine. Running it a second time is not ours to decide.
                if let Some((id, started)) = ran {
                    let lost = Termination::lost(&id, started);
                    return self.judged(container, lost).await;
                }
                self.make(which, container, volumes, &identity).await;
                continue;
            };
            let id = inspected.id.clone().unwrap_or_default();
            self.view(which, |view| {
                view.id = Some(id.clone());
                if view.image_id.is_empty() {
                    view.image_id = inspected.image.clone().unwrap_or_default();
                }
            });
            match found(&inspected) {
                Found::Created => {
                    self.open(container, volumes, &name).await;
                    if let Err(error) = docker.start_container(&name, None).await {
                        if is_unreachable(&error) {
                            tokio::time::sleep(ENGINE_PAUSE).await;
                            continue;
                        }
                        let message = refusal(&error)
                            .map_or_else(|| error.to_string(), |(_, message)| message.to_owned());
                        self.events_of(&container.name).warning(
                            self.pod.as_ref(),
                            "Failed",
                            format!("Error: {message}"),
                        );
                        return Termination::start_failed(&id, &message);
                    }
                    self.events_of(&container.name).normal(
                        self.pod.as_ref(),
                        "Started",
                        "Container started",
                    );
                }
                Found::Running { started, address } => {
                    self.change(|report| {
                        if address.is_some() {
                            report.address = address;
                        }
                    });
                    ran = Some((id.clone(), started));
                    self.show(which, State::Running { started }).await;
                    let query = WaitContainerOptionsBuilder::default()
                        .condition("not-running")
                        .build();
                    let mut wait = std::pin::pin!(docker.wait_container(&name, Some(query)));
                    let ended = tokio::select! {
                        ended = wait.next() => ended,
                        () = self.watch(container, &id) => None,
                    };
                    // A failing program is an `Err` too; what really happened, the next look tells.
                    match ended {
                        Some(Err(error)) if is_unreachable(&error) => {
                            tokio::time::sleep(ENGINE_PAUSE).await
                        }
                        _ => {}
                    }
                }
                Found::Ended(mut ended) => {
                    if ended.message.is_none() {
                        let end = (id.as_str(), ended.exit_code);
                        let (engine, directory) = (self.runtime.engine(), self.directory());
                        ended.message = termination::message(
                            engine, &directory, &self.pod, container, attempt, end,
                        )
                        .await;
                    }
                    return self.judged(container, ended).await;
                }
            }
        }
    }

    /// Makes a container, trying again until it works: what is missing may come.
    async fn make(
        &self,
        which: Which,
        container: &Container,
        volumes: &Volumes,
        identity: &Identity<'_>,
    ) {
        let image = self.image(which, container).await;
        self.view(which, |view| {
            view.image_id = format!("docker-pullable://{}", image.pinned)
        });
        let (engine, full_name) = (self.runtime.engine(), self.full_name());
        if let Err(error) = non_root::check(engine, &self.pod, container, &full_name).await {
            return self
                .misconfigured(which, container, "CreateContainerConfigError", &error)
                .await;
        }
        let (network, services) = self.place().await;
        let mut sources = Sources::of_text(self.client(), &self.namespace());
        let pod_ip = self.address();
        let place = Place {
            node: node::NAME,
            host_ip: HOST,
            pod_ip: pod_ip.as_deref(),
            services: &services,
        };
        let environment = match resolve(&mut sources, &self.pod, container, &place).await {
            Ok(environment) => environment,
            Err(error) => {
                return self
                    .misconfigured(which, container, "CreateContainerConfigError", &error)
                    .await;
            }
        };
        let mut mounts = match mounts(container, volumes) {
            Ok(mounts) => mounts,
            Err(error) => {
                return self
                    .misconfigured(which, container, "CreateContainerConfigError", &error)
                    .await;
            }
        };
        match termination::mount(&self.directory(), container, identity.attempt) {
            Ok(file) => mounts.extend(file),
            Err(error) => tracing::warn!(%error, "a container runs without termination message"),
        }
        let mut body = body(
            identity,
            &self.pod,
            container,
            &environment,
            mounts,
            &network,
        );
        let subject = self.subject_in(container).await;
        if subject.is_some_and(Subject::has_rules)
            && let Some(host) = &mut body.host_config
        {
            // A program that is the first of its container would not see a SIGTERM it does not expect.
            host.init = Some(true);
        }
        let made = loop {
            match self.create(identity, body.clone()).await {
                Err(error) if termination::unmounted(&mut body, &self.directory(), &error) => {}
                made => break made,
            }
        };
        match made {
            Ok(()) => {}
            // Made already; the next look finds it.
            Err(error) if is_taken(&error) => return,
            Err(error) if is_unreachable(&error) => return tokio::time::sleep(ENGINE_PAUSE).await,
            Err(error) => {
                let message = refusal(&error)
                    .map_or_else(|| error.to_string(), |(_, message)| message.to_owned());
                return self
                    .misconfigured(
                        which,
                        container,
                        "CreateContainerError",
                        &ConfigError::Other(message),
                    )
                    .await;
            }
        }
        self.events_of(&container.name)
            .normal(self.pod.as_ref(), "Created", "Container created");
    }

    async fn create(
        &self,
        identity: &Identity<'_>,
        body: ContainerCreateBody,
    ) -> Result<(), BollardError> {
        let docker = self.runtime.engine().docker().clone();
        let query = CreateContainerOptionsBuilder::default()
            .name(&identity.name())
            .build();
        // In a task of its own: a pod deleted now must not leave a container that the engine makes a moment later.
        let making = self.making.clone().read_owned().await;
        let made = tokio::spawn(async move {
            let made = docker.create_container(Some(query), body).await;
            drop(making);
            made.map(drop)
        });
        // The task neither panics nor is it aborted but with everything else.
        made.await.unwrap_or(Ok(()))
    }

    /// Makes a container's emptyDirs writable for all, and carries files to an engine that does not see them. Done
    /// right before the start, so that a sandbox killed between making and starting does it when it comes back.
    async fn open(&self, container: &Container, volumes: &Volumes, name: &str) {
        let group = volume::group(&self.pod);
        for path in open_paths(container, volumes) {
            if let Err(error) = self.put(name, writable_for_all(path, group)).await {
                tracing::warn!(error, path, "an emptyDir is writable for root only");
            }
        }
        for (path, files) in carried::paths(container, volumes) {
            if let Err(error) = self.put(name, carried::archive(path, files, group)).await {
                tracing::warn!(error, path, "a volume has no files");
            }
        }
    }

    /// Unpacks an archive at a container's root.
    async fn put(&self, container: &str, archive: std::io::Result<Vec<u8>>) -> Result<(), String> {
        let archive = archive.map_err(|error| error.to_string())?;
        let query = UploadToContainerOptionsBuilder::default().path("/").build();
        let archive = bollard::body_full(archive.into());
        let docker = self.runtime.engine().docker();
        let upload = docker.upload_to_container(container, Some(query), archive);
        upload.await.map_err(|error| error.to_string())
    }

    async fn misconfigured(
        &self,
        which: Which,
        container: &Container,
        reason: &str,
        error: &ConfigError,
    ) {
        self.events_of(&container.name).warning(
            self.pod.as_ref(),
            "Failed",
            format!("Error: {error}"),
        );
        self.show(which, State::waiting(reason, Some(error.to_string())))
            .await;
        tokio::time::sleep(FIRST_DELAY).await;
    }
}
