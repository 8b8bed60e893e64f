//! One pod, from its first sight to its removal.

mod attempt;
mod ending;
mod image;
mod metrics;
mod place;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{OptionFuture, join_all};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use kube::api::{Api, Patch, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::{OnceCell, watch};

use super::collect::{Subject, is_stopped};
use super::container::is_deleting;
use super::environment::{Place, Sources};
use super::node::{self, Amount, Seat};
use super::pause;
use super::status::{Report, State, View, condition, restart_policy};
use super::volume::{self, Owner, Volumes};
use super::{ENGINE_PAUSE, Runtime};
use super::{claims, memory};
use crate::controllers::events::{self, Recorder};

/// The node's address as pods' status shows it.
const HOST: &str = "127.0.0.1";
/// Kubernetes' delays between attempts to pull an image or to restart a container.
const FIRST_DELAY: Duration = Duration::from_secs(10);
const LONGEST_DELAY: Duration = Duration::from_secs(300);

/// What is new about a pod.
pub(super) struct News {
    pub(super) pod: Arc<Pod>,
    /// The API server does not have it any more.
    pub(super) gone: bool,
}

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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_five_minutes() {
        let seconds: Vec<u64> = (0..7).map(|attempt| delay(attempt).as_secs()).collect();
        assert_eq!(seconds, [10, 20, 40, 80, 160, 300, 300]);
    }
}
