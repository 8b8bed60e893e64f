//! Words that Katib puts into objects and that others look for: labels, finalizers,
//! condition types, reasons and messages.

/// Label on Trials, and on what belongs to a Suggestion: the Experiment's name.
pub const LABEL_EXPERIMENT: &str = "katib.kubeflow.org/experiment";
/// Label on a trial's pods: the Trial's name.
pub const LABEL_TRIAL: &str = "katib.kubeflow.org/trial";
/// Label on a Suggestion's pods: the Suggestion's name.
pub const LABEL_SUGGESTION: &str = "katib.kubeflow.org/suggestion";
/// Label on a Suggestion's pods: the Deployment's name.
pub const LABEL_DEPLOYMENT: &str = "katib.kubeflow.org/deployment";
/// Label of a namespace in which Experiments may be made.
pub const LABEL_INJECTION: &str = "katib.kubeflow.org/metrics-collector-injection";
/// The value [`LABEL_INJECTION`] must have.
pub const INJECTION_ENABLED: &str = "enabled";
/// Label of ConfigMaps that hold trial templates, with [`TRIAL_TEMPLATES`] as its value.
pub const LABEL_COMPONENT: &str = "katib.kubeflow.org/component";
/// Value of [`LABEL_COMPONENT`] on a ConfigMap with trial templates.
pub const TRIAL_TEMPLATES: &str = "trial-templates";
/// Label and annotation that keep Istio's sidecar out of a pod.
pub const ISTIO_INJECT: &str = "sidecar.istio.io/inject";

/// Finalizer of Experiments.
pub const FINALIZER_EXPERIMENT: &str = "update-prometheus-metrics";
/// Finalizer of Trials: their rows in the metric store go first.
pub const FINALIZER_TRIAL: &str = "clean-metrics-in-db";

/// The value of a metric that was not reported.
pub const UNAVAILABLE: &str = "unavailable";
/// Environment variable of the primary container: the Trial's name.
pub const ENV_TRIAL_NAME: &str = "KATIB_TRIAL_NAME";
/// Where the StdOut collector keeps a container's output.
pub const DEFAULT_METRICS_FILE: &str = "/var/log/katib/metrics.log";
/// Where TensorFlow event files are looked for.
pub const DEFAULT_EVENT_DIRECTORY: &str = "/var/log/katib/tfevent/";
/// The filter of text metrics when none is given (`name=value`).
pub const DEFAULT_FILTER: &str = r"([\w|-]+)\s*=\s*([+-]?\d*(\.\d+)?([Ee][+-]?\d+)?)";
/// The time of a metric line that has none.
pub const ZERO_TIME: &str = "0001-01-01T00:00:00Z";
/// Trials active at once when nothing is said.
pub const DEFAULT_PARALLEL: i32 = 3;
/// Longest name of an Experiment.
pub const MAX_NAME_LENGTH: usize = 40;
/// Reason of the Warning event of a failed reconciliation.
pub const RECONCILE_ERROR: &str = "ReconcileError";

/// Algorithms a default Katib installation lists.
pub const DEFAULT_ALGORITHMS: &[&str] = &[
    "random",
    "tpe",
    "grid",
    "hyperband",
    "bayesianoptimization",
    "cmaes",
    "sobol",
    "multivariate-tpe",
    "pbt",
    "enas",
    "darts",
];
/// Algorithms the sandbox runs: those of `katlab-suggestion`, which takes its list from here.
pub const SANDBOX_ALGORITHMS: &[&str] = &[
    "random",
    "grid",
    "sobol",
    "tpe",
    "multivariate-tpe",
    "cmaes",
    "bayesianoptimization",
    "hyperband",
];
/// Early-stopping algorithms a default Katib installation lists.
pub const DEFAULT_EARLY_STOPPING: &[&str] = &["medianstop"];
/// Collectors a default Katib installation has an image for.
pub const DEFAULT_COLLECTORS: &[&str] = &["StdOut", "File", "TensorFlowEvent"];
/// Collectors the sandbox has; `Push` and `Custom` need none of it.
pub const SANDBOX_COLLECTORS: &[&str] = &["StdOut", "File", "TensorFlowEvent", "PrometheusMetric"];

/// Types of conditions.
pub mod condition {
    /// Seen by its controller.
    pub const CREATED: &str = "Created";
    /// Under way.
    pub const RUNNING: &str = "Running";
    /// Experiment: taken up again after its end.
    pub const RESTARTING: &str = "Restarting";
    /// Ended well.
    pub const SUCCEEDED: &str = "Succeeded";
    /// Ended badly.
    pub const FAILED: &str = "Failed";
    /// Suggestion: its Deployment answers.
    pub const DEPLOYMENT_READY: &str = "DeploymentReady";
    /// Trial: never set by Katib itself.
    pub const KILLED: &str = "Killed";
    /// Trial: succeeded without an objective value.
    pub const METRICS_UNAVAILABLE: &str = "MetricsUnavailable";
    /// Trial: cut short.
    pub const EARLY_STOPPED: &str = "EarlyStopped";
}

