//! From an Experiment's template and an assignment to the object a trial runs.

use k8s_openapi::api::core::v1::ConfigMap;
use katlab_katib::template::{render_trial, template_text};
use katlab_katib::types::{Experiment, TrialAssignment};
use serde_json::Value;

use super::cache::Key;
use super::context::Context;
use super::error::{Error, Result};
use super::objects::Kind;

/// Renders the object of one trial.
pub async fn render(
    context: &Context,
    experiment: &Experiment,
    assignment: &TrialAssignment,
) -> Result<Value> {
    let template = experiment.spec.trial_template.clone().unwrap_or_default();
    let mut text = None;
    if let Some(source) = &template.config_map {
        let key = Key::new(&source.config_map_namespace, &source.config_map_name);
        let held = context.cluster.get::<ConfigMap>(&key).await?;
        let held = held.ok_or_else(|| Error::Missing {
            kind: ConfigMap::KIND,
            object: key.clone(),
            dependent: experiment.key(),
        })?;
        text = held.data.unwrap_or_default().remove(&source.template_path);
        if text.is_none() {
            return Err(Error::NoTemplate {
                object: key,
                template: source.template_path.clone(),
            });
        }
    }
    let body = template_text(&template, text.as_deref())?;
    let object = render_trial(
        &template,
        &body,
        &assignment.parameter_assignments,
        &assignment.name,
        experiment.namespace(),
    )?;
    Ok(object)
}
