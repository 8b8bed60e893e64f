//! Katib's DBManager service, so that its SDK (`get_trial_metrics`, `report_metrics`) works here too.
//!
//! The messages are few and old, so they are written by hand as `prost` structures; field numbers are
//! those of `package api.v1.beta1`.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::{Request, Response, Status};

use super::error::Error;
use super::store::{Filter, ObservationStore, Row};
use crate::doorway::Guests;

#[derive(Clone, PartialEq, prost::Message)]
struct Metric {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MetricLog {
    #[prost(string, tag = "1")]
    time_stamp: String,
    #[prost(message, optional, tag = "2")]
    metric: Option<Metric>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ObservationLog {
    #[prost(message, repeated, tag = "1")]
    metric_logs: Vec<MetricLog>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReportRequest {
    #[prost(string, tag = "1")]
    trial_name: String,
    #[prost(message, optional, tag = "2")]
    observation_log: Option<ObservationLog>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetRequest {
    #[prost(string, tag = "1")]
    trial_name: String,
    #[prost(string, tag = "2")]
    metric_name: String,
    #[prost(string, tag = "3")]
    start_time: String,
    #[prost(string, tag = "4")]
    end_time: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetReply {
    #[prost(message, optional, tag = "1")]
    observation_log: Option<ObservationLog>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DeleteRequest {
    #[prost(string, tag = "1")]
    trial_name: String,
}

/// The reply to a report and to a deletion.
#[derive(Clone, PartialEq, prost::Message)]
struct Done {}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthReply {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;

/// The DBManager server that has its port, ready to be served.
pub struct DbManager {
    listener: TcpListener,
    address: SocketAddr,
    service: Service,
}

impl DbManager {
    /// Takes the port (0 for any free one).
    pub async fn bind(address: SocketAddr, store: ObservationStore) -> Result<Self, Error> {
        let failed = |source| Error::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            service: Service { store },
        })
    }

    /// The address the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers calls until `shutdown`.
    pub fn serve(
        self,
        shutdown: CancellationToken,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        let incoming = TcpListenerStream::new(self.listener);
        answer(self.service, incoming, shutdown)
    }

    /// Answers calls of guests until `shutdown`.
    pub(crate) fn serve_guests(
        self,
        guests: Guests,
        shutdown: CancellationToken,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        let admitted = move |stream: io::Result<TcpStream>| {
            let guests = guests.clone();
            async move {
                let stream = stream.ok()?;
                let peer = stream.peer_addr().ok()?;
                guests(peer.ip()).await.then_some(Ok(stream))
            }
        };
        let incoming = TcpListenerStream::new(self.listener)
            .map(admitted)
            .buffer_unordered(ASKED_AT_ONCE)
            .filter_map(std::future::ready);
        answer(self.service, Box::pin(incoming), shutdown)
    }
}

/// About how many connections it is found out at once whether they may come in.
const ASKED_AT_ONCE: usize = 64;

async fn answer(
    service: Service,
    incoming: impl Stream<Item = io::Result<TcpStream>> + Unpin + Send + 'static,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    tonic::transport::Server::builder()
        .add_service(service)
        .add_service(Health)
        .serve_with_incoming_shutdown(incoming, async move { shutdown.cancelled().await })
        .await
        .map_err(|source| Error::Serve { source })
}

type Answer =
    Pin<Box<dyn Future<Output = Result<http::Response<tonic::body::Body>, Infallible>> + Send>>;

/// Runs one unary call: decodes the message, calls `work`, encodes its answer.
fn unary<Q, A, F>(
    request: http::Request<tonic::body::Body>,
    work: impl Fn(Q) -> F + Clone + Send + Sync + 'static,
) -> Answer
where
    Q: prost::Message + Default + Send + 'static,
    A: prost::Message + Default + Send + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    Box::pin(async move {
        let call = tower::service_fn(move |request: Request<Q>| {
            let answer = work(request.into_inner());
            async move { answer.await.map(Response::new) }
        });
        let codec = tonic_prost::ProstCodec::<A, Q>::default();
        Ok(tonic::server::Grpc::new(codec).unary(call, request).await)
    })
}

fn unimplemented(path: &str) -> Answer {
    let status = Status::unimplemented(format!("{path} is not served by the sandbox"));
    Box::pin(async move { Ok(status.into_http()) })
}

#[derive(Clone)]
struct Service {
    store: ObservationStore,
}

impl NamedService for Service {
    const NAME: &'static str = "api.v1.beta1.DBManager";
}

impl tower::Service<http::Request<tonic::body::Body>> for Service {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Answer {
        let store = self.store.clone();
        match request.uri().path() {
            "/api.v1.beta1.DBManager/ReportObservationLog" => {
                unary(request, move |call| report(store.clone(), call))
            }
            "/api.v1.beta1.DBManager/GetObservationLog" => {
                unary(request, move |call| get(store.clone(), call))
            }
            "/api.v1.beta1.DBManager/DeleteObservationLog" => {
                unary(request, move |call| delete(store.clone(), call))
            }
            path => unimplemented(path),
        }
    }
}

/// `grpc.health.v1.Health/Check`, which clients and probes ask before they go on.
#[derive(Clone)]
struct Health;

impl NamedService for Health {
    const NAME: &'static str = "grpc.health.v1.Health";
}

impl tower::Service<http::Request<tonic::body::Body>> for Health {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Answer {
        match request.uri().path() {
            "/grpc.health.v1.Health/Check" => unary(request, |call: HealthRequest| async move {
                let known = ["", Service::NAME, Health::NAME, "manager.v1beta1"];
                if known.contains(&call.service.as_str()) {
                    Ok(HealthReply { status: SERVING })
                } else {
                    Err(Status::not_found(format!(
                        "unknown service {}",
                        call.service
                    )))
                }
            }),
            path => unimplemented(path),
        }
    }
}

fn moment(text: &str, field: &str) -> Result<Timestamp, Status> {
    text.parse().map_err(|error| {
        Status::invalid_argument(format!("{field} {text:?} is not an RFC 3339 time: {error}"))
    })
}

fn failed(error: Error) -> Status {
    Status::internal(error.to_string())
}

async fn report(store: ObservationStore, call: ReportRequest) -> Result<Done, Status> {
    let logs = call.observation_log.unwrap_or_default().metric_logs;
    if logs.is_empty() {
        return Err(Status::invalid_argument(format!(
            "the observation log of trial {} is empty",
            call.trial_name
        )));
    }
    let mut rows = Vec::with_capacity(logs.len());
    for log in logs {
        // Katib leaves rows without a time out, and refuses the whole call for a bad one.
        if log.time_stamp.is_empty() {
            continue;
        }
        let metric = log.metric.unwrap_or_default();
        rows.push(Row {
            time: moment(&log.time_stamp, "time_stamp")?,
            metric: metric.name,
            value: metric.value,
        });
    }
    store
        .report("", &call.trial_name, rows)
        .await
        .map_err(failed)?;
    Ok(Done {})
}

async fn get(store: ObservationStore, call: GetRequest) -> Result<GetReply, Status> {
    let bound = |text: &str, field| (!text.is_empty()).then(|| moment(text, field)).transpose();
    let filter = Filter {
        metric: (!call.metric_name.is_empty()).then_some(call.metric_name),
        start: bound(&call.start_time, "start_time")?,
        end: bound(&call.end_time, "end_time")?,
    };
    let rows = store
        .rows("", &call.trial_name, filter)
        .await
        .map_err(failed)?;
    let metric_logs = rows
        .into_iter()
        .map(|row| MetricLog {
            time_stamp: row.time.to_string(),
            metric: Some(Metric {
                name: row.metric,
                value: row.value,
            }),
        })
        .collect();
    Ok(GetReply {
        observation_log: Some(ObservationLog { metric_logs }),
    })
}

async fn delete(store: ObservationStore, call: DeleteRequest) -> Result<Done, Status> {
    store.delete("", &call.trial_name).await.map_err(failed)?;
    Ok(Done {})
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn call<Q, A>(address: SocketAddr, path: &'static str, message: Q) -> Result<A, Status>
    where
        Q: prost::Message + Default + 'static,
        A: prost::Message + Default + 'static,
    {
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
            .expect("address")
            .connect()
            .await
            .expect("connection");
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.expect("ready");
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        let path = http::uri::PathAndQuery::from_static(path);
        let answer = client.unary(Request::new(message), path, codec).await;
        answer.map(Response::into_inner)
    }

    #[tokio::test]
    async fn what_is_reported_over_grpc_is_read_back_and_deleted() {
        let directory = tempfile::tempdir().expect("directory");
        let store = ObservationStore::open(&directory.path().join("observations.db"))
            .await
            .expect("store");
        let server = DbManager::bind(([127, 0, 0, 1], 0).into(), store.clone())
            .await
            .expect("server");
        let (address, shutdown) = (server.address(), CancellationToken::new());
        tokio::spawn(server.serve(shutdown.clone()));
        let _guard = shutdown.drop_guard();

        let health: HealthReply = call(
            address,
            "/grpc.health.v1.Health/Check",
            HealthRequest::default(),
        )
        .await
        .expect("health");
        assert_eq!(health.status, SERVING);

        let log = |time: &str, value: &str| MetricLog {
            time_stamp: time.into(),
            metric: Some(Metric {
                name: "accuracy".into(),
                value: value.into(),
            }),
        };
        let request = |metric_logs| ReportRequest {
            trial_name: "t".into(),
            observation_log: Some(ObservationLog { metric_logs }),
        };
        let path = "/api.v1.beta1.DBManager/ReportObservationLog";
        let refused: Result<Done, Status> = call(address, path, request(Vec::new())).await;
        assert!(refused.is_err());
        let bad = request(vec![
            log("2024-01-01T00:00:00Z", "1"),
            log("yesterday", "2"),
        ]);
        let refused: Result<Done, Status> = call(address, path, bad).await;
        assert_eq!(
            refused.expect_err("refused").code(),
            tonic::Code::InvalidArgument
        );
        let good = request(vec![
            log("2024-01-01T09:00:00.123456789+09:00", "0.5"),
            log("", "0.6"),
        ]);
        let _: Done = call(address, path, good).await.expect("report");

        let wanted = GetRequest {
            trial_name: "t".into(),
            ..GetRequest::default()
        };
        let path = "/api.v1.beta1.DBManager/GetObservationLog";
        let reply: GetReply = call(address, path, wanted.clone()).await.expect("rows");
        let expected = [log("2024-01-01T00:00:00.123456Z", "0.5")];
        assert_eq!(reply.observation_log.expect("log").metric_logs, expected);

        let path = "/api.v1.beta1.DBManager/DeleteObservationLog";
        let gone = DeleteRequest {
            trial_name: "t".into(),
        };
        let _: Done = call(address, path, gone).await.expect("delete");
        let rows = store.rows("lab", "t", Filter::default()).await;
        assert!(rows.expect("rows").is_empty());
    }
}
