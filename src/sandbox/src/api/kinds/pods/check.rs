//! What Kubernetes checks in a pod's spec, in its words (`ValidatePodSpec`).

use serde_json::{Value, json};

use super::super::super::meta;
use super::super::super::status::FieldError;
use super::super::list;
use super::super::quantity::Quantity;

/// What `env[].valueFrom.fieldRef` and volumes of the downward API can show of a pod.
const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const CONTAINER_RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

type Errors = Vec<FieldError>;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or("")
}

/// A value that, where it is there, is one of a few.
fn one_of(value: &Value, field: String, supported: &[&str], errors: &mut Errors) {
    if let Some(text) = value.as_str()
        && !text.is_empty()
        && !supported.contains(&text)
    {
        errors.push(FieldError::unsupported(field, value, supported));
    }
}

/// A number that, where it is there, lies between two.
fn between(value: &Value, field: String, (least, most): (i64, i64), errors: &mut Errors) {
    if value.as_i64().is_some_and(|n| n < least || n > most) {
        let why = format!("must be between {least} and {most}, inclusive");
        errors.push(FieldError::invalid(field, value, why));
    }
}

fn named(name: &Value, field: String, errors: &mut Errors) {
    match name.as_str().unwrap_or("") {
        "" => errors.push(FieldError::required(field, "")),
        text => {
            if let Err(why) = meta::label(text) {
                errors.push(FieldError::invalid(field, name, why));
            }
        }
    }
}

/// Checks a pod's spec, also of a job's template.
pub(in super::super) fn check_spec(spec: &Value, at: &str, errors: &mut Errors) {
    let mut volumes: Vec<&str> = Vec::new();
    for (i, volume) in list(&spec["volumes"]).iter().enumerate() {
        let field = format!("{at}.volumes[{i}]");
        let name = text(volume, "name");
        named(&volume["name"], format!("{field}.name"), errors);
        if volumes.contains(&name) && !name.is_empty() {
            let field = format!("{field}.name");
            errors.push(FieldError::duplicate(field, &volume["name"]));
        }
        volume_source(volume, &field, errors);
        volumes.push(name);
    }
    if list(&spec["containers"]).is_empty() {
        errors.push(FieldError::required(format!("{at}.containers"), ""));
    }
    let mut names: Vec<&str> = Vec::new();
    for key in ["containers", "initContainers"] {
        for (i, container) in list(&spec[key]).iter().enumerate() {
            let field = format!("{at}.{key}[{i}]");
            check_container(container, &field, &volumes, errors);
            let name = text(container, "name");
            if !name.is_empty() && names.contains(&name) {
                errors.push(FieldError::duplicate(format!("{field}.name"), &json!(name)));
            }
            names.push(name);
        }
    }
    if !list(&spec["ephemeralContainers"]).is_empty() {
        let field = format!("{at}.ephemeralContainers");
        errors.push(FieldError::forbidden(field, "cannot be set on create"));
    }
    let deadline = &spec["activeDeadlineSeconds"];
    let field = format!("{at}.activeDeadlineSeconds");
    between(deadline, field, (1, i64::from(i32::MAX)), errors);
    let policies = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
    let field = format!("{at}.dnsPolicy");
    one_of(&spec["dnsPolicy"], field, &policies, errors);
    for key in ["hostname", "subdomain"] {
        if !text(spec, key).is_empty() {
            named(&spec[key], format!("{at}.{key}"), errors);
        }
    }
    for (i, toleration) in list(&spec["tolerations"]).iter().enumerate() {
        let field = format!("{at}.tolerations[{i}]");
        check_toleration(toleration, &field, errors);
    }
    let context = &spec["securityContext"];
    check_users(context, &format!("{at}.securityContext"), errors);
}

