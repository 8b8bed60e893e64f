//! Credential helpers: programs that keep secrets, spoken to over stdin and stdout.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt;

use super::{Credential, Error, Store, TOKEN_USER, key_for};

impl Store {
    pub(super) async fn helper_get(
        &self,
        helper: &str,
        host: &str,
    ) -> Result<Option<Credential>, Error> {
        let answer = match self.call_helper(helper, "get", host, key_for(host)).await {
            Ok(answer) => answer,
            // Each helper words it its own way; the protocol only fixes this sentence.
            Err(Error::Helper { why, .. }) if why.contains("credentials not found") => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let program = program_of(helper);
        let parsed: Value = serde_json::from_str(&answer).map_err(|_| Error::Helper {
            program,
            action: "get",
            host: host.to_owned(),
            // What it printed may hold the secret, so it is not quoted.
            why: "its answer is not JSON".to_owned(),
        })?;
        let text = |name| parsed.get(name).and_then(Value::as_str).unwrap_or_default();
        let (username, secret) = (text("Username"), text("Secret"));
        if secret.is_empty() {
            return Ok(None);
        }
        Ok(Some(if username == TOKEN_USER {
            Credential::IdentityToken {
                username: None,
                token: secret.into(),
            }
        } else {
            Credential::password(username, secret.into())
        }))
    }

    pub(super) async fn call_helper(
        &self,
        helper: &str,
        action: &'static str,
        host: &str,
        input: &str,
    ) -> Result<String, Error> {
        let program = program_of(helper);
        let failed = |why: String| Error::Helper {
            program: program.clone(),
            action,
            host: host.to_owned(),
            why,
        };
        // A helper's name comes from a file; as a path it could be any program.
        if helper.is_empty() || helper.contains('/') {
            return Err(failed(
                "its name is not one of a program on PATH".to_owned(),
            ));
        }
        let executable = self.find(&program).ok_or_else(|| Error::HelperMissing {
            program: program.clone(),
        })?;
        let mut command = tokio::process::Command::new(executable);
        command
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that fails early closes its end; its words matter more than ours.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let output =
            tokio::time::timeout(std::time::Duration::from_secs(30), child.wait_with_output())
                .await
                .map_err(|_| failed("it did not answer within 30 seconds".to_owned()))?
                .map_err(|error| failed(error.to_string()))?;
        let stdout = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() {
            return Ok(stdout);
        }
        let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(failed(match (stdout.is_empty(), stderr.is_empty()) {
            (false, _) => stdout,
            (true, false) => stderr,
            (true, true) => format!("it ended with {}", output.status),
        }))
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        let path = self
            .search_path
            .clone()
            .or_else(|| std::env::var_os("PATH"))?;
        std::env::split_paths(&path)
            .map(|folder| folder.join(program))
            .find(|candidate| candidate.is_file())
    }
}

fn program_of(helper: &str) -> String {
    format!("docker-credential-{helper}")
}
