//! A disk that fills up: the write that finds no room is refused and not applied, nothing
//! acknowledged is lost, and when there is room again writes go on.

mod harness;

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::server_in;
use serde_json::json;

const DIRECTORY: &str = "KATLAB_FULL_DISK";
const SIZE: u64 = 2 << 20;

/// What makes the disk full, and not full again.
enum Room {
    /// A file that takes what is left of a small file system.
    Ballast(PathBuf),
    /// The largest size that a file may have.
    Limit,
}

impl Room {
    fn take(&self) {
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

    fn give_back(&self) {
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
fn mount(dir: &std::ffi::CStr) -> std::io::Result<()> {
    let options = std::ffi::CString::new(format!("size={SIZE}"))?;
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

#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["on_a_small_disk", "--exact", "--ignored", "--nocapture"])
        .env(DIRECTORY, dir.path());
    let at = std::ffi::CString::new(dir.path().to_str().expect("a name")).expect("no zero in it");
    // SAFETY: between fork and exec only system calls are made, on memory that is there already.
    unsafe { command.pre_exec(move || mount(&at).or(Ok(()))) };
    let ended = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(
        ended.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

#[tokio::test]
#[ignore = "run by the test above on a disk of its own"]
async fn on_a_small_disk() {
    let Some(dir) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let dir = Path::new(&dir);
    let mounts = std::fs::read_to_string("/proc/mounts").expect("the mounts");
    let mounted = mounts.lines().any(|l| l.split(' ').nth(1) == dir.to_str());
    let room = if mounted {
        Room::Ballast(dir.join("ballast"))
    } else {
        Room::Limit
    };

    let server = server_in(dir).await;
    let maps = "/api/v1/namespaces/team/configmaps";
    let text = |n: usize| json!({"text": "x".repeat(n)});
    let map = |name: &str, n| json!({"metadata": {"name": name}, "data": text(n)});
    for i in 0..8 {
        assert_eq!(
            server.post(maps, map(&format!("m{i}"), 1000)).await.status,
            201
        );
    }
    for round in 0..3 {
        room.take();
        let before = server.get(maps).await.body;
        // Several at once share a transaction, and each is told.
        let creates = (0..4).map(|i| server.post(maps, map(&format!("r{round}-{i}"), 100_000)));
        let mut refused = futures::future::join_all(creates).await;
        refused.push(
            server
                .merge(&format!("{maps}/m0"), json!({"data": text(100_000)}))
                .await,
        );
        for answer in refused {
            let (status, said) = (answer.status, &answer.body["message"]);
            if mounted {
                assert_eq!(
                    (status, &answer.body["reason"]),
                    (507, &json!("InsufficientStorage"))
                );
                assert!(
                    said.as_str()
                        .is_some_and(|m| m.contains("is full: nothing was stored"))
                );
            } else {
                assert_eq!(status, 500, "{said}");
            }
        }
        let after = server.get(maps).await.body;
        assert_eq!(after, before);
        room.give_back();
        assert_eq!(
            server
                .post(maps, map(&format!("r{round}"), 100_000))
                .await
                .status,
            201
        );
        assert_eq!(
            server
                .merge(
                    &format!("{maps}/m0"),
                    json!({"data": {"round": round.to_string()}})
                )
                .await
                .status,
            200
        );
        assert_eq!(
            server
                .delete(&format!("{maps}/m{}", round + 1), json!({}))
                .await
                .status,
            200
        );
    }
    let last = server.get(maps).await.body;
    drop(server);
    let again = server_in(dir).await;
    assert_eq!(again.get(maps).await.body, last);
}
