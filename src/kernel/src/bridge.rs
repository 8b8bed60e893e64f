//! The kernel's side of the socket on which Rust cells ask for what magics can do.
//!
//! A cell cannot hold a Kubernetes or Docker client of its own: compiling one costs minutes, and an
//! async client does not survive from one cell to the next. So cells use the crate `katlab`, which
//! asks here, and the session's own clients answer. The socket lies in a directory that only its
//! owner may enter, and every request carries a token that only the kernel's own cells are given.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use katlab::{Request, SOCKET_VARIABLE, TOKEN_VARIABLE};
use katlab_lab::katib::experiments::{self, Summary};
use katlab_lab::katib::observations::{self, Point};
use katlab_lab::katib::trials::{self, TrialTable};
use katlab_lab::katib::value::Value;
use katlab_lab::kubernetes::Scope;
use katlab_lab::settings::is_secret_name;
use serde_json::{Map, Value as Json, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::event::{Bundle, Event, InputError, Sink};
use crate::magics::{Context, MagicError};
use crate::output::Output;
use crate::session::Session;

/// The longest request, in bytes: a picture that a cell shows fits, an endless line does not.
const LONGEST_REQUEST: u64 = 64 << 20;

/// The open socket. It closes, and its directory goes, when this is dropped.
pub struct Bridge {
    socket: PathBuf,
    token: String,
    shared: Arc<Shared>,
    _directory: tempfile::TempDir,
    _stop: DropGuard,
}

struct Shared {
    session: Arc<Session>,
    token: String,
    /// Where the running Rust cell shows things.
    cell: Mutex<Option<Output>>,
}

/// What is shown when no cell runs: a thread of an earlier one may still call.
struct Nowhere;

impl Sink for Nowhere {
    fn emit(&self, _: Event) {}

    fn input<'a>(
        &'a self,
        _: &'a str,
        _: bool,
    ) -> futures::future::BoxFuture<'a, Result<String, InputError>> {
        Box::pin(async { Err(InputError::NotAllowed) })
    }
}

/// Ends the time in which displays go to a cell's output.
pub struct CellGuard(Arc<Shared>);

impl Drop for CellGuard {
    fn drop(&mut self) {
        self.0.set_cell(None);
    }
}

impl Shared {
    fn set_cell(&self, output: Option<Output>) {
        *self.cell.lock().unwrap_or_else(PoisonError::into_inner) = output;
    }

    fn context(&self) -> Context {
        let cell = self
            .cell
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        Context {
            session: Arc::clone(&self.session),
            output: cell.unwrap_or_else(|| Output::new(Arc::new(Nowhere), self.session.redactor())),
            cancel: CancellationToken::new(),
            body: None,
        }
    }
}

impl Bridge {
    /// Opens the socket and answers on it until the bridge is dropped. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be made in the system's directory for temporary files.
    pub fn open(session: Arc<Session>) -> std::io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("katlab-").tempdir()?;
        let inner = directory.path().join("bridge");
        std::fs::DirBuilder::new().mode(0o700).create(&inner)?;
        let socket = inner.join("socket");
        let listener = UnixListener::bind(&socket)?;
        let token = uuid::Uuid::new_v4().simple().to_string();
        let shared = Arc::new(Shared {
            session,
            token: token.clone(),
            cell: Mutex::default(),
        });
        let stop = CancellationToken::new();
        tokio::spawn(listen(listener, Arc::clone(&shared), stop.clone()));
        Ok(Self {
            socket,
            token,
            shared,
            _directory: directory,
            _stop: stop.drop_guard(),
        })
    }

    /// The environment that cells find the bridge by.
    pub fn variables(&self) -> [(&'static str, String); 2] {
        [
            (SOCKET_VARIABLE, self.socket.to_string_lossy().into_owned()),
            (TOKEN_VARIABLE, self.token.clone()),
        ]
    }

    /// Lets the displays of a Rust cell go to its output until the guard is dropped.
    pub fn during_cell(&self, output: Output) -> CellGuard {
        self.shared.set_cell(Some(output));
        CellGuard(Arc::clone(&self.shared))
    }
}

async fn listen(listener: UnixListener, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        if let Ok((stream, _)) = accepted {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                if let Err(error) = answer(stream, &shared).await {
                    tracing::debug!(%error, "a cell went away before its answer");
                }
            });
        }
    }
}

async fn answer(mut stream: UnixStream, shared: &Shared) -> std::io::Result<()> {
    let mut line = String::new();
    let (read, mut write) = stream.split();
    BufReader::new(read.take(LONGEST_REQUEST))
        .read_line(&mut line)
        .await?;
    let answer = match Request::from_line(line.trim_end()) {
        Ok(request) if request.token == shared.token => call(&request, &shared.context()).await,
        Ok(_) => Err(MagicError::new(
            "the request does not come from a cell of this kernel",
        )),
        Err(error) => Err(MagicError::new(error.to_string())),
    };
    let response = match answer {
        Ok(answer) => json!({ "answer": answer }),
        Err(error) => {
            let MagicError { message, hint, .. } = error;
            json!({ "failure": { "message": message, "hint": hint } })
        }
    };
    write.write_all(format!("{response}\n").as_bytes()).await
}

