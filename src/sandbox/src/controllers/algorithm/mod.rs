//! Algorithms of the user's own: containers that speak Katib's gRPC Suggestion API.
//!
//! As on a cluster, such an algorithm is named in the ConfigMap `katib-config` of namespace `kubeflow`, under
//! `runtime.suggestions[]`. For each Suggestion that wants it a pod is made; it is asked on port 6789 whether the
//! settings are good (`ValidateAlgorithmSettings`) and then for assignments (`GetSuggestions`), with every trial
//! so far. The pod goes when the Suggestion has ended, and stays under resume policy `LongRunning`; under
//! `FromVolume` it mounts a claim that outlives it.
//!
//! # Deliberate differences from Katib
//!
//! - There is no Deployment and no Service. The pod is called what they would be, `<suggestion>-<algorithm>`, with
//!   their labels, is restarted when its program ends, and is asked at its own address. Deleted, it is made
//!   again when it is needed next.
//! - The health service is asked five times a second at first and ever less often, so that an algorithm is used as
//!   soon as it is there. One without health service is used too, with a warning: on a cluster Katib's probe would never find it ready.
//! - A call that breaks off while settings are checked is tried again; in Katib the Experiment fails for good.
//! - An answer must assign every search parameter once, and name no trial that is there already. Katib notes it, and
//!   the Experiment can then make no trial ever. A value outside the search space is tried as in Katib, with a
//!   warning.
//! - The pod goes after a failure too.
//! - Early stopping is the sandbox's own; there is no second container for it.

mod pod;
mod service;
mod wire;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::Timestamp;
use katlab_katib::algorithm::validate_early_stopping;
use katlab_katib::condition::{Conditioned, FALSE, TRUE, set_condition};
use katlab_katib::names::condition::{DEPLOYMENT_READY, FAILED, RUNNING};
use katlab_katib::names::{Reason, suggestion as reasons};
use katlab_katib::space::Domain;
use katlab_katib::summary::is_history;
use katlab_katib::types::{
    EarlyStoppingRule, ExperimentSpec, ParameterAssignment, ParameterSpec, Setting, Suggestion,
    SuggestionStatus, Trial, TrialAssignment,
};
use katlab_suggestion::ALGORITHMS;
use kube::api::PropagationPolicy;
use tonic::Code;

use super::cache::Key;
use super::context::{Context, now};
use super::error::{Error, Result};
use super::objects::Kind;
use super::queue::Again;
use super::suggestion::{append, missing};
use crate::api::meta::label;
use crate::katib_config::{self, KatibConfig, PORT};
use pod::Stand;
use service::{Health, Service, go_text, is_answer};
use wire::{GetSuggestionsReply, GetSuggestionsRequest, ValidateRequest};

/// How often a pod is asked whether it serves, at first and at last: each tenth of its age.
const EVERY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// How long its program may take until what is awaited is said.
const PATIENCE: Duration = Duration::from_secs(30);
/// Reason of the Warning event about a pod that cannot be asked.
const NOT_READY: &str = "AlgorithmNotReady";
/// Reason of the Warning event about a pod that Katib's probes would not find ready.
const UNPROBED: &str = "NoHealthService";
/// Reason of the Warning event about values that are none of the space.
const OUTSIDE: &str = "OutsideSearchSpace";

/// Where the algorithm of a Suggestion runs.
pub(super) enum Place {
    /// In this process.
    Here,
    /// In a pod, which has been made.
    Pod,
}

/// Finds out where the algorithm runs, and makes its pod if it needs one.
pub(super) async fn place(context: &Context, suggestion: &Suggestion) -> Result<Place> {
    if pod::find(context, suggestion).is_some() {
        return Ok(Place::Pod);
    }
    let algorithm = suggestion.spec.algorithm.clone().unwrap_or_default();
    let name = algorithm.algorithm_name;
    let key = Key::new(katib_config::NAMESPACE, katib_config::NAME);
    let held = context.cluster.get::<ConfigMap>(&key).await?;
    let text = held
        .and_then(|held| held.data?.remove(katib_config::KEY))
        .unwrap_or_default();
    let config = KatibConfig::parse(&text).map_err(Error::Configuration)?;
    match config.algorithm(&name) {
        Some(algorithm) => {
            pod::make(context, suggestion, algorithm).await?;
            Ok(Place::Pod)
        }
        None if ALGORITHMS.contains(&name.as_str()) => Ok(Place::Here),
        None => Err(Error::NoAlgorithm { algorithm: name }),
    }
}

/// Removes the pod of a Suggestion that has ended.
pub(super) async fn close(context: &Context, suggestion: &Suggestion) -> Result<()> {
    if let Some(pod) = pod::find(context, suggestion).filter(|pod| !pod.is_deleting()) {
        let cluster = &context.cluster;
        cluster
            .delete(pod.as_ref(), PropagationPolicy::Background)
            .await?;
    }
    Ok(())
}

