//! Kubernetes' protobuf, as far as kubectl sends it: the imperative commands (`create secret`,
//! `create configmap`, `create namespace`, `create job`, `create serviceaccount`, `auth can-i`)
//! write it and give up when it is refused. Answers are always JSON.
//!
//! Fields are described by tables and become the JSON that the same object would be. A field the
//! tables do not have is an error, never silently lost.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// What a field holds.
#[derive(Clone, Copy)]
enum Kind {
    /// Text; empty is absent.
    Text,
    /// A number or truth value that is only there when set.
    Int,
    /// A truth value that is only there when set.
    Bool,
    /// A number that is always written; zero is absent.
    PlainInt,
    /// A truth value that is always written; false is absent.
    PlainBool,
    /// A message; `Some` is there even when empty.
    Message(&'static [Field], Empty),
    /// A map from text.
    TextMap,
    /// A map from text to bytes.
    BytesMap,
    /// A map from text to quantities.
    QuantityMap,
    /// A quantity.
    Quantity,
    /// A moment.
    Time,
    /// Not for clients to set.
    Skip,
}

#[derive(Clone, Copy, PartialEq)]
enum Empty {
    Kept,
    Absent,
}

#[derive(Clone, Copy)]
struct Field {
    number: u64,
    name: &'static str,
    kind: Kind,
    repeated: bool,
}

const fn one(number: u64, name: &'static str, kind: Kind) -> Field {
    Field {
        number,
        name,
        kind,
        repeated: false,
    }
}

const fn many(number: u64, name: &'static str, kind: Kind) -> Field {
    Field {
        number,
        name,
        kind,
        repeated: true,
    }
}

use Empty::{Absent, Kept};
use Kind::{
    Bool, BytesMap, Int, Message, PlainBool, PlainInt, Quantity, QuantityMap, Skip, Text, TextMap,
    Time,
};

const OWNER: &[Field] = &[
    one(1, "kind", Text),
    one(3, "name", Text),
    one(4, "uid", Text),
    one(5, "apiVersion", Text),
    one(6, "controller", Bool),
    one(7, "blockOwnerDeletion", Bool),
];

const METADATA: &[Field] = &[
    one(1, "name", Text),
    one(2, "generateName", Text),
    one(3, "namespace", Text),
    one(4, "selfLink", Text),
    one(5, "uid", Text),
    one(6, "resourceVersion", Text),
    one(7, "generation", PlainInt),
    one(8, "creationTimestamp", Time),
    one(9, "deletionTimestamp", Time),
    one(10, "deletionGracePeriodSeconds", Int),
    one(11, "labels", TextMap),
    one(12, "annotations", TextMap),
    many(13, "ownerReferences", Message(OWNER, Kept)),
    many(14, "finalizers", Text),
    many(17, "managedFields", Skip),
];

const fn metadata() -> Field {
    one(1, "metadata", Message(METADATA, Absent))
}

const SECRET: &[Field] = &[
    metadata(),
    one(2, "data", BytesMap),
    one(3, "type", Text),
    one(4, "stringData", TextMap),
    one(5, "immutable", Bool),
];

const CONFIGMAP: &[Field] = &[
    metadata(),
    one(2, "data", TextMap),
    one(3, "binaryData", BytesMap),
    one(4, "immutable", Bool),
];

const NAMESPACE: &[Field] = &[
    metadata(),
    one(2, "spec", Message(&[many(1, "finalizers", Text)], Absent)),
    one(3, "status", Skip),
];

const NAMED: &[Field] = &[one(1, "name", Text)];

const OBJECT_REFERENCE: &[Field] = &[
    one(1, "kind", Text),
    one(2, "namespace", Text),
    one(3, "name", Text),
    one(4, "uid", Text),
    one(5, "apiVersion", Text),
    one(6, "resourceVersion", Text),
    one(7, "fieldPath", Text),
];

const SERVICE_ACCOUNT: &[Field] = &[
    metadata(),
    many(2, "secrets", Message(OBJECT_REFERENCE, Kept)),
    many(3, "imagePullSecrets", Message(NAMED, Kept)),
    one(4, "automountServiceAccountToken", Bool),
];

const RESOURCES: &[Field] = &[
    one(1, "limits", QuantityMap),
    one(2, "requests", QuantityMap),
];

const FIELD: &[Field] = &[one(1, "apiVersion", Text), one(2, "fieldPath", Text)];

const RESOURCE_FIELD: &[Field] = &[
    one(1, "containerName", Text),
    one(2, "resource", Text),
    one(3, "divisor", Quantity),
];

const VALUE_FROM: &[Field] = &[
    one(1, "fieldRef", Message(FIELD, Kept)),
    one(2, "resourceFieldRef", Message(RESOURCE_FIELD, Kept)),
    one(3, "configMapKeyRef", Message(KEY_OF, Kept)),
    one(4, "secretKeyRef", Message(KEY_OF, Kept)),
];

const KEY_OF: &[Field] = &[
    // The name is in an embedded reference; it is lifted out of it below.
    one(1, "", Message(NAMED, Absent)),
    one(2, "key", Text),
    one(3, "optional", Bool),
];

const ENV: &[Field] = &[
    one(1, "name", Text),
    one(2, "value", Text),
    one(3, "valueFrom", Message(VALUE_FROM, Kept)),
];

const OPTIONAL: &[Field] = &[one(1, "", Message(NAMED, Absent)), one(2, "optional", Bool)];

const ENV_FROM: &[Field] = &[
    one(1, "prefix", Text),
    one(2, "configMapRef", Message(OPTIONAL, Kept)),
    one(3, "secretRef", Message(OPTIONAL, Kept)),
];

const ITEM: &[Field] = &[
    one(1, "key", Text),
    one(2, "path", Text),
    one(3, "mode", Int),
];

const DOWNWARD_FILE: &[Field] = &[
    one(1, "path", Text),
    one(2, "fieldRef", Message(FIELD, Kept)),
    one(3, "resourceFieldRef", Message(RESOURCE_FIELD, Kept)),
    one(4, "mode", Int),
];

/// A ConfigMap or a Secret among the sources of a projected volume.
const PROJECTION: &[Field] = &[
    one(1, "", Message(NAMED, Absent)),
    many(2, "items", Message(ITEM, Kept)),
    one(4, "optional", Bool),
];

const PROJECTED: &[Field] = &[
    one(1, "secret", Message(PROJECTION, Kept)),
    one(
        2,
        "downwardAPI",
        Message(&[many(1, "items", Message(DOWNWARD_FILE, Kept))], Kept),
    ),
    one(3, "configMap", Message(PROJECTION, Kept)),
    one(
        4,
        "serviceAccountToken",
        Message(
            &[
                one(1, "audience", Text),
                one(2, "expirationSeconds", Int),
                one(3, "path", Text),
            ],
            Kept,
        ),
    ),
];

const VOLUME_SOURCE: &[Field] = &[
    one(
        1,
        "hostPath",
        Message(&[one(1, "path", Text), one(2, "type", Text)], Kept),
    ),
    one(
        2,
        "emptyDir",
        Message(
            &[one(1, "medium", Text), one(2, "sizeLimit", Quantity)],
            Kept,
        ),
    ),
    one(
        6,
        "secret",
        Message(
            &[
                one(1, "secretName", Text),
                many(2, "items", Message(ITEM, Kept)),
                one(3, "defaultMode", Int),
                one(4, "optional", Bool),
            ],
            Kept,
        ),
    ),
    one(
        10,
        "persistentVolumeClaim",
        Message(
            &[one(1, "claimName", Text), one(2, "readOnly", PlainBool)],
            Kept,
        ),
    ),
    one(
        16,
        "downwardAPI",
        Message(
            &[
                many(1, "items", Message(DOWNWARD_FILE, Kept)),
                one(2, "defaultMode", Int),
            ],
            Kept,
        ),
    ),
    one(
        19,
        "configMap",
        Message(
            &[
                one(1, "", Message(NAMED, Absent)),
                many(2, "items", Message(ITEM, Kept)),
                one(3, "defaultMode", Int),
                one(4, "optional", Bool),
            ],
            Kept,
        ),
    ),
    one(
        26,
        "projected",
        Message(
            &[
                many(1, "sources", Message(PROJECTED, Kept)),
                one(2, "defaultMode", Int),
            ],
            Kept,
        ),
    ),
];

const VOLUME: &[Field] = &[
    one(1, "name", Text),
    one(2, "", Message(VOLUME_SOURCE, Absent)),
];

const SECCOMP: &[Field] = &[one(1, "type", Text), one(2, "localhostProfile", Text)];

const SECURITY: &[Field] = &[
    one(
        1,
        "capabilities",
        Message(&[many(1, "add", Text), many(2, "drop", Text)], Kept),
    ),
    one(2, "privileged", Bool),
    one(4, "runAsUser", Int),
    one(5, "runAsNonRoot", Bool),
    one(6, "readOnlyRootFilesystem", Bool),
    one(7, "allowPrivilegeEscalation", Bool),
    one(8, "runAsGroup", Int),
    one(9, "procMount", Text),
    one(11, "seccompProfile", Message(SECCOMP, Kept)),
];

const POD_SECURITY: &[Field] = &[
    one(2, "runAsUser", Int),
    one(3, "runAsNonRoot", Bool),
    many(4, "supplementalGroups", Int),
    one(5, "fsGroup", Int),
    one(6, "runAsGroup", Int),
    one(9, "fsGroupChangePolicy", Text),
    one(10, "seccompProfile", Message(SECCOMP, Kept)),
    one(12, "supplementalGroupsPolicy", Text),
];

const TOLERATION: &[Field] = &[
    one(1, "key", Text),
    one(2, "operator", Text),
    one(3, "value", Text),
    one(4, "effect", Text),
    one(5, "tolerationSeconds", Int),
];

const HOST_ALIAS: &[Field] = &[one(1, "ip", Text), many(2, "hostnames", Text)];

const MOUNT: &[Field] = &[
    one(1, "name", Text),
    one(2, "readOnly", PlainBool),
    one(3, "mountPath", Text),
    one(4, "subPath", Text),
    one(5, "mountPropagation", Text),
    one(6, "subPathExpr", Text),
];

const PORT: &[Field] = &[
    one(1, "name", Text),
    one(2, "hostPort", PlainInt),
    one(3, "containerPort", PlainInt),
    one(4, "protocol", Text),
    one(5, "hostIP", Text),
];

const CONTAINER: &[Field] = &[
    one(1, "name", Text),
    one(2, "image", Text),
    many(3, "command", Text),
    many(4, "args", Text),
    one(5, "workingDir", Text),
    many(6, "ports", Message(PORT, Kept)),
    many(7, "env", Message(ENV, Kept)),
    one(8, "resources", Message(RESOURCES, Absent)),
    many(9, "volumeMounts", Message(MOUNT, Kept)),
    one(13, "terminationMessagePath", Text),
    one(14, "imagePullPolicy", Text),
    one(15, "securityContext", Message(SECURITY, Kept)),
    one(16, "stdin", PlainBool),
    one(17, "stdinOnce", PlainBool),
    one(18, "tty", PlainBool),
    many(19, "envFrom", Message(ENV_FROM, Kept)),
    one(20, "terminationMessagePolicy", Text),
];

const POD_SPEC: &[Field] = &[
    many(1, "volumes", Message(VOLUME, Kept)),
    many(2, "containers", Message(CONTAINER, Kept)),
    one(3, "restartPolicy", Text),
    one(4, "terminationGracePeriodSeconds", Int),
    one(5, "activeDeadlineSeconds", Int),
    one(6, "dnsPolicy", Text),
    one(7, "nodeSelector", TextMap),
    one(8, "serviceAccountName", Text),
    one(9, "serviceAccount", Text),
    one(10, "nodeName", Text),
    one(11, "hostNetwork", PlainBool),
    one(12, "hostPID", PlainBool),
    one(13, "hostIPC", PlainBool),
    one(14, "securityContext", Message(POD_SECURITY, Kept)),
    many(15, "imagePullSecrets", Message(NAMED, Kept)),
    one(16, "hostname", Text),
    one(17, "subdomain", Text),
    one(19, "schedulerName", Text),
    many(20, "initContainers", Message(CONTAINER, Kept)),
    one(21, "automountServiceAccountToken", Bool),
    many(22, "tolerations", Message(TOLERATION, Kept)),
    many(23, "hostAliases", Message(HOST_ALIAS, Kept)),
    one(24, "priorityClassName", Text),
    one(25, "priority", Int),
    one(27, "shareProcessNamespace", Bool),
    one(30, "enableServiceLinks", Bool),
    one(31, "preemptionPolicy", Text),
];

const POD: &[Field] = &[
    metadata(),
    one(2, "spec", Message(POD_SPEC, Absent)),
    one(3, "status", Skip),
];

const TEMPLATE: &[Field] = &[metadata(), one(2, "spec", Message(POD_SPEC, Absent))];

const JOB_SPEC: &[Field] = &[
    one(1, "parallelism", Int),
    one(2, "completions", Int),
    one(3, "activeDeadlineSeconds", Int),
    one(
        4,
        "selector",
        Message(&[one(1, "matchLabels", TextMap)], Kept),
    ),
    one(5, "manualSelector", Bool),
    one(6, "template", Message(TEMPLATE, Absent)),
    one(7, "backoffLimit", Int),
    one(8, "ttlSecondsAfterFinished", Int),
    one(9, "completionMode", Text),
    one(10, "suspend", Bool),
    one(14, "podReplacementPolicy", Text),
];

const JOB: &[Field] = &[
    metadata(),
    one(2, "spec", Message(JOB_SPEC, Absent)),
    one(3, "status", Skip),
];

const ACCESS: &[Field] = &[
    one(1, "namespace", Text),
    one(2, "verb", Text),
    one(3, "group", Text),
    one(4, "version", Text),
    one(5, "resource", Text),
    one(6, "subresource", Text),
    one(7, "name", Text),
];

const ACCESS_REVIEW: &[Field] = &[
    metadata(),
    one(
        2,
        "spec",
        Message(
            &[
                one(1, "resourceAttributes", Message(ACCESS, Kept)),
                one(
                    2,
                    "nonResourceAttributes",
                    Message(&[one(1, "path", Text), one(2, "verb", Text)], Kept),
                ),
            ],
            Absent,
        ),
    ),
    one(3, "status", Skip),
];

const RULES_REVIEW: &[Field] = &[
    metadata(),
    one(2, "spec", Message(&[one(1, "namespace", Text)], Absent)),
    one(3, "status", Skip),
];

const SELF_REVIEW: &[Field] = &[metadata(), one(2, "status", Skip)];

const TOKEN_REQUEST: &[Field] = &[
    metadata(),
    one(
        2,
        "spec",
        Message(
            &[
                many(1, "audiences", Text),
                one(
                    3,
                    "boundObjectRef",
                    Message(
                        &[
                            one(1, "kind", Text),
                            one(2, "apiVersion", Text),
                            one(3, "name", Text),
                            one(4, "uid", Text),
                        ],
                        Kept,
                    ),
                ),
                one(4, "expirationSeconds", Int),
            ],
            Absent,
        ),
    ),
    one(3, "status", Skip),
];

const DELETE_OPTIONS: &[Field] = &[
    one(1, "gracePeriodSeconds", Int),
    one(
        2,
        "preconditions",
        Message(
            &[one(1, "uid", Text), one(2, "resourceVersion", Text)],
            Kept,
        ),
    ),
    one(3, "orphanDependents", Bool),
    one(4, "propagationPolicy", Text),
    many(5, "dryRun", Text),
    one(6, "ignoreStoreReadErrorWithClusterBreakingPotential", Skip),
];

fn table(kind: &str) -> Option<&'static [Field]> {
    Some(match kind {
        "Secret" => SECRET,
        "ConfigMap" => CONFIGMAP,
        "Namespace" => NAMESPACE,
        "ServiceAccount" => SERVICE_ACCOUNT,
        "Job" => JOB,
        "Pod" => POD,
        "SelfSubjectAccessReview" => ACCESS_REVIEW,
        "SelfSubjectRulesReview" => RULES_REVIEW,
        "SelfSubjectReview" => SELF_REVIEW,
        "TokenRequest" => TOKEN_REQUEST,
        "DeleteOptions" => DELETE_OPTIONS,
        _ => return None,
    })
}

