//! From a pod's container to the engine's.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, HostConfig, HostConfigLogConfig, Mount,
};
use k8s_openapi::api::core::v1::{Container, Pod, PodDNSConfigOption};
use katlab_katib::names::LABEL_TRIAL;
use kube::ResourceExt;

use super::environment::lookup;
use super::expansion::expanded;
use super::quantity;
use super::status::Termination;

/// Labels that tie a container of the engine to a container of a pod.
pub(super) mod label {
    /// Which sandbox the container is of.
    pub(in crate::runtime) const SANDBOX: &str = "katlab.sandbox";
    pub(in crate::runtime) const NAMESPACE: &str = "katlab.namespace";
    pub(in crate::runtime) const POD: &str = "katlab.pod";
    pub(in crate::runtime) const UID: &str = "katlab.pod-uid";
    /// Volumes of claims have these instead of a pod's.
    pub(in crate::runtime) const CLAIM: &str = "katlab.claim";
    pub(in crate::runtime) const CLAIM_UID: &str = "katlab.claim-uid";
    pub(in crate::runtime) const CONTAINER: &str = "katlab.container";
    /// Counts the restarts of a container, from 0.
    pub(in crate::runtime) const ATTEMPT: &str = "katlab.attempt";
}

/// Which container of which pod, for the how-manieth time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity<'a> {
    pub(super) sandbox: &'a str,
    pub(super) namespace: &'a str,
    pub(super) pod: &'a str,
    pub(super) uid: &'a str,
    pub(super) container: &'a str,
    pub(super) attempt: u32,
}

