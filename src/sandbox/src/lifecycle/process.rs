//! Processes: who holds the lock, how one is started and signalled.

use std::fs::{OpenOptions, TryLockError};
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{LifecycleError, io_error, log_file, state_dir};

/// The most of a log that is kept when a new process starts to write to it.
const LOG_KEPT: u64 = 4 << 20;

/// The process that holds the store of a state directory.
pub(super) fn holder(dir: &Path) -> Option<u32> {
    let mut file = std::fs::File::open(dir.join("store.lock")).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.read_to_string(&mut text).ok()?;
            // Locked, but not yet signed: 0 is nobody's id.
            Some(text.trim().parse().unwrap_or(0))
        }
        _ => None,
    }
}

pub(super) fn signal(pid: u32, signal: i32) {
    if let Ok(pid) = i32::try_from(pid)
        && pid > 0
    {
        // SAFETY: kill takes two numbers and touches no memory.
        unsafe { libc::kill(pid, signal) };
    }
}

pub(super) fn private_dir(dir: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    let mut permissions = std::fs::metadata(dir)?.permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o700);
    std::fs::set_permissions(dir, permissions)
}

/// A started process. Reaped when it ends, so that it never lingers as a zombie of a kernel.
pub(super) struct Started {
    ended: Arc<AtomicBool>,
}

impl Started {
    pub(super) fn ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// Starts `EXE sandbox serve` in a session of its own.
pub(super) fn start(
    home: &Path,
    exe: &Path,
    variables: &[(String, String)],
) -> Result<Started, LifecycleError> {
    let dir = state_dir(home);
    private_dir(&dir).map_err(io_error(&dir))?;
    let path = log_file(home);
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    let log = options.open(&path).map_err(io_error(&path))?;
    if log.metadata().is_ok_and(|m| m.len() > LOG_KEPT) {
        log.set_len(0).map_err(io_error(&path))?;
    }
    let errors = log.try_clone().map_err(io_error(&path))?;
    let mut command = Command::new(exe);
    command
        .args(["sandbox", "serve"])
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .env("KATLAB_HOME", home)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors);
    // SAFETY: setsid is async-signal-safe and is all that happens between fork and exec.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() == -1 {
                Err(std::io::Error::last_os_error())
            } else {
                Ok(())
            }
        });
    }
    let mut child = command.spawn().map_err(|source| LifecycleError::Spawn {
        exe: exe.to_owned(),
        source,
    })?;
    let ended = Arc::new(AtomicBool::new(false));
    let seen = ended.clone();
    std::thread::spawn(move || {
        let _ = child.wait();
        seen.store(true, Ordering::Release);
    });
    Ok(Started { ended })
}

/// The last line of the log that says something, as the process said it: what to do next comes after it.
pub(super) fn last_words(home: &Path) -> String {
    let text = std::fs::read(log_file(home)).unwrap_or_default();
    let tail = &text[text.len().saturating_sub(16 << 10)..];
    String::from_utf8_lossy(tail)
        .lines()
        .rev()
        .map(str::trim)
        .find(|l| !l.is_empty() && !l.starts_with("hint:"))
        .map(|l| l.strip_prefix("katlab: ").unwrap_or(l))
        .unwrap_or("it left no message")
        .to_owned()
}
