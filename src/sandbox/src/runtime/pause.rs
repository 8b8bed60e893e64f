//! The infrastructure container of a pod: it does nothing, and so holds the pod's network and, where the pod
//! wants one for all, its processes, whatever becomes of the other containers.
//!
//! A second container costs some tenths of a second, so a pod has one only where something shows: where it has
//! several containers (init containers count: they share the pod's address too), or where an environment wants the
//! pod's address, which must be known before the container is made. The usual trial, one container alone, is its own
//! pod.
//!
//! No image need be pulled for it: [`program`] is the whole of it, and is brought to the engine from memory.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, ContainerStateStatusEnum, HostConfig, HostConfigLogConfig,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, ListImagesOptionsBuilder,
    RemoveImageOptions,
};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::Error;
use super::container::{Identity, Surroundings};
use super::engine::{Engine, is_taken, refusal};

/// The infrastructure container's name among its pod's, which no other can have: theirs are lower case.
pub(super) const NAME: &str = "POD";

/// The image, and the label by which it is found again. Another program gets another tag.
const REPOSITORY: &str = "katlab/pause";
const TAG: &str = "1";
const LABEL: &str = "katlab.pause";

/// Whether a pod needs an infrastructure container.
pub(super) fn is_needed(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let all = || {
        spec.init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
    };
    all().count() > 1 || all().any(wants_address)
}

fn wants_address(container: &Container) -> bool {
    container.env.iter().flatten().any(|variable| {
        let from = variable.value_from.as_ref();
        from.and_then(|from| from.field_ref.as_ref())
            .is_some_and(|field| {
                matches!(field.field_path.as_str(), "status.podIP" | "status.podIPs")
            })
    })
}

/// A pod's infrastructure container that runs.
pub(super) struct Running {
    /// The engine's id.
    pub(super) id: String,
    /// The pod's address.
    pub(super) address: Option<String>,
}

/// Sees to it that a pod's infrastructure container runs: makes it, or finds it, and starts it unless it runs.
pub(super) async fn ensure(
    engine: &Engine,
    identity: &Identity<'_>,
    around: Surroundings,
) -> Result<Running, Error> {
    let name = identity.name();
    let failed = |source| engine.failed("making the pod's sandbox", source);
    let docker = engine.docker();
    // Each step is seen by the next look; more than a few mean that somebody works against us.
    for _ in 0..8 {
        let inspected = match engine.transport().inspect_container(&name).await {
            Ok(inspected) => inspected,
            Err(error) if matches!(refusal(&error), Some((404, _))) => {
                let query = CreateContainerOptionsBuilder::default().name(&name).build();
                match docker
                    .create_container(Some(query), body(identity, around.clone()))
                    .await
                {
                    Ok(_) => {}
                    Err(error) if is_taken(&error) => {}
                    Err(error) if matches!(refusal(&error), Some((404, _))) => {
                        bring(engine).await?
                    }
                    Err(error) => return Err(failed(error)),
                }
                continue;
            }
            Err(error) => return Err(failed(error)),
        };
        let status = inspected.state.as_ref().and_then(|state| state.status);
        if matches!(status, Some(ContainerStateStatusEnum::RUNNING)) {
            return Ok(Running {
                address: super::container::address(&inspected),
                id: inspected.id.unwrap_or_default(),
            });
        }
        docker.start_container(&name, None).await.map_err(failed)?;
    }
    Err(Error::Pause {
        reason: format!("container {name} does not keep running"),
    })
}

/// Ends a pod's infrastructure container, if there is one.
pub(super) async fn end(engine: &Engine, identity: &Identity<'_>) {
    let name = identity.name();
    let killed = engine.docker().kill_container(&name, None).await;
    if let Err(error) = killed
        && !matches!(refusal(&error), Some((404 | 409, _)))
    {
        tracing::debug!(%error, container = name, "ending a pod's sandbox");
    }
}