impl Identity<'_> {
    /// The engine's name for it. It follows from the identity alone, so the engine itself refuses to run
    /// the same thing twice.
    pub(super) fn name(&self) -> String {
        format!(
            "katlab-{}-{}-{}-{}-{}",
            self.sandbox, self.pod, self.container, self.uid, self.attempt
        )
    }

    pub(super) fn labels(&self) -> HashMap<String, String> {
        [
            (label::SANDBOX, self.sandbox.to_owned()),
            (label::NAMESPACE, self.namespace.to_owned()),
            (label::POD, self.pod.to_owned()),
            (label::UID, self.uid.to_owned()),
            (label::CONTAINER, self.container.to_owned()),
            (label::ATTEMPT, self.attempt.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

/// Where a container lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Network {
    /// In a place of its own on the engine's bridge, from where it knows these hosts (`NAME:ADDRESS`).
    Own(Vec<String>),
    /// In the place of the pod's infrastructure container.
    Shared {
        /// The engine's id of that container.
        pause: String,
        /// Whether it sees the processes of the others.
        processes: bool,
    },
}

/// What a place on the network knows of itself and others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Surroundings {
    pub(super) host_name: Option<String>,
    pub(super) domain: Option<String>,
    /// `NAME:ADDRESS`.
    pub(super) hosts: Vec<String>,
    pub(super) dns: Option<Vec<String>>,
    pub(super) searches: Option<Vec<String>>,
    pub(super) options: Option<Vec<String>>,
}

impl Surroundings {
    /// What a pod asks for, and the hosts it finds besides.
    pub(super) fn of(pod: &Pod, hosts: Vec<String>) -> Self {
        let spec = pod.spec.as_ref();
        let name = pod.metadata.name.clone().unwrap_or_default();
        let mut host_name = spec.and_then(|spec| spec.hostname.clone()).unwrap_or(name);
        host_name.truncate(63);
        let host_name = host_name.trim_end_matches(['-', '.']).to_owned();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let domain = spec
            .and_then(|spec| spec.subdomain.as_deref())
            .map(|subdomain| format!("{subdomain}.{namespace}.svc.cluster.local"));
        let aliases = spec.and_then(|spec| spec.host_aliases.as_ref());
        let aliases = aliases.into_iter().flatten().flat_map(|alias| {
            let names = alias.hostnames.iter().flatten();
            names.map(move |name| format!("{name}:{}", alias.ip))
        });
        let dns = spec.and_then(|spec| spec.dns_config.as_ref());
        Self {
            host_name: Some(host_name),
            domain,
            hosts: hosts.into_iter().chain(aliases).collect(),
            dns: dns.and_then(|dns| dns.nameservers.clone()),
            searches: dns.and_then(|dns| dns.searches.clone()),
            options: dns.and_then(|dns| dns.options.as_ref()).map(|options| {
                let option = |option: &PodDNSConfigOption| {
                    let name = option.name.clone()?;
                    Some(match &option.value {
                        Some(value) => format!("{name}:{value}"),
                        None => name,
                    })
                };
                options.iter().filter_map(option).collect()
            }),
        }
    }
}

/// The body of the engine's create call.
pub(super) fn body(
    identity: &Identity<'_>,
    pod: &Pod,
    container: &Container,
    environment: &[(String, String)],
    mounts: Vec<Mount>,
    network: &Network,
) -> ContainerCreateBody {
    let expand = |words: &Option<Vec<String>>| {
        let words = words.as_ref().filter(|words| !words.is_empty())?;
        let expanded = |word: &String| expanded(word, |name| lookup(environment, name));
        Some(words.iter().map(expanded).collect::<Vec<_>>())
    };
    // Who lives with another one has all that from there.
    let around = match network {
        Network::Own(hosts) => Surroundings::of(pod, hosts.clone()),
        Network::Shared { .. } => Surroundings::default(),
    };
    ContainerCreateBody {
        hostname: around.host_name.clone(),
        domainname: around.domain.clone(),
        user: user(pod, container),
        tty: container.tty,
        open_stdin: container.stdin,
        stdin_once: container.stdin_once,
        env: Some(
            environment
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ),
        // Kubernetes' command replaces ENTRYPOINT and, by being there, CMD; its args replace CMD.
        entrypoint: expand(&container.command),
        cmd: expand(&container.args),
        image: container.image.clone(),
        working_dir: container.working_dir.clone(),
        labels: Some(identity.labels()),
        host_config: Some(host_config(pod, container, mounts, network, around)),
        ..ContainerCreateBody::default()
    }
}

fn user(pod: &Pod, container: &Container) -> Option<String> {
    let own = container.security_context.as_ref();
    let shared = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.security_context.as_ref());
    let user = own
        .and_then(|context| context.run_as_user)
        .or_else(|| shared.and_then(|context| context.run_as_user));
    let group = own
        .and_then(|context| context.run_as_group)
        .or_else(|| shared.and_then(|context| context.run_as_group));
    match (user, group) {
        (None, None) => None,
        (Some(user), None) => Some(user.to_string()),
        (user, Some(group)) => Some(format!("{}:{group}", user.unwrap_or(0))),
    }
}

