//! How pods are reached and what they reach: the engine's bridge, its address on this machine, and the names of the
//! cluster's services.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bollard::models::NetworkInspect;
use bollard::query_parameters::{InspectNetworkOptions, ListContainersOptionsBuilder};
use futures::FutureExt;

use super::Runtime;
use super::container::label;
use super::engine::{Engine, is_unreachable, refusal};
use super::{ENGINE_PAUSE, node};
use crate::doorway::{Doorway, Guests, Way};

/// What the engine's own bridge is called, by Docker and by Podman.
const BRIDGES: [&str; 2] = ["bridge", "podman"];

/// The way to the sandbox as far as it is known.
#[derive(Default)]
pub(super) struct Reached {
    way: Option<Way>,
    /// What was told last about it, if anything was: that something lacks, or that nothing does.
    told: Option<Option<String>>,
}

impl Runtime {
    /// Lets pods reach the servers behind a doorway, from now on. Only the first call counts.
    pub fn set_doorway(&self, doorway: Doorway) {
        let _ = self.inner.doorway.set(doorway);
    }

    /// The way from pods to the sandbox, opened if it is not open yet, and what is new and worth telling about it.
    /// Waits for an engine that is away.
    pub(super) async fn way(&self) -> (Option<Way>, Option<String>) {
        let Some(doorway) = self.inner.doorway.get() else {
            return (None, None);
        };
        let mut reached = self.inner.reached.lock().await;
        if let Some(way) = &reached.way
            && way.without_db_manager.is_none()
        {
            return (Some(way.clone()), None);
        }
        // An address of another machine's network may be one of this machine's too.
        let opened = loop {
            if !self.engine().sees_files() {
                break Err(format!(
                    "the engine at {} may be on another machine",
                    self.engine().address()
                ));
            }
            match gateway(self.engine()).await {
                Ok(Some(address)) => {
                    let opened = doorway.open(address, self.guests()).await;
                    break opened.map_err(|error| error.to_string());
                }
                Ok(None) => break Err("the engine's network has no address".to_owned()),
                Err(error) if is_unreachable(&error) => tokio::time::sleep(ENGINE_PAUSE).await,
                Err(error) => break Err(format!("looking at the engine's network: {error}")),
            }
        };
        let (way, trouble) = match opened {
            Ok(way) => {
                let trouble = way.without_db_manager.as_ref();
                let trouble = trouble
                    .map(|why| format!("pods do not reach katib-db-manager.kubeflow:6789: {why}"));
                (Some(way), trouble)
            }
            Err(why) => (
                None,
                Some(format!(
                    "pods reach neither the API server nor katib-db-manager.kubeflow:6789: {why}"
                )),
            ),
        };
        reached.way = way.clone();
        let is_news = reached.told.as_ref() != Some(&trouble);
        if is_news {
            if let Some(trouble) = &trouble {
                tracing::warn!(trouble, "pods run all the same");
            }
            node::publish_network(self.client(), trouble.as_deref()).await;
            reached.told = Some(trouble.clone());
        }
        (way, trouble.filter(|_| is_news))
    }

    /// Looks for the way anew when it is needed next: the engine was away, and may be another one.
    pub(super) async fn forget_way(&self) {
        self.inner.reached.lock().await.way = None;
    }

    /// Whoever connects from the address of a container of this sandbox is a guest.
    fn guests(&self) -> Guests {
        let (engine, id) = (self.engine().clone(), self.id().to_owned());
        Arc::new(move |peer| {
            let (engine, id) = (engine.clone(), id.clone());
            async move { is_guest(&engine, &id, peer).await }.boxed()
        })
    }
}

async fn is_guest(engine: &Engine, sandbox: &str, peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    let filters = [("label", vec![format!("{}={sandbox}", label::SANDBOX)])].into();
    let query = ListContainersOptionsBuilder::default()
        .filters(&filters)
        .build();
    let running = match engine.docker().list_containers(Some(query)).await {
        Ok(running) => running,
        Err(error) => {
            tracing::warn!(%error, %peer, "nobody can say who connects");
            return false;
        }
    };
    let networks = running
        .into_iter()
        .filter_map(|container| container.network_settings?.networks);
    let known = networks
        .flat_map(std::collections::HashMap::into_values)
        .any(|at| {
            let addresses = [at.ip_address, at.global_ipv6_address];
            let mut addresses = addresses.into_iter().flatten();
            addresses.any(|address| address.parse() == Ok(peer))
        });
    if !known {
        tracing::warn!(%peer, "a connection that is none of a pod's was refused");
    }
    known
}

