//! Katib's Suggestion service as its client sees it, over gRPC without encryption.

use std::error::Error as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::wire::{
    GetSuggestionsReply, GetSuggestionsRequest, HealthReply, HealthRequest, ValidateReply,
    ValidateRequest,
};
use crate::katib_config::PORT;

/// Katib gives every call a minute.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long a connection may take to come about, and an answer about health.
const PATIENCE: Duration = Duration::from_secs(5);
/// The service that Katib's probes ask about.
const PROBED: &str = "manager.v1beta1.Suggestion";
const SERVING: i32 = 1;
/// The longest answer, in bytes.
const LONGEST: usize = 64 << 20;

/// An algorithm that can be asked.
pub(super) struct Service(tonic::client::Grpc<Channel>);

/// What an algorithm says about its health.
pub(super) enum Health {
    /// It can be asked.
    Serving(Service),
    /// It can be asked, and Katib's probes would not find out: why.
    Unprobed(Service, String),
    /// It cannot be asked yet: why.
    Away(String),
}

impl Service {
    /// Connects to a pod and asks for its health.
    pub(super) async fn connect(address: IpAddr) -> Health {
        let address = SocketAddr::from((address, PORT));
        let away = |error: String| Health::Away(format!("{address}: {error}"));
        let endpoint = match Endpoint::from_shared(format!("http://{address}")) {
            Ok(endpoint) => endpoint.connect_timeout(PATIENCE).timeout(DEADLINE),
            Err(error) => return away(error.to_string()),
        };
        let channel = match endpoint.connect().await {
            Ok(channel) => channel,
            Err(error) => return away(innermost(&error)),
        };
        let client = tonic::client::Grpc::new(channel).max_decoding_message_size(LONGEST);
        let mut service = Self(client);
        let question = HealthRequest {
            service: PROBED.to_owned(),
        };
        let asked = service.call("/grpc.health.v1.Health/Check", question);
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        match answer {
            Ok(Ok(HealthReply { status: SERVING })) => Health::Serving(service),
            Ok(Ok(HealthReply { status })) => away(format!(
                "its health service says {status}, not SERVING ({SERVING})"
            )),
            Ok(Err(status))
                if is_answer(&status)
                    && matches!(status.code(), Code::Unimplemented | Code::NotFound) =>
            {
                Health::Unprobed(service, go_text(&status))
            }
            Ok(Err(status)) => away(go_text(&status)),
            Err(_) => away("no answer about its health".to_owned()),
        }
    }

    /// `ValidateAlgorithmSettings`.
    pub(super) async fn validate(&mut self, request: ValidateRequest) -> Result<(), Status> {
        let path = "/api.v1.beta1.Suggestion/ValidateAlgorithmSettings";
        let answer: Result<ValidateReply, Status> = self.call(path, request).await;
        answer.map(drop)
    }

    /// `GetSuggestions`.
    pub(super) async fn suggestions(
        &mut self,
        request: GetSuggestionsRequest,
    ) -> Result<GetSuggestionsReply, Status> {
        let path = "/api.v1.beta1.Suggestion/GetSuggestions";
        self.call(path, request).await
    }

    async fn call<Q, A>(&mut self, path: &'static str, message: Q) -> Result<A, Status>
    where
        Q: prost::Message + Default + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.0
            .ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        let path = PathAndQuery::from_static(path);
        let answer = self.0.unary(Request::new(message), path, codec).await;
        answer.map(tonic::Response::into_inner)
    }
}

/// Whether the algorithm itself said so; else the call broke off.
pub(super) fn is_answer(status: &Status) -> bool {
    status.source().is_none() && status.code() != Code::Unavailable
}

/// A failed call as Katib words it, which takes Go's words.
pub(super) fn go_text(status: &Status) -> String {
    let cause = status.source().map(innermost);
    let cause = cause.filter(|cause| !status.message().contains(cause.as_str()));
    let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
    let (code, message) = (status.code(), status.message());
    format!("rpc error: code = {code:?} desc = {message}{cause}")
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
