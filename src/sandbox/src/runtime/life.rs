//! One pod, from its first sight to its removal.

mod metrics;
mod place;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::errors::Error as BollardError;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, StopContainerOptionsBuilder, UploadToContainerOptionsBuilder,
    WaitContainerOptionsBuilder,
};
use futures::StreamExt;
use futures::future::{OptionFuture, join_all};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use kube::api::{Api, DeleteParams, Patch, PostParams, Preconditions};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::{OnceCell, watch};

use super::carried;
use super::collect::{Subject, is_stopped};
use super::container::{Found, Identity, body, found, is_deleting, label};
use super::engine::{is_taken, is_unreachable, refusal};
use super::environment::{ConfigError, Place, Sources, resolve};
use super::image::{Login, NoImage, logins};
use super::node::{self, Amount, Seat};
use super::pause;
use super::puller::{Failure, Image, Outcome};
use super::status::{Report, State, Termination, View, condition, restart_policy};
use super::volume::{self, Owner, Volumes, mounts, open_paths, writable_for_all};
use super::{ENGINE_PAUSE, Runtime, remove_containers, remove_volumes};
use super::{claims, memory, non_root, termination};
use crate::controllers::events::{self, Recorder};

/// The node's address as pods' status shows it.
const HOST: &str = "127.0.0.1";
/// Kubernetes' delays between attempts to pull an image or to restart a container.
const FIRST_DELAY: Duration = Duration::from_secs(10);
const LONGEST_DELAY: Duration = Duration::from_secs(300);
/// A container that ran for so long is not one that crashes again and again.
const STEADY: Duration = Duration::from_secs(600);

/// What is new about a pod.
pub(super) struct News {
    pub(super) pod: Arc<Pod>,
    /// The API server does not have it any more.
    pub(super) gone: bool,
}

/// The engine's id of a container that was seen running, and since when it ran.
type Ran = (String, Option<Timestamp>);

struct Life {
    runtime: Runtime,
    kubelet: Recorder,
    scheduler: Recorder,
    pod: Arc<Pod>,
    report: Mutex<Report>,
    written: tokio::sync::Mutex<Value>,
    /// Held while the infrastructure container is looked after.
    pausing: tokio::sync::Mutex<()>,
    /// Held (shared) while the engine makes a container, so that removal waits for what was asked for already.
    making: Arc<tokio::sync::RwLock<()>>,
    /// The pod's share of the node; a pod that is deleted keeps it until its containers are gone.
    seat: Mutex<Option<Seat>>,
    /// The trial whose metrics are collected here, once it was asked for.
    subject: OnceCell<Option<Subject>>,
    /// The trial was stopped early.
    stopped: AtomicBool,
}

/// Which container of the pod.
#[derive(Clone, Copy)]
enum Which {
    Init(usize),
    Main(usize),
}

/// Does everything for one pod, until it and its containers are gone.
pub(super) async fn live(
    runtime: Runtime,
    kubelet: Recorder,
    news: watch::Receiver<News>,
    seat: Option<Seat>,
) {
    let pod = news.borrow().pod.clone();
    let spec = pod.spec.as_ref();
    // A pod that was seen before goes on from what its status says.
    let known: Vec<&ContainerStatus> = pod
        .status
        .iter()
        .flat_map(|status| [&status.init_container_statuses, &status.container_statuses])
        .flatten()
        .flatten()
        .collect();
    let views = |list: &[Container]| -> Vec<View> {
        let has_init = spec
            .and_then(|spec| spec.init_containers.as_ref())
            .is_some_and(|list| !list.is_empty());
        list.iter()
            .map(|container| {
                let known = known.iter().find(|status| status.name == container.name);
                known.map_or_else(
                    || View::of(container, has_init),
                    |status| View::remembered(container, status),
                )
            })
            .collect()
    };
    let report = Report {
        init: spec
            .and_then(|spec| spec.init_containers.as_deref())
            .map(views)
            .unwrap_or_default(),
        main: spec.map(|spec| views(&spec.containers)).unwrap_or_default(),
        started: pod
            .status
            .as_ref()
            .and_then(|status| status.start_time.as_ref())
            .map(|time| time.0),
        address: pod.status.as_ref().and_then(|status| status.pod_ip.clone()),
        ..Report::default()
    };
    let life = Life {
        runtime,
        scheduler: kubelet.component(events::SCHEDULER),
        kubelet,
        written: tokio::sync::Mutex::new(serde_json::to_value(&pod.status).unwrap_or_default()),
        report: Mutex::new(report),
        pausing: tokio::sync::Mutex::default(),
        making: Arc::default(),
        seat: Mutex::new(seat),
        subject: OnceCell::new(),
        stopped: AtomicBool::new(is_stopped(&pod)),
        pod,
    };
    tokio::select! {
        biased;
        () = ending(news.clone()) => {}
        () = async {
            life.run().await;
            life.rest().await;
            life.runtime.inner.pod_over.notify_one();
            // Ended, and its share of the node is free.
            drop(life.seat.lock().unwrap_or_else(PoisonError::into_inner).take());
            std::future::pending::<()>().await;
        } => {}
    }
    life.tear_down(&news).await;
    life.runtime.inner.pod_over.notify_one();
}

