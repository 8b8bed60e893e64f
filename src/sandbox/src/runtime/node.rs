//! The one node: what this machine has, and which pods may use it now.

use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Container, Node, Pod};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::engine::Engine;
use super::error::Error;
use super::quantity;
use super::status::{condition, time};

/// The node's name.
pub(crate) const NAME: &str = "katlab";

/// What pods are built for on this machine, in Kubernetes' words.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "amd64"
};

/// As many pods as a node takes unless it is told otherwise.
const MOST_PODS: i64 = 110;

/// Thousandths of a core, bytes, and pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) cpu: i64,
    pub(super) memory: i64,
    pub(super) pods: i64,
}

impl Amount {
    /// What a pod asks for: the sum of its containers, or its largest init container.
    pub(super) fn of(pod: &Pod) -> Self {
        let one = Self {
            pods: 1,
            ..Self::default()
        };
        let Some(spec) = &pod.spec else {
            return one;
        };
        let main = spec
            .containers
            .iter()
            .map(Self::of_container)
            .fold(one, |sum, next| Self {
                cpu: sum.cpu.saturating_add(next.cpu),
                memory: sum.memory.saturating_add(next.memory),
                ..sum
            });
        spec.init_containers
            .iter()
            .flatten()
            .map(Self::of_container)
            .fold(main, |most, next| Self {
                cpu: most.cpu.max(next.cpu),
                memory: most.memory.max(next.memory),
                ..most
            })
    }

    fn of_container(container: &Container) -> Self {
        let asked = |name: &str| {
            let resources = container.resources.as_ref()?;
            let request = resources
                .requests
                .as_ref()
                .and_then(|amounts| amounts.get(name));
            let limit = || {
                resources
                    .limits
                    .as_ref()
                    .and_then(|amounts| amounts.get(name))
            };
            request.or_else(limit).map(|amount| amount.0.clone())
        };
        let cpu = asked("cpu").as_deref().and_then(quantity::thousandths);
        let memory = asked("memory").as_deref().and_then(quantity::whole);
        Self {
            cpu: cpu.unwrap_or(0),
            memory: memory.unwrap_or(0),
            pods: 0,
        }
    }

    fn lacking(self, free: Self) -> Vec<&'static str> {
        let mut lacking = Vec::new();
        // Who asks for nothing is let in, however full it is.
        if self.cpu > 0 && self.cpu > free.cpu {
            lacking.push("Insufficient cpu");
        }
        if self.memory > 0 && self.memory > free.memory {
            lacking.push("Insufficient memory");
        }
        if self.pods > 0 && self.pods > free.pods {
            lacking.push("Too many pods");
        }
        lacking
    }
}

/// What is free on the node.
pub(super) struct Capacity {
    room: Mutex<Room>,
    freed: Notify,
}

#[derive(Default)]
struct Room {
    total: Amount,
    free: Amount,
    /// Why nothing can be started now.
    trouble: Option<String>,
}

/// A pod's share of the node, given back when dropped.
pub(super) struct Seat {
    capacity: Arc<Capacity>,
    amount: Amount,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.capacity.change(|room| {
            room.free.cpu += self.amount.cpu;
            room.free.memory += self.amount.memory;
            room.free.pods += self.amount.pods;
        });
    }
}

impl Capacity {
    /// Nothing yet: the engine has not been asked.
    pub(super) fn new() -> Self {
        Self {
            room: Mutex::default(),
            freed: Notify::new(),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Room) -> T) -> T {
        let changed = change(&mut self.room.lock().unwrap_or_else(PoisonError::into_inner));
        self.freed.notify_waiters();
        changed
    }

    /// Takes in what the machine has. What was given away stays given away.
    pub(super) fn measured(&self, total: Amount) {
        self.change(|room| {
            room.free.cpu += total.cpu - room.total.cpu;
            room.free.memory += total.memory - room.total.memory;
            room.free.pods += total.pods - room.total.pods;
            room.total = total;
            room.trouble = None;
        });
    }

    /// Gives nothing away until it is measured again.
    pub(super) fn close(&self, trouble: String) {
        self.change(|room| room.trouble = Some(trouble));
    }

    /// Takes a share without asking, for a pod that was given one before a restart.
    pub(super) fn keep(self: &Arc<Self>, amount: Amount) -> Seat {
        self.change(|room| self.seat(room, amount))
    }

    fn seat(self: &Arc<Self>, room: &mut Room, amount: Amount) -> Seat {
        room.free.cpu -= amount.cpu;
        room.free.memory -= amount.memory;
        room.free.pods -= amount.pods;
        Seat {
            capacity: self.clone(),
            amount,
        }
    }