fn volume_source(volume: &Value, at: &str, errors: &mut Errors) {
    let sources = volume.as_object().into_iter().flatten();
    let mut sources = sources.filter(|(key, value)| *key != "name" && !value.is_null());
    let Some((_, first)) = sources.next() else {
        errors.push(FieldError::required(at, "must specify a volume type"));
        return;
    };
    for (other, _) in sources {
        let why = "may not specify more than 1 volume type";
        errors.push(FieldError::forbidden(format!("{at}.{other}"), why));
    }
    let source = |key: &str| (first == &volume[key]).then_some(first);
    if let Some(secret) = source("secret")
        && text(secret, "secretName").is_empty()
    {
        let field = format!("{at}.secret.secretName");
        errors.push(FieldError::required(field, ""));
    }
    if let Some(map) = source("configMap")
        && text(map, "name").is_empty()
    {
        let field = format!("{at}.configMap.name");
        errors.push(FieldError::required(field, ""));
    }
    if let Some(claim) = source("persistentVolumeClaim")
        && text(claim, "claimName").is_empty()
    {
        let field = format!("{at}.persistentVolumeClaim.claimName");
        errors.push(FieldError::required(field, ""));
    }
    for (key, source) in volume.as_object().into_iter().flatten() {
        let mode = &source["defaultMode"];
        if mode
            .as_i64()
            .is_some_and(|mode| !(0..=0o777).contains(&mode))
        {
            let why = "must be a number between 0 and 0777 (octal), both inclusive";
            let field = format!("{at}.{key}.defaultMode");
            errors.push(FieldError::invalid(field, mode, why));
        }
        check_items(source, &format!("{at}.{key}"), errors);
        for (i, part) in list(&source["sources"]).iter().enumerate() {
            for (kind, part) in part.as_object().into_iter().flatten() {
                let at = format!("{at}.{key}.sources[{i}].{kind}");
                check_items(part, &at, errors);
            }
        }
    }
}

fn check_items(source: &Value, at: &str, errors: &mut Errors) {
    for (i, item) in list(&source["items"]).iter().enumerate() {
        relative(&item["path"], format!("{at}.items[{i}].path"), errors);
    }
}

/// A path that stays below where it begins.
fn relative(path: &Value, field: String, errors: &mut Errors) {
    let text = path.as_str().unwrap_or("");
    if text.starts_with('/') {
        errors.push(FieldError::invalid(field, path, "must be a relative path"));
    } else if text.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(field, path, "must not contain '..'"));
    }
}

fn check_toleration(toleration: &Value, at: &str, errors: &mut Errors) {
    let operators = ["Equal", "Exists"];
    let field = format!("{at}.operator");
    one_of(&toleration["operator"], field, &operators, errors);
    let (key, value) = (text(toleration, "key"), text(toleration, "value"));
    let operator = text(toleration, "operator");
    if key.is_empty() && operator != "Exists" {
        let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        let field = format!("{at}.operator");
        errors.push(FieldError::invalid(field, &json!(operator), why));
    }
    if operator == "Exists" && !value.is_empty() {
        let why = "value must be empty when `operator` is 'Exists'";
        let field = format!("{at}.operator");
        errors.push(FieldError::invalid(field, &json!(value), why));
    }
    let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    let field = format!("{at}.effect");
    one_of(&toleration["effect"], field, &effects, errors);
}

/// Users and groups of a security context.
fn check_users(context: &Value, at: &str, errors: &mut Errors) {
    for key in ["runAsUser", "runAsGroup", "fsGroup"] {
        let field = format!("{at}.{key}");
        between(&context[key], field, (0, i64::from(i32::MAX)), errors);
    }
}

