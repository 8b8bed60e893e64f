//! Experiments: defaults, checks, limits.

use katlab_katib::decode::decode_experiment;
use katlab_katib::defaults::set_defaults;
use katlab_katib::names::SANDBOX_COLLECTORS;
use katlab_katib::schema::{Problem, Schema};
use katlab_katib::types::{ConfigMapSource, Experiment};
use katlab_katib::validation::{
    ClusterFacts, ConfigMapText, aggregate, check_namespace, validate_create, validate_update,
};
use serde_json::Value;

use super::{Lookup, Refusal, SANDBOX, limits, text};
use crate::katib_config::{self, KatibConfig};

const DEFAULTER: &str = "defaulter.experiment.katib.kubeflow.org";
const VALIDATOR: &str = "validator.experiment.katib.kubeflow.org";

/// Fills defaults in, drops unknown fields with a warning each, and refuses what Katib
/// refuses and what the sandbox cannot run.
pub(super) fn admit(
    object: &mut Value,
    old: Option<&Value>,
    namespace: Option<&Value>,
    objects: &dyn Lookup,
) -> Result<Vec<String>, Refusal> {
    if object
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(|time| !time.is_null())
    {
        return Ok(Vec::new());
    }
    let warnings = unknown_fields(object);
    let mut experiment = decode_experiment(object.clone())
        .map_err(|error| Refusal::new(DEFAULTER, error.to_string()))?;
    set_defaults(&mut experiment.spec);
    let spec = serde_json::to_value(&experiment.spec)
        .map_err(|error| Refusal::new(DEFAULTER, error.to_string()))?;
    object["spec"] = spec;
    if let Value::Object(fields) = object {
        fields.retain(|name, _| {
            ["apiVersion", "kind", "metadata", "spec", "status"].contains(&name.as_str())
        });
    }

    let labels = namespace.and_then(|namespace| namespace.pointer("/metadata/labels"));
    let labels = labels
        .cloned()
        .and_then(|labels| serde_json::from_value(labels).ok());
    let meta = &experiment.metadata;
    check_namespace(meta.name(), meta.namespace(), &labels.unwrap_or_default())
        .map_err(|text| Refusal::new(VALIDATOR, text))?;

    let template = experiment.spec.trial_template.as_ref();
    let source = template.and_then(|template| template.config_map.as_ref());
    let config_map = source.map_or(ConfigMapText::NotAsked, |source| fetch(source, objects));
    let config = configuration(objects);
    let mut facts = ClusterFacts {
        config_map,
        collectors: SANDBOX_COLLECTORS
            .iter()
            .map(|kind| (*kind).to_owned())
            .collect(),
        ..ClusterFacts::default()
    };
    let own = config.own().map(|algorithm| algorithm.name().to_owned());
    facts.algorithms.extend(own);
    let errors = match old.cloned().map(serde_json::from_value::<Experiment>) {
        Some(Ok(old)) => validate_update(&experiment, &old, &facts),
        // An old object that does not decode was stored past this admission.
        Some(Err(_)) | None => validate_create(&experiment, &facts),
    };
    if let Some(text) = aggregate(&errors) {
        return Err(Refusal::new(VALIDATOR, text));
    }
    if old.is_none() {
        limits::experiment(&experiment, &facts.config_map, &config)?;
    }
    Ok(warnings)
}

fn unknown_fields(object: &Value) -> Vec<String> {
    let departures = Schema::experiment().departures("Experiment", object);
    let unknown = departures
        .into_iter()
        .filter_map(|departure| match departure.problem {
            Problem::UnknownField { near, .. } => Some((departure.path.to_string(), near)),
            Problem::WrongType { .. } => None,
        });
    // The machinery's own fields of metadata are not Katib's business.
    unknown
        .filter(|(path, _)| !path.starts_with("metadata"))
        .map(|(path, near)| match near {
            Some(near) => format!("unknown field \"{path}\" is dropped; did you mean {near}?"),
            None => format!("unknown field \"{path}\" is dropped"),
        })
        .collect()
}

/// Katib's configuration. One that cannot be read was stored past this admission, and adds nothing.
fn configuration(objects: &dyn Lookup) -> KatibConfig {
    let held = objects.get(
        "v1",
        "ConfigMap",
        katib_config::NAMESPACE,
        katib_config::NAME,
    );
    let text = held
        .as_ref()
        .and_then(|held| held["data"][katib_config::KEY].as_str());
    KatibConfig::parse(text.unwrap_or_default()).unwrap_or_default()
}

/// Refuses a configuration of Katib that cannot be read.
pub(super) fn check_configuration(object: &Value) -> Result<(), Refusal> {
    let place = (
        text(object, "/metadata/namespace"),
        text(object, "/metadata/name"),
    );
    if place != (katib_config::NAMESPACE, katib_config::NAME) {
        return Ok(());
    }
    let text = object["data"][katib_config::KEY]
        .as_str()
        .unwrap_or_default();
    KatibConfig::parse(text).map(drop).map_err(|error| {
        let key = katib_config::KEY;
        Refusal::new(SANDBOX, format!("data[{key}] cannot be used: {error}"))
    })
}

fn fetch(source: &ConfigMapSource, objects: &dyn Lookup) -> ConfigMapText {
    let (namespace, name) = (&source.config_map_namespace, &source.config_map_name);
    let key = &source.template_path;
    let Some(held) = objects.get("v1", "ConfigMap", namespace, name) else {
        return ConfigMapText::Missing(format!("ConfigMap \"{name}\" not found"));
    };
    match held
        .get("data")
        .and_then(|data| data.get(key))
        .and_then(Value::as_str)
    {
        Some(text) => ConfigMapText::Text(text.to_owned()),
        None => {
            let name = text(&held, "/metadata/name");
            ConfigMapText::Missing(format!("ConfigMap \"{name}\" has no key \"{key}\""))
        }
    }
}
