//! Metrics that a training program offers over HTTP, read again and again while it runs.
//!
//! # Deliberate differences from Katib
//!
//! - Katib names this collector and ships no image for it. Here it works: the page at
//!   `source.httpGet` is read each second ([`super::exposition`]), and a value is reported when it has changed.
//! - What the program offers only between the last reading and its end is not seen, and a program that ends at once
//!   may not be seen at all.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::exposition::rows;
use super::pass::Sheet;
use super::{CollectError, Subject};
use crate::runtime::Runtime;

/// How often the page is read.
const EVERY: Duration = Duration::from_secs(1);
/// How often it is tried until it is there.
const FIRST: Duration = Duration::from_millis(100);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest page, in bytes.
const LONGEST: usize = 16 << 20;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where the page is.
struct Endpoint {
    port: u16,
    path: String,
    headers: Vec<(String, String)>,
}

impl Subject {
    fn endpoint(&self) -> Option<Endpoint> {
        let source = self.trial.spec.metrics_collector.source.as_ref()?;
        let page = source.http_get.as_ref()?;
        let port = page.get("port")?;
        let port = port.as_u64().or_else(|| port.as_str()?.parse().ok())?;
        let text = |value: &serde_json::Value, key: &str| {
            value
                .get(key)
                .and_then(|text| text.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        let headers = page.get("httpHeaders").and_then(|list| list.as_array());
        let headers = headers.into_iter().flatten();
        Some(Endpoint {
            port: u16::try_from(port).ok()?,
            path: text(page, "path"),
            headers: headers
                .map(|one| (text(one, "name"), text(one, "value")))
                .collect(),
        })
    }
}

impl Runtime {
    /// Reports what the page at this address says, until the trial is to be stopped early.
    pub(super) async fn scrape(
        &self,
        subject: &Subject,
        container: &str,
        address: Option<&str>,
    ) -> Result<Option<String>, CollectError> {
        let (Some(endpoint), Some(address)) = (subject.endpoint(), address) else {
            return Err(subject.unreadable("the pod has no address, or httpGet no port"));
        };
        let objective = subject.trial.spec.objective.clone().unwrap_or_default();
        // Unlike a file, a page cannot be read again from its beginning.
        let source = format!("{container}:{}", Uuid::new_v4());
        let mut sheet = Sheet::new(&subject.trial);
        let mut last = HashMap::new();
        let mut pause = FIRST;
        loop {
            match timeout(PATIENCE, endpoint.read(address)).await {
                Ok(Ok(page)) => {
                    pause = EVERY;
                    let mut found = rows(&objective, &page, Timestamp::now());
                    found.retain(|row| last.get(&row.name) != Some(&row.value));
                    let values = found
                        .iter()
                        .map(|row| (row.name.clone(), row.value.clone()));
                    last.extend(values);
                    let batch = sheet.push(found);
                    self.append(subject, &source, batch).await?;
                    if let Some(reason) = sheet.stop() {
                        return Ok(Some(reason));
                    }
                }
                Ok(Err(error)) => tracing::debug!(trial = subject.name, error, "reading metrics"),
                Err(_) => tracing::debug!(trial = subject.name, "metrics take too long"),
            }
            sleep(pause).await;
        }
    }
}

impl Endpoint {
    async fn read(&self, address: &str) -> Result<String, Failure> {
        let stream = TcpStream::connect((address, self.port)).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let mut request =
            http::Request::get(&self.path).header(HOST, format!("{address}:{}", self.port));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Empty::<Bytes>::new())?;
        // It ends when the sender is dropped, or with the server.
        tokio::spawn(connection);
        let answer = sender.send_request(request).await?;
        if !answer.status().is_success() {
            return Err(format!("the page answers {}", answer.status()).into());
        }
        let body = Limited::new(answer.into_body(), LONGEST).collect().await?;
        Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
    }
}
