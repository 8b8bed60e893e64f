//! What a pod may ask for and the sandbox does not do. It is refused by name: a pod that ran without
//! its probe or its host path would look right and be wrong.

use k8s_openapi::api::core::v1::{AppArmorProfile, Container, PodSpec, SeccompProfile, Volume};
use serde_json::Value;

use super::node;

/// The fields of a pod's spec that the sandbox cannot honour, each with its place below `at`; empty when it can
/// be run as it is.
pub(crate) fn refused(spec: &PodSpec, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    pod_fields(spec, at, &mut found);
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        volume_fields(volume, &format!("{at}.volumes[{index}]"), &mut found);
    }
    let lists = [
        ("initContainers", spec.init_containers.as_deref()),
        ("containers", Some(spec.containers.as_slice())),
    ];
    for (list, containers) in lists {
        for (index, container) in containers.into_iter().flatten().enumerate() {
            let at = format!("{at}.{list}[{index}]");
            container_fields(container, spec, &at, &mut found);
        }
    }
    found
}

fn pod_fields(spec: &PodSpec, at: &str, found: &mut Vec<String>) {
    let mut refuse = |asked: bool, what: &str| {
        if asked {
            found.push(format!("{at}.{what}"));
        }
    };
    let on = |flag: Option<bool>| flag == Some(true);
    refuse(on(spec.host_network), "hostNetwork");
    refuse(on(spec.host_pid), "hostPID");
    refuse(on(spec.host_ipc), "hostIPC");
    refuse(spec.host_users == Some(false), "hostUsers: false");
    refuse(spec.runtime_class_name.is_some(), "runtimeClassName");
    refuse(
        spec.resource_claims
            .as_ref()
            .is_some_and(|list| !list.is_empty()),
        "resourceClaims",
    );
    refuse(
        spec.scheduling_gates
            .as_ref()
            .is_some_and(|list| !list.is_empty()),
        "schedulingGates",
    );
    refuse(
        spec.os.as_ref().is_some_and(|os| os.name != "linux"),
        "os other than linux",
    );
    let elsewhere = spec.node_name.as_deref().filter(|node| *node != node::NAME);
    refuse(elsewhere.is_some(), "nodeName of another node");
    let scheduler = spec.scheduler_name.as_deref().unwrap_or_default();
    refuse(
        !matches!(scheduler, "" | "default-scheduler"),
        "schedulerName",
    );
    refuse(spec.scheduling_group.is_some(), "schedulingGroup");
    let class = spec.priority_class_name.as_deref().unwrap_or_default();
    refuse(!class.is_empty(), "priorityClassName");
    let selector = spec.node_selector.iter().flatten();
    for (label, value) in selector {
        refuse(
            !node::has_label(label, value),
            &format!("nodeSelector {label}={value}"),
        );
    }
    let gates = spec.readiness_gates.as_ref();
    refuse(gates.is_some_and(|list| !list.is_empty()), "readinessGates");
    refuse(spec.hostname_override.is_some(), "hostnameOverride");
    refuse(on(spec.set_hostname_as_fqdn), "setHostnameAsFQDN");
    refuse(
        spec.resources.is_some(),
        "resources (of the pod as a whole)",
    );
    let affinity = spec.affinity.as_ref();
    refuse(
        affinity.is_some_and(|affinity| {
            affinity.node_affinity.as_ref().is_some_and(|rules| {
                rules
                    .required_during_scheduling_ignored_during_execution
                    .is_some()
            })
        }),
        "affinity.nodeAffinity (required)",
    );
    refuse(
        affinity.is_some_and(|affinity| {
            affinity.pod_affinity.as_ref().is_some_and(|rules| {
                rules
                    .required_during_scheduling_ignored_during_execution
                    .as_ref()
                    .is_some_and(|terms| !terms.is_empty())
            })
        }),
        "affinity.podAffinity (required)",
    );
    refuse(
        affinity.is_some_and(|affinity| {
            affinity.pod_anti_affinity.as_ref().is_some_and(|rules| {
                rules
                    .required_during_scheduling_ignored_during_execution
                    .as_ref()
                    .is_some_and(|terms| !terms.is_empty())
            })
        }),
        "affinity.podAntiAffinity (required)",
    );
    if let Some(context) = &spec.security_context {
        refuse(
            context
                .sysctls
                .as_ref()
                .is_some_and(|list| !list.is_empty()),
            "securityContext.sysctls",
        );
        refuse(
            context.se_linux_options.is_some(),
            "securityContext.seLinuxOptions",
        );
        refuse(
            context.windows_options.is_some(),
            "securityContext.windowsOptions",
        );
        refuse(
            context.supplemental_groups_policy.as_deref() == Some("Strict"),
            "securityContext.supplementalGroupsPolicy Strict",
        );
        refuse(
            is_own(context.app_armor_profile.as_ref()),
            "securityContext.appArmorProfile",
        );
        refuse(
            context.seccomp_profile.as_ref().is_some_and(is_beyond),
            "securityContext.seccompProfile Localhost or Unconfined",
        );
    }
}

