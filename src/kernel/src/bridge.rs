//! The bridge: what Rust cells ask the kernel for, over a Unix socket.
//!
//! A cell's program calls functions of the crate `katlab`; each opens the socket, sends a line of
//! JSON with the token from its environment, and reads a line back. Work is done with the clients
//! and settings of the session, as by a magic. An interrupt of the cell answers what is asked with an
//! error, so that the cell ends by itself and its variables stay; a program that goes away while it
//! asks takes the work with it.

mod answers;
mod begun;
mod deeds;

pub use answers::trials_json;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use katlab::Request;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use self::begun::Begun;
use crate::engine::process::Held;
use crate::event::Bundle;
use crate::magics::{self, Context, ErrorKind, MagicError};
use crate::output::Output;
use crate::scratch;

/// The longest line a cell may send.
const LIMIT: u64 = 64 * 1024 * 1024;
/// How long work may go on after an interrupt, to clean up.
const GRACE: Duration = Duration::from_millis(300);
/// How long a mark is waited for; none comes where the cell's output goes elsewhere.
const PATIENCE: Duration = Duration::from_millis(500);
/// The argument that names the mark before which nothing is to be shown.
const PLACE: &str = "place";

/// An open bridge; closed when dropped.
pub struct Bridge {
    directory: tempfile::TempDir,
    token: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The cell that runs Rust now.
    cell: Option<Context>,
    /// Outputs whose place in the printed text has not come by.
    held: HashMap<String, Item>,
    /// What magics found and variables are about to take.
    given: HashMap<String, Value>,
    /// How many calls wait for their answers.
    asked: usize,
    /// Whether an interrupt of the cell has answered a call.
    cut: bool,
}

enum Item {
    Display {
        id: String,
        bundle: Bundle,
    },
    Update {
        id: String,
        bundle: Bundle,
    },
    Clear {
        wait: bool,
    },
    /// Nothing to show: a call waits until what was printed before it is shown.
    Place(CancellationToken),
}

impl Item {
    fn show(self, output: &Output) {
        match self {
            Self::Display { id, bundle } => output.display_as(&id, bundle),
            Self::Update { id, bundle } => output.update(&id, bundle),
            Self::Clear { wait } => output.clear(wait),
            Self::Place(come_by) => come_by.cancel(),
        }
    }
}

