//! The one table of resources the API serves. A new kind is one entry here: discovery, paths,
//! verbs, selectors, tables and validation all read it, and no handler knows a kind.
//!
//! What a column shows is in [`crate::api::table`], defaults and checks per kind in
//! [`crate::api::kinds`]; the entries point at them.

use k8s_openapi::api::{authentication, authorization};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::Value;

use crate::api::kinds;
use crate::api::table::{self, Column};

/// How the server treats bodies of a kind: Kubernetes differs between types it compiles in and
/// custom resources, and clients see the difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// A type of Kubernetes itself: fields are known, strategic merge patch works.
    BuiltIn,
    /// A custom resource: unknown fields are kept, strategic merge patch is refused.
    Custom,
}

/// Which verbs a resource has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbs {
    /// create, delete, deletecollection, get, list, patch, update, watch.
    All,
    /// All but deletecollection (namespaces).
    NoDeleteCollection,
    /// All, in the order in which discovery lists them for custom resources.
    Custom,
    /// get, list, watch.
    Read,
    /// create only: a question, answered at once and not stored.
    Review,
}

impl Verbs {
    /// The names as discovery lists them.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Verbs::All => &[
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch",
            ],
            Verbs::Custom => &[
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "create",
                "update",
                "watch",
            ],
            Verbs::NoDeleteCollection => &[
                "create", "delete", "get", "list", "patch", "update", "watch",
            ],
            Verbs::Read => &["get", "list", "watch"],
            Verbs::Review => &["create"],
        }
    }

    /// Whether a verb is among them.
    pub fn has(self, verb: &str) -> bool {
        self.names().contains(&verb)
    }
}

/// A subresource and its verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subresource {
    /// `status`, `log`, …
    pub name: &'static str,
    /// The kind discovery names.
    pub kind: &'static str,
    /// Its verbs.
    pub verbs: &'static [&'static str],
}

impl Subresource {
    /// Group and version of its kind where they are not its resource's.
    pub fn group_version(&self) -> Option<(&'static str, &'static str)> {
        (self.kind == "TokenRequest").then_some(("authentication.k8s.io", "v1"))
    }
}

/// The rule for `metadata.name`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// RFC 1123 subdomain: lower case, digits, `-` and `.`, 253 characters.
    Subdomain,
    /// RFC 1123 label: no dots, 63 characters.
    Label,
}

/// A field selector beyond `metadata.name` and `metadata.namespace`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The label in the selector, e.g. `status.phase`.
    pub label: &'static str,
    /// Where the value is, as a JSON pointer in the stored form.
    pub pointer: &'static str,
}

/// One kind the API serves.
pub struct Resource {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version within the group.
    pub version: &'static str,
    /// Plural name, as in paths.
    pub plural: &'static str,
    /// Singular name.
    pub singular: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// In a namespace or not.
    pub namespaced: bool,
    /// Short names for command lines.
    pub short_names: &'static [&'static str],
    /// Categories (`all`, …).
    pub categories: &'static [&'static str],
    /// Its verbs.
    pub verbs: Verbs,
    /// Its subresources.
    pub subresources: &'static [Subresource],
    /// Subresources that people ask for and that are refused by name.
    pub refused: &'static [&'static str],
    /// Type of Kubernetes or custom resource.
    pub flavor: Flavor,
    /// Whether `metadata.generation` counts changes of the spec.
    pub generation: bool,
    /// Where objects are kept: resources with the same storage show the same objects.
    pub storage: &'static str,
    /// The rule for names.
    pub names: NameRule,
    /// Additional field selectors.
    pub fields: &'static [Field],
    /// Whether a field selector error is Kubernetes' generic one or the one of types with a
    /// conversion of their own (pods, jobs, events, custom resources).
    pub own_field_labels: bool,
    /// Columns of its Table.
    pub columns: &'static [Column],
    /// The cells of one object, in the order of the columns after the name.
    pub cells: fn(&Value) -> Vec<table::Cell>,
    /// Defaults and checks.
    pub kind_rules: kinds::Rules,
}

impl std::fmt::Debug for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Resource({})", self.qualified())
    }
}

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.group == other.group && self.version == other.version && self.plural == other.plural
    }
}

impl Resource {
    /// `v1` or `group/version`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `configmaps` or `experiments.kubeflow.org`, as error messages name a resource.
    pub fn qualified(&self) -> String {
        qualify(self.plural, self.group)
    }

