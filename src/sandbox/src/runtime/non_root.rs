//! `runAsNonRoot`: a container that would run as root does not run.

use k8s_openapi::api::core::v1::{Container, Pod};

use super::engine::Engine;
use super::environment::ConfigError;

/// Refuses a container of a pod that wants no root and would have one, in a node's words. `full_name` is the pod's
/// `name_namespace(uid)`.
pub(super) async fn check(
    engine: &Engine,
    pod: &Pod,
    container: &Container,
    full_name: &str,
) -> Result<(), ConfigError> {
    let own = container.security_context.as_ref();
    let spec = pod.spec.as_ref();
    let shared = spec.and_then(|spec| spec.security_context.as_ref());
    let wanted = own
        .and_then(|context| context.run_as_non_root)
        .or_else(|| shared?.run_as_non_root);
    if wanted != Some(true) {
        return Ok(());
    }
    let user = own
        .and_then(|context| context.run_as_user)
        .or_else(|| shared?.run_as_user);
    let about = format!("(pod: \"{full_name}\", container: {})", container.name);
    let refuse = |why: String| Err(ConfigError::Other(format!("{why} {about}")));
    match user {
        Some(0) => return refuse("container's runAsUser breaks non-root policy".into()),
        Some(_) => return Ok(()),
        None => {}
    }
    let image = container.image.as_deref().unwrap_or_default();
    let found = engine
        .docker()
        .inspect_image(image)
        .await
        .map_err(|error| {
            ConfigError::Other(format!("cannot see whose image \"{image}\" is: {error}"))
        })?;
    let user = found.config.and_then(|config| config.user);
    match why_not(user.as_deref().unwrap_or_default()) {
        Some(why) => refuse(why),
        None => Ok(()),
    }
}

/// Why an image of this user (`USER` of a Dockerfile) is no good.
fn why_not(user: &str) -> Option<String> {
    let name = user.split(':').next().unwrap_or_default();
    match name.parse::<i64>() {
        Ok(0) => Some("container has runAsNonRoot and image will run as root".into()),
        Ok(_) => None,
        Err(_) if name.is_empty() => why_not("0"),
        Err(_) => Some(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_other_than_0_is_surely_not_root() {
        assert_eq!(why_not("1000:0"), None);
        for (user, word) in [
            ("", "will run as root"),
            ("0:5", "will run as root"),
            ("app", "(app)"),
        ] {
            let why = why_not(user).expect("a reason");
            assert!(why.contains(word), "{user}: {why}");
        }
    }
}
