//! Observation logs: every value a trial reported, from Katib's DB manager by gRPC.
//!
//! The sandbox serves it on loopback; inside a cluster it is reached by its service's name; from
//! outside through a port-forward, which a tenant may not be allowed to open.

use std::sync::Mutex;
use std::time::Duration;

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use super::messages::{GetObservationLogReply, GetObservationLogRequest};
use super::value::{self, Value};
use crate::cluster::{Cluster, Error, Origin, Result};

const PORT: u16 = 6789;
/// Where Katib is installed unless somebody chose otherwise.
pub const KATIB_NAMESPACE: &str = "kubeflow";
const SERVICE: &str = "katib-db-manager";
const PATIENCE: Duration = Duration::from_secs(10);

/// One value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The metric.
    pub metric: String,
    /// When it was reported; nothing for lines that carried no time (Katib stores year 1).
    pub time: Option<Timestamp>,
    /// The value; nothing for `unavailable`.
    pub value: Option<Value>,
}

/// How the DB manager was reached; shown to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// At an address.
    Address(String),
    /// Through a port-forward to this pod.
    PortForward(String),
}

/// The way to the DB manager, kept open for several questions.
pub struct Observations {
    channel: Channel,
    /// How it was reached.
    pub route: Route,
}

/// Opens the way to the DB manager.
pub async fn open(cluster: &Cluster) -> Result<Observations> {
    if let Some(address) = &cluster.observations {
        return direct(address.clone()).await;
    }
    if cluster.is_sandbox() {
        return Err(Error::Observations(
            "the sandbox's endpoint file names no port for it".into(),
        ));
    }
    if cluster.origin == Origin::ServiceAccount || cluster.name == "in-cluster" {
        match direct(format!("{SERVICE}.{KATIB_NAMESPACE}:{PORT}")).await {
            Ok(open) => return Ok(open),
            Err(first) => {
                return forwarded(cluster).await.map_err(|second| {
                    Error::Observations(format!(
                        "by name: {}; by port-forward: {}",
                        reason(&first),
                        reason(&second)
                    ))
                });
            }
        }
    }
    forwarded(cluster).await
}

fn reason(error: &Error) -> String {
    match error {
        Error::Observations(reason) => reason.clone(),
        other => other.to_string(),
    }
}

async fn direct(address: String) -> Result<Observations> {
    let failed = |error: &dyn std::error::Error| {
        Error::Observations(format!("{address}: {}", crate::cluster::with_causes(error)))
    };
    let endpoint =
        Endpoint::from_shared(format!("http://{address}")).map_err(|error| failed(&error))?;
    let channel = endpoint
        .connect_timeout(PATIENCE)
        .connect()
        .await
        .map_err(|error| failed(&error))?;
    Ok(Observations {
        channel,
        route: Route::Address(address),
    })
}

async fn forwarded(cluster: &Cluster) -> Result<Observations> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), KATIB_NAMESPACE);
    let action = cluster.action("list", "pods").within(KATIB_NAMESPACE);
    let selector = ListParams::default().labels("katib.kubeflow.org/component=db-manager");
    let found = pods
        .list(&selector)
        .await
        .map_err(|error| Error::from_kube(error, &action))?;
    let running = found.items.into_iter().find(|pod| {
        pod.status
            .as_ref()
            .and_then(|status| status.phase.as_deref())
            == Some("Running")
    });
    let name = running.and_then(|pod| pod.metadata.name).ok_or_else(|| {
        Error::Observations(format!(
            "no pod of {SERVICE} runs in namespace {KATIB_NAMESPACE}"
        ))
    })?;
    let action = cluster
        .action("create", "pods/portforward")
        .named(&name)
        .within(KATIB_NAMESPACE);
    let mut forward = pods
        .portforward(&name, &[PORT])
        .await
        .map_err(|error| Error::from_kube(error, &action))?;
    let stream = forward
        .take_stream(PORT)
        .ok_or_else(|| Error::Observations(format!("the port-forward to {name} gave no stream")))?;
    // The connector is a function that may be called again; the stream can be given out once.
    let stream = Mutex::new(Some(TokioIo::new(stream)));
    let connector = tower::service_fn(move |_: http::Uri| {
        let stream = stream.lock().ok().and_then(|mut slot| slot.take());
        // The forward lives as long as its stream is in use; it ends by itself afterwards.
        async move { stream.ok_or_else(|| std::io::Error::other("the port-forward was closed")) }
    });
    let channel = Endpoint::from_static("http://katib-db-manager")
        .connect_timeout(PATIENCE)
        .connect_with_connector(connector)
        .await
        .map_err(|error| Error::Observations(crate::cluster::with_causes(&error)))?;
    Ok(Observations {
        channel,
        route: Route::PortForward(name),
    })
}