/// Whether Kubernetes' baseline policy for pods lets a container ask for a capability.
fn is_harmless(capability: &str) -> bool {
    let name = capability.strip_prefix("CAP_").unwrap_or(capability);
    matches!(
        name,
        "AUDIT_WRITE"
            | "CHOWN"
            | "DAC_OVERRIDE"
            | "FOWNER"
            | "FSETID"
            | "KILL"
            | "MKNOD"
            | "NET_BIND_SERVICE"
            | "SETFCAP"
            | "SETGID"
            | "SETPCAP"
            | "SETUID"
            | "SYS_CHROOT"
    )
}

/// The seccomp profiles that take a guard away, or are on a node's disk.
fn is_beyond(profile: &SeccompProfile) -> bool {
    matches!(profile.type_.as_str(), "Localhost" | "Unconfined")
}

/// Whether a profile is another one than what the engine applies by itself.
fn is_own(profile: Option<&AppArmorProfile>) -> bool {
    profile.is_some_and(|profile| profile.type_ != "RuntimeDefault")
}

fn volume_fields(volume: &Volume, at: &str, found: &mut Vec<String>) {
    if let Some(projected) = &volume.projected {
        for source in projected.sources.iter().flatten() {
            if source.cluster_trust_bundle.is_some() {
                found.push(format!("{at}.projected.sources[].clusterTrustBundle"));
            }
            if source.pod_certificate.is_some() {
                found.push(format!("{at}.projected.sources[].podCertificate"));
            }
        }
    }
    let medium = volume.empty_dir.as_ref();
    let medium = medium.and_then(|dir| dir.medium.as_deref()).unwrap_or("");
    if !matches!(medium, "" | "Memory") {
        found.push(format!("{at}.emptyDir.medium {medium}"));
    }
    let done = volume.empty_dir.is_some()
        || volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.projected.is_some()
        || volume.downward_api.is_some()
        || volume.persistent_volume_claim.is_some();
    // None at all, or several: Kubernetes' own checks say so.
    let source = serde_json::to_value(volume).unwrap_or_default();
    let mut kinds = source.as_object().into_iter().flatten();
    if !done
        && let Some((kind, _)) =
            kinds.find(|(key, source)| *key != "name" && **source != Value::Null)
    {
        found.push(format!("{at}.{kind}"));
    }
}