/// Waits until the pod is to go.
async fn ending(mut news: watch::Receiver<News>) {
    // A dropped sender means that the pod is not known any more.
    let _ = news
        .wait_for(|news| news.gone || is_deleting(&news.pod))
        .await;
}

fn delay(attempt: u32) -> Duration {
    FIRST_DELAY
        .saturating_mul(1 << attempt.min(5))
        .min(LONGEST_DELAY)
}

/// A duration as a node writes it: `52ms`, `5.905s`, `1m2.5s`.
fn short(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let seconds = format!("{}.{:03}", rest / 1000, rest % 1000);
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    if minutes > 0 {
        format!("{minutes}m{seconds}s")
    } else {
        format!("{seconds}s")
    }
}

impl Life {
    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client(), &self.namespace())
    }

    fn client(&self) -> Client {
        self.runtime.client().clone()
    }

    fn namespace(&self) -> String {
        self.pod.namespace().unwrap_or_default()
    }

    fn uid(&self) -> String {
        self.pod.uid().unwrap_or_default()
    }

    /// `name_namespace(uid)`, as a node's messages name a pod.
    fn full_name(&self) -> String {
        format!(
            "{}_{}({})",
            self.pod.name_any(),
            self.namespace(),
            self.uid()
        )
    }

    /// The pod's address, if it is known.
    fn address(&self) -> Option<String> {
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.address.clone()
    }

    fn change(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn view(&self, which: Which, change: impl FnOnce(&mut View)) {
        self.change(|report| {
            let view = match which {
                Which::Init(index) => report.init.get_mut(index),
                Which::Main(index) => report.main.get_mut(index),
            };
            if let Some(view) = view {
                change(view);
            }
        });
    }

    async fn show(&self, which: Which, state: State) {
        self.view(which, |view| view.state = state);
        self.publish().await;
    }

    /// Writes the status if it changed. An API server that does not answer is asked again; a pod that is gone
    /// needs no status.
    async fn publish(&self) {
        let mut written = self.written.lock().await;
        let status = {
            let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
            report.to_json(&self.pod, &written, HOST)
        };
        self.write(&mut written, status).await;
    }

    async fn write(&self, written: &mut Value, status: Value) {
        if *written == status {
            return;
        }
        let patch = Patch::Merge(json!({"metadata": {"uid": self.uid()}, "status": status}));
        loop {
            match self
                .pods()
                .patch_status(&self.pod.name_any(), &node::writing(), &patch)
                .await
            {
                Ok(_) => break *written = status,
                Err(kube::Error::Api(answer)) if answer.code < 500 => {
                    tracing::debug!(
                        pod = self.full_name(),
                        reason = answer.message,
                        "the status was refused"
                    );
                    return;
                }
                Err(error) => tracing::warn!(pod = self.full_name(), %error, "writing the status"),
            }
            tokio::time::sleep(ENGINE_PAUSE).await;
        }
    }

    async fn run(&self) {
        let phase = self
            .pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return;
        }
        // Admission refuses these; a pod that an earlier program let in is told here.
        let refused = self.pod.spec.as_ref();
        let refused = refused.map_or_else(Vec::new, |spec| super::refused(spec, "spec"));
        if !refused.is_empty() {
            let message = format!(
                "the sandbox does not run pods with {}; use a cluster for them",
                refused.join(", ")
            );
            self.kubelet
                .warning(self.pod.as_ref(), "NotSupported", message.clone());
            return self.fail("NotSupported", message).await;
        }
        let amount = Amount::of(&self.pod);
        let bound = self
            .pod
            .spec
            .as_ref()
            .is_some_and(|spec| spec.node_name.is_some());
        if !bound {
            self.claims().await;
            let seat = self.seat(amount).await;
            *self.seat.lock().unwrap_or_else(PoisonError::into_inner) = Some(seat);
            self.bind().await;
        }
        self.change(|report| {
            report.started.get_or_insert_with(Timestamp::now);
        });
        let deadline = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.active_deadline_seconds);
        let started = self
            .report
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .started;
        let left = deadline.zip(started).map(|(seconds, started)| {
            let gone = Timestamp::now().duration_since(started).as_secs();
            Duration::from_secs(u64::try_from(seconds - gone).unwrap_or(0))
        });
        tokio::select! {
            () = self.work() => {}
            Some(()) = OptionFuture::from(left.map(tokio::time::sleep)) => {
                drop(self.making.write().await);
                self.stop_containers(self.grace()).await;
                self.look_again().await;
                let message = "Pod was active on the node longer than the specified deadline";
                self.kubelet.warning(self.pod.as_ref(), "DeadlineExceeded", message);
                self.fail("DeadlineExceeded", message.into()).await;
            }
        }
    }

    async fn fail(&self, reason: &str, message: String) {
        self.change(|report| report.verdict = Some((reason.to_owned(), message)));
        self.publish().await;
    }

    /// Waits for room on the node.
    async fn seat(&self, amount: Amount) -> Seat {
        let capacity = self.runtime.inner.capacity.clone();
        loop {
            let freed = capacity.freed();
            let lacking = match capacity.take(amount) {
                Ok(seat) => return seat,
                Err(lacking) => lacking,
            };
            self.unschedulable(lacking).await;
            freed.await;
        }
    }

    async fn unschedulable(&self, lacking: String) {
        let mut written = self.written.lock().await;
        let why = Some(("Unschedulable", Some(lacking.clone())));
        let scheduled = condition(&written, "PodScheduled", false, why);
        let status = json!({"phase": "Pending", "conditions": [scheduled]});
        if written["conditions"] != status["conditions"] {
            self.scheduler
                .warning(self.pod.as_ref(), "FailedScheduling", lacking);
            self.write(&mut written, status).await;
        }
    }

    /// Waits for the claims that the pod mounts.
    async fn claims(&self) {
        while let Some(lacking) = claims::lacking(&self.client(), &self.pod).await {
            self.unschedulable(lacking.message.clone()).await;
            lacking.mended().await;
        }
    }

    async fn bind(&self) {
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": self.pod.name_any(), "uid": self.uid()},
            "target": {"kind": "Node", "name": node::NAME},
        });
        let bound = self
            .pods()
            .create_subresource::<Value, Value>(
                "binding",
                &self.pod.name_any(),
                &PostParams::default(),
                &binding,
            )
            .await;
        if let Err(error) = bound {
            tracing::warn!(pod = self.full_name(), %error, "binding");
        }
        let message = format!(
            "Successfully assigned {}/{} to {}",
            self.namespace(),
            self.pod.name_any(),
            node::NAME
        );
        self.scheduler
            .normal(self.pod.as_ref(), "Scheduled", message);
    }

    async fn work(&self) {
        let Some(spec) = &self.pod.spec else { return };
        self.publish().await;
        // Containers that a sandbox before this one started may be knocking already.
        self.way().await;
        let volumes = self.volumes().await;
        if pause::is_needed(&self.pod) {
            // Its address is known before the containers are made, as their environment may hold it.
            self.place().await;
            self.publish().await;
        }
        for (index, container) in spec.init_containers.iter().flatten().enumerate() {
            let ended = self
                .container(Which::Init(index), container, &volumes)
                .await;
            if ended.exit_code != 0 {
                return self.publish().await;
            }
            self.publish().await;
        }
        let several = spec.containers.len() > 1;
        let all = spec
            .containers
            .iter()
            .enumerate()
            .map(|(index, container)| {
                let volumes = &volumes;
                async move {
                    self.container(Which::Main(index), container, volumes).await;
                    // The last end is published by `finish`, after the metrics.
                    if several && !self.is_over() {
                        self.publish().await;
                    }
                }
            });
        join_all(all).await;
        self.finish().await;
    }

    fn is_over(&self) -> bool {
        let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(
            report.phase(restart_policy(&self.pod)),
            "Succeeded" | "Failed"
        )
    }

    /// All containers have ended: the metrics come first, so that who sees the pod succeeded can read them.
    async fn finish(&self) {
        let succeeded = {
            let report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
            report.phase(restart_policy(&self.pod)) == "Succeeded"
        };
        if succeeded && let Err(error) = self.collect().await {
            let message = error.to_string();
            tracing::warn!(pod = self.full_name(), message, "collecting metrics");
            self.kubelet.warning(
                self.pod.as_ref(),
                "MetricsCollectionFailed",
                message.clone(),
            );
            return self.fail("MetricsCollectionFailed", message).await;
        }
        self.publish().await;
    }

    async fn volumes(&self) -> Volumes {
        let directory = self.directory();
        let uid = self.uid();
        let owner = Owner {
            sandbox: self.runtime.id(),
            uid: &uid,
            directory: &directory,
        };
        let mut attempt = 0;
        let place = Place {
            node: node::NAME,
            host_ip: HOST,
            pod_ip: None,
            services: &[],
        };
        loop {
            let mut sources = Sources::new(self.client(), &self.namespace());
            let engine = self.runtime.engine();
            match volume::prepare(engine, &mut sources, &self.pod, &place, &owner).await {
                Ok(volumes) => {
                    if let Some(told) = memory::not_done(&self.pod) {
                        self.kubelet.warning(self.pod.as_ref(), "NotEnforced", told);
                    }
                    return volumes;
                }
                Err(error) => {
                    let message = format!(
                        "MountVolume.SetUp failed for pod {}: {error}",
                        self.pod.name_any()
                    );
                    self.kubelet
                        .warning(self.pod.as_ref(), "FailedMount", message);
                }
            }
            tokio::time::sleep(Duration::from_secs(1 << attempt.min(5))).await;
            attempt += 1;
        }
    }

    /// The node's events about one of the pod's containers.
    fn events_of(&self, container: &str) -> Recorder {
        let spec = self.pod.spec.as_ref();
        let init = spec.and_then(|spec| spec.init_containers.as_ref());
        let list = match init {
            Some(init) if init.iter().any(|init| init.name == container) => "initContainers",
            _ => "containers",
        };
        self.kubelet.part(format!("spec.{list}{{{container}}}"))
    }

    fn directory(&self) -> std::path::PathBuf {
        self.runtime.inner.state_dir.join("pods").join(self.uid())
    }

    /// Runs a container to its last end. Its view shows that end, which is not published yet.
    async fn container(
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

    /// Finds or pulls the image, with Kubernetes' delays between attempts.
    async fn image(&self, which: Which, container: &Container) -> Image {
        let name = container.image.clone().unwrap_or_default();
        let events = self.events_of(&container.name);
        let mut attempt = 0;
        loop {
            let logins = self.logins().await;
            let pulling = || {
                events.normal(
                    self.pod.as_ref(),
                    "Pulling",
                    format!("Pulling image \"{name}\""),
                )
            };
            let policy = container.image_pull_policy.as_deref();
            let failure = match self
                .runtime
                .inner
                .puller
                .ensure(&name, policy, &logins, pulling)
                .await
            {
                Ok(Outcome::Present(image)) => {
                    let message = format!(
                        "Container image \"{name}\" already present on machine and can be accessed by the pod"
                    );
                    events.normal(self.pod.as_ref(), "Pulled", message);
                    return image;
                }
                Ok(Outcome::Pulled {
                    image,
                    took,
                    with_waiting,
                }) => {
                    let message = format!(
                        "Successfully pulled image \"{name}\" in {} ({} including waiting). Image size: {} bytes.",
                        short(took),
                        short(with_waiting),
                        image.size
                    );
                    events.normal(self.pod.as_ref(), "Pulled", message);
                    return image;
                }
                Err(Failure::Engine(error)) => {
                    tracing::warn!(%error, image = name, "waiting for the engine");
                    tokio::time::sleep(ENGINE_PAUSE).await;
                    continue;
                }
                Err(Failure::Image(failure)) => failure,
            };
            self.no_image(which, &events, &name, &failure, attempt)
                .await;
            attempt += 1;
        }
    }

    async fn no_image(
        &self,
        which: Which,
        events: &Recorder,
        name: &str,
        failure: &NoImage,
        attempt: u32,
    ) {
        let pod = self.pod.as_ref();
        if failure.backs_off() {
            events.warning(
                pod,
                "Failed",
                format!("Failed to pull image \"{name}\": {}", failure.message),
            );
        } else {
            events.warning(pod, "Failed", failure.message.clone());
        }
        events.warning(pod, "Failed", format!("Error: {}", failure.reason));
        self.show(
            which,
            State::waiting(failure.reason, Some(failure.message.clone())),
        )
        .await;
        let delay = delay(attempt);
        if failure.backs_off() {
            // The node says what failed for a moment, then that it waits.
            tokio::time::sleep(Duration::from_secs(2)).await;
            events.normal(pod, "BackOff", format!("Back-off pulling image \"{name}\""));
            events.warning(pod, "Failed", "Error: ImagePullBackOff");
            let message = format!(
                "Back-off pulling image \"{name}\": {}: {}",
                failure.reason, failure.message
            );
            self.show(which, State::waiting("ImagePullBackOff", Some(message)))
                .await;
        }
        tokio::time::sleep(delay).await;
    }

    /// The logins of the pod's pull secrets. A secret that is not there is told and does not stop the pull.
    async fn logins(&self) -> Vec<Login> {
        let mut all = Vec::new();
        let secrets = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.image_pull_secrets.as_ref());
        let mut sources = Sources::new(self.client(), &self.namespace());
        let mut missing = Vec::new();
        for secret in secrets.into_iter().flatten() {
            let config = match sources.secret(&secret.name).await {
                Ok(data) => data.and_then(|data| {
                    data.get(".dockerconfigjson")
                        .or_else(|| data.get(".dockercfg"))
                        .cloned()
                }),
                Err(error) => {
                    tracing::warn!(%error, "reading a pull secret");
                    None
                }
            };
            match config.as_deref().and_then(logins) {
                Some(found) => all.extend(found),
                None => missing.push(secret.name.clone()),
            }
        }
        if !missing.is_empty() {
            let message = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                missing.join(", ")
            );
            self.kubelet.warning(
                self.pod.as_ref(),
                "FailedToRetrieveImagePullSecret",
                message,
            );
        }
        all
    }

    fn grace(&self) -> i64 {
        self.pod
            .spec
            .as_ref()
            .and_then(|spec| spec.termination_grace_period_seconds)
            .unwrap_or(30)
    }

    /// Asks the pod's running containers to end, and kills them when the time is over.
    async fn stop_containers(&self, grace: i64) -> usize {
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
    async fn look_again(&self) {
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
    async fn tear_down(&self, news: &watch::Receiver<News>) {
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
                if stopped > 0 && !gone {
                    self.look_again().await;
                    self.publish().await;
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

    async fn remove(&self) -> Result<(), super::Error> {
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
            return Err(super::Error::File {
                path: directory,
                source,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_a_node_writes_them() {
        let of = |millis| short(Duration::from_millis(millis));
        assert_eq!(of(52), "52ms");
        assert_eq!(of(5905), "5.905s");
        assert_eq!(of(62_500), "1m2.5s");
        assert_eq!(of(3000), "3s");
    }

    #[test]
    fn delays_double_up_to_five_minutes() {
        let seconds: Vec<u64> = (0..7).map(|attempt| delay(attempt).as_secs()).collect();
        assert_eq!(seconds, [10, 20, 40, 80, 160, 300, 300]);
    }
}