    /// `ConfigMap` or `Experiment.kubeflow.org`, as validation messages name a kind.
    pub fn qualified_kind(&self) -> String {
        qualify(self.kind, self.group)
    }

    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Whether the status is written apart from the rest.
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }
}

fn qualify(name: &str, group: &str) -> String {
    if group.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{group}")
    }
}

const STATUS_VERBS: &[&str] = &["get", "patch", "update"];

macro_rules! status {
    ($kind:literal) => {
        Subresource {
            name: "status",
            kind: $kind,
            verbs: STATUS_VERBS,
        }
    };
}

/// What every entry starts from; an entry names what differs.
const BASE: Resource = Resource {
    group: "",
    version: "v1",
    plural: "",
    singular: "",
    kind: "",
    namespaced: true,
    short_names: &[],
    categories: &[],
    verbs: Verbs::All,
    subresources: &[],
    refused: &[],
    flavor: Flavor::BuiltIn,
    generation: false,
    storage: "",
    names: NameRule::Subdomain,
    fields: &[],
    own_field_labels: false,
    columns: table::NAME_AGE,
    cells: table::age_only,
    kind_rules: kinds::Rules::NONE,
};

const fn katib(
    plural: &'static str,
    singular: &'static str,
    kind: &'static str,
    storage: &'static str,
    subresources: &'static [Subresource],
) -> Resource {
    Resource {
        group: "kubeflow.org",
        version: "v1beta1",
        plural,
        singular,
        kind,
        categories: &["all", "kubeflow", "katib"],
        verbs: Verbs::Custom,
        subresources,
        flavor: Flavor::Custom,
        generation: true,
        storage,
        own_field_labels: true,
        columns: table::CONDITION_COLUMNS,
        cells: table::condition_cells,
        ..BASE
    }
}

const EVENT_FIELDS: &[Field] = &[
    Field {
        label: "involvedObject.kind",
        pointer: "/involvedObject/kind",
    },
    Field {
        label: "involvedObject.namespace",
        pointer: "/involvedObject/namespace",
    },
    Field {
        label: "involvedObject.name",
        pointer: "/involvedObject/name",
    },
    Field {
        label: "involvedObject.uid",
        pointer: "/involvedObject/uid",
    },
    Field {
        label: "involvedObject.apiVersion",
        pointer: "/involvedObject/apiVersion",
    },
    Field {
        label: "involvedObject.resourceVersion",
        pointer: "/involvedObject/resourceVersion",
    },
    Field {
        label: "involvedObject.fieldPath",
        pointer: "/involvedObject/fieldPath",
    },
    Field {
        label: "reason",
        pointer: "/reason",
    },
    Field {
        label: "reportingComponent",
        pointer: "/reportingComponent",
    },
    Field {
        label: "source",
        pointer: "/source/component",
    },
    Field {
        label: "type",
        pointer: "/type",
    },
];

const NEW_EVENT_FIELDS: &[Field] = &[
    Field {
        label: "regarding.kind",
        pointer: "/involvedObject/kind",
    },
    Field {
        label: "regarding.namespace",
        pointer: "/involvedObject/namespace",
    },
    Field {
        label: "regarding.name",
        pointer: "/involvedObject/name",
    },
    Field {
        label: "regarding.uid",
        pointer: "/involvedObject/uid",
    },
    Field {
        label: "regarding.apiVersion",
        pointer: "/involvedObject/apiVersion",
    },
    Field {
        label: "regarding.resourceVersion",
        pointer: "/involvedObject/resourceVersion",
    },
    Field {
        label: "regarding.fieldPath",
        pointer: "/involvedObject/fieldPath",
    },
    Field {
        label: "reason",
        pointer: "/reason",
    },
    Field {
        label: "reportingController",
        pointer: "/reportingComponent",
    },
    Field {
        label: "type",
        pointer: "/type",
    },
];

