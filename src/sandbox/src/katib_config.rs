//! Katib's configuration: the ConfigMap `katib-config`, read on every use as Katib reads it.
//!
//! Of `runtime.suggestions[]` an entry with an image of its own names an algorithm that runs as a pod, see
//! [`crate::controllers::algorithm`]. The sandbox's own algorithms stand there with an image that says so.
//!
//! # Deliberate differences from Katib
//!
//! - A configuration that cannot be read is refused when it is written. Katib refuses every Experiment afterwards.
//! - `livenessProbe`, `readinessProbe` and `startupProbe` of an entry are left out of the pod: the sandbox asks the
//!   health service itself.
//! - Limits and requests of `ephemeral-storage` are left out: the sandbox enforces none.
//! - `persistentVolumeSpec` is left out: the claim's volume is one of the engine's.
//! - Early stopping and metrics collectors are the sandbox's own, whatever stands there.

use k8s_openapi::api::core::v1::{Container, PersistentVolumeClaimSpec};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Namespace of the ConfigMap.
pub(crate) const NAMESPACE: &str = "kubeflow";
/// Name of the ConfigMap.
pub(crate) const NAME: &str = "katib-config";
/// Key of the ConfigMap.
pub(crate) const KEY: &str = "katib-config.yaml";
/// The image of what runs in the sandbox itself, not as a container.
pub(crate) const BUILT_IN: &str = "katlab.invalid/built-in";
/// The port on which an algorithm answers.
pub(crate) const PORT: u16 = 6789;
/// The name of that port.
pub(crate) const PORT_NAME: &str = "suggestion-api";

/// The part of the configuration that the sandbox acts on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct KatibConfig {
    runtime: Runtime,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Runtime {
    suggestions: Option<Vec<Algorithm>>,
}

/// One entry of `runtime.suggestions[]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Algorithm {
    algorithm_name: String,
    service_account_name: Option<String>,
    volume_mount_path: Option<String>,
    persistent_volume_claim_spec: Option<Value>,
    /// The rest is a container.
    #[serde(flatten)]
    container: Map<String, Value>,
}

impl KatibConfig {
    /// Reads the text of the key.
    ///
    /// # Errors
    /// What cannot be read or run, and where it stands.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let config: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        // An empty text is an empty configuration.
        let config: Option<Self> =
            serde_json::from_value(config).map_err(|error| error.to_string())?;
        let config = config.unwrap_or_default();
        for algorithm in config.own() {
            let about = |error| format!("runtime.suggestions: {}: {error}", algorithm.name());
            algorithm.container().map_err(about)?;
            algorithm.claim().map_err(about)?;
        }
        Ok(config)
    }

    /// The algorithms that run as pods.
    pub(crate) fn own(&self) -> impl Iterator<Item = &Algorithm> {
        let all = self.runtime.suggestions.iter().flatten();
        all.filter(|algorithm| algorithm.is_own())
    }

    /// The algorithm of that name that runs as a pod. Of several entries the last one counts.
    pub(crate) fn algorithm(&self, name: &str) -> Option<&Algorithm> {
        let mut all = self.runtime.suggestions.iter().flatten();
        all.rfind(|algorithm| algorithm.name() == name)
            .filter(|algorithm| algorithm.is_own())
    }
}

impl Algorithm {
    /// `algorithmName`.
    pub(crate) fn name(&self) -> &str {
        &self.algorithm_name
    }

    fn is_own(&self) -> bool {
        let image = self.image().trim();
        !image.is_empty() && image != BUILT_IN
    }

    fn image(&self) -> &str {
        self.container
            .get("image")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The service account of the pod, if not the default one.
    pub(crate) fn service_account(&self) -> Option<&str> {
        self.service_account_name.as_deref()
    }

    /// Where the volume is mounted, if there is one.
    pub(crate) fn mount_path(&self) -> &str {
        self.volume_mount_path
            .as_deref()
            .filter(|path| !path.is_empty())
            .unwrap_or("/opt/katib/data")
    }

    /// The pod's container, with Katib's defaults.
    ///
    /// # Errors
    /// When it is none, or takes the port that Katib gives it.
    pub(crate) fn container(&self) -> Result<Container, String> {
        let mut container = self.container.clone();
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            container.remove(probe);
        }
        let unset = |value: Option<&Value>| {
            value.is_none_or(|value| value.is_null() || value.as_str() == Some(""))
        };
        if unset(container.get("name")) {
            container.insert("name".to_owned(), json!("suggestion"));
        }
        if unset(container.get("imagePullPolicy")) {
            container.insert("imagePullPolicy".to_owned(), json!("IfNotPresent"));
        }
        let resources = container.remove("resources").unwrap_or_default();
        container.insert("resources".to_owned(), with_defaults(resources));
        let mut container: Container =
            serde_json::from_value(container.into()).map_err(|error| error.to_string())?;
        let ports = container.ports.get_or_insert_default();
        let taken = ports.iter().any(|port| {
            port.container_port == i32::from(PORT) || port.name.as_deref() == Some(PORT_NAME)
        });
        if taken {
            return Err(format!(
                "invalid suggestion config: port {PORT} and the name {PORT_NAME} are Katib's; remove them from ports"
            ));
        }
        ports.push(k8s_openapi::api::core::v1::ContainerPort {
            name: Some(PORT_NAME.to_owned()),
            container_port: PORT.into(),
            ..Default::default()
        });
        Ok(container)
    }

