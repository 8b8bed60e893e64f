//! Requests other than cells: answered at once.

use std::sync::{Arc, PoisonError};

use serde_json::{Value, json};

use super::completeness;
use super::execution::Shell;
use super::message::{Message, PROTOCOL};
use super::server::Kernel;
use crate::interpreter::Magics;

/// Answers a request of the shell channel.
pub(super) async fn shell(kernel: &Arc<Kernel>, request: Message) {
    let parent = request.as_parent();
    kernel.publisher.status(&parent, "busy");
    let content = &request.content;
    let code = content["code"].as_str().unwrap_or_default();
    let cursor = content["cursor_pos"]
        .as_u64()
        .map_or(code.chars().count(), |cursor| {
            usize::try_from(cursor)
                .unwrap_or(usize::MAX)
                .min(code.chars().count())
        });
    let answer = match request.kind() {
        "kernel_info_request" => Some(kernel_info()),
        "is_complete_request" => Some(completeness::answer(code, &Magics)),
        "complete_request" => Some(kernel.interpreter.complete(code, cursor).await),
        "inspect_request" => Some(kernel.interpreter.inspect(code, cursor).await),
        "history_request" => Some(kernel.history.answer(content)),
        "comm_info_request" => Some(json!({ "status": "ok", "comms": {} })),
        "shutdown_request" => Some(shutdown(kernel, &request)),
        "comm_open" => {
            // No target is registered; an opened comm is closed, so that its owner does not wait.
            let closed = json!({ "comm_id": content["comm_id"], "data": {} });
            kernel.publisher.send("comm_close", &parent, closed);
            None
        }
        "comm_msg" | "comm_close" => None,
        kind => {
            tracing::warn!(kind, "an unknown request");
            kind.ends_with("_request").then(|| unknown(kind))
        }
    };
    if let Some(answer) = answer {
        kernel.publisher.flush().await;
        kernel.reply(&kernel.shell, &request, answer).await;
    }
    kernel.publisher.status(&parent, "idle");
    // Clients show one state for the whole kernel: a cell that runs keeps it busy.
    if let Some(running) = kernel.main.running_parent() {
        kernel.publisher.status(&running, "busy");
    }
}

/// Answers a request of the control channel.
pub(super) async fn control(kernel: &Arc<Kernel>, request: Message) {
    let parent = request.as_parent();
    kernel.publisher.status(&parent, "busy");
    let answer = match request.kind() {
        "kernel_info_request" => kernel_info(),
        "interrupt_request" => {
            kernel.interrupt();
            json!({ "status": "ok" })
        }
        "shutdown_request" => shutdown(kernel, &request),
        "create_subshell_request" => {
            let id = uuid::Uuid::new_v4().to_string();
            let shell = Shell::new(Some(id.clone()));
            tokio::spawn(shell.clone().work(kernel.clone()));
            kernel
                .subshells
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(id.clone(), shell);
            json!({ "status": "ok", "subshell_id": id })
        }
        "delete_subshell_request" => {
            let id = request.content["subshell_id"].as_str().unwrap_or_default();
            let removed = kernel
                .subshells
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(id);
            match removed {
                Some(shell) => {
                    shell.close();
                    json!({ "status": "ok" })
                }
                None => error("SubshellError", &format!("there is no subshell {id}")),
            }
        }
        "list_subshell_request" => {
            let subshells = kernel
                .subshells
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let mut ids: Vec<&String> = subshells.keys().collect();
            ids.sort();
            json!({ "status": "ok", "subshell_id": ids })
        }
        kind => {
            tracing::warn!(kind, "an unknown control request");
            unknown(kind)
        }
    };
    kernel.reply(&kernel.control, &request, answer).await;
    kernel.publisher.status(&parent, "idle");
    if let Some(running) = kernel.main.running_parent() {
        kernel.publisher.status(&running, "busy");
    }
}

/// Refuses a cell for a subshell that is not there.
pub(super) async fn no_subshell(kernel: &Arc<Kernel>, request: &Message) {
    let parent = request.as_parent();
    kernel.publisher.status(&parent, "busy");
    let id = request.header["subshell_id"].as_str().unwrap_or_default();
    kernel
        .reply(
            &kernel.shell,
            request,
            error("SubshellError", &format!("there is no subshell {id}")),
        )
        .await;
    kernel.publisher.status(&parent, "idle");
}

fn shutdown(kernel: &Arc<Kernel>, request: &Message) -> Value {
    let restart = request.content["restart"].as_bool().unwrap_or(false);
    let content = json!({ "status": "ok", "restart": restart });
    // Clients other than the one that asked learn it from here.
    kernel
        .publisher
        .send("shutdown_reply", &request.as_parent(), content.clone());
    kernel.ending.cancel();
    content
}

fn error(name: &str, message: &str) -> Value {
    json!({ "status": "error", "ename": name, "evalue": message, "traceback": [message] })
}

fn unknown(kind: &str) -> Value {
    error(
        "UnknownRequest",
        &format!("this kernel does not know {kind}"),
    )
}

fn kernel_info() -> Value {
    let version = env!("CARGO_PKG_VERSION");
    json!({
        "status": "ok",
        "protocol_version": PROTOCOL,
        "implementation": "katlab",
        "implementation_version": version,
        "language_info": {
            "name": "rust",
            "version": "2024",
            "mimetype": "text/rust",
            "file_extension": ".rs",
            "pygments_lexer": "rust",
            "codemirror_mode": "rust",
        },
        "banner": format!("katlab {version}: magics for the hyperparameter-tuning lab, and Rust. `:help` lists the magics."),
        "help_links": [
            { "text": "Katib", "url": "https://www.kubeflow.org/docs/components/katib/" },
            { "text": "Rust standard library", "url": "https://doc.rust-lang.org/std/" },
        ],
        "supported_features": ["kernel subshells"],
        "debugger": false,
    })
}