/// Asks the algorithm in the pod for what is missing, as far as it can be asked now; tells when to look again. The
/// status holds what was achieved even when this fails.
pub(super) async fn advance(
    context: &Context,
    suggestion: &Suggestion,
    spec: &ExperimentSpec,
    trials: &[Arc<Trial>],
    rules: &[EarlyStoppingRule],
    status: &mut SuggestionStatus,
) -> Result<Again> {
    let mut service = match reach(context, suggestion).await {
        Reached::Now(service) => service,
        Reached::NotYet(again) => {
            set(
                status,
                DEPLOYMENT_READY,
                FALSE,
                reasons::DEPLOYMENT_NOT_READY,
            );
            return Ok(again);
        }
    };
    set(status, DEPLOYMENT_READY, TRUE, reasons::DEPLOYMENT_READY);
    let experiment = wire::Experiment::new(suggestion.name(), spec);
    if !suggestion.is_running() {
        let request = ValidateRequest {
            experiment: Some(experiment.clone()),
        };
        let method = "ValidateAlgorithmSettings";
        match service.validate(request).await {
            Err(answer) if !is_answer(&answer) => {
                return Err(broken(suggestion, method, &answer));
            }
            Err(answer) if matches!(answer.code(), Code::InvalidArgument | Code::Unknown) => {
                let message = format!("Validation failed: {method} Error: {}", answer.message());
                fail(status, &message);
                return Ok(None);
            }
            // Whatever else it says counts as a yes, above all that it checks nothing (Unimplemented).
            Ok(()) | Err(_) => {}
        }
        if let Err(error) = validate_early_stopping(spec) {
            let message =
                format!("Validation failed: ValidateEarlyStoppingSettings Error: {error}");
            fail(status, &message);
            return Ok(None);
        }
        set(status, RUNNING, TRUE, reasons::RUNNING);
    }
    let wanted = missing(suggestion);
    if wanted == 0 {
        return Ok(None);
    }
    let history = trials.iter().filter(|trial| is_history(trial));
    let request = GetSuggestionsRequest {
        experiment: Some(experiment),
        trials: history.map(|trial| wire::Trial::new(trial)).collect(),
        current_request_number: i32::try_from(wanted).unwrap_or(i32::MAX),
        total_request_number: suggestion.spec.requests,
    };
    let reply = service.suggestions(request).await;
    let reply = reply.map_err(|answer| broken(suggestion, "GetSuggestions", &answer))?;
    let settings = reply.algorithm.clone().unwrap_or_default().settings;
    let assignments = read(reply, wanted, &spec.parameters, &status.suggestions)?;
    if let Some(outside) = outside(&assignments, &spec.parameters) {
        context
            .suggestion_events
            .warning(suggestion, OUTSIDE, outside);
    }
    append(suggestion, status, assignments, rules);
    for returned in settings {
        let held = status.algorithm_settings.iter_mut();
        match held.into_iter().find(|held| held.name == returned.name) {
            Some(held) => held.value = returned.value,
            None => status.algorithm_settings.push(Setting {
                name: returned.name,
                value: returned.value,
            }),
        }
    }
    Ok(None)
}

fn fail(status: &mut SuggestionStatus, message: &str) {
    let reason = reasons::FAILED.reason;
    set_condition(
        &mut status.conditions,
        FAILED,
        TRUE,
        reason,
        message,
        &now(),
    );
}

fn set(status: &mut SuggestionStatus, kind: &str, holds: &str, reason: Reason) {
    let Reason { reason, message } = reason;
    set_condition(&mut status.conditions, kind, holds, reason, message, &now());
}

/// Whether the algorithm can be asked.
enum Reached {
    Now(Service),
    /// Not yet; when to look again, if its pod does not change before.
    NotYet(Again),
}