impl Observations {
    /// The log of a trial, in the order of time; of one metric or of all.
    pub async fn of_trial(&self, trial: &str, metric: Option<&str>) -> Result<Vec<Point>> {
        let failed =
            |reason: String| Error::Observations(format!("the log of trial {trial}: {reason}"));
        let mut client =
            tonic::client::Grpc::new(self.channel.clone()).max_decoding_message_size(256 << 20);
        client
            .ready()
            .await
            .map_err(|error| failed(crate::cluster::with_causes(&error)))?;
        let request = GetObservationLogRequest {
            trial_name: trial.to_owned(),
            metric_name: metric.unwrap_or_default().to_owned(),
            start_time: String::new(),
            end_time: String::new(),
        };
        let path = PathAndQuery::from_static("/api.v1.beta1.DBManager/GetObservationLog");
        let codec: ProstCodec<GetObservationLogRequest, GetObservationLogReply> =
            ProstCodec::default();
        let call = client.unary(tonic::Request::new(request), path, codec);
        let reply = match tokio::time::timeout(PATIENCE * 3, call).await {
            Ok(Ok(reply)) => reply.into_inner(),
            Ok(Err(status)) => {
                return Err(failed(format!(
                    "{} ({:?})",
                    status.message(),
                    status.code()
                )));
            }
            Err(_) => {
                return Err(failed(format!(
                    "no answer within {} s",
                    (PATIENCE * 3).as_secs()
                )));
            }
        };
        Ok(points(reply))
    }
}

fn points(reply: GetObservationLogReply) -> Vec<Point> {
    let rows = reply.observation_log.unwrap_or_default().metric_logs;
    rows.into_iter()
        .filter_map(|row| {
            let metric = row.metric?;
            let time = row
                .time_stamp
                .parse::<Timestamp>()
                .ok()
                .filter(|time| *time > Timestamp::UNIX_EPOCH);
            Some(Point {
                metric: metric.name,
                time,
                value: value::metric(&metric.value),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::messages::{Metric, MetricLog, ObservationLog};
    use super::*;
    use prost::Message as _;

    #[test]
    fn messages_have_the_field_numbers_of_katib() {
        let row = MetricLog {
            time_stamp: "2026-01-01T00:00:00Z".into(),
            metric: Some(Metric {
                name: "a".into(),
                value: "1".into(),
            }),
        };
        let reply = GetObservationLogReply {
            observation_log: Some(ObservationLog {
                metric_logs: vec![row],
            }),
        };
        let bytes = reply.encode_to_vec();
        // observation_log[1] { metric_logs[1] { time_stamp[1], metric[2] { name[1], value[2] } } }
        let mut expected = vec![0x0a, 32, 0x0a, 30, 0x0a, 20];
        expected.extend(b"2026-01-01T00:00:00Z");
        expected.extend([0x12, 6, 0x0a, 1, b'a', 0x12, 1, b'1']);
        assert_eq!(bytes, expected);
        assert_eq!(points(reply)[0].value, Some(Value::Int(1)));
    }

    #[test]
    fn a_line_without_a_time_has_none() {
        let row = MetricLog {
            time_stamp: "0001-01-01T00:00:00Z".into(),
            metric: Some(Metric {
                name: "accuracy".into(),
                value: "unavailable".into(),
            }),
        };
        let reply = GetObservationLogReply {
            observation_log: Some(ObservationLog {
                metric_logs: vec![row],
            }),
        };
        assert_eq!(
            points(reply),
            [Point {
                metric: "accuracy".into(),
                time: None,
                value: None
            }]
        );
    }
}
