//! A pod as a place on the network: its infrastructure container, its address, and what its containers are told of
//! the cluster.

use std::time::Duration;

use crate::doorway::Way;
use crate::runtime::ENGINE_PAUSE;
use crate::runtime::container::{Identity, Network, Surroundings};
use crate::runtime::engine::is_unreachable;
use crate::runtime::{Error, network, pause};

use super::{FIRST_DELAY, Life};

/// The delay until the next attempt at an infrastructure container.
const AGAIN: Duration = FIRST_DELAY;

impl Life {
    /// The way to the sandbox, if there is one; what is new about it, the pod's events tell.
    pub(super) async fn way(&self) -> Option<Way> {
        let (way, news) = self.runtime.way().await;
        if let Some(news) = news {
            self.kubelet
                .warning(self.pod.as_ref(), "NetworkNotReady", news);
        }
        way
    }

    /// Where a container is to live that is about to be made, and what it is told of the API server. The pod's
    /// infrastructure container runs then, if it needs one.
    pub(super) async fn place(&self) -> (Network, Vec<(String, String)>) {
        let way = self.way().await;
        let hosts = way.as_ref().map(network::hosts).unwrap_or_default();
        let services = way.as_ref().map(network::services).unwrap_or_default();
        if !pause::is_needed(&self.pod) {
            return (Network::Own(hosts), services);
        }
        // Of several containers one sees to it.
        let _turn = self.pausing.lock().await;
        let running = loop {
            match self.pause(hosts.clone()).await {
                Ok(running) => break running,
                Err(Error::Engine { source, .. }) if is_unreachable(&source) => {
                    tokio::time::sleep(ENGINE_PAUSE).await;
                }
                Err(error) => {
                    self.kubelet.warning(
                        self.pod.as_ref(),
                        "FailedCreatePodSandBox",
                        format!("Failed to create pod sandbox: {error}"),
                    );
                    tokio::time::sleep(AGAIN).await;
                }
            }
        };
        if running.address.is_some() {
            self.change(|report| report.address = running.address);
        }
        let spec = self.pod.spec.as_ref();
        let network = Network::Shared {
            pause: running.id,
            processes: spec.and_then(|spec| spec.share_process_namespace) == Some(true),
        };
        (network, services)
    }

    /// In a task of its own: a pod deleted now must not leave a container that the engine makes a moment later.
    async fn pause(&self, hosts: Vec<String>) -> Result<pause::Running, Error> {
        let making = self.making.clone().read_owned().await;
        let (runtime, pod) = (self.runtime.clone(), self.pod.clone());
        let (namespace, uid, name) = (self.namespace(), self.uid(), self.full_name());
        let made = tokio::spawn(async move {
            let pod_name = pod.metadata.name.clone().unwrap_or_default();
            let identity = Identity {
                sandbox: runtime.id(),
                namespace: &namespace,
                pod: &pod_name,
                uid: &uid,
                container: pause::NAME,
                attempt: 0,
            };
            let around = Surroundings::of(&pod, hosts);
            let made = pause::ensure(runtime.engine(), &identity, around).await;
            drop(making);
            made
        });
        made.await.unwrap_or_else(|error| {
            Err(Error::Pause {
                reason: format!("{name}: {error}"),
            })
        })
    }

    /// Ends the infrastructure container of a pod that is over: it has nothing to hold any more.
    pub(super) async fn rest(&self) {
        if !pause::is_needed(&self.pod) {
            return;
        }
        let (namespace, uid) = (self.namespace(), self.uid());
        let pod = self.pod.metadata.name.clone().unwrap_or_default();
        let identity = Identity {
            sandbox: self.runtime.id(),
            namespace: &namespace,
            pod: &pod,
            uid: &uid,
            container: pause::NAME,
            attempt: 0,
        };
        pause::end(self.runtime.engine(), &identity).await;
    }
}
