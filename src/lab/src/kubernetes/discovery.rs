//! The kinds a server knows, and finding one by any of its names.

use kube::core::ApiResource;
use kube::core::discovery::v2::APIGroupDiscoveryList;

use crate::cluster::{Cluster, Error, Result, near_misses};

/// One kind of object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The API group, empty for the core group.
    pub group: String,
    /// The version preferred by the server.
    pub version: String,
    /// Such as `Experiment`.
    pub kind: String,
    /// Such as `experiments`.
    pub plural: String,
    /// Such as `experiment`.
    pub singular: String,
    /// Such as `po` for pods.
    pub short_names: Vec<String>,
    /// Such as `all`.
    pub categories: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// What can be done with it.
    pub verbs: Vec<String>,
}

impl Kind {
    /// `v1`, `kubeflow.org/v1beta1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The client library's name for it.
    pub fn resource(&self) -> ApiResource {
        ApiResource {
            group: self.group.clone(),
            version: self.version.clone(),
            api_version: self.api_version(),
            kind: self.kind.clone(),
            plural: self.plural.clone(),
        }
    }

    /// The path of its collection.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let base = if self.group.is_empty() {
            "/api"
        } else {
            "/apis"
        };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!(
                "{base}/{}/namespaces/{namespace}/{}",
                self.api_version(),
                self.plural
            ),
            None => format!("{base}/{}/{}", self.api_version(), self.plural),
        }
    }

    /// Whether the server offers this verb.
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    fn is_called(&self, name: &str) -> bool {
        let same = |known: &str| known.eq_ignore_ascii_case(name);
        if same(&self.plural)
            || same(&self.singular)
            || same(&self.kind)
            || self.short_names.iter().any(|short| same(short))
        {
            return true;
        }
        // `jobs.batch`, `jobs.v1.batch`
        match name.split_once('.') {
            Some((head, group)) if !self.group.is_empty() => {
                let named = head.eq_ignore_ascii_case(&self.plural)
                    || head.eq_ignore_ascii_case(&self.singular);
                named
                    && (group == self.group || group == format!("{}.{}", self.version, self.group))
            }
            _ => false,
        }
    }
}

/// The kinds of one server.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// The kinds, core group first, then by group and name.
    pub kinds: Vec<Kind>,
}

impl Discovery {
    /// Asks the server; two requests where it knows the aggregated form, a few more where not.
    pub async fn read(cluster: &Cluster) -> Result<Self> {
        let aggregated = futures::future::try_join(
            cluster.client.list_core_api_versions_aggregated(),
            cluster.client.list_api_groups_aggregated(),
        );
        let mut kinds = match aggregated.await {
            Ok((core, groups)) => {
                let mut kinds = from_aggregated(core);
                kinds.extend(from_aggregated(groups));
                kinds
            }
            Err(kube::Error::Api(_) | kube::Error::SerdeError(_)) => Vec::new(),
            Err(error) => return Err(Error::from_kube(error, &cluster.action("list", "kinds"))),
        };
        // A server without the aggregated form answers the plain one, in which nothing is found.
        if kinds.is_empty() {
            kinds = plain(cluster)
                .await
                .map_err(|error| Error::from_kube(error, &cluster.action("list", "kinds")))?;
        }
        Ok(Self { kinds })
    }

    /// The one kind of this name.
    pub fn kind(&self, name: &str) -> Result<&Kind> {
        self.kinds
            .iter()
            .find(|kind| kind.is_called(name))
            .ok_or_else(|| {
                let names = self
                    .kinds
                    .iter()
                    .flat_map(|kind| [kind.plural.as_str(), kind.singular.as_str()]);
                let mut near = near_misses(&name.to_lowercase(), names);
                near.truncate(2);
                Error::UnknownKind {
                    kind: name.to_owned(),
                    near,
                }
            })
    }

    /// The kinds meant by `pods`, `jobs,pods` or a category such as `all`.
    pub fn kinds(&self, names: &str) -> Result<Vec<&Kind>> {
        let mut found: Vec<&Kind> = Vec::new();
        for name in names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            match self.kind(name) {
                Ok(kind) => found.push(kind),
                Err(error) => {
                    let group: Vec<&Kind> = self
                        .kinds
                        .iter()
                        .filter(|kind| kind.categories.iter().any(|one| one == name))
                        .collect();
                    if group.is_empty() {
                        return Err(error);
                    }
                    found.extend(group);
                }
            }
        }
        Ok(found)
    }

    /// The kind of an object by its `apiVersion` and `kind`.
    pub fn of_object(&self, api_version: &str, kind: &str) -> Result<&Kind> {
        self.kinds
            .iter()
            .find(|known| known.kind == kind && known.api_version() == api_version)
            .ok_or_else(|| Error::UnknownKind {
                kind: format!("{kind} of {api_version}"),
                near: near_misses(kind, self.kinds.iter().map(|known| known.kind.as_str())),
            })
    }
}