/// Every resource, in the order of discovery.
pub static RESOURCES: &[Resource] = &[
    Resource {
        plural: "configmaps",
        singular: "configmap",
        kind: "ConfigMap",
        short_names: &["cm"],
        storage: "configmaps",
        columns: table::CONFIGMAP_COLUMNS,
        cells: table::configmap_cells,
        kind_rules: kinds::CONFIGMAP,
        ..BASE
    },
    Resource {
        plural: "events",
        singular: "event",
        kind: "Event",
        short_names: &["ev"],
        storage: "events",
        fields: EVENT_FIELDS,
        own_field_labels: true,
        columns: table::EVENT_COLUMNS,
        cells: table::event_cells,
        kind_rules: kinds::EVENT,
        ..BASE
    },
    Resource {
        plural: "namespaces",
        singular: "namespace",
        kind: "Namespace",
        namespaced: false,
        short_names: &["ns"],
        verbs: Verbs::NoDeleteCollection,
        subresources: &[
            Subresource {
                name: "finalize",
                kind: "Namespace",
                verbs: &["update"],
            },
            status!("Namespace"),
        ],
        storage: "namespaces",
        names: NameRule::Label,
        fields: &[Field {
            label: "status.phase",
            pointer: "/status/phase",
        }],
        own_field_labels: true,
        columns: table::PHASE_COLUMNS,
        cells: table::phase_cells,
        kind_rules: kinds::NAMESPACE,
        ..BASE
    },
    Resource {
        plural: "nodes",
        singular: "node",
        kind: "Node",
        namespaced: false,
        short_names: &["no"],
        subresources: &[status!("Node")],
        storage: "minions",
        fields: &[Field {
            label: "spec.unschedulable",
            pointer: "/spec/unschedulable",
        }],
        own_field_labels: true,
        columns: table::NODE_COLUMNS,
        cells: table::node_cells,
        kind_rules: kinds::NODE,
        ..BASE
    },
    Resource {
        plural: "persistentvolumeclaims",
        singular: "persistentvolumeclaim",
        kind: "PersistentVolumeClaim",
        short_names: &["pvc"],
        subresources: &[status!("PersistentVolumeClaim")],
        storage: "persistentvolumeclaims",
        columns: table::PVC_COLUMNS,
        cells: table::pvc_cells,
        kind_rules: kinds::PVC,
        ..BASE
    },
    Resource {
        plural: "pods",
        singular: "pod",
        kind: "Pod",
        short_names: &["po"],
        categories: &["all"],
        subresources: &[
            Subresource {
                name: "attach",
                kind: "PodAttachOptions",
                verbs: &["create", "get"],
            },
            Subresource {
                name: "binding",
                kind: "Binding",
                verbs: &["create"],
            },
            Subresource {
                name: "exec",
                kind: "PodExecOptions",
                verbs: &["create", "get"],
            },
            Subresource {
                name: "log",
                kind: "Pod",
                verbs: &["get"],
            },
            status!("Pod"),
        ],
        refused: &["portforward"],
        generation: true,
        storage: "pods",
        fields: &[
            Field {
                label: "spec.nodeName",
                pointer: "/spec/nodeName",
            },
            Field {
                label: "spec.restartPolicy",
                pointer: "/spec/restartPolicy",
            },
            Field {
                label: "spec.schedulerName",
                pointer: "/spec/schedulerName",
            },
            Field {
                label: "spec.serviceAccountName",
                pointer: "/spec/serviceAccountName",
            },
            Field {
                label: "spec.hostNetwork",
                pointer: "/spec/hostNetwork",
            },
            Field {
                label: "status.phase",
                pointer: "/status/phase",
            },
            Field {
                label: "status.podIP",
                pointer: "/status/podIP",
            },
            Field {
                label: "status.nominatedNodeName",
                pointer: "/status/nominatedNodeName",
            },
        ],
        own_field_labels: true,
        columns: table::POD_COLUMNS,
        cells: table::pod_cells,
        kind_rules: kinds::POD,
        ..BASE
    },
    Resource {
        plural: "secrets",
        singular: "secret",
        kind: "Secret",
        storage: "secrets",
        fields: &[Field {
            label: "type",
            pointer: "/type",
        }],
        own_field_labels: true,
        columns: table::SECRET_COLUMNS,
        cells: table::secret_cells,
        kind_rules: kinds::SECRET,
        ..BASE
    },
    Resource {
        plural: "serviceaccounts",
        singular: "serviceaccount",
        kind: "ServiceAccount",
        short_names: &["sa"],
        subresources: &[Subresource {
            name: "token",
            kind: "TokenRequest",
            verbs: &["create"],
        }],
        storage: "serviceaccounts",
        kind_rules: kinds::SERVICE_ACCOUNT,
        ..BASE
    },
    Resource {
        group: "events.k8s.io",
        plural: "events",
        singular: "event",
        kind: "Event",
        short_names: &["ev"],
        storage: "events",
        fields: NEW_EVENT_FIELDS,
        own_field_labels: true,
        columns: table::EVENT_COLUMNS,
        cells: table::event_cells,
        kind_rules: kinds::NEW_EVENT,
        ..BASE
    },
    Resource {
        group: "authentication.k8s.io",
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
        kind: "SelfSubjectReview",
        namespaced: false,
        verbs: Verbs::Review,
        kind_rules: kinds::Rules::of::<authentication::v1::SelfSubjectReview>(),
        ..BASE
    },
    Resource {
        group: "authentication.k8s.io",
        plural: "tokenreviews",
        singular: "tokenreview",
        kind: "TokenReview",
        namespaced: false,
        verbs: Verbs::Review,
        kind_rules: kinds::Rules::of::<authentication::v1::TokenReview>(),
        ..BASE
    },
    Resource {
        group: "authorization.k8s.io",
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        kind: "SelfSubjectAccessReview",
        namespaced: false,
        verbs: Verbs::Review,
        kind_rules: kinds::Rules::of::<authorization::v1::SelfSubjectAccessReview>(),
        ..BASE
    },
    Resource {
        group: "authorization.k8s.io",
        plural: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
        kind: "SelfSubjectRulesReview",
        namespaced: false,
        verbs: Verbs::Review,
        kind_rules: kinds::Rules::of::<authorization::v1::SelfSubjectRulesReview>(),
        ..BASE
    },
    Resource {
        group: "authorization.k8s.io",
        plural: "subjectaccessreviews",
        singular: "subjectaccessreview",
        kind: "SubjectAccessReview",
        namespaced: false,
        verbs: Verbs::Review,
        kind_rules: kinds::Rules::of::<authorization::v1::SubjectAccessReview>(),
        ..BASE
    },
    Resource {
        group: "batch",
        plural: "jobs",
        singular: "job",
        kind: "Job",
        categories: &["all"],
        subresources: &[status!("Job")],
        generation: true,
        storage: "jobs",
        fields: &[Field {
            label: "status.successful",
            pointer: "/status/succeeded",
        }],
        own_field_labels: true,
        columns: table::JOB_COLUMNS,
        cells: table::job_cells,
        kind_rules: kinds::JOB,
        ..BASE
    },
    Resource {
        group: "apiextensions.k8s.io",
        plural: "customresourcedefinitions",
        singular: "customresourcedefinition",
        kind: "CustomResourceDefinition",
        namespaced: false,
        short_names: &["crd", "crds"],
        categories: &["api-extensions"],
        verbs: Verbs::Read,
        storage: "apiextensions.k8s.io/customresourcedefinitions",
        columns: table::CRD_COLUMNS,
        cells: table::crd_cells,
        kind_rules: kinds::Rules::of::<CustomResourceDefinition>(),
        ..BASE
    },
    katib(
        "experiments",
        "experiment",
        "Experiment",
        "kubeflow.org/experiments",
        &[status!("Experiment")],
    ),
    Resource {
        columns: table::SUGGESTION_COLUMNS,
        cells: table::suggestion_cells,
        ..katib(
            "suggestions",
            "suggestion",
            "Suggestion",
            "kubeflow.org/suggestions",
            &[status!("Suggestion")],
        )
    },
    katib(
        "trials",
        "trial",
        "Trial",
        "kubeflow.org/trials",
        &[status!("Trial")],
    ),
];

/// The entry of a path's group, version and plural.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES
        .iter()
        .find(|r| r.group == group && r.version == version && r.plural == plural)
}

/// The entry of an apiVersion and kind, as owner references name it.
pub fn find_kind(api_version: &str, kind: &str) -> Option<&'static Resource> {
    RESOURCES
        .iter()
        .find(|r| r.kind == kind && r.api_version() == api_version)
}

/// The resource that owns a storage (the first entry with it).
pub fn of_storage(storage: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|r| r.storage == storage)
}

/// The storages, each once.
pub fn storages() -> impl Iterator<Item = &'static str> {
    RESOURCES
        .iter()
        .enumerate()
        .filter(|(i, r)| {
            !r.storage.is_empty() && !RESOURCES[..*i].iter().any(|p| p.storage == r.storage)
        })
        .map(|(_, r)| r.storage)
}

/// Groups with their versions, core first, in the order of the table.
pub fn groups() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for r in RESOURCES {
        match groups.iter_mut().find(|(g, _)| *g == r.group) {
            Some((_, versions)) => {
                if !versions.contains(&r.version) {
                    versions.push(r.version);
                }
            }
            None => groups.push((r.group, vec![r.version])),
        }
    }
    groups
}
