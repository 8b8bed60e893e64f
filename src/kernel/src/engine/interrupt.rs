//! What an interrupt does to a Rust cell, gentlest first.
//!
//! While cargo or rustc run, ending them ends the cell and every variable is kept. While the
//! analyser thinks, a compile is about to begin, so wait for it. While the cell's program waits for an
//! answer of the kernel, the answer is that it was interrupted, and variables are kept. While it runs,
//! only its end helps, and variables are lost. An engine that will not end the cell is ended itself.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::descendants::{self, Snapshot};
use super::process::Process;

/// How often the processes are looked at.
const LOOK: Duration = Duration::from_millis(25);
/// How long the engine's processor use is watched to tell thinking from waiting.
const WATCH: Duration = Duration::from_millis(150);
/// How long the analyser may think, or cargo be ended again and again.
const GENTLE: Duration = Duration::from_secs(15);
/// How long a program may take to hand on that its call was interrupted.
const HEED: Duration = Duration::from_millis(800);
/// An engine that has not ended a cell this long after its program was killed is stuck.
const PATIENCE: Duration = Duration::from_secs(8);

/// Ends the running cell; the caller drops this future when the cell is over.
pub async fn end_cell(process: Arc<Process>) {
    let began = Instant::now();
    let mut since = began;
    let mut ticks = Snapshot::take().ticks(process.pid());
    while began.elapsed() < GENTLE {
        let snapshot = Snapshot::take();
        let compilers = snapshot.compilers(process.pid());
        if !compilers.is_empty() {
            descendants::signal(&compilers, libc::SIGTERM);
            // What fails may be compiled again in another form; that is ended as well.
            since = Instant::now();
            ticks = snapshot.ticks(process.pid());
        } else if since.elapsed() >= WATCH {
            // SAFETY: sysconf only reads a constant of the system.
            let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }
                .max(1)
                .unsigned_abs();
            let used = snapshot.ticks(process.pid()).saturating_sub(ticks);
            let share = used as f64 / per_second as f64 / since.elapsed().as_secs_f64();
            if share < 0.2 {
                break;
            }
            since = Instant::now();
            ticks = snapshot.ticks(process.pid());
        }
        tokio::time::sleep(LOOK).await;
    }
    end_program(process).await;
}

/// Lets a cell end by itself whose program waited for the kernel: what it asked has been answered with
/// an error. One that does not heed it is ended.
pub async fn end_asking_cell(process: Arc<Process>) {
    tokio::time::sleep(HEED).await;
    end_program(process).await;
}

/// Ends the program of the cells, and the engine itself if that does not help.
pub async fn end_program(process: Arc<Process>) {
    let _conversation = process.ask("interrupt_request", json!({}));
    tokio::time::sleep(PATIENCE).await;
    process.kill();
}