/// One field of a message on the wire.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or("a number is cut off")?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number is too long".into())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or("a field is cut off")?;
        self.0 = rest;
        Ok(taken)
    }

    fn next(&mut self) -> Result<Option<(u64, Wire<'a>)>, String> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Number(self.varint()?),
            1 => Wire::Bytes(self.take(8)?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|e| e.to_string())?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Bytes(self.take(4)?),
            other => return Err(format!("wire type {other} is not used by Kubernetes")),
        };
        Ok(Some((tag >> 3, wire)))
    }
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a text is not UTF-8".to_owned())
}

/// A message of one text field, as quantities are.
fn wrapped_text(bytes: &[u8]) -> Result<String, String> {
    let mut reader = Reader(bytes);
    let mut out = String::new();
    while let Some((number, wire)) = reader.next()? {
        if let (1, Wire::Bytes(bytes)) = (number, wire) {
            out = text(bytes)?;
        }
    }
    Ok(out)
}

fn map_entry(bytes: &[u8], kind: Kind) -> Result<(String, Value), String> {
    let mut reader = Reader(bytes);
    let (mut key, mut value) = (String::new(), json!(""));
    while let Some((number, wire)) = reader.next()? {
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => key = text(bytes)?,
            (2, Wire::Bytes(bytes)) => {
                value = json!(match kind {
                    BytesMap => STANDARD.encode(bytes),
                    QuantityMap => wrapped_text(bytes)?,
                    _ => text(bytes)?,
                });
            }
            _ => return Err("a map entry has fields besides key and value".into()),
        }
    }
    Ok((key, value))
}