impl Bridge {
    /// Opens a socket in a directory that only its owner can enter.
    ///
    /// # Errors
    /// When there is no writable temporary directory.
    pub fn open() -> std::io::Result<Arc<Self>> {
        let directory = scratch::directory("bridge")?;
        let listener = UnixListener::bind(directory.path().join("socket"))?;
        let bridge = Arc::new(Self {
            directory,
            token: uuid::Uuid::new_v4().simple().to_string(),
            state: Mutex::default(),
        });
        let weak = Arc::downgrade(&bridge);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Some(bridge) = weak.upgrade() else { return };
                tokio::spawn(async move {
                    if let Err(error) = bridge.serve(stream).await {
                        tracing::debug!(%error, "a cell's program left the bridge");
                    }
                });
            }
        });
        Ok(bridge)
    }

    /// What the cells' program finds the bridge by.
    pub fn variables(&self) -> BTreeMap<String, String> {
        let socket = self.directory.path().join("socket").display().to_string();
        BTreeMap::from([
            (katlab::SOCKET_VARIABLE.to_owned(), socket),
            (katlab::TOKEN_VARIABLE.to_owned(), self.token.clone()),
        ])
    }

    /// Runs Rust on behalf of a cell: what its program asks meanwhile is answered in its context.
    pub async fn serving<T>(&self, cell: Context, run: impl Future<Output = T>) -> T {
        let output = cell.output.clone();
        {
            let mut state = self.lock();
            state.cell = Some(cell);
            state.cut = false;
        }
        let outcome = run.await;
        let left: Vec<Item> = {
            let mut state = self.lock();
            state.cell = None;
            state.held.drain().map(|(_, item)| item).collect()
        };
        for item in left {
            item.show(&output);
        }
        outcome
    }

    /// Keeps what a magic found until the cell's program asks for it by the ticket returned.
    pub fn keep(&self, value: Value) -> String {
        let ticket = uuid::Uuid::new_v4().simple().to_string();
        self.lock().given.insert(ticket.clone(), value);
        ticket
    }

    /// Forgets what was kept, also where nobody asked.
    pub fn forget(&self, ticket: &str) {
        self.lock().given.remove(ticket);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, mut stream: UnixStream) -> std::io::Result<()> {
        let (read, mut write) = stream.split();
        let mut read = BufReader::new(read);
        let mut begun = Begun::default();
        loop {
            let mut line = String::new();
            if (&mut read).take(LIMIT).read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let answer = tokio::select! {
                biased;
                answer = self.reply(&line, &mut begun) => answer,
                () = gone(&mut read) => return Ok(()),
            };
            write.write_all(format!("{answer}\n").as_bytes()).await?;
        }
    }

    /// The line that answers a line.
    async fn reply(&self, line: &str, begun: &mut Begun) -> Value {
        let answer = match Request::from_line(line.trim_end()) {
            Ok(request) if same(&request.token, &self.token) => {
                let _asked = Asked::note(self);
                self.answer(&request, begun).await
            }
            Ok(_) => Err(
                MagicError::new("the token of the call is not this kernel's")
                    .hint("restart the program of the cells with `:restart`"),
            ),
            Err(error) => Err(MagicError::new(error.to_string())),
        };
        match answer {
            Ok(answer) => json!({ "answer": answer }),
            Err(error) => {
                if error.kind == ErrorKind::Interrupted {
                    self.lock().cut = true;
                }
                let message = match error.detail {
                    Some(detail) => format!("{}\n{}", error.message, detail.trim_end()),
                    None => error.message,
                };
                json!({ "failure": { "message": message, "hint": error.hint } })
            }
        }
    }

    async fn answer(&self, request: &Request, begun: &mut Begun) -> Result<Value, MagicError> {
        let cell = self.lock().cell.clone().ok_or_else(|| {
            MagicError::new("no cell runs that this call could belong to")
                .hint("join threads before the cell ends")
        })?;
        let hold = |item: fn(String, &Request) -> Item| {
            let ticket = uuid::Uuid::new_v4().to_string();
            self.lock()
                .held
                .insert(ticket.clone(), item(ticket.clone(), request));
            Ok(Value::from(ticket))
        };
        match request.call.as_str() {
            "display" => hold(|id, request| Item::Display {
                id,
                bundle: bundle(request),
            }),
            "update" => hold(|_, request| Item::Update {
                id: request
                    .argument("display_id")
                    .unwrap_or_default()
                    .to_owned(),
                bundle: bundle(request),
            }),
            "place" => hold(|_, _| Item::Place(CancellationToken::new())),
            "clear" => hold(|_, request| Item::Clear {
                wait: request.argument("wait") == Some("true"),
            }),
            "bound" => {
                let ticket = request.argument("ticket").unwrap_or_default();
                let given = self.lock().given.get(ticket).cloned();
                given
                    .map(|value| cell.session.redactor().value(&value))
                    .ok_or_else(|| MagicError::new("what the magic found is no longer there"))
            }
            _ => {
                // One who does not heed the interrupt begins nothing new.
                if cell.cancel.is_cancelled() {
                    return Err(MagicError::interrupted());
                }
                self.come_by(request).await;
                // What magics wait for is large, and each hand it goes through would have room for it on the stack.
                let work = async {
                    if let Some(answer) = Box::pin(begun.answer(request, &cell)).await {
                        return answer;
                    }
                    match Box::pin(deeds::answer(request, &cell)).await {
                        Some(answer) => answer,
                        None => Box::pin(answers::answer(request, &cell)).await,
                    }
                };
                let answer = magics::supervised(work, GRACE, &cell).await;
                cell.output.flush();
                answer
                    .map(|value| cell.session.redactor().value(&value))
                    .map_err(|error| magics::mask(error, &cell.session))
            }
        }
    }

    /// Waits until what was printed before a call that shows something is shown.
    async fn come_by(&self, request: &Request) {
        let Some(ticket) = request.argument(PLACE) else {
            return;
        };
        let come_by = match self.lock().held.get(ticket) {
            Some(Item::Place(come_by)) => come_by.clone(),
            _ => return,
        };
        _ = tokio::time::timeout(PATIENCE, come_by.cancelled()).await;
    }
}

/// A call that waits for its answer, for as long as this lives.
struct Asked<'a>(&'a Bridge);