async fn reach(context: &Context, suggestion: &Suggestion) -> Reached {
    let Some(pod) = pod::find(context, suggestion).filter(|pod| !pod.is_deleting()) else {
        // It goes; its end wakes us.
        return Reached::NotYet(None);
    };
    let tell = |why: &str| {
        let Key { namespace, name } = pod.key();
        let message = format!(
            "pod {namespace}/{name} of the algorithm: {why}; look at its log (kubectl logs -n {namespace} {name}) and \
             its events (kubectl describe pod -n {namespace} {name})"
        );
        let events = &context.suggestion_events;
        events.warning(suggestion, NOT_READY, message);
    };
    let (address, since) = match pod::stand(&pod) {
        Stand::Runs { address, since } => (address, since),
        Stand::Waits(why) => {
            if let Some(why) = why {
                tell(&why);
            }
            return Reached::NotYet(None);
        }
    };
    match Service::connect(address).await {
        Health::Serving(service) => Reached::Now(service),
        Health::Unprobed(service, why) => {
            if !suggestion.is_running() {
                let message = format!(
                    "the algorithm answers no health check for manager.v1beta1.Suggestion ({why}); the sandbox asks \
                     it all the same, on a cluster Katib's probe would never find it ready: serve grpc.health.v1.Health"
                );
                let events = &context.suggestion_events;
                events.warning(suggestion, UNPROBED, message);
            }
            Reached::Now(service)
        }
        Health::Away(why) => {
            let age = since.map_or(PATIENCE, |since| {
                Timestamp::now().duration_since(since).unsigned_abs()
            });
            let again = Some((age / 10).clamp(EVERY.0, EVERY.1));
            if age < PATIENCE {
                return Reached::NotYet(again);
            }
            tell(&format!(
                "its program runs and does not answer ({why}); it has to serve gRPC on port {PORT} of every address, \
                 not of localhost alone"
            ));
            Reached::NotYet(again)
        }
    }
}

fn broken(suggestion: &Suggestion, method: &'static str, answer: &tonic::Status) -> Error {
    Error::Service {
        answer: go_text(answer),
        method,
        pod: pod::key_of(suggestion),
    }
}

/// The assignments of a reply, once it is one that trials can be made from.
fn read(
    reply: GetSuggestionsReply,
    wanted: usize,
    parameters: &[ParameterSpec],
    given: &[TrialAssignment],
) -> Result<Vec<TrialAssignment>> {
    let count = reply.parameter_assignments.len();
    if count != wanted {
        return Err(Error::Reply(format!(
            "{wanted} were asked for (current_request_number) and {count} given"
        )));
    }
    let mut names: HashSet<String> = given.iter().map(|given| given.name.clone()).collect();
    let mut read = Vec::with_capacity(count);
    for (number, one) in reply.parameter_assignments.into_iter().enumerate() {
        let number = number + 1;
        let mut left: HashSet<&str> = parameters.iter().map(|one| one.name.as_str()).collect();
        for pair in &one.assignments {
            if !left.remove(pair.name.as_str()) {
                return Err(Error::Reply(format!(
                    "number {number} assigns {:?}, which is no search parameter, or one assigned already",
                    pair.name
                )));
            }
        }
        if let Some(name) = parameters
            .iter()
            .find(|one| left.contains(one.name.as_str()))
        {
            return Err(Error::Reply(format!(
                "number {number} lacks the search parameter {:?}",
                name.name
            )));
        }
        if !one.trial_name.is_empty() {
            if label(&one.trial_name).is_err() {
                return Err(Error::Reply(format!(
                    "number {number} has the trial_name {:?}, which is no name for a Job (at most 63 lower-case \
                     letters, digits and '-')",
                    one.trial_name
                )));
            }
            if !names.insert(one.trial_name.clone()) {
                return Err(Error::Reply(format!(
                    "number {number} has the trial_name {}, which has been given before",
                    one.trial_name
                )));
            }
        }
        let assignments = one.assignments.into_iter();
        read.push(TrialAssignment {
            parameter_assignments: assignments
                .map(|pair| ParameterAssignment::new(pair.name, pair.value))
                .collect(),
            name: one.trial_name,
            labels: one.labels.into_iter().collect(),
            ..TrialAssignment::default()
        });
    }
    Ok(read)
}

/// What is wrong with the first value that is none of the search space.
fn outside(assignments: &[TrialAssignment], parameters: &[ParameterSpec]) -> Option<String> {
    let domains: Vec<(&ParameterSpec, Domain)> = parameters
        .iter()
        .filter_map(|parameter| Some((parameter, Domain::of(parameter).ok()?)))
        .collect();
    let values = assignments
        .iter()
        .flat_map(|assignment| &assignment.parameter_assignments);
    let (value, parameter) = values
        .filter_map(|value| {
            let (parameter, domain) = domains.iter().find(|(one, _)| one.name == value.name)?;
            (!domain.contains(&value.value)).then_some((value, parameter))
        })
        .next()?;
    let space = &parameter.feasible_space;
    let wanted = if space.list.is_empty() {
        let step = match space.step.as_str() {
            "" => String::new(),
            step => format!(" in steps of {step}"),
        };
        format!("{} to {}{step}", space.min, space.max)
    } else {
        format!("one of {}", space.list.join(", "))
    };
    Some(format!(
        "the algorithm gave {} = {:?}, and spec.parameters allows {wanted}; it is tried all the same, as in Katib: \
         mend the algorithm",
        value.name, value.value
    ))
}

#[cfg(test)]
mod tests;