/// The address that the engine's bridge has on its machine.
async fn gateway(engine: &Engine) -> Result<Option<IpAddr>, bollard::errors::Error> {
    let mut outcome = Ok(None);
    for name in BRIDGES {
        let options = None::<InspectNetworkOptions>;
        match engine.docker().inspect_network(name, options).await {
            Ok(network) => return Ok(gateway_of(&network)),
            Err(error) if matches!(refusal(&error), Some((404, _))) => {}
            Err(error) => outcome = Err(error),
        }
    }
    outcome
}

/// Docker names the gateway of its bridge only sometimes; it is the subnet's first address then.
fn gateway_of(network: &NetworkInspect) -> Option<IpAddr> {
    let plans = network.ipam.as_ref()?.config.as_ref()?;
    let given = |text: Option<&String>| text?.split('/').next()?.parse().ok();
    let first = |text: Option<&String>| {
        let subnet: Ipv4Addr = text?.split('/').next()?.parse().ok()?;
        Some(IpAddr::V4((u32::from(subnet) + 1).into()))
    };
    plans.iter().find_map(|plan| {
        given(plan.gateway.as_ref())
            .filter(IpAddr::is_ipv4)
            .or_else(|| first(plan.subnet.as_ref()))
    })
}

/// The names by which a pod finds the sandbox, as the engine takes them (`NAME:ADDRESS`).
pub(super) fn hosts(way: &Way) -> Vec<String> {
    let names = |service: &str| {
        ["", ".svc", ".svc.cluster.local"]
            .map(|domain| format!("{service}{domain}:{}", way.address))
    };
    let mut hosts = names("kubernetes.default").to_vec();
    if way.without_db_manager.is_none() {
        hosts.extend(names("katib-db-manager.kubeflow"));
    }
    hosts
}

/// The variables by which in-cluster clients find the API server, as a node sets them.
pub(super) fn services(way: &Way) -> Vec<(String, String)> {
    let (host, port) = (way.address.to_string(), way.api_port.to_string());
    let url = format!("tcp://{host}:{port}");
    let at = format!("KUBERNETES_PORT_{port}_TCP");
    [
        ("KUBERNETES_SERVICE_HOST".to_owned(), host.clone()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), port.clone()),
        ("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), port.clone()),
        ("KUBERNETES_PORT".to_owned(), url.clone()),
        (at.clone(), url),
        (format!("{at}_PROTO"), "tcp".to_owned()),
        (format!("{at}_PORT"), port),
        (format!("{at}_ADDR"), host),
    ]
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_gateway_is_given_or_the_first_address() {
        let of = |plans: serde_json::Value| {
            let network = serde_json::from_value(json!({"IPAM": {"Config": plans}}));
            gateway_of(&network.expect("network")).map(|address| address.to_string())
        };
        let given = json!([{"Subnet": "10.1.0.0/16", "Gateway": "10.1.0.254"}]);
        assert_eq!(of(given), Some("10.1.0.254".into()));
        let bare = json!([{"Subnet": "172.17.0.0/16"}]);
        assert_eq!(of(bare), Some("172.17.0.1".into()));
        let dual =
            json!([{"Subnet": "fd00::/64", "Gateway": "fd00::1"}, {"Subnet": "172.17.0.0/16"}]);
        assert_eq!(of(dual), Some("172.17.0.1".into()));
        assert_eq!(of(json!([])), None);
    }

    #[test]
    fn names_without_a_server_are_not_given() {
        let mut way = Way {
            address: [172, 17, 0, 1].into(),
            api_port: 6443,
            without_db_manager: None,
        };
        assert_eq!(hosts(&way).len(), 6);
        assert!(hosts(&way).contains(&"katib-db-manager.kubeflow:172.17.0.1".into()));
        way.without_db_manager = Some("taken".into());
        assert!(
            hosts(&way)
                .iter()
                .all(|host| host.starts_with("kubernetes."))
        );
        let port = (
            "KUBERNETES_PORT_6443_TCP".to_owned(),
            "tcp://172.17.0.1:6443".to_owned(),
        );
        assert!(services(&way).contains(&port));
    }
}