fn body(identity: &Identity<'_>, around: Surroundings) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(format!("{REPOSITORY}:{TAG}")),
        // Podman reads the image's own as a shell's words.
        entrypoint: Some(vec!["/pause".to_owned()]),
        // No user of any image, so that its processes are nobody's.
        user: Some("65535:65535".to_owned()),
        hostname: around.host_name,
        domainname: around.domain,
        labels: Some(identity.labels()),
        host_config: Some(HostConfig {
            network_mode: Some("bridge".to_owned()),
            dns: around.dns,
            dns_search: around.searches,
            dns_options: around.options,
            extra_hosts: Some(around.hosts),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            log_config: Some(HostConfigLogConfig {
                typ: Some("none".to_owned()),
                config: Some(HashMap::new()),
            }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// Brings the image to the engine.
async fn bring(engine: &Engine) -> Result<(), Error> {
    let failed = |source| engine.failed("bringing the image of pod sandboxes", source);
    let version = engine.docker().version().await.map_err(failed)?;
    let architecture = version.arch.unwrap_or_default();
    let program = program(&architecture).ok_or_else(|| Error::Pause {
        reason: format!("there is no program for engines of architecture {architecture:?}"),
    })?;
    let archive = archive(&program).map_err(|error| Error::Pause {
        reason: format!("packing its image: {error}"),
    })?;
    let options = CreateImageOptionsBuilder::default()
        .from_src("-")
        // Podman looks for the tag nowhere else.
        .repo(&format!("{REPOSITORY}:{TAG}"))
        .changes(vec![
            "ENTRYPOINT [\"/pause\"]".to_owned(),
            format!("LABEL {LABEL}={TAG}"),
        ])
        .build();
    let archive = bollard::body_full(archive.into());
    let mut lines = engine
        .docker()
        .create_image(Some(options), Some(archive), None);
    while let Some(line) = lines.next().await {
        line.map_err(failed)?;
    }
    Ok(())
}

/// Removes the image unless a container of another sandbox has it.
pub(super) async fn remove_image(engine: &Engine) {
    let filters: HashMap<&str, Vec<String>> = [("label", vec![LABEL.to_owned()])].into();
    let query = ListImagesOptionsBuilder::default()
        .filters(&filters)
        .build();
    let images = match engine.docker().list_images(Some(query)).await {
        Ok(images) => images,
        Err(error) => return tracing::debug!(%error, "looking for the image of pod sandboxes"),
    };
    for image in images {
        let options = None::<RemoveImageOptions>;
        if let Err(error) = engine.docker().remove_image(&image.id, options, None).await {
            tracing::debug!(%error, "the image of pod sandboxes stays");
        }
    }
}

fn archive(program: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o755);
    header.set_size(program.len() as u64);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_data(&mut header, "pause", program)?;
    builder.into_inner()
}

/// The program, for an architecture as Go names it: an ELF file of one segment that is its two headers and its code.
///
/// It holds SIGTERM and SIGINT back, ignores SIGCHLD, by which the kernel itself buries the orphans of a pod's shared
/// processes, and waits for one of the two signals to end. Held back, they reach even the first process of a
/// container, which ignores what it does not handle.
fn program(architecture: &str) -> Option<Vec<u8>> {
    let (machine, code): (u16, Vec<u8>) = match architecture {
        "amd64" => (62, AMD64.concat()),
        "arm64" => (
            183,
            ARM64.iter().flat_map(|word| word.to_le_bytes()).collect(),
        ),
        _ => return None,
    };
    // Where the segment is put, and how long the headers before the code are.
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + (code.len() + DATA.len() * 8) as u64;
    let mut file = Vec::new();
    // ELF, 64 bits, little-endian, version 1, System V; the rest of the first 16 bytes is empty.
    file.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    let half = |file: &mut Vec<u8>, value: u16| file.extend_from_slice(&value.to_le_bytes());
    let word = |file: &mut Vec<u8>, value: u32| file.extend_from_slice(&value.to_le_bytes());
    let long = |file: &mut Vec<u8>, value: u64| file.extend_from_slice(&value.to_le_bytes());
    half(&mut file, 2); // an executable at fixed addresses
    half(&mut file, machine);
    word(&mut file, 1); // version
    long(&mut file, BASE + HEADERS); // where it begins
    long(&mut file, 64); // where the program header is in the file
    long(&mut file, 0); // no section headers
    word(&mut file, 0); // no flags
    for value in [64, 56, 1, 0, 0, 0] {
        // Sizes of the two headers, one program header, nothing of sections.
        half(&mut file, value);
    }
    word(&mut file, 1); // a segment to load
    word(&mut file, 5); // to read and to run
    long(&mut file, 0); // from the file's beginning
    long(&mut file, BASE); // virtual and physical address
    long(&mut file, BASE);
    long(&mut file, size); // as long in the file as in memory
    long(&mut file, size);
    long(&mut file, 0x1000); // on a page
    file.extend_from_slice(&code);
    for value in DATA {
        long(&mut file, value);
    }
    Some(file)
}

/// What both programs point at, right after the code: `set`, the mask of SIGINT (2) and SIGTERM (15), and `ignore`, the
/// kernel's sigaction: the handler SIG_IGN (1), no flags, no restorer, an empty mask.
const DATA: [u64; 5] = [1 << (2 - 1) | 1 << (15 - 1), 1, 0, 0, 0];

/// x86-64: a system call's number is in eax, its arguments in rdi, rsi, rdx and r10.
const AMD64: [&[u8]; 23] = [
    // rt_sigprocmask(SIG_BLOCK, &set, NULL, 8)
    b"\xb8\x0e\x00\x00\x00",     // mov eax, 14
    b"\x31\xff",                 // xor edi, edi
    b"\x48\x8d\x35\x4a\0\0\0",   // lea rsi, [rip + set]
    b"\x31\xd2",                 // xor edx, edx
    b"\x41\xba\x08\x00\x00\x00", // mov r10d, 8
    b"\x0f\x05",                 // syscall
    // rt_sigaction(SIGCHLD, &ignore, NULL, 8)
    b"\xb8\x0d\x00\x00\x00",     // mov eax, 13
    b"\xbf\x11\x00\x00\x00",     // mov edi, 17
    b"\x48\x8d\x35\x37\0\0\0",   // lea rsi, [rip + ignore]
    b"\x31\xd2",                 // xor edx, edx
    b"\x41\xba\x08\x00\x00\x00", // mov r10d, 8
    b"\x0f\x05",                 // syscall
    // wait: rt_sigtimedwait(&set, NULL, NULL, 8)
    b"\xb8\x80\x00\x00\x00",     // mov eax, 128
    b"\x48\x8d\x3d\x19\0\0\0",   // lea rdi, [rip + set]
    b"\x31\xf6",                 // xor esi, esi
    b"\x31\xd2",                 // xor edx, edx
    b"\x41\xba\x08\x00\x00\x00", // mov r10d, 8
    b"\x0f\x05",                 // syscall
    // Interrupted by something else: wait again.
    b"\x85\xc0", // test eax, eax
    b"\x78\xe4", // js wait
    // exit(0)
    b"\xb8\x3c\x00\x00\x00", // mov eax, 60
    b"\x31\xff",             // xor edi, edi
    b"\x0f\x05",             // syscall
];

/// AArch64: a system call's number is in x8, its arguments in x0 to x3.
const ARM64: [u32; 22] = [
    // rt_sigprocmask(SIG_BLOCK, &set, NULL, 8)
    0xd280_10e8, // mov x8, #135
    0xd280_0000, // mov x0, #0
    0x1000_0281, // adr x1, set
    0xd280_0002, // mov x2, #0
    0xd280_0103, // mov x3, #8
    0xd400_0001, // svc #0
    // rt_sigaction(SIGCHLD, &ignore, NULL, 8)
    0xd280_10c8, // mov x8, #134
    0xd280_0220, // mov x0, #17
    0x1000_0201, // adr x1, ignore
    0xd280_0002, // mov x2, #0
    0xd280_0103, // mov x3, #8
    0xd400_0001, // svc #0
    // wait: rt_sigtimedwait(&set, NULL, NULL, 8)
    0xd280_1128, // mov x8, #137
    0x1000_0120, // adr x0, set
    0xd280_0001, // mov x1, #0
    0xd280_0002, // mov x2, #0
    0xd280_0103, // mov x3, #8
    0xd400_0001, // svc #0
    // Interrupted by something else: wait again.
    0xb7ff_ff40, // tbnz x0, #63, wait
    // exit(0)
    0xd280_0ba8, // mov x8, #93
    0xd280_0000, // mov x0, #0
    0xd400_0001, // svc #0
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn needs(spec: serde_json::Value) -> bool {
        let pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec}));
        is_needed(&pod.expect("pod"))
    }

    #[test]
    fn a_container_alone_is_its_own_pod() {
        let address =
            json!([{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]);
        let host =
            json!([{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}]);
        assert!(!needs(
            json!({"containers": [{"name": "a"}], "shareProcessNamespace": true})
        ));
        assert!(!needs(json!({"containers": [{"name": "a", "env": host}]})));
        assert!(needs(
            json!({"containers": [{"name": "a", "env": address}]})
        ));
        assert!(needs(json!({"containers": [{"name": "a"}, {"name": "b"}]})));
        assert!(needs(
            json!({"containers": [{"name": "a"}], "initContainers": [{"name": "b"}]})
        ));
    }

    #[test]
    fn the_program_waits_until_it_is_asked_to_end() {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => panic!("no program for {other}"),
        };
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("pause");
        std::fs::write(&path, program(architecture).expect("program")).expect("written");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("mode");
        let mut child = std::process::Command::new(&path).spawn().expect("started");
        let pid = libc::pid_t::try_from(child.id()).expect("pid");
        // It sleeps nowhere but where it waits for its signals, and ignores its children before that.
        let is_waiting = || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
            let ignored =
                field("SigIgn:").and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            let sleeps = field("State:").is_some_and(|state| state.trim().starts_with('S'));
            sleeps && ignored.is_some_and(|mask| mask & 1 << 16 != 0)
        };
        while !is_waiting() {
            assert!(child.try_wait().expect("state").is_none(), "it ended");
            std::thread::yield_now();
        }
        // SAFETY: a signal to a child that was not waited for yet.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
        assert!(child.wait().expect("ended").success());
    }

    #[test]
    fn both_programs_point_at_their_data() {
        let instruction = |at: usize| u64::from(ARM64[at]);
        // adr: the distance in bytes is in two parts of the word.
        let target = |at: usize| at as u64 * 4 + ((instruction(at) >> 5 & 0x7_ffff) << 2);
        let code = ARM64.len() as u64 * 4;
        assert_eq!([2, 8, 13].map(target), [code, code + 8, code]);
        // tbnz: back to the third call, in words.
        let back = 0x4000 - (instruction(18) >> 5 & 0x3fff);
        assert_eq!(18 - back, 12);
        let lengths: Vec<usize> = AMD64.iter().map(|bytes| bytes.len()).collect();
        let code: usize = lengths.iter().sum();
        let target = |at: usize| {
            let end: usize = lengths[..=at].iter().sum();
            let distance: [u8; 4] = AMD64[at][3..7].try_into().expect("four bytes");
            end + u32::from_le_bytes(distance) as usize
        };
        assert_eq!([2, 8, 13].map(target), [code, code + 8, code]);
    }
}