    /// Takes a share if there is enough, else says what is lacking.
    pub(super) fn take(self: &Arc<Self>, amount: Amount) -> Result<Seat, String> {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(trouble) = &room.trouble {
            return Err(format!(
                "0/1 nodes are available: 1 node(s) had untolerated taint {{node.kubernetes.io/not-ready: }}. {trouble}"
            ));
        }
        let lacking = amount.lacking(room.free);
        if lacking.is_empty() {
            return Ok(self.seat(&mut room, amount));
        }
        let lacking: Vec<String> = lacking.iter().map(|what| format!("1 {what}")).collect();
        // The recorded words of Kubernetes 1.36.
        Err(format!(
            "0/1 nodes are available: {}. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
            lacking.join(", ")
        ))
    }

    /// Waits until somebody gives a share back. Listen first, then try, then wait: nothing is missed.
    pub(super) fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.freed.notified()
    }
}

/// Whether a label is one that every node of Linux has and ours too. The architecture is whatever the engine
/// says, and no pod asks for one that could not run.
pub(super) fn has_label(name: &str, value: &str) -> bool {
    match name {
        "kubernetes.io/os" | "beta.kubernetes.io/os" => value == "linux",
        "kubernetes.io/hostname" => value == NAME,
        "kubernetes.io/arch" | "beta.kubernetes.io/arch" => value == ARCHITECTURE,
        _ => false,
    }
}

/// Asks the engine what the machine has.
pub(super) async fn measure(engine: &Engine) -> Result<(Amount, Value), Error> {
    let info = engine
        .docker()
        .info()
        .await
        .map_err(|source| engine.failed("asking what the machine has", source))?;
    let amount = Amount {
        cpu: info.ncpu.unwrap_or(1).max(1) * 1000,
        memory: info.mem_total.unwrap_or(1 << 30),
        pods: MOST_PODS,
    };
    let version = concat!("v1.36.0+katlab.", env!("CARGO_PKG_VERSION"));
    let facts = json!({
        "architecture": match info.architecture.as_deref() { Some("x86_64") => "amd64", Some("aarch64") => "arm64", other => other.unwrap_or_default() },
        "bootID": "", "machineID": "", "systemUUID": "",
        "containerRuntimeVersion": format!("docker://{}", info.server_version.unwrap_or_default()),
        "kernelVersion": info.kernel_version.unwrap_or_default(),
        "kubeProxyVersion": "",
        "kubeletVersion": version,
        "operatingSystem": "linux",
        "osImage": info.operating_system.unwrap_or_default(),
    });
    Ok((amount, facts))
}

/// Writes the node and whether it is ready.
pub(super) async fn publish(
    client: &Client,
    capacity: Amount,
    facts: &Value,
    trouble: Option<&str>,
) -> Result<(), Error> {
    let failed = |action: &str| {
        let action = action.to_owned();
        move |source: kube::Error| Error::Api {
            action,
            source: Box::new(source),
        }
    };
    let api: Api<Node> = Api::all(client.clone());
    let architecture = &facts["architecture"];
    let before = api
        .get_opt(NAME)
        .await
        .map_err(failed("reading the node"))?;
    if before.is_none() {
        let mut labels = json!({"kubernetes.io/hostname": NAME, "kubernetes.io/os": "linux"});
        if architecture.is_string() {
            labels["kubernetes.io/arch"] = architecture.clone();
        }
        let node = json!({"metadata": {"name": NAME, "labels": labels}, "spec": {}});
        if let Ok(node) = serde_json::from_value::<Node>(node) {
            api.create(&PostParams::default(), &node)
                .await
                .map_err(failed("creating the node"))?;
        }
    }
    let now = time(jiff::Timestamp::now());
    let before = serde_json::to_value(before.and_then(|node| node.status)).unwrap_or_default();
    let amounts = json!({"cpu": (capacity.cpu / 1000).to_string(), "memory": format!("{}Ki", capacity.memory / 1024), "pods": MOST_PODS.to_string()});
    let (reason, message) = match trouble {
        None => ("KubeletReady", "the Docker Engine answers".to_owned()),
        Some(trouble) => ("KubeletNotReady", trouble.to_owned()),
    };
    let mut ready = condition(
        &before,
        "Ready",
        trouble.is_none(),
        Some((reason, Some(message))),
    );
    if let Some(ready) = ready.as_object_mut() {
        ready.remove("lastProbeTime");
        ready.insert("lastHeartbeatTime".to_owned(), json!(now));
    }
    // What pods reach is written by itself, and stays.
    let network = conditions(&before)
        .find(|one| one["type"] == NETWORK)
        .cloned();
    let conditions: Vec<Value> = network.into_iter().chain([ready]).collect();
    let status = json!({ "status": {
        "capacity": amounts, "allocatable": amounts, "nodeInfo": facts,
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": NAME}],
        "conditions": conditions,
    }});
    api.patch_status(NAME, &writing(), &Patch::Merge(status))
        .await
        .map_err(failed("writing the node's status"))?;
    Ok(())
}

