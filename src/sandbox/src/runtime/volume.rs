//! A pod's volumes.
//!
//! An emptyDir or a claim is a volume of the engine: whatever user writes into it, the engine can remove it again.
//! ConfigMaps, Secrets and what is projected are files in the sandbox's own directory, mounted read-only.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use bollard::models::{Mount, MountType, MountVolumeOptions, VolumeCreateRequest};
use k8s_openapi::api::core::v1::{Container, KeyToPath, Pod, Volume};

use super::claims;
use super::container::label;
use super::engine::Engine;
use super::environment::{self, ConfigError, Sources};
use super::{memory, projected};

/// Where a volume's content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A volume of the engine, by name.
    Engine(String),
    /// A volume of the engine that no container may write to.
    ReadOnly(String),
    /// A directory of this machine, read-only.
    Directory(PathBuf),
    /// A volume of an engine that does not see this machine's files, by name, and what belongs into it.
    Carried { volume: String, files: PathBuf },
    /// Memory of one container, and how much at most.
    Scratch(Option<i64>),
}

/// The volumes of a pod by name.
pub(super) type Volumes = HashMap<String, Place>;

/// Who the volumes belong to.
pub(super) struct Owner<'a> {
    pub(super) sandbox: &'a str,
    pub(super) uid: &'a str,
    /// The pod's directory in the sandbox's state.
    pub(super) directory: &'a Path,
}

/// Makes a pod's volumes; those that are there already are left as they are.
pub(super) async fn prepare(
    engine: &Engine,
    sources: &mut Sources,
    pod: &Pod,
    place: &environment::Place<'_>,
    owner: &Owner<'_>,
) -> Result<Volumes, ConfigError> {
    let mut volumes = Volumes::new();
    let all = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    for volume in all.into_iter().flatten() {
        let place = if memory::is_scratch(pod, volume) {
            Place::Scratch(memory::bound(volume))
        } else if volume.empty_dir.is_some() {
            Place::Engine(engine_volume(engine, volume, owner).await?)
        } else if let Some(source) = &volume.persistent_volume_claim {
            let (client, namespace) = sources.client();
            let name = &source.claim_name;
            let name = claims::volume(engine, owner.sandbox, client, namespace, name).await?;
            match source.read_only {
                Some(true) => Place::ReadOnly(name),
                _ => Place::Engine(name),
            }
        } else {
            let directory = owner.directory.join("volumes").join(&volume.name);
            let files = files(sources, pod, place, volume).await?;
            write(&directory, &files, group(pod))
                .map_err(|error| ConfigError::Other(format!("volume {}: {error}", volume.name)))?;
            if engine.sees_files() {
                Place::Directory(directory)
            } else {
                Place::Carried {
                    volume: engine_volume(engine, volume, owner).await?,
                    files: directory,
                }
            }
        };
        volumes.insert(volume.name.clone(), place);
    }
    Ok(volumes)
}

/// A volume of the engine, as an emptyDir wants it if it is one. Returns its name.
async fn engine_volume(
    engine: &Engine,
    volume: &Volume,
    owner: &Owner<'_>,
) -> Result<String, ConfigError> {
    let name = format!("katlab-{}-{}-{}", owner.sandbox, owner.uid, volume.name);
    let request = VolumeCreateRequest {
        name: Some(name.clone()),
        labels: Some(
            [(label::SANDBOX, owner.sandbox), (label::UID, owner.uid)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        ),
        ..VolumeCreateRequest::default()
    };
    engine
        .docker()
        .create_volume(request)
        .await
        .map_err(|error| ConfigError::Other(format!("volume {}: {error}", volume.name)))?;
    Ok(name)
}

/// One file of a volume.
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) content: Vec<u8>,
    pub(super) mode: u32,
}

async fn files(
    sources: &mut Sources,
    pod: &Pod,
    place: &environment::Place<'_>,
    volume: &Volume,
) -> Result<Vec<Entry>, ConfigError> {
    if let Some(map) = &volume.config_map {
        let from = Keyed::map(&map.name, map.items.as_deref(), map.optional);
        keyed(sources, from, map.default_mode).await
    } else if let Some(secret) = &volume.secret {
        let name = secret.secret_name.as_deref().unwrap_or_default();
        let from = Keyed::secret(name, secret.items.as_deref(), secret.optional);
        keyed(sources, from, secret.default_mode).await
    } else if let Some(projected) = &volume.projected {
        projected::files(sources, pod, place, projected).await
    } else if let Some(downward) = &volume.downward_api {
        let items = downward.items.as_deref().unwrap_or_default();
        projected::downward(pod, place, items, downward.default_mode)
    } else {
        Err(ConfigError::Other(format!(
            "volume {} is of a kind the sandbox does not have",
            volume.name
        )))
    }
}