fn check_container(container: &Value, at: &str, volumes: &[&str], errors: &mut Errors) {
    named(&container["name"], format!("{at}.name"), errors);
    let image = text(container, "image");
    if image.is_empty() {
        errors.push(FieldError::required(format!("{at}.image"), ""));
    } else if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        let field = format!("{at}.image");
        errors.push(FieldError::invalid(field, &json!(image), why));
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    let field = format!("{at}.imagePullPolicy");
    one_of(&container["imagePullPolicy"], field, &policies, errors);
    check_ports(container, at, errors);
    for (i, variable) in list(&container["env"]).iter().enumerate() {
        check_variable(variable, &format!("{at}.env[{i}]"), errors);
    }
    check_mounts(container, at, volumes, errors);
    check_resources(&container["resources"], at, errors);
    let policy = &container["terminationMessagePolicy"];
    if !matches!(
        policy.as_str(),
        None | Some("File" | "FallbackToLogsOnError")
    ) {
        let why = "must be 'File' or 'FallbackToLogsOnError'";
        let field = format!("{at}.terminationMessagePolicy");
        errors.push(FieldError::invalid(field, policy, why));
    }
    let context = &container["securityContext"];
    check_users(context, &format!("{at}.securityContext"), errors);
}

fn check_ports(container: &Value, at: &str, errors: &mut Errors) {
    let mut names: Vec<&str> = Vec::new();
    for (i, port) in list(&container["ports"]).iter().enumerate() {
        let field = |key: &str| format!("{at}.ports[{i}].{key}");
        let name = text(port, "name");
        if !name.is_empty() {
            if let Err(why) = port_name(name) {
                errors.push(FieldError::invalid(field("name"), &port["name"], why));
            } else if names.contains(&name) {
                errors.push(FieldError::duplicate(field("name"), &port["name"]));
            }
            names.push(name);
        }
        let number = &port["containerPort"];
        if number.as_i64().unwrap_or(0) == 0 {
            errors.push(FieldError::required(field("containerPort"), ""));
        } else {
            between(number, field("containerPort"), (1, 65535), errors);
        }
        let protocols = ["SCTP", "TCP", "UDP"];
        one_of(&port["protocol"], field("protocol"), &protocols, errors);
    }
}

/// An IANA service name, as Kubernetes' `IsValidPortName` tells it.
fn port_name(name: &str) -> Result<(), &'static str> {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if name.len() > 15 {
        return Err("must be no more than 15 characters");
    }
    if !name.chars().all(|c| alphanumeric(c) || c == '-') {
        return Err("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !name.chars().any(|c| c.is_ascii_lowercase()) {
        return Err("must contain at least one letter (a-z)");
    }
    if name.contains("--") {
        return Err("must not contain consecutive hyphens");
    }
    if name.starts_with('-') || name.ends_with('-') {
        return Err("must not begin or end with a hyphen");
    }
    Ok(())
}

fn check_variable(variable: &Value, at: &str, errors: &mut Errors) {
    let name = text(variable, "name");
    let printable = |c: char| (' '..='~').contains(&c) && c != '=';
    if name.is_empty() {
        errors.push(FieldError::required(format!("{at}.name"), ""));
    } else if !name.chars().all(printable) {
        let why = "a valid environment variable name must consist only of printable ASCII characters other than '='";
        let field = format!("{at}.name");
        errors.push(FieldError::invalid(field, &variable["name"], why));
    }
    let Some(from) = variable["valueFrom"].as_object() else {
        return;
    };
    let field = format!("{at}.valueFrom");
    let nothing = json!("");
    if !text(variable, "value").is_empty() {
        let why = "may not be specified when `value` is not empty";
        errors.push(FieldError::invalid(&field, &nothing, why));
    }
    match from.values().filter(|source| !source.is_null()).count() {
        0 => {
            let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            errors.push(FieldError::invalid(&field, &nothing, why));
        }
        1 => {}
        _ => {
            let why = "may not have more than one field specified at a time";
            errors.push(FieldError::invalid(&field, &nothing, why));
        }
    }
    for key in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(source) = from.get(key)
            && text(source, "key").is_empty()
        {
            let field = format!("{field}.{key}.key");
            errors.push(FieldError::required(field, ""));
        }
    }
    if let Some(source) = from.get("fieldRef") {
        check_field(
            &source["fieldPath"],
            &format!("{field}.fieldRef.fieldPath"),
            errors,
        );
    }
    if let Some(source) = from.get("resourceFieldRef") {
        let field = format!("{field}.resourceFieldRef.resource");
        let resource = text(source, "resource");
        if resource.is_empty() {
            errors.push(FieldError::required(field, ""));
        } else if !CONTAINER_RESOURCES.contains(&resource) && !resource.contains(".hugepages-") {
            let resource = &source["resource"];
            errors.push(FieldError::unsupported(
                field,
                resource,
                &CONTAINER_RESOURCES,
            ));
        }
    }
}

