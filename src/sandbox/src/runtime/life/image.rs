//! The image of a container, and the delays between attempts to get it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container;

use crate::controllers::events::Recorder;
use crate::runtime::ENGINE_PAUSE;
use crate::runtime::environment::Sources;
use crate::runtime::image::{Login, NoImage, logins};
use crate::runtime::puller::{Failure, Image, Outcome};
use crate::runtime::status::State;

use super::{Life, Which, delay};

impl Life {
    /// Finds or pulls the image, with Kubernetes' delays between attempts.
    pub(super) async fn image(&self, which: Which, container: &Container) -> Image {
        let name = container.image.clone().unwrap_or_default();
        let events = self.events_of(&container.name);
        let mut attempt = 0;
        loop {
            let logins = self.logins().await;
            let pulling = || {
                events.normal(
                    self.pod.as_ref(),
                    "Pulling",
                    format!("Pulling image \"{name}\""),
                )
            };
            let policy = container.image_pull_policy.as_deref();
            let failure = match self
                .runtime
                .inner
                .puller
                .ensure(&name, policy, &logins, pulling)
                .await
            {
                Ok(Outcome::Present(image)) => {
                    let message = format!(
                        "Container image \"{name}\" already present on machine and can be accessed by the pod"
                    );
                    events.normal(self.pod.as_ref(), "Pulled", message);
                    return image;
                }
                Ok(Outcome::Pulled {
                    image,
                    took,
                    with_waiting,
                }) => {
                    let message = format!(
                        "Successfully pulled image \"{name}\" in {} ({} including waiting). Image size: {} bytes.",
                        short(took),
                        short(with_waiting),
                        image.size
                    );
                    events.normal(self.pod.as_ref(), "Pulled", message);
                    return image;
                }
                Err(Failure::Engine(error)) => {
                    tracing::warn!(%error, image = name, "waiting for the engine");
                    tokio::time::sleep(ENGINE_PAUSE).await;
                    continue;
                }
                Err(Failure::Image(failure)) => failure,
            };
            self.no_image(which, &events, &name, &failure, attempt)
                .await;
            attempt += 1;
        }
    }

    async fn no_image(
        &self,
        which: Which,
        events: &Recorder,
        name: &str,
        failure: &NoImage,
        attempt: u32,
    ) {
        let pod = self.pod.as_ref();
        if failure.backs_off() {
            events.warning(
                pod,
                "Failed",
                format!("Failed to pull image \"{name}\": {}", failure.message),
            );
        } else {
            events.warning(pod, "Failed", failure.message.clone());
        }
        events.warning(pod, "Failed", format!("Error: {}", failure.reason));
        self.show(
            which,
            State::waiting(failure.reason, Some(failure.message.clone())),
        )
        .await;
        let delay = delay(attempt);
        if failure.backs_off() {
            // The node says what failed for a moment, then that it waits.
            tokio::time::sleep(Duration::from_secs(2)).await;
            events.normal(pod, "BackOff", format!("Back-off pulling image \"{name}\""));
            events.warning(pod, "Failed", "Error: ImagePullBackOff");
            let message = format!(
                "Back-off pulling image \"{name}\": {}: {}",
                failure.reason, failure.message
            );
            self.show(which, State::waiting("ImagePullBackOff", Some(message)))
                .await;
        }
        tokio::time::sleep(delay).await;
    }

    /// The logins of the pod's pull secrets. A secret that is not there is told and does not stop the pull.
    async fn logins(&self) -> Vec<Login> {
        let mut all = Vec::new();
        let secrets = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.image_pull_secrets.as_ref());
        let mut sources = Sources::new(self.client(), &self.namespace());
        let mut missing = Vec::new();
        for secret in secrets.into_iter().flatten() {
            let config = match sources.secret(&secret.name).await {
                Ok(data) => data.and_then(|data| {
                    data.get(".dockerconfigjson")
                        .or_else(|| data.get(".dockercfg"))
                        .cloned()
                }),
                Err(error) => {
                    tracing::warn!(%error, "reading a pull secret");
                    None
                }
            };
            match config.as_deref().and_then(logins) {
                Some(found) => all.extend(found),
                None => missing.push(secret.name.clone()),
            }
        }
        if !missing.is_empty() {
            let message = format!(
                "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                missing.join(", ")
            );
            self.kubelet.warning(
                self.pod.as_ref(),
                "FailedToRetrieveImagePullSecret",
                message,
            );
        }
        all
    }
}

/// A duration as a node writes it: `52ms`, `5.905s`, `1m2.5s`.
fn short(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let seconds = format!("{}.{:03}", rest / 1000, rest % 1000);
    let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
    if minutes > 0 {
        format!("{minutes}m{seconds}s")
    } else {
        format!("{seconds}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_a_node_writes_them() {
        let of = |millis| short(Duration::from_millis(millis));
        assert_eq!(of(52), "52ms");
        assert_eq!(of(5905), "5.905s");
        assert_eq!(of(62_500), "1m2.5s");
        assert_eq!(of(3000), "3s");
    }
}