async fn call(request: &Request, ctx: &Context) -> Result<Json, MagicError> {
    let argument = |name: &str| {
        request.argument(name).ok_or_else(|| {
            MagicError::new(format!("`{}` needs the argument `{name}`", request.call))
        })
    };
    match request.call.as_str() {
        "trials" => {
            let cluster = ctx.cluster(None).await?;
            let table = trials::of_experiment(&cluster, &cluster.namespace, argument("experiment")?).await?;
            Ok(trials_json(&table))
        }
        "experiment" => {
            let cluster = ctx.cluster(None).await?;
            let summary = experiments::summary(&cluster, &cluster.namespace, argument("name")?).await?;
            Ok(experiment_json(&summary))
        }
        "experiments" => {
            let cluster = ctx.cluster(None).await?;
            let scope = Scope::Namespace(cluster.namespace.clone());
            let summaries = experiments::list(&cluster, &scope).await?;
            Ok(summaries.iter().map(experiment_json).collect())
        }
        "metrics" => {
            let cluster = ctx.cluster(None).await?;
            let trial = argument("trial")?;
            // A name that no trial has is an error, not an empty log.
            trials::get(&cluster, &cluster.namespace, trial).await?;
            let points = observations::open(&cluster).await?.of_trial(trial, None).await?;
            let point = |point: &Point| {
                let value = point.value.as_ref().map_or(json!("unavailable"), value_json);
                let time = point.time.map_or(String::new(), |time| time.to_string());
                json!({ "metric": point.metric, "value": value, "time": time })
            };
            Ok(points.iter().map(point).collect())
        }
        "env" => {
            let name = argument("name")?;
            let setting = ctx.session.settings().get(name)?;
            if is_secret_name(name) || setting.is_some_and(|setting| setting.secret) {
                return Err(MagicError::new(format!("the setting {name} is secret, and cells are not given secrets"))
                    .hint("use it as `$NAME` in a magic"));
            }
            match ctx.value(name).await? {
                Some(value) => Ok(value.into()),
                None => Err(ctx.session.unknown_setting(name)),
            }
        }
        "display" => Ok(ctx.output.display(bundle(&request.arguments)).into()),
        "update" => {
            let representations = request.arguments.iter().filter(|(name, _)| name != "display_id");
            ctx.output.update(argument("display_id")?, bundle(representations));
            Ok(Json::Null)
        }
        other => Err(MagicError::new(format!("this kernel does not know the call `{other}`"))
            .hint("the kernel and the crate `katlab` may be of different versions; restart the kernel")),
    }
}

fn bundle<'a>(representations: impl IntoIterator<Item = &'a (String, String)>) -> Bundle {
    let add = |bundle: Bundle, (mime, content): &(String, String)| {
        // JSON representations travel as objects; everything else is text.
        let parsed = mime
            .contains("json")
            .then(|| serde_json::from_str(content).ok())
            .flatten();
        bundle.with(mime, parsed.unwrap_or_else(|| Json::from(content.as_str())))
    };
    representations.into_iter().fold(Bundle::default(), add)
}

fn value_json(value: &Value) -> Json {
    match value {
        Value::Int(number) => json!(number),
        Value::Number(number) => json!(number),
        Value::Text(text) => json!(text),
    }
}

fn trials_json(table: &TrialTable) -> Json {
    let row = |trial: &trials::TrialRow| {
        let parameters: Map<String, Json> = trial
            .parameters
            .iter()
            .map(|(name, value)| (name.clone(), value_json(value)))
            .collect();
        let metrics: Map<String, Json> = trial
            .metrics
            .iter()
            .filter_map(|metric| Some((metric.name.clone(), value_json(metric.value.as_ref()?))))
            .collect();
        let seconds = trial
            .ended
            .and_then(|ended| Some(ended.duration_since(trial.started?).as_secs_f64()));
        json!({
            "name": trial.name,
            "status": trial.status,
            "parameters": parameters,
            "metrics": metrics,
            "objective": trial.metric(&table.objective.metric).and_then(Value::number),
            "best": trial.best,
            "seconds": seconds,
        })
    };
    table.rows.iter().map(row).collect()
}

fn experiment_json(summary: &Summary) -> Json {
    json!({
        "name": summary.name,
        "namespace": summary.namespace,
        "status": summary.status,
        "objective": summary.objective.metric,
        "goal": summary.objective.goal,
        "trials": summary.counts.total,
        "succeeded": summary.counts.succeeded,
        "failed": summary.counts.failed,
    })
}