/// How the node's writes are noted.
pub(super) fn writing() -> PatchParams {
    PatchParams {
        field_manager: Some("kubelet".to_owned()),
        ..PatchParams::default()
    }
}

/// The condition by which a node says that its pods lack a network.
const NETWORK: &str = "NetworkUnavailable";

fn conditions(status: &Value) -> impl Iterator<Item = &Value> {
    status["conditions"].as_array().into_iter().flatten()
}

/// Writes on the node what its pods do not reach, or that they reach everything.
pub(super) async fn publish_network(client: &Client, trouble: Option<&str>) {
    let api: Api<Node> = Api::all(client.clone());
    let written = async {
        let Some(node) = api.get_opt(NAME).await? else {
            return Ok(());
        };
        let before = serde_json::to_value(node.status).unwrap_or_default();
        let (reason, message) = match trouble {
            None => ("PodsReachTheCluster", "pods reach the cluster's services"),
            Some(trouble) => ("PodsDoNotReachTheCluster", trouble),
        };
        let why = Some((reason, Some(message.to_owned())));
        let network = condition(&before, NETWORK, trouble.is_some(), why);
        let others = conditions(&before).filter(|one| one["type"] != NETWORK);
        let all: Vec<Value> = [network].into_iter().chain(others.cloned()).collect();
        let patch = Patch::Merge(json!({"status": {"conditions": all}}));
        api.patch_status(NAME, &writing(), &patch).await.map(drop)
    };
    if let Err::<(), kube::Error>(error) = written.await {
        tracing::warn!(%error, "the node does not tell what its pods reach");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(resources: Value) -> Amount {
        let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "c", "resources": resources}]}});
        Amount::of(&serde_json::from_value(pod).expect("pod"))
    }

    #[test]
    fn requests_count_then_limits_then_nothing() {
        let both =
            asking(json!({"requests": {"cpu": "250m"}, "limits": {"cpu": "2", "memory": "1Gi"}}));
        assert_eq!((both.cpu, both.memory), (250, 1 << 30));
        let nothing = asking(json!({}));
        assert_eq!((nothing.cpu, nothing.memory, nothing.pods), (0, 0, 1));
    }

    #[test]
    fn a_share_is_given_back_when_its_pod_ends() {
        let capacity = Arc::new(Capacity::new());
        capacity.measured(Amount {
            cpu: 1000,
            memory: 1 << 30,
            pods: 2,
        });
        let first = capacity
            .take(Amount {
                cpu: 600,
                memory: 1,
                pods: 1,
            })
            .ok();
        assert!(first.is_some());
        let lacking = capacity
            .take(Amount {
                cpu: 600,
                memory: 1,
                pods: 1,
            })
            .err()
            .expect("full");
        assert!(
            lacking.starts_with("0/1 nodes are available: 1 Insufficient cpu."),
            "{lacking}"
        );
        // Those that ask for nothing are counted as well.
        let small = Amount {
            pods: 1,
            ..Amount::default()
        };
        let second = capacity.take(small).ok();
        assert!(second.is_some());
        let lacking = capacity.take(small).err().expect("full");
        assert!(lacking.contains("1 Too many pods"), "{lacking}");
        drop((first, second));
        assert!(
            capacity
                .take(Amount {
                    cpu: 600,
                    memory: 1,
                    pods: 1,
                })
                .is_ok()
        );
    }

    #[test]
    fn nothing_is_given_away_while_the_engine_is_away() {
        let capacity = Arc::new(Capacity::new());
        let total = Amount {
            cpu: 1000,
            memory: 1 << 30,
            pods: 2,
        };
        capacity.measured(total);
        let running = capacity.keep(Amount {
            cpu: 600,
            memory: 1,
            pods: 1,
        });
        capacity.close("it does not answer".into());
        let why = capacity.take(Amount::default()).err().expect("closed");
        assert!(why.contains("node.kubernetes.io/not-ready"), "{why}");
        assert!(why.ends_with("it does not answer"), "{why}");
        // What runs keeps its share when the engine comes back.
        capacity.measured(total);
        assert!(capacity.take(total).is_err());
        drop(running);
        assert!(capacity.take(total).is_ok());
    }
}