impl<'a> Asked<'a> {
    fn note(bridge: &'a Bridge) -> Self {
        bridge.lock().asked += 1;
        Self(bridge)
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.lock().asked -= 1;
    }
}

/// Waits until whoever asked hangs up; one who asks again has not.
async fn gone(read: &mut (impl AsyncBufReadExt + Unpin)) {
    match read.fill_buf().await {
        Ok([]) | Err(_) => {}
        Ok(_) => std::future::pending().await,
    }
}

/// What a call was given.
trait Needed {
    /// An argument that it cannot do without.
    fn needed(&self, name: &str) -> Result<&str, MagicError>;
}

impl Needed for Request {
    fn needed(&self, name: &str) -> Result<&str, MagicError> {
        self.argument(name)
            .ok_or_else(|| MagicError::new(format!("`{}` needs the argument `{name}`", self.call)))
    }
}

impl Held for Bridge {
    fn shown(&self, ticket: &str, output: &Output) {
        let item = self.lock().held.remove(ticket);
        if let Some(item) = item {
            item.show(output);
        }
    }

    fn is_asked(&self) -> bool {
        let state = self.lock();
        state.asked > 0 || state.cut
    }
}

fn bundle(request: &Request) -> Bundle {
    let content = |mime: &str, text: &str| {
        // Data goes over the wire as data, not as a string that holds it.
        let parsed = if mime.contains("json") {
            serde_json::from_str(text).ok()
        } else {
            None
        };
        parsed.unwrap_or_else(|| Value::from(text))
    };
    let entries = request
        .arguments
        .iter()
        .filter(|(mime, _)| mime.contains('/'));
    let mut shown: Bundle = entries
        .map(|(mime, text)| (mime.clone(), content(mime, text)))
        .collect();
    let metadata = request.argument("metadata").unwrap_or_default();
    shown.metadata = serde_json::from_str(metadata).unwrap_or_default();
    shown
}

/// Compares in a time that does not tell how much was right.
fn same(left: &str, right: &str) -> bool {
    left.len() == right.len()
        && left
            .bytes()
            .zip(right.bytes())
            .fold(0, |differences, (a, b)| differences | (a ^ b))
            == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::testing::Recorder;
    use crate::session::Session;
    use katlab_lab::home::Home;

    async fn call(bridge: &Bridge, token: &str, name: &str, arguments: &[(&str, &str)]) -> Value {
        let mut stream = UnixStream::connect(bridge.directory.path().join("socket"))
            .await
            .expect("connected");
        let request = Request {
            token: token.to_owned(),
            call: name.to_owned(),
            arguments: arguments
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect(),
        };
        stream
            .write_all(format!("{}\n", request.to_line()).as_bytes())
            .await
            .expect("sent");
        let mut line = String::new();
        BufReader::new(stream)
            .read_line(&mut line)
            .await
            .expect("answered");
        serde_json::from_str(&line).expect("JSON")
    }

    #[tokio::test]
    async fn a_display_waits_for_its_place_and_a_wrong_token_is_refused() {
        let home = tempfile::tempdir().expect("a directory");
        let session = Session::new(Home::at(home.path()), true).expect("a session");
        let recorder = Arc::new(Recorder::default());
        let cell = Context::new(session, recorder.clone(), CancellationToken::new(), None);
        let output = cell.output.clone();
        let bridge = Bridge::open().expect("a bridge");
        let token = bridge.token.clone();
        bridge
            .serving(cell, async {
                let refused = call(&bridge, "wrong", "display", &[("text/plain", "no")]).await;
                assert!(
                    refused["failure"]["message"]
                        .as_str()
                        .is_some_and(|text| text.contains("token"))
                );
                let shown = call(&bridge, &token, "display", &[("text/plain", "yes")]).await;
                let ticket = shown["answer"].as_str().expect("a ticket").to_owned();
                assert!(recorder.events().is_empty());
                bridge.shown(&ticket, &output);
                assert_eq!(recorder.displays(), [Bundle::text("yes")]);
                let unknown = call(&bridge, &token, "nothing", &[]).await;
                assert!(
                    unknown["failure"]["message"]
                        .as_str()
                        .is_some_and(|text| text.contains("nothing"))
                );
                call(&bridge, &token, "display", &[("text/plain", "late")]).await;
            })
            .await;
        assert_eq!(
            recorder.displays().len(),
            2,
            "what has no mark is shown at the end of the cell"
        );
    }
}