fn container_fields(container: &Container, spec: &PodSpec, at: &str, found: &mut Vec<String>) {
    let mut refuse = |asked: bool, what: &str| {
        if asked {
            found.push(format!("{at}.{what}"));
        }
    };
    refuse(container.liveness_probe.is_some(), "livenessProbe");
    refuse(container.readiness_probe.is_some(), "readinessProbe");
    refuse(container.startup_probe.is_some(), "startupProbe");
    refuse(container.lifecycle.is_some(), "lifecycle");
    refuse(
        container.restart_policy.is_some(),
        "restartPolicy (sidecar containers)",
    );
    refuse(
        container
            .volume_devices
            .as_ref()
            .is_some_and(|list| !list.is_empty()),
        "volumeDevices",
    );
    let ports = container.ports.iter().flatten();
    refuse(
        ports
            .clone()
            .any(|port| port.host_port.is_some_and(|port| port != 0)),
        "ports[].hostPort",
    );
    // The engine's own way to mount a part of a volume came with version 26; a path on its disk could be
    // led out of the volume by a symbolic link in it.
    let whole: Vec<&str> = spec
        .volumes
        .iter()
        .flatten()
        .filter(|volume| volume.empty_dir.is_some() || volume.persistent_volume_claim.is_some())
        .map(|volume| volume.name.as_str())
        .collect();
    for mount in container.volume_mounts.iter().flatten() {
        refuse(mount.sub_path_expr.is_some(), "volumeMounts[].subPathExpr");
        refuse(
            mount.recursive_read_only.as_deref() == Some("Enabled"),
            "volumeMounts[].recursiveReadOnly",
        );
        let sub_path = mount
            .sub_path
            .as_deref()
            .is_some_and(|path| !path.is_empty());
        refuse(
            sub_path && whole.contains(&mount.name.as_str()),
            "volumeMounts[].subPath of an emptyDir or a persistentVolumeClaim",
        );
        refuse(
            mount
                .mount_propagation
                .as_deref()
                .is_some_and(|kind| kind != "None"),
            "volumeMounts[].mountPropagation",
        );
    }
    let resources = container.resources.as_ref();
    let claims = resources.and_then(|resources| resources.claims.as_ref());
    refuse(
        claims.is_some_and(|list| !list.is_empty()),
        "resources.claims",
    );
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    for name in limits.into_iter().flat_map(|limits| limits.keys()) {
        refuse(
            !matches!(name.as_str(), "cpu" | "memory"),
            &format!("resources.limits {name}"),
        );
    }
    for name in requests.into_iter().flat_map(|requests| requests.keys()) {
        // A request of disk reserves nothing but a place in the schedule, and there is one node.
        let done = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
        let limited = limits.is_some_and(|limits| limits.contains_key(name));
        refuse(!done && !limited, &format!("resources.requests {name}"));
    }
    for variable in container.env.iter().flatten() {
        let from = variable.value_from.as_ref();
        refuse(
            from.is_some_and(|from| from.file_key_ref.is_some()),
            "env[].valueFrom.fileKeyRef",
        );
        let amount = from.and_then(|from| from.resource_field_ref.as_ref());
        let storage = amount.is_some_and(|amount| amount.resource.ends_with(".ephemeral-storage"));
        refuse(
            storage,
            "env[].valueFrom.resourceFieldRef ephemeral-storage",
        );
    }
    if let Some(context) = &container.security_context {
        let added = context.capabilities.as_ref();
        for capability in added.into_iter().flat_map(|c| c.add.iter().flatten()) {
            refuse(
                !is_harmless(capability),
                &format!("securityContext.capabilities.add {capability}"),
            );
        }
        refuse(
            context.privileged == Some(true),
            "securityContext.privileged",
        );
        refuse(
            context.se_linux_options.is_some(),
            "securityContext.seLinuxOptions",
        );
        refuse(
            context.windows_options.is_some(),
            "securityContext.windowsOptions",
        );
        refuse(
            is_own(context.app_armor_profile.as_ref()),
            "securityContext.appArmorProfile",
        );
        refuse(
            context
                .proc_mount
                .as_deref()
                .is_some_and(|kind| kind != "Default"),
            "securityContext.procMount",
        );
        refuse(
            context.seccomp_profile.as_ref().is_some_and(is_beyond),
            "securityContext.seccompProfile Localhost or Unconfined",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(spec: serde_json::Value) -> Vec<String> {
        refused(&serde_json::from_value(spec).expect("a spec"), "spec")
    }

    #[test]
    fn a_trials_pod_is_run_as_it_is() {
        let spec = json!({
            "shareProcessNamespace": true, "restartPolicy": "Never", "hostNetwork": false,
            "imagePullSecrets": [{"name": "regcred"}], "schedulerName": "default-scheduler",
            "nodeSelector": {"kubernetes.io/os": "linux"}, "securityContext": {},
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "c"}}],
            "containers": [{"name": "c", "image": "i",
                            "resources": {"limits": {"cpu": "1"}, "requests": {"ephemeral-storage": "1Gi"}},
                            "volumeMounts": [{"name": "v", "mountPath": "/tmp"}],
                            "securityContext": {"privileged": false}}],
        });
        assert!(of(spec).is_empty());
    }

    #[test]
    fn everything_else_is_named_with_its_place() {
        let spec = json!({
            "hostNetwork": true, "schedulerName": "mine", "nodeSelector": {"disk": "fast"},
            "volumes": [{"name": "h", "hostPath": {"path": "/"}},
                        {"name": "n", "nfs": {"server": "x", "path": "/"}}],
            "containers": [{"name": "c", "livenessProbe": {}, "securityContext": {"privileged": true},
                            "resources": {"limits": {"nvidia.com/gpu": "1"}, "requests": {"nvidia.com/gpu": "1"}}}],
        });
        assert_eq!(
            of(spec),
            [
                "spec.hostNetwork",
                "spec.schedulerName",
                "spec.nodeSelector disk=fast",
                "spec.volumes[0].hostPath",
                "spec.volumes[1].nfs",
                "spec.containers[0].livenessProbe",
                "spec.containers[0].resources.limits nvidia.com/gpu",
                "spec.containers[0].securityContext.privileged",
            ]
        );
    }
}