fn time(bytes: &[u8]) -> Result<Option<Value>, String> {
    let mut reader = Reader(bytes);
    let mut seconds = None;
    while let Some((number, wire)) = reader.next()? {
        if let (1, Wire::Number(value)) = (number, wire) {
            seconds = Some(value as i64);
        }
    }
    Ok(seconds.map(|s| json!(super::age::rfc3339(s))))
}

fn message(bytes: &[u8], fields: &[Field], at: &str, depth: usize) -> Result<Value, String> {
    if depth > 32 {
        return Err("messages are nested too deep".into());
    }
    let mut out = Map::new();
    let mut reader = Reader(bytes);
    while let Some((number, wire)) = reader.next()? {
        let field = fields
            .iter()
            .find(|f| f.number == number)
            .ok_or_else(|| format!("field {number} of {at} is not read in this form; send JSON"))?;
        let path = format!("{at}.{}", field.name);
        let value = match (field.kind, wire) {
            (Skip, _) => continue,
            (Text, Wire::Bytes(bytes)) => {
                let text = text(bytes)?;
                if text.is_empty() && !field.repeated {
                    continue;
                }
                json!(text)
            }
            (Int, Wire::Number(n)) => json!(n as i64),
            (Bool, Wire::Number(n)) => json!(n != 0),
            (PlainInt, Wire::Number(0)) | (PlainBool, Wire::Number(0)) => continue,
            (PlainInt, Wire::Number(n)) => json!(n as i64),
            (PlainBool, Wire::Number(_)) => json!(true),
            (Quantity, Wire::Bytes(bytes)) => json!(wrapped_text(bytes)?),
            (Time, Wire::Bytes(bytes)) => match time(bytes)? {
                Some(value) => value,
                None => continue,
            },
            (kind @ (TextMap | BytesMap | QuantityMap), Wire::Bytes(bytes)) => {
                let (key, value) = map_entry(bytes, kind)?;
                let slot = out.entry(field.name).or_insert_with(|| json!({}));
                slot[key] = value;
                continue;
            }
            (Message(fields, empty), Wire::Bytes(bytes)) => {
                let value = message(bytes, fields, &path, depth + 1)?;
                if empty == Absent && value.as_object().is_some_and(Map::is_empty) {
                    continue;
                }
                value
            }
            _ => return Err(format!("{path} has the wrong wire type")),
        };
        if field.repeated {
            match out.entry(field.name).or_insert_with(|| json!([])) {
                Value::Array(items) => items.push(value),
                _ => return Err(format!("{path} is there in two forms")),
            }
        } else if field.name.is_empty() {
            // An embedded message: its fields are this message's.
            if let Value::Object(fields) = value {
                out.extend(fields);
            }
        } else {
            out.insert(field.name.to_owned(), value);
        }
    }
    Ok(Value::Object(out))
}