fn host_config(
    pod: &Pod,
    container: &Container,
    mounts: Vec<Mount>,
    network: &Network,
    around: Surroundings,
) -> HostConfig {
    let resources = container.resources.as_ref();
    let limit = |name: &str| {
        resources?
            .limits
            .as_ref()?
            .get(name)
            .map(|amount| amount.0.clone())
    };
    let request = |name: &str| {
        let requests = resources?.requests.as_ref();
        requests?.get(name).map(|amount| amount.0.clone())
    };
    let memory = limit("memory").as_deref().and_then(quantity::whole);
    let cpu = limit("cpu").as_deref().and_then(quantity::thousandths);
    let share = request("cpu").or_else(|| limit("cpu"));
    let share = share.as_deref().and_then(quantity::thousandths);
    let spec = pod.spec.as_ref();
    let context = container.security_context.as_ref();
    let capabilities = context.and_then(|context| context.capabilities.as_ref());
    let mut security = Vec::new();
    if context.and_then(|context| context.allow_privilege_escalation) == Some(false) {
        security.push("no-new-privileges".to_owned());
    }
    let seccomp = context
        .and_then(|context| context.seccomp_profile.as_ref())
        .or_else(|| spec?.security_context.as_ref()?.seccomp_profile.as_ref());
    if seccomp.is_some_and(|profile| profile.type_ == "Unconfined") {
        security.push("seccomp=unconfined".to_owned());
    }
    let groups: Option<Vec<String>> =
        spec.and_then(|spec| spec.security_context.as_ref())
            .map(|context| {
                let more = context.supplemental_groups.iter().flatten().copied();
                more.chain(context.fs_group)
                    .map(|group| group.to_string())
                    .collect()
            });
    HostConfig {
        memory,
        // As much as the memory itself: no swap, so that a limit is a limit.
        memory_swap: memory,
        nano_cpus: cpu.map(|thousandths| thousandths.saturating_mul(1_000_000)),
        cpu_shares: share.map(|thousandths| (thousandths * 1024 / 1000).max(2)),
        network_mode: Some(match network {
            Network::Own(_) => "bridge".to_owned(),
            Network::Shared { pause, .. } => format!("container:{pause}"),
        }),
        pid_mode: match network {
            Network::Shared {
                pause,
                processes: true,
            } => Some(format!("container:{pause}")),
            _ => None,
        },
        mounts: Some(mounts),
        dns: around.dns,
        dns_search: around.searches,
        dns_options: around.options,
        extra_hosts: (!around.hosts.is_empty()).then_some(around.hosts),
        group_add: groups,
        readonly_rootfs: context.and_then(|context| context.read_only_root_filesystem),
        cap_add: capabilities.and_then(|capabilities| capabilities.add.clone()),
        cap_drop: capabilities.and_then(|capabilities| capabilities.drop.clone()),
        security_opt: (!security.is_empty()).then_some(security),
        // The engine's default may be a driver that cannot be read back.
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(log_bounds(pod)),
        }),
        ..HostConfig::default()
    }
}

/// What is kept of a container's output: five files of ten megabytes, as on a node. The metrics of a trial are read
/// from its output when it has ended, so a trial's files are larger: together twice what the collector reads.
fn log_bounds(pod: &Pod) -> HashMap<String, String> {
    let is_trial = pod.labels().contains_key(LABEL_TRIAL);
    let size = if is_trial { "100m" } else { "10m" };
    [("max-size", size), ("max-file", "5")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// What the engine says about a container.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// Made and not started yet.
    Created,
    /// It runs since then, at that address.
    Running {
        started: Option<jiff::Timestamp>,
        address: Option<String>,
    },
    Ended(Termination),
}

/// The engine writes the year 1 for "not yet".
fn moment(text: Option<&str>) -> Option<jiff::Timestamp> {
    let moment: jiff::Timestamp = text?.parse().ok()?;
    (moment.as_second() > 0).then_some(moment)
}

/// The address of a container on the one network it has, whatever an engine calls that.
pub(super) fn address(inspected: &ContainerInspectResponse) -> Option<String> {
    let networks = inspected.network_settings.as_ref()?.networks.as_ref()?;
    let mut addresses = networks.values().filter_map(|at| at.ip_address.clone());
    addresses.find(|address| !address.is_empty())
}

/// Reads an inspected container's state.
pub(super) fn found(inspected: &ContainerInspectResponse) -> Found {
    use bollard::models::ContainerStateStatusEnum as Status;
    let state = inspected.state.as_ref();
    let status = state.and_then(|state| state.status);
    let error = state
        .and_then(|state| state.error.as_deref())
        .filter(|error| !error.is_empty());
    let started = moment(state.and_then(|state| state.started_at.as_deref()));
    let id = inspected.id.clone().unwrap_or_default();
    match status {
        Some(Status::RUNNING | Status::PAUSED | Status::RESTARTING) => Found::Running {
            started,
            address: address(inspected),
        },
        Some(Status::CREATED) => match error {
            Some(error) => Found::Ended(Termination::start_failed(&id, error)),
            None => Found::Created,
        },
        _ => {
            let finished = moment(state.and_then(|state| state.finished_at.as_deref()));
            let code = state.and_then(|state| state.exit_code).unwrap_or(137);
            let starved = state.and_then(|state| state.oom_killed) == Some(true);
            Found::Ended(Termination {
                exit_code: code,
                reason: match code {
                    0 => "Completed",
                    _ if starved => "OOMKilled",
                    _ => "Error",
                }
                .to_owned(),
                message: None,
                started,
                finished,
                container: id,
            })
        }
    }
}

/// The container of a pod by name, init containers too.
pub(super) fn named<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    spec.init_containers
        .iter()
        .flatten()
        .chain(&spec.containers)
        .find(|container| container.name == name)
}

