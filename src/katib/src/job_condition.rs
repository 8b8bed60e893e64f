//! How a trial reads its job: GJSON paths on the whole job object.

use crate::names::{trial, with_job_message, with_job_reason};
use serde_json::Value;

/// What a condition path found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobCondition {
    /// The job's own reason, often empty.
    pub reason: String,
    /// The job's own message, often empty.
    pub message: String,
}

impl JobCondition {
    /// Reason of the trial's condition: Katib's word and the job's reason.
    pub fn trial_reason(&self, reason: &str) -> String {
        with_job_reason(reason, &self.reason)
    }

    /// Message of the trial's condition: Katib's sentence and the job's message.
    pub fn trial_message(&self, message: &str) -> String {
        with_job_message(message, &self.message)
    }
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Neither condition holds: the job exists, which is all that Running means to Katib.
    Running,
    /// The success condition holds.
    Succeeded(JobCondition),
    /// The failure condition holds. It is asked first.
    Failed(JobCondition),
}

impl JobState {
    /// Reason and message of the Failed or Succeeded condition a trial gets.
    pub fn trial_condition(&self) -> Option<(String, String)> {
        let (words, job) = match self {
            Self::Running => return None,
            Self::Succeeded(job) => (trial::SUCCEEDED, job),
            Self::Failed(job) => (trial::FAILED, job),
        };
        Some((
            job.trial_reason(words.reason),
            job.trial_message(words.message),
        ))
    }
}

/// Evaluates one path. It holds when the result is an object, or a list with at least one
/// element (the first is read). Single values never hold.
pub fn evaluate(job: &Value, path: &str) -> Option<JobCondition> {
    // The parser underneath takes an empty path for a question about the root.
    if path.is_empty() {
        return None;
    }
    evaluate_text(&job.to_string(), path)
}

fn evaluate_text(job: &str, path: &str) -> Option<JobCondition> {
    let result = gjson::get(job, path);
    let found: Value = match result.kind() {
        gjson::Kind::Object => serde_json::from_str(result.json()).ok()?,
        gjson::Kind::Array => {
            let items: Value = serde_json::from_str(result.json()).ok()?;
            items.as_array()?.first()?.clone()
        }
        _ => return None,
    };
    let text = |key: &str| {
        found
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    Some(JobCondition {
        reason: text("reason"),
        message: text("message"),
    })
}

/// Asks the failure condition, then the success condition.
pub fn job_state(job: &Value, success: &str, failure: &str) -> JobState {
    let text = job.to_string();
    let asked = |path: &str| {
        (!path.is_empty())
            .then(|| evaluate_text(&text, path))
            .flatten()
    };
    if let Some(condition) = asked(failure) {
        return JobState::Failed(condition);
    }
    asked(success).map_or(JobState::Running, JobState::Succeeded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::defaults::conditions_of_kind;
    use serde_json::json;

    fn state(job: Value) -> JobState {
        let (success, failure) = conditions_of_kind("Job").unwrap();
        job_state(&job, &success, &failure)
    }

    #[test]
    fn a_job_without_conditions_is_running() {
        assert_eq!(state(json!({"status": {"active": 1}})), JobState::Running);
        assert_eq!(state(json!({})), JobState::Running);
    }

    #[test]
    fn completion_brings_the_jobs_reason_and_message() {
        let done = state(json!({"status": {"conditions": [
            {"type": "SuccessCriteriaMet", "status": "True", "reason": "CompletionsReached"},
            {"type": "Complete", "status": "True", "reason": "CompletionsReached",
             "message": "Reached expected number of succeeded pods"}]}}));
        assert_eq!(
            done.trial_condition().unwrap(),
            (
                "TrialSucceeded. Job reason: CompletionsReached".to_owned(),
                "Trial has succeeded. Job message: Reached expected number of succeeded pods"
                    .to_owned()
            )
        );
    }

    #[test]
    fn failure_is_asked_first_and_false_conditions_do_not_count() {
        let both = json!({"status": {"conditions": [
            {"type": "Complete", "status": "True"},
            {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}});
        assert!(matches!(state(both), JobState::Failed(_)));
        let no = json!({"status": {"conditions": [{"type": "Failed", "status": "False"}]}});
        assert_eq!(state(no), JobState::Running);
    }

    #[test]
    fn other_forms_of_paths_work() {
        let argo = json!({"status": {"phase": "Succeeded", "message": "m"}});
        let found = evaluate(&argo, r#"status.[@this].#(phase=="Succeeded")#"#);
        assert_eq!(
            found.map(|condition| condition.message),
            Some("m".to_owned())
        );
        assert_eq!(
            evaluate(&argo, "status.phase"),
            None,
            "a single value never holds"
        );
        assert!(evaluate(&argo, "status").is_some());
        assert_eq!(evaluate(&argo, ""), None);
    }

    proptest::proptest! {
        #[test]
        fn no_path_makes_it_panic(path in r#"[a-z.#()=@|\[\]{}"!%*?:0-9,]{0,24}"#) {
            let job = json!({"status": {"conditions": [{"type": "Failed", "a": [1, 2]}]}});
            let _ = evaluate(&job, &path);
        }
    }
}