/// A ConfigMap or Secret whose keys become files.
pub(super) struct Keyed<'a> {
    kind: &'static str,
    name: &'a str,
    items: Option<&'a [KeyToPath]>,
    optional: bool,
}

impl<'a> Keyed<'a> {
    pub(super) fn map(
        name: &'a str,
        items: Option<&'a [KeyToPath]>,
        optional: Option<bool>,
    ) -> Self {
        Self {
            kind: "configmap",
            name,
            items,
            optional: optional == Some(true),
        }
    }

    pub(super) fn secret(
        name: &'a str,
        items: Option<&'a [KeyToPath]>,
        optional: Option<bool>,
    ) -> Self {
        Self {
            kind: "secret",
            ..Self::map(name, items, optional)
        }
    }
}

/// The files of a ConfigMap or Secret.
pub(super) async fn keyed(
    sources: &mut Sources,
    from: Keyed<'_>,
    mode: Option<i32>,
) -> Result<Vec<Entry>, ConfigError> {
    let Keyed {
        kind,
        name,
        items,
        optional,
    } = from;
    let data = if kind == "configmap" {
        sources.config_map(name).await?
    } else {
        sources.secret(name).await?
    };
    let mode = mode.map_or(0o644, |mode| mode as u32);
    match data {
        Some(data) => entries(data, items, mode, optional),
        None if optional => Ok(Vec::new()),
        None => Err(ConfigError::Missing {
            kind,
            name: name.to_owned(),
        }),
    }
}

fn entries(
    data: &BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    mode: u32,
    optional: bool,
) -> Result<Vec<Entry>, ConfigError> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        let all = data.iter().map(|(key, content)| Entry {
            path: key.into(),
            content: content.clone(),
            mode,
        });
        return Ok(all.collect());
    };
    let mut found = Vec::new();
    for item in items {
        let path = projected::inside(&item.path)?;
        match data.get(&item.key) {
            Some(content) => found.push(Entry {
                path,
                content: content.clone(),
                mode: item.mode.map_or(mode, |mode| mode as u32),
            }),
            None if optional => {}
            None => {
                return Err(ConfigError::Other(format!(
                    "references non-existent config key: {}",
                    item.key
                )));
            }
        }
    }
    Ok(found)
}

/// The group that all of a pod's containers are in and its volumes belong to.
pub(super) fn group(pod: &Pod) -> Option<u32> {
    let context = pod.spec.as_ref()?.security_context.as_ref()?;
    u32::try_from(context.fs_group?).ok()
}

fn write(directory: &Path, files: &[Entry], group: Option<u32>) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o755);
    builder.create(directory)?;
    for entry in files {
        let path = directory.join(&entry.path);
        if let Some(parent) = path.parent() {
            builder.create(parent)?;
        }
        if path.exists() {
            continue;
        }
        // Under another name until it is whole: a sandbox may be killed in between.
        let parent = path.parent().unwrap_or(directory);
        let mut file = tempfile::NamedTempFile::new_in(parent)?;
        file.write_all(&entry.content)?;
        // The process's mask may take away what the volume wants to allow, so the mode is set and not asked for.
        let mut mode = entry.mode;
        if group.is_some() {
            mode |= 0o440;
            let given = std::os::unix::fs::fchown(file.as_file(), None, group);
            if given.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied) {
                // Only root may give a file to any group. Others of this machine do not reach the directory.
                mode |= 0o004;
            }
        }
        let mode = std::fs::Permissions::from_mode(mode);
        file.as_file().set_permissions(mode)?;
        file.persist(&path).map_err(|error| error.error)?;
    }
    Ok(())
}