fn check_field(path: &Value, field: &str, errors: &mut Errors) {
    let text = path.as_str().unwrap_or("");
    if text.is_empty() {
        errors.push(FieldError::required(field, ""));
        return;
    }
    let subscripted = ["metadata.labels['", "metadata.annotations['"]
        .iter()
        .any(|map| text.starts_with(map) && text.ends_with("']"));
    if subscripted || ENV_FIELDS.contains(&text) {
        return;
    }
    if matches!(text, "metadata.labels" | "metadata.annotations") {
        errors.push(FieldError::unsupported(field, path, &ENV_FIELDS));
        return;
    }
    let why = format!("error converting fieldPath: field label not supported: {text}");
    errors.push(FieldError::invalid(field, path, why));
}

fn check_mounts(container: &Value, at: &str, volumes: &[&str], errors: &mut Errors) {
    let mut paths: Vec<&str> = Vec::new();
    for (i, mount) in list(&container["volumeMounts"]).iter().enumerate() {
        let field = |key: &str| format!("{at}.volumeMounts[{i}].{key}");
        let name = text(mount, "name");
        if !volumes.contains(&name) {
            errors.push(FieldError {
                field: field("name"),
                reason: "FieldValueNotFound",
                message: format!("Not found: {name:?}"),
            });
        }
        match text(mount, "mountPath") {
            "" => errors.push(FieldError::required(field("mountPath"), "")),
            path if paths.contains(&path) => {
                let path = json!(path);
                errors.push(FieldError::invalid(
                    field("mountPath"),
                    &path,
                    "must be unique",
                ));
            }
            path => paths.push(path),
        }
        relative(&mount["subPath"], field("subPath"), errors);
    }
}

