//! From a URL path to what it names.

use crate::resources::{self, Resource};

use super::status::ApiError;

/// What a request is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The entry of the table.
    pub resource: &'static Resource,
    /// The namespace, if the path has one.
    pub namespace: Option<String>,
    /// The object, unless the path is a collection's.
    pub name: Option<String>,
    /// The subresource.
    pub subresource: Option<String>,
}

impl Target {
    /// A collection or an object, for requests made inside the process.
    pub fn new(resource: &'static Resource, namespace: Option<&str>, name: Option<&str>) -> Target {
        Target {
            resource,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            subresource: None,
        }
    }

    /// Where the object of that name is in the store.
    pub fn path(&self, name: &str) -> String {
        match (&self.namespace, self.resource.namespaced) {
            (Some(ns), true) => format!("{ns}/{name}"),
            _ => name.to_owned(),
        }
    }
}

/// What a path leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Route {
    /// Something that is no resource: discovery, health, OpenAPI.
    Other(Vec<String>),
    /// A resource.
    Resource(Target),
}

/// Reads a path. Segments are percent-decoded.
pub fn parse(path: &str) -> Result<Route, ApiError> {
    let segments: Vec<String> = path
        .split('/')
        .filter(|s| !s.is_empty())
        .map(decode)
        .collect::<Option<_>>()
        .ok_or_else(|| ApiError::bad_request("the path is not valid UTF-8"))?;
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => return Ok(Route::Other(segments)),
    };
    let known = resources::groups()
        .iter()
        .any(|(g, versions)| *g == group && versions.contains(&version));
    if !known {
        return Err(ApiError::unknown_path());
    }
    // Custom resources and unknown groups answer from another handler, in plain text.
    let missing = || {
        let custom = resources::RESOURCES
            .iter()
            .any(|r| r.group == group && r.flavor == resources::Flavor::Custom);
        if custom {
            ApiError::unknown_path()
        } else {
            ApiError::unknown_resource()
        }
    };
    let find = |plural: &str| resources::find(group, version, plural);
    let target =
        |resource, namespace: Option<&str>, name: Option<&str>, sub: Option<&str>| Target {
            resource,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            subresource: sub.map(str::to_owned),
        };
    let found = match rest {
        ["namespaces", ns, plural, tail @ ..] if find(plural).is_some_and(|r| r.namespaced) => {
            let resource = find(plural).ok_or_else(missing)?;
            match tail {
                [] => target(resource, Some(ns), None, None),
                [name] => target(resource, Some(ns), Some(name), None),
                [name, sub] => target(resource, Some(ns), Some(name), Some(sub)),
                _ => return Err(missing()),
            }
        }
        [plural] => target(find(plural).ok_or_else(missing)?, None, None, None),
        [plural, name] => {
            let resource = find(plural).filter(|r| !r.namespaced).ok_or_else(missing)?;
            target(resource, None, Some(name), None)
        }
        [plural, name, sub] => {
            let resource = find(plural).filter(|r| !r.namespaced).ok_or_else(missing)?;
            target(resource, None, Some(name), Some(sub))
        }
        _ => return Err(missing()),
    };
    if let Some(sub) = &found.subresource
        && found.resource.subresource(sub).is_none()
    {
        if found.resource.refused.contains(&sub.as_str()) {
            let what = format!("{}/{sub}", found.resource.plural);
            return Err(ApiError::not_done(&what));
        }
        return Err(missing());
    }
    Ok(Route::Resource(found))
}

/// Percent-decoding; none if the result is not UTF-8.
pub fn decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = |at: usize| bytes.get(at).and_then(|b| (*b as char).to_digit(16));
        match (bytes[i], hex(i + 1), hex(i + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                i += 3;
            }
            (byte, ..) => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(path: &str) -> Target {
        match parse(path) {
            Ok(Route::Resource(target)) => target,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[test]
    fn paths_name_collections_objects_and_subresources() {
        let t = resource("/api/v1/namespaces/a/pods/p/log");
        assert_eq!(
            (t.resource.kind, t.namespace.as_deref()),
            ("Pod", Some("a"))
        );
        assert_eq!(
            (t.name.as_deref(), t.subresource.as_deref()),
            (Some("p"), Some("log"))
        );
        let t = resource("/apis/kubeflow.org/v1beta1/trials");
        assert_eq!(
            (t.resource.kind, t.namespace, t.name),
            ("Trial", None, None)
        );
        let t = resource("/api/v1/namespaces/a");
        assert_eq!(
            (t.resource.kind, t.name.as_deref()),
            ("Namespace", Some("a"))
        );
        let t = resource("/api/v1/namespaces/a/status");
        assert_eq!(
            (t.resource.kind, t.subresource.as_deref()),
            ("Namespace", Some("status"))
        );
    }

    #[test]
    fn what_is_not_served_gets_the_404_of_its_group() {
        let code = |path: &str| parse(path).map(|_| ()).unwrap_err();
        assert!(!code("/api/v1/namespaces/a/gadgets").plain);
        assert!(!code("/apis/batch/v1/cronjobs").plain);
        assert!(code("/apis/kubeflow.org/v1beta1/namespaces/a/gadgets").plain);
        assert!(code("/apis/apps/v1/deployments").plain);
        assert!(!code("/api/v1/namespaces/a/secrets/x/status").plain);
        let refused = code("/api/v1/namespaces/a/pods/p/portforward");
        assert_eq!(refused.code, 501);
        assert!(refused.message.contains("pods/portforward"));
    }

    #[test]
    fn percent_signs_are_decoded_once() {
        assert_eq!(decode("a%2Fb%2525").as_deref(), Some("a/b%25"));
        assert_eq!(decode("%ff"), None);
        assert_eq!(decode("100%").as_deref(), Some("100%"));
    }
}