fn from_aggregated(list: APIGroupDiscoveryList) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for group in list.items {
        let name = group
            .metadata
            .and_then(|metadata| metadata.name)
            .unwrap_or_default();
        let mut seen: Vec<String> = Vec::new();
        // Versions come in the server's order of preference; a kind is taken from the first.
        for version in group.versions {
            let number = version.version.unwrap_or_default();
            for resource in version.resources {
                let Some(plural) = resource.resource else {
                    continue;
                };
                let Some(kind) = resource.response_kind.and_then(|response| response.kind) else {
                    continue;
                };
                if seen.contains(&plural) {
                    continue;
                }
                seen.push(plural.clone());
                kinds.push(Kind {
                    group: name.clone(),
                    version: number.clone(),
                    singular: resource
                        .singular_resource
                        .filter(|singular| !singular.is_empty())
                        .unwrap_or_else(|| kind.to_lowercase()),
                    kind,
                    plural,
                    short_names: resource.short_names,
                    categories: resource.categories,
                    namespaced: resource.scope.as_deref() == Some("Namespaced"),
                    verbs: resource.verbs,
                });
            }
        }
    }
    kinds
}

async fn plain(cluster: &Cluster) -> Result<Vec<Kind>, kube::Error> {
    let mut kinds = Vec::new();
    let mut add =
        |group: &str,
         version: &str,
         list: k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList| {
            for resource in list
                .resources
                .into_iter()
                .filter(|resource| !resource.name.contains('/'))
            {
                let singular = if resource.singular_name.is_empty() {
                    resource.kind.to_lowercase()
                } else {
                    resource.singular_name
                };
                kinds.push(Kind {
                    group: group.to_owned(),
                    version: version.to_owned(),
                    singular,
                    kind: resource.kind,
                    plural: resource.name,
                    short_names: resource.short_names.unwrap_or_default(),
                    categories: resource.categories.unwrap_or_default(),
                    namespaced: resource.namespaced,
                    verbs: resource.verbs,
                });
            }
        };
    add(
        "",
        "v1",
        cluster.client.list_core_api_resources("v1").await?,
    );
    for group in cluster.client.list_api_groups().await?.groups {
        let Some(version) = group
            .preferred_version
            .or_else(|| group.versions.into_iter().next())
        else {
            continue;
        };
        // An aggregated API whose backend is down must not hide all the others.
        if let Ok(list) = cluster
            .client
            .list_api_group_resources(&version.group_version)
            .await
        {
            add(&group.name, &version.version, list);
        }
    }
    Ok(kinds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(group: &str, kind: &str, plural: &str, short: &[&str], categories: &[&str]) -> Kind {
        Kind {
            group: group.into(),
            version: "v1".into(),
            kind: kind.into(),
            plural: plural.into(),
            singular: kind.to_lowercase(),
            short_names: short.iter().map(|name| (*name).to_owned()).collect(),
            categories: categories.iter().map(|name| (*name).to_owned()).collect(),
            namespaced: true,
            verbs: vec!["list".into()],
        }
    }

    fn discovery() -> Discovery {
        Discovery {
            kinds: vec![
                kind("", "Pod", "pods", &["po"], &["all"]),
                kind("batch", "Job", "jobs", &[], &["all"]),
                kind("kubeflow.org", "Trial", "trials", &[], &["all", "katib"]),
            ],
        }
    }

    #[test]
    fn a_kind_is_found_by_each_of_its_names() {
        let known = discovery();
        for name in ["pod", "pods", "Pod", "po", "PO"] {
            assert_eq!(known.kind(name).unwrap().plural, "pods", "{name}");
        }
        for name in ["jobs.batch", "job.batch", "jobs.v1.batch"] {
            assert_eq!(known.kind(name).unwrap().plural, "jobs", "{name}");
        }
        assert!(known.kind("jobs.apps").is_err());
    }

    #[test]
    fn a_category_means_all_its_kinds() {
        assert_eq!(discovery().kinds("katib").unwrap().len(), 1);
        assert_eq!(discovery().kinds("all").unwrap().len(), 3);
        assert_eq!(discovery().kinds("po,jobs").unwrap().len(), 2);
    }

    #[test]
    fn a_misspelt_kind_is_answered_with_what_was_probably_meant() {
        assert!(
            matches!(discovery().kind("trails"), Err(Error::UnknownKind { near, .. }) if near[0] == "trials")
        );
    }

    #[test]
    fn paths_are_those_of_the_api() {
        let known = discovery();
        assert_eq!(known.kinds[0].path(Some("a")), "/api/v1/namespaces/a/pods");
        assert_eq!(known.kinds[2].path(None), "/apis/kubeflow.org/v1/trials");
    }
}
