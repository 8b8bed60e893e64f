//! Discovery: which groups, versions, resources and verbs there are, in both forms.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::resources::{self, Flavor, RESOURCES, Resource, Subresource};

/// The media type of the aggregated form.
pub const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Whether an Accept header asks for the aggregated form first.
pub fn wants_aggregated(accept: Option<&str>) -> bool {
    accept.unwrap_or("").split(',').any(|media| {
        let parts: Vec<&str> = media.split(';').map(str::trim).collect();
        parts.first() == Some(&"application/json")
            && parts.contains(&"as=APIGroupDiscoveryList")
            && parts.contains(&"v=v2")
    })
}

/// `/api`.
pub fn core_versions(address: &str) -> Value {
    json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]})
}

/// `/apis`.
pub fn groups() -> Value {
    let groups: Vec<Value> = resources::groups()
        .into_iter()
        .filter(|(group, _)| !group.is_empty())
        .map(|(group, versions)| group_body(group, &versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn group_body(group: &str, versions: &[&str]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|v| json!({"groupVersion": format!("{group}/{v}"), "version": v}))
        .collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions[0]})
}

/// `/apis/GROUP`.
pub fn group(name: &str) -> Option<Value> {
    let (group, versions) = resources::groups()
        .into_iter()
        .find(|(g, _)| *g == name && !g.is_empty())?;
    let mut body = json!({"kind": "APIGroup", "apiVersion": "v1"});
    if let (Some(body), Value::Object(rest)) = (body.as_object_mut(), group_body(group, &versions))
    {
        body.extend(rest);
    }
    Some(body)
}

fn storage_hash(resource: &Resource) -> String {
    use base64::Engine as _;
    let text = format!("{}/{}/{}", resource.group, resource.version, resource.kind);
    base64::engine::general_purpose::STANDARD.encode(&Sha256::digest(text)[..8])
}

/// `/api/v1` and `/apis/GROUP/VERSION`.
pub fn resource_list(group: &str, version: &str) -> Option<Value> {
    let mut list = Vec::new();
    for r in RESOURCES
        .iter()
        .filter(|r| r.group == group && r.version == version)
    {
        let mut entry = json!({"name": r.plural, "singularName": r.singular, "namespaced": r.namespaced, "kind": r.kind, "verbs": r.verbs.names()});
        if !r.short_names.is_empty() {
            entry["shortNames"] = json!(r.short_names);
        }
        if !r.categories.is_empty() {
            entry["categories"] = json!(r.categories);
        }
        if !r.storage.is_empty() {
            entry["storageVersionHash"] = json!(storage_hash(r));
        }
        list.push(entry);
        for sub in r.subresources {
            let mut entry = json!({"name": format!("{}/{}", r.plural, sub.name), "singularName": "", "namespaced": r.namespaced, "kind": sub.kind, "verbs": sub.verbs});
            if let Some((group, version)) = sub.group_version() {
                entry["group"] = json!(group);
                entry["version"] = json!(version);
            }
            list.push(entry);
        }
    }
    if list.is_empty() {
        return None;
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let mut body = json!({"kind": "APIResourceList"});
    // The core group's list is older than the field.
    if !group.is_empty() {
        body["apiVersion"] = json!("v1");
    }
    body["groupVersion"] = json!(group_version);
    body["resources"] = json!(list);
    Some(body)
}

/// Group and version are only named for custom resources; empty means those of the list.
fn kind_of(resource: &Resource, kind: &str) -> Value {
    match resource.flavor {
        Flavor::BuiltIn => json!({"group": "", "version": "", "kind": kind}),
        Flavor::Custom => {
            json!({"group": resource.group, "version": resource.version, "kind": kind})
        }
    }
}

fn aggregated_subresource(resource: &Resource, sub: &Subresource) -> Value {
    let kind = match sub.group_version() {
        Some((group, version)) => json!({"group": group, "version": version, "kind": sub.kind}),
        None => kind_of(resource, sub.kind),
    };
    json!({"subresource": sub.name, "responseKind": kind, "verbs": sub.verbs})
}

fn aggregated_resource(r: &Resource) -> Value {
    let mut entry = json!({
        "resource": r.plural,
        "responseKind": kind_of(r, r.kind),
        "scope": if r.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": r.singular,
        "verbs": r.verbs.names(),
    });
    if !r.short_names.is_empty() {
        entry["shortNames"] = json!(r.short_names);
    }
    if !r.categories.is_empty() {
        entry["categories"] = json!(r.categories);
    }
    if !r.subresources.is_empty() {
        entry["subresources"] = r
            .subresources
            .iter()
            .map(|s| aggregated_subresource(r, s))
            .collect();
    }
    entry
}

/// `/api` and `/apis` in the aggregated form.
pub fn aggregated(core: bool) -> Value {
    let items: Vec<Value> = resources::groups()
        .into_iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .into_iter()
                .map(|version| {
                    let list: Vec<Value> = RESOURCES
                        .iter()
                        .filter(|r| r.group == group && r.version == version)
                        .map(aggregated_resource)
                        .collect();
                    json!({"version": version, "resources": list, "freshness": "Current"})
                })
                .collect();
            let metadata = if group.is_empty() {
                json!({})
            } else {
                json!({"name": group})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

/// The version of Kubernetes whose behaviour is followed.
pub const KUBERNETES_MINOR: &str = "36";

/// `/version`.
pub fn version() -> Value {
    json!({
        "major": "1",
        "minor": KUBERNETES_MINOR,
        "emulationMajor": "1",
        "emulationMinor": KUBERNETES_MINOR,
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": format!("v1.{KUBERNETES_MINOR}.0+katlab.{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, go_arch()),
    })
}

fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `/`: the paths there are.
pub fn paths() -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".into(), "/apis".into()];
    for (group, versions) in resources::groups()
        .into_iter()
        .filter(|(g, _)| !g.is_empty())
    {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|v| format!("/apis/{group}/{v}")));
    }
    paths.extend(
        [
            "/healthz",
            "/livez",
            "/openapi/v2",
            "/openapi/v3",
            "/readyz",
            "/version",
        ]
        .map(str::to_owned),
    );
    json!({"paths": paths})
}