/// The mounts of one container.
pub(super) fn mounts(container: &Container, volumes: &Volumes) -> Result<Vec<Mount>, ConfigError> {
    let mut mounts = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let place = volumes.get(&mount.name).ok_or_else(|| {
            ConfigError::Other(format!("container mounts unknown volume {}", mount.name))
        })?;
        let (typ, source, read_only) = match place {
            Place::Engine(name) => (MountType::VOLUME, name.clone(), mount.read_only),
            Place::Carried { .. }
                if mount
                    .sub_path
                    .as_deref()
                    .is_some_and(|part| !part.is_empty()) =>
            {
                return Err(ConfigError::Other(
                    "subPath needs an engine that sees this machine's files".to_owned(),
                ));
            }
            Place::Carried { volume, .. } => (MountType::VOLUME, volume.clone(), None),
            Place::Scratch(bound) => {
                mounts.push(memory::mount(&mount.mount_path, *bound));
                continue;
            }
            Place::ReadOnly(name) => (MountType::VOLUME, name.clone(), Some(true)),
            Place::Directory(path) => {
                let path = match mount.sub_path.as_deref().filter(|part| !part.is_empty()) {
                    Some(part)
                        if Path::new(part)
                            .components()
                            .all(|part| matches!(part, Component::Normal(_))) =>
                    {
                        path.join(part)
                    }
                    Some(part) => {
                        return Err(ConfigError::Other(format!(
                            "subPath {part:?} leaves the volume"
                        )));
                    }
                    None => path.clone(),
                };
                (
                    MountType::BIND,
                    path.to_string_lossy().into_owned(),
                    Some(true),
                )
            }
        };
        mounts.push(Mount {
            target: Some(mount.mount_path.clone()),
            source: Some(source),
            // An emptyDir begins empty, whatever the image holds at that path.
            volume_options: (typ == MountType::VOLUME).then(|| MountVolumeOptions {
                no_copy: Some(true),
                ..MountVolumeOptions::default()
            }),
            typ: Some(typ),
            read_only,
            ..Mount::default()
        });
    }
    Ok(mounts)
}

/// The paths at which a container has volumes of the engine that everybody may write to, as
/// Kubernetes' emptyDirs are; the engine makes them writable for root only.
pub(super) fn open_paths<'a>(
    container: &'a Container,
    volumes: &'a Volumes,
) -> impl Iterator<Item = &'a str> {
    container
        .volume_mounts
        .iter()
        .flatten()
        .filter(|mount| matches!(volumes.get(&mount.name), Some(Place::Engine(_))))
        .filter(|mount| mount.read_only != Some(true))
        .map(|mount| mount.mount_path.as_str())
}

/// A tar archive for the root, with nothing but "this directory, writable for all", of the pod's group if it has one. It is named from the root: the engine
/// leaves out an entry that stands for the directory it unpacks into.
pub(super) fn writable_for_all(path: &str, group: Option<u32>) -> std::io::Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(if group.is_some() { 0o2777 } else { 0o777 });
    header.set_size(0);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(group.unwrap_or(0).into());
    let mut builder = tar::Builder::new(Vec::new());
    let name = format!("{}/", path.trim_matches('/'));
    builder.append_data(&mut header, name, std::io::empty())?;
    builder.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_choose_keys_and_paths_and_may_not_leave_the_volume() {
        let data: BTreeMap<String, Vec<u8>> = [
            ("a".to_owned(), b"1".to_vec()),
            ("b".to_owned(), b"2".to_vec()),
        ]
        .into();
        let item = |key: &str, path: &str| KeyToPath {
            key: key.into(),
            path: path.into(),
            mode: Some(0o400),
        };
        let all = entries(&data, None, 0o644, false).expect("entries");
        assert_eq!(all.len(), 2);
        let one = entries(&data, Some(&[item("b", "x/y")]), 0o644, false).expect("entries");
        assert_eq!(
            (one[0].path.as_path(), one[0].mode),
            (Path::new("x/y"), 0o400)
        );
        assert!(entries(&data, Some(&[item("b", "../y")]), 0o644, false).is_err());
        assert!(entries(&data, Some(&[item("c", "y")]), 0o644, false).is_err());
        assert!(
            entries(&data, Some(&[item("c", "y")]), 0o644, true)
                .expect("entries")
                .is_empty()
        );

        let directory = tempfile::tempdir().expect("directory");
        write(directory.path(), &one, None).expect("write");
        let text = std::fs::read_to_string(directory.path().join("x/y"));
        assert_eq!(text.expect("file"), "2");
    }
}