/// Whether a pod is on its way out.
pub(super) fn is_deleting(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made(pod: serde_json::Value) -> ContainerCreateBody {
        let pod: Pod = serde_json::from_value(pod).expect("pod");
        let identity = Identity {
            sandbox: "s",
            namespace: "lab",
            pod: "p",
            uid: "u",
            container: "c",
            attempt: 0,
        };
        let environment = [("A".to_owned(), "a".to_owned())];
        let container = named(&pod, "c").expect("container").clone();
        body(
            &identity,
            &pod,
            &container,
            &environment,
            Vec::new(),
            &Network::Own(Vec::new()),
        )
    }

    #[test]
    fn command_and_args_map_to_entrypoint_and_cmd_with_their_variables() {
        let body = made(json!({"metadata": {}, "spec": {"containers": [{
            "name": "c", "image": "i", "command": ["sh", "-c"], "args": ["echo $(A) $$(A)"],
        }]}}));
        assert_eq!(body.entrypoint, Some(vec!["sh".into(), "-c".into()]));
        assert_eq!(body.cmd, Some(vec!["echo a $(A)".into()]));
        let body = made(json!({"metadata": {}, "spec": {"containers": [
            {"name": "c", "image": "i", "args": ["x"]}]}}));
        assert_eq!((body.entrypoint, body.cmd), (None, Some(vec!["x".into()])));
    }

    #[test]
    fn limits_bind_the_container_and_swap_does_not_loosen_them() {
        let body = made(json!({"metadata": {}, "spec": {"containers": [{
            "name": "c", "image": "i",
            "resources": {"limits": {"cpu": "500m", "memory": "128Mi"}, "requests": {"cpu": "250m"}},
        }]}}));
        let host = body.host_config.expect("host");
        assert_eq!(host.memory, Some(134_217_728));
        assert_eq!(host.memory_swap, host.memory);
        assert_eq!(host.nano_cpus, Some(500_000_000));
        assert_eq!(host.cpu_shares, Some(256));
    }

    #[test]
    fn an_ended_container_says_why() {
        let of = |state: serde_json::Value| {
            let inspected = serde_json::from_value(json!({"Id": "x", "State": state}));
            match found(&inspected.expect("inspected")) {
                Found::Ended(termination) => (termination.exit_code, termination.reason),
                other => panic!("{other:?}"),
            }
        };
        let ended = |code: i64, starved: bool| {
            of(
                json!({"Status": "exited", "ExitCode": code, "OOMKilled": starved,
                      "StartedAt": "2026-01-01T00:00:00Z", "FinishedAt": "2026-01-01T00:00:01Z"}),
            )
        };
        assert_eq!(ended(0, false), (0, "Completed".into()));
        assert_eq!(ended(1, false), (1, "Error".into()));
        assert_eq!(ended(137, true), (137, "OOMKilled".into()));
        assert_eq!(
            of(json!({"Status": "created", "ExitCode": 127, "Error": "no such file"})),
            (128, "StartError".into())
        );
    }
}