/// A reason and the message that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// One word for machines.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: &'static str,
}

const fn reason(reason: &'static str, message: &'static str) -> Reason {
    Reason { reason, message }
}

/// Reasons of Experiments.
pub mod experiment {
    use super::{Reason, reason};
    /// Created.
    pub const CREATED: Reason = reason("ExperimentCreated", "Experiment is created");
    /// Running.
    pub const RUNNING: Reason = reason("ExperimentRunning", "Experiment is running");
    /// Restarting.
    pub const RESTARTING: Reason = reason("ExperimentRestarting", "Experiment is restarted");
    /// Succeeded: the goal was reached.
    pub const GOAL_REACHED: Reason = reason(
        "ExperimentGoalReached",
        "Experiment has succeeded because Objective goal has reached",
    );
    /// Succeeded: all trials were made.
    pub const MAX_TRIALS_REACHED: Reason = reason(
        "ExperimentMaxTrialsReached",
        "Experiment has succeeded because max trial count has reached",
    );
    /// Succeeded: the algorithm has nothing more to offer.
    pub const SUGGESTION_END: Reason = reason(
        "ExperimentSuggestionEndReached",
        "Experiment has succeeded because suggestion service has reached the end",
    );
    /// Failed: too many trials failed.
    pub const MAX_FAILED: Reason = reason(
        "ExperimentFailed",
        "Experiment has failed because max failed count has reached",
    );
    /// Failed: the Suggestion failed.
    pub const SUGGESTION_FAILED: Reason = reason("ExperimentFailed", "Suggestion has failed");
}

/// Reasons of Suggestions.
pub mod suggestion {
    use super::{Reason, reason};
    /// Created.
    pub const CREATED: Reason = reason("SuggestionCreated", "Suggestion is created");
    /// DeploymentReady.
    pub const DEPLOYMENT_READY: Reason = reason("DeploymentReady", "Deployment is ready");
    /// DeploymentReady is False.
    pub const DEPLOYMENT_NOT_READY: Reason =
        reason("DeploymentNotReady", "Deployment is not ready");
    /// Running.
    pub const RUNNING: Reason = reason("SuggestionRunning", "Suggestion is running");
    /// Failed; the message is the algorithm's.
    pub const FAILED: Reason = reason("SuggestionFailed", "");
    /// Running becomes False at the end.
    pub const END_NOT_RUNNING: Reason =
        reason("Suggestion is succeeded", "Suggestion is not running");
    /// DeploymentReady becomes False at the end.
    pub const END_NOT_READY: Reason = reason("Suggestion is succeeded", "Deployment is not ready");
    /// Succeeded under resume policy Never.
    pub const SUCCEEDED_NEVER: Reason = reason(
        "Experiment is succeeded",
        "Suggestion is succeeded, can't be restarted",
    );
    /// Succeeded under resume policy FromVolume.
    pub const SUCCEEDED_FROM_VOLUME: Reason = reason(
        "Experiment is succeeded",
        "Suggestion is succeeded, suggestion volume is not deleted, can be restarted",
    );
    /// Running becomes False when the Experiment restarts.
    pub const RESTARTING: Reason = reason("Experiment is restarting", "Suggestion is not running");
}

/// Reasons of Trials. At the end the job's own reason and message are appended, see
/// [`with_job_reason`].
pub mod trial {
    use super::{Reason, reason};
    /// Created.
    pub const CREATED: Reason = reason("TrialCreated", "Trial is created");
    /// Running: the job object exists.
    pub const RUNNING: Reason = reason("TrialRunning", "Trial is running");
    /// Succeeded.
    pub const SUCCEEDED: Reason = reason("TrialSucceeded", "Trial has succeeded");
    /// Failed.
    pub const FAILED: Reason = reason("TrialFailed", "Trial has failed");
    /// Succeeded without an objective value.
    pub const METRICS_UNAVAILABLE: Reason =
        reason("MetricsUnavailable", "Metrics are not available");
    /// Cut short.
    pub const EARLY_STOPPED: Reason = reason("TrialEarlyStopped", "Trial is early stopped");
}

/// A trial's reason with that of its job.
pub fn with_job_reason(reason: &str, job: &str) -> String {
    if job.is_empty() {
        reason.to_owned()
    } else {
        format!("{reason}. Job reason: {job}")
    }
}

/// A trial's message with that of its job.
pub fn with_job_message(message: &str, job: &str) -> String {
    if job.is_empty() {
        message.to_owned()
    } else {
        format!("{message}. Job message: {job}")
    }
}
