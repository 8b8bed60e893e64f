//! Small disks that a test can fill.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const DIRECTORY: &str = "KATLAB_FULL_DISK";

/// What makes the disk full, and not full again.
pub enum Room {
    /// A file that takes what is left of a small file system.
    Ballast(PathBuf),
    /// The largest size that a file may have.
    Limit,
}

impl Room {
    /// Leaves no room.
    pub fn take(&self) {
        match self {
            Room::Ballast(path) => {
                let mut file = std::fs::File::create(path).expect("a file");
                let block = [0_u8; 4096];
                while std::io::Write::write_all(&mut file, &block).is_ok() {}
            }
            // Less than the log has already.
            Room::Limit => limit(4096),
        }
    }

    /// Gives the room back.
    pub fn give_back(&self) {
        match self {
            Room::Ballast(path) => std::fs::remove_file(path).expect("the file goes"),
            Room::Limit => limit(libc::RLIM_INFINITY),
        }
    }
}

fn limit(bytes: libc::rlim_t) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the calls read and write the one struct, and change how a signal is taken.
    let done = unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit);
        limit.rlim_cur = bytes.min(limit.rlim_max);
        libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit)
    };
    assert_eq!(done, 0);
}

/// Puts a small file system of this process's own on a directory, if the system lets it.
fn mount(dir: &std::ffi::CStr, options: &std::ffi::CStr) -> std::io::Result<()> {
    let call = |result: i32| match result {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    // SAFETY: all pointers are of C strings that live through the calls.
    unsafe {
        if libc::geteuid() != 0 {
            call(libc::unshare(libc::CLONE_NEWUSER))?;
        }
        call(libc::unshare(libc::CLONE_NEWNS))?;
        let nothing = std::ptr::null();
        let private = libc::MS_REC | libc::MS_PRIVATE;
        call(libc::mount(
            nothing,
            c"/".as_ptr(),
            nothing,
            private,
            nothing.cast(),
        ))?;
        let kind = c"tmpfs".as_ptr();
        call(libc::mount(
            kind,
            dir.as_ptr(),
            kind,
            0,
            options.as_ptr().cast(),
        ))
    }
}

/// Runs an ignored test of this program in a process of its own, with a small file system on the
/// directory. Where the system does not let it have one, the size of files will be limited.
pub fn run_on(test: &str, dir: &Path, size: u64) {
    let mut command = alone(test);
    command.env(DIRECTORY, dir);
    let at = std::ffi::CString::new(dir.to_str().expect("a name")).expect("no zero in it");
    let options = std::ffi::CString::new(format!("size={size}")).expect("no zero in it");
    // SAFETY: between fork and exec only system calls are made, on memory that is there already.
    unsafe { command.pre_exec(move || mount(&at, &options).or(Ok(()))) };
    passes(&mut command);
}

/// An ignored test of this program, to be run in a process of its own.
pub fn alone(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args([test, "--exact", "--ignored", "--nocapture"]);
    command
}

/// Runs such a test, which must pass.
pub fn passes(command: &mut Command) {
    let ended = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(
        ended.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

/// The directory that this process was started on, and what fills its disk.
pub fn here() -> Option<(PathBuf, Room)> {
    let dir = PathBuf::from(std::env::var_os(DIRECTORY)?);
    let mounts = std::fs::read_to_string("/proc/mounts").expect("the mounts");
    let mounted = mounts.lines().any(|l| l.split(' ').nth(1) == dir.to_str());
    let room = if mounted {
        Room::Ballast(dir.join("ballast"))
    } else {
        Room::Limit
    };
    Some((dir, room))
}