/// Reads an object.
pub fn parse(bytes: &[u8]) -> Result<Value, String> {
    let envelope = bytes
        .strip_prefix(b"k8s\0")
        .ok_or("the protobuf prefix is missing")?;
    let (mut version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    let mut reader = Reader(envelope);
    while let Some((number, wire)) = reader.next()? {
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => {
                let mut meta = Reader(bytes);
                while let Some((number, wire)) = meta.next()? {
                    match (number, wire) {
                        (1, Wire::Bytes(bytes)) => version = text(bytes)?,
                        (2, Wire::Bytes(bytes)) => kind = text(bytes)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let fields = table(&kind)
        .ok_or_else(|| format!("objects of kind {kind:?} are not read from protobuf; send JSON"))?;
    let mut value = message(raw, fields, &kind, 0)?;
    value["apiVersion"] = json!(version);
    value["kind"] = json!(kind);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(base64: &str) -> Value {
        parse(&STANDARD.decode(base64).unwrap()).unwrap()
    }

    #[test]
    fn what_kubectl_create_sends_is_read() {
        let secret = read(
            "azhzAAoMCgJ2MRIGU2VjcmV0EiIKFgoBZxIAGgVwcm90byIAKgAyADgAQgASBgoBYRIBYhoAGgAiAA==",
        );
        let expected = json!({"metadata": {"name": "g", "namespace": "proto"}, "data": {"a": "Yg=="}, "apiVersion": "v1", "kind": "Secret"});
        // Go writes an empty map entry list as nothing and a lone key as an entry; both read.
        assert_eq!(secret, expected);
        let map = read(
            "azhzAAoPCgJ2MRIJQ29uZmlnTWFwEiAKFgoBYxIAGgVwcm90byIAKgAyADgAQgASBgoBYRIBYhoAIgA=",
        );
        assert_eq!(map["data"], json!({"a": "b"}));
        let namespace =
            read("azhzAAoPCgJ2MRIJTmFtZXNwYWNlEh4KFgoGcHJvdG8yEgAaACIAKgAyADgAQgASABoCCgAaACIA");
        assert_eq!(
            namespace,
            json!({"metadata": {"name": "proto2"}, "apiVersion": "v1", "kind": "Namespace"})
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_refused_not_a_crash(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut body = b"k8s\0\x0a\x0c\x0a\x02v1\x12\x06Secret\x12".to_vec();
            body.push(bytes.len() as u8);
            body.extend(bytes);
            let _ = parse(&body);
        }
    }
}
