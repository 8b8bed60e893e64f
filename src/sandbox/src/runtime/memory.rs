//! emptyDirs of medium `Memory`.
//!
//! The engine forgets a tmpfs when its container ends, and an emptyDir outlives its containers: the next one of the
//! pod may read it, and so may the collector of metrics. So it is a volume on disk like any other emptyDir, with one
//! exception that cannot be told from the real thing: what one container alone mounts at `/dev/shm` is the scratch
//! space of that container's processes, and is in memory.

use bollard::models::{Mount, MountTmpfsOptions, MountType};
use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, Pod, Volume};

use super::quantity;

const SHARED_MEMORY: &str = "/dev/shm";

fn is_in_memory(source: &EmptyDirVolumeSource) -> bool {
    source.medium.as_deref() == Some("Memory")
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| {
        let init = spec.init_containers.iter().flatten();
        init.chain(&spec.containers)
    })
}

/// Whether an emptyDir is the scratch space of one container.
pub(super) fn is_scratch(pod: &Pod, volume: &Volume) -> bool {
    let mounts = containers(pod).flat_map(|container| container.volume_mounts.iter().flatten());
    let mut mounts = mounts.filter(|mount| mount.name == volume.name);
    let first = mounts.next();
    volume.empty_dir.as_ref().is_some_and(is_in_memory)
        && first.is_some_and(|mount| mount.mount_path.trim_end_matches('/') == SHARED_MEMORY)
        && mounts.next().is_none()
}

/// How large an emptyDir may become, in bytes.
pub(super) fn bound(volume: &Volume) -> Option<i64> {
    let limit = volume.empty_dir.as_ref()?.size_limit.as_ref()?;
    quantity::whole(&limit.0).filter(|bytes| *bytes > 0)
}

/// The scratch space of a container; unbounded, it may take half of the machine's memory.
pub(super) fn mount(target: &str, bound: Option<i64>) -> Mount {
    Mount {
        target: Some(target.to_owned()),
        typ: Some(MountType::TMPFS),
        tmpfs_options: Some(MountTmpfsOptions {
            size_bytes: bound,
            mode: Some(0o1777),
            ..MountTmpfsOptions::default()
        }),
        ..Mount::default()
    }
}

/// What a pod asks of its emptyDirs that is not done, in words for its events. None of it changes what a program
/// that keeps to its bounds can see.
pub(super) fn not_done(pod: &Pod) -> Option<String> {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    let mut said = Vec::new();
    for volume in volumes.filter(|volume| !is_scratch(pod, volume)) {
        let Some(source) = &volume.empty_dir else {
            continue;
        };
        if is_in_memory(source) {
            said.push(format!(
                "emptyDir \"{}\" is on disk, not in memory",
                volume.name
            ));
        }
        if bound(volume).is_some() {
            said.push(format!(
                "the sizeLimit of emptyDir \"{}\" is not enforced",
                volume.name
            ));
        }
    }
    (!said.is_empty()).then(|| said.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_shared_memory_of_one_container_is_in_memory() {
        let told = |path: &str, containers: usize, source: serde_json::Value| {
            let container =
                json!({"name": "c", "volumeMounts": [{"name": "v", "mountPath": path}]});
            let pod = json!({"metadata": {}, "spec": {
                "containers": vec![container; containers], "volumes": [{"name": "v", "emptyDir": source}]}});
            let pod: Pod = serde_json::from_value(pod).expect("pod");
            let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
            let scratch = is_scratch(&pod, &volumes.expect("volumes")[0]);
            (scratch, not_done(&pod).unwrap_or_default())
        };
        let bounded = json!({"medium": "Memory", "sizeLimit": "64Mi"});
        assert_eq!(told("/dev/shm", 1, bounded.clone()), (true, String::new()));
        assert_eq!(
            told("/dev/shm", 2, bounded).1,
            "emptyDir \"v\" is on disk, not in memory; the sizeLimit of emptyDir \"v\" is not enforced"
        );
        let in_memory = json!({"medium": "Memory"});
        assert!(!told("/results", 1, in_memory).0);
        assert_eq!(told("/results", 1, json!({})), (false, String::new()));
    }
}