    /// What the claim asks for under resume policy `FromVolume`, with Katib's defaults.
    ///
    /// # Errors
    /// When it is no specification of a claim.
    pub(crate) fn claim(&self) -> Result<PersistentVolumeClaimSpec, String> {
        let given = self.persistent_volume_claim_spec.clone();
        let mut claim: PersistentVolumeClaimSpec =
            serde_json::from_value(given.unwrap_or_else(|| json!({})))
                .map_err(|error| format!("persistentVolumeClaimSpec: {error}"))?;
        claim
            .access_modes
            .get_or_insert_with(|| vec!["ReadWriteOnce".to_owned()]);
        let requests = claim
            .resources
            .get_or_insert_default()
            .requests
            .get_or_insert_default();
        if requests.is_empty() {
            let size = k8s_openapi::apimachinery::pkg::api::resource::Quantity("1Gi".to_owned());
            requests.insert("storage".to_owned(), size);
        }
        Ok(claim)
    }
}

/// Requests and limits as Katib fills them in; a negative quantity takes one away.
fn with_defaults(given: Value) -> Value {
    let defaults = json!({
        "requests": {"cpu": "50m", "memory": "10Mi"},
        "limits": {"cpu": "500m", "memory": "100Mi"},
    });
    let (Value::Object(mut resources), Value::Object(defaults)) = (given.clone(), defaults) else {
        // Absent, or something that the container's own types will refuse.
        return if given.is_null() {
            with_defaults(json!({}))
        } else {
            given
        };
    };
    for (kind, defaults) in defaults {
        let held = resources.entry(kind).or_insert_with(|| json!({}));
        let (Some(held), Value::Object(defaults)) = (held.as_object_mut(), defaults) else {
            continue;
        };
        for (resource, quantity) in defaults {
            held.entry(resource).or_insert(quantity);
        }
        for quantity in held.values_mut().filter(|quantity| quantity.is_number()) {
            *quantity = quantity.to_string().into();
        }
        held.remove("ephemeral-storage");
        held.retain(|_, quantity| !quantity.as_str().is_some_and(|q| q.starts_with('-')));
    }
    resources.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "
runtime:
  suggestions:
    - {algorithmName: random, image: katlab.invalid/built-in}
    - {algorithmName: blank, image: ' '}
    - {algorithmName: mine, image: first}
    - algorithmName: mine
      image: mine:1
      command: [python3, /mine.py]
      serviceAccountName: searcher
      readinessProbe: {grpc: {port: 6789}}
      resources: {limits: {memory: 1Gi, cpu: '-1', ephemeral-storage: 1Gi}}
      persistentVolumeClaimSpec: {resources: {requests: {storage: 5Gi}}}
    - {algorithmName: grid, image: mine/grid:2}
";

    #[test]
    fn an_algorithm_with_an_image_is_a_container_with_katibs_defaults() {
        let config = KatibConfig::parse(CONFIG).expect("configuration");
        let named: Vec<&str> = config.own().map(Algorithm::name).collect();
        assert_eq!(named, ["mine", "mine", "grid"]);
        for (name, image) in [
            ("random", None),
            ("blank", None),
            ("other", None),
            ("mine", Some("mine:1")),
            ("grid", Some("mine/grid:2")),
        ] {
            let found = config.algorithm(name).map(Algorithm::image);
            assert_eq!(found, image, "{name}");
        }
        let mine = config.algorithm("mine").expect("mine");
        assert_eq!(mine.service_account(), Some("searcher"));
        assert_eq!(mine.mount_path(), "/opt/katib/data");
        let container = serde_json::to_value(mine.container().expect("container")).expect("json");
        assert_eq!(
            container,
            json!({
                "name": "suggestion", "image": "mine:1", "imagePullPolicy": "IfNotPresent",
                "command": ["python3", "/mine.py"],
                "ports": [{"name": "suggestion-api", "containerPort": 6789}],
                "resources": {
                    "requests": {"cpu": "50m", "memory": "10Mi"},
                    "limits": {"memory": "1Gi"}},
            })
        );
        let claim = serde_json::to_value(mine.claim().expect("claim")).expect("json");
        assert_eq!(
            claim,
            json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}})
        );
        assert!(
            KatibConfig::parse("")
                .expect("empty")
                .own()
                .next()
                .is_none()
        );
    }

    #[test]
    fn what_cannot_run_is_refused_with_its_place() {
        let rows = [
            ("runtime: {suggestions: 3}", "invalid type: integer `3`"),
            ("runtime: [", ""),
            (
                "runtime: {suggestions: [{algorithmName: a, image: b, command: run}]}",
                "runtime.suggestions: a: invalid type: string \"run\"",
            ),
            (
                "runtime: {suggestions: [{algorithmName: a, image: b, ports: [{containerPort: 6789}]}]}",
                "runtime.suggestions: a: invalid suggestion config: port 6789",
            ),
            (
                "runtime: {suggestions: [{algorithmName: a, image: b, persistentVolumeClaimSpec: {accessModes: 1}}]}",
                "runtime.suggestions: a: persistentVolumeClaimSpec: ",
            ),
        ];
        for (text, begin) in rows {
            let error = KatibConfig::parse(text).expect_err(text);
            assert!(error.starts_with(begin), "{text}: {error}");
        }
    }
}