fn check_resources(resources: &Value, at: &str, errors: &mut Errors) {
    let read = |value: &Value| value.as_str().and_then(Quantity::parse);
    for key in ["limits", "requests"] {
        for (name, amount) in resources[key].as_object().into_iter().flatten() {
            if read(amount).is_some_and(|amount| amount.nanos() < 0) {
                let why = "must be greater than or equal to 0";
                let field = format!("{at}.resources.{key}[{name}]");
                errors.push(FieldError::invalid(field, amount, why));
            }
        }
    }
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let limit = &resources["limits"][name.as_str()];
        if let (Some(asked), Some(most)) = (read(request), read(limit))
            && asked > most
        {
            let limit = limit.as_str().unwrap_or("");
            let why = format!("must be less than or equal to {name} limit of {limit}");
            let field = format!("{at}.resources.requests");
            errors.push(FieldError::invalid(field, request, why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(spec: &Value) -> Vec<String> {
        let mut errors = Vec::new();
        check_spec(spec, "spec", &mut errors);
        let told = errors.into_iter();
        told.map(|error| format!("{}: {}", error.field, error.message))
            .collect()
    }

    #[test]
    fn a_pod_is_told_what_is_wrong_with_it_as_kubernetes_tells_it() {
        let container = |more: Value| {
            let mut container = json!({"name": "c", "image": "i"});
            for (key, value) in more.as_object().into_iter().flatten() {
                container[key] = value.clone();
            }
            json!({"containers": [container]})
        };
        let pod = |more: Value| {
            let mut spec = json!({"containers": [{"name": "c", "image": "i"}]});
            for (key, value) in more.as_object().into_iter().flatten() {
                spec[key] = value.clone();
            }
            spec
        };
        let env = |more: Value| container(json!({"env": [more]}));
        let rows = [
            (
                container(json!({"ports": [{"containerPort": 70000, "protocol": "FOO"}]})),
                vec![
                    "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
                    "spec.containers[0].ports[0].protocol: Unsupported value: \"FOO\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                ],
            ),
            (
                container(
                    json!({"ports": [{"containerPort": 1, "name": "web"}, {"containerPort": 2, "name": "web"}]}),
                ),
                vec!["spec.containers[0].ports[1].name: Duplicate value: \"web\""],
            ),
            (
                pod(json!({"dnsPolicy": "Foo"})),
                vec![
                    "spec.dnsPolicy: Unsupported value: \"Foo\": supported values: \"ClusterFirst\", \"ClusterFirstWithHostNet\", \"Default\", \"None\"",
                ],
            ),
            (
                env(json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.nope"}}})),
                vec![
                    "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.nope\": error converting fieldPath: field label not supported: spec.nope",
                ],
            ),
            (
                env(
                    json!({"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.foo"}}}),
                ),
                vec![
                    "spec.containers[0].env[0].valueFrom.resourceFieldRef.resource: Unsupported value: \"limits.foo\": supported values: \"limits.cpu\", \"limits.ephemeral-storage\", \"limits.memory\", \"requests.cpu\", \"requests.ephemeral-storage\", \"requests.memory\"",
                ],
            ),
            (
                env(
                    json!({"name": "a=b", "value": "v", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
                ),
                vec![
                    "spec.containers[0].env[0].name: Invalid value: \"a=b\": a valid environment variable name must consist only of printable ASCII characters other than '='",
                    "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
                ],
            ),
            (
                pod(json!({"securityContext": {"runAsUser": -5}})),
                vec![
                    "spec.securityContext.runAsUser: Invalid value: -5: must be between 0 and 2147483647, inclusive",
                ],
            ),
            (
                container(json!({"terminationMessagePolicy": "X"})),
                vec![
                    "spec.containers[0].terminationMessagePolicy: Invalid value: \"X\": must be 'File' or 'FallbackToLogsOnError'",
                ],
            ),
            (
                pod(json!({"tolerations": [{"key": "k", "operator": "Foo"}]})),
                vec![
                    "spec.tolerations[0].operator: Unsupported value: \"Foo\": supported values: \"Equal\", \"Exists\"",
                ],
            ),
            (
                pod(
                    json!({"volumes": [{"name": "a"}, {"name": "b", "emptyDir": {}, "secret": {"secretName": "s"}}]}),
                ),
                vec![
                    "spec.volumes[0]: Required value: must specify a volume type",
                    "spec.volumes[1].secret: Forbidden: may not specify more than 1 volume type",
                ],
            ),
            (
                container(json!({"resources": {"requests": {"cpu": "-1"}}})),
                vec![
                    "spec.containers[0].resources.requests[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
                ],
            ),
            (
                json!({"volumes": [{"name": "v", "emptyDir": {}}], "containers": [{"name": "c", "image": "i",
                "volumeMounts": [{"name": "v", "mountPath": "/x", "subPath": "../x"}]}]}),
                vec![
                    "spec.containers[0].volumeMounts[0].subPath: Invalid value: \"../x\": must not contain '..'",
                ],
            ),
            (
                pod(json!({"ephemeralContainers": [{"name": "e", "image": "i"}]})),
                vec!["spec.ephemeralContainers: Forbidden: cannot be set on create"],
            ),
            (
                pod(
                    json!({"tolerations": [{"operator": "Exists"}], "hostname": "a", "dnsPolicy": "Default",
                        "volumes": [{"name": "s", "secret": {"secretName": "s", "defaultMode": 256}}]}),
                ),
                vec![],
            ),
        ];
        for (spec, expected) in rows {
            assert_eq!(told(&spec), expected, "{spec}");
        }
        let name = told(&pod(json!({"hostname": "A_B"})));
        assert!(
            name[0]
                .starts_with("spec.hostname: Invalid value: \"A_B\": a lowercase RFC 1123 label"),
            "{name:?}"
        );
    }
}
