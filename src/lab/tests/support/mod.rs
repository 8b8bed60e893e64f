//! What the tests against real components share: the engine, a registry of their own, contexts.
#![allow(
    dead_code,
    missing_docs,
    reason = "each test program uses its own part"
)]

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use katlab_lab::credentials::{Credential, Store};
use katlab_lab::docker::Engine;
use tokio_util::sync::CancellationToken;

pub const BASE: &str = "katlab/base:1";
pub const USER: &str = "kim";
pub const PASSWORD: &str = "pa?ss~w>ord-비밀";

/// The engine of this machine. A test that needs one fails without it.
pub async fn engine() -> Engine {
    Engine::connect(None)
        .await
        .expect("a Docker Engine must answer for this test")
}

pub fn never() -> CancellationToken {
    CancellationToken::new()
}

/// A name that no other test uses.
pub fn fresh(name: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "katlab-test/{name}-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// A folder with these files.
pub fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    root
}

/// Debian's registry, with one user, on a free port of this machine.
pub struct TestRegistry {
    child: Child,
    pub address: SocketAddr,
    pub folder: tempfile::TempDir,
    pub ca: Option<PathBuf>,
}

/// An address at which nobody listens, given to no other test: whoever is given the same one takes the other's
/// registry for its own.
pub fn free_address() -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        if GIVEN.lock().unwrap().insert(address) {
            return address;
        }
    }
}

impl TestRegistry {
    pub fn plain() -> Self {
        Self::start(false, "")
    }

    pub fn tls() -> Self {
        Self::start(true, "")
    }

    /// With more of the registry's own configuration.
    pub fn with(extra: &str) -> Self {
        Self::start(false, extra)
    }

    fn start(tls: bool, extra: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let htpasswd = Command::new("htpasswd")
            .args(["-Bbn", USER, PASSWORD])
            .output()
            .expect("htpasswd must be installed");
        std::fs::write(path("htpasswd"), htpasswd.stdout).unwrap();
        let ca = tls.then(|| {
            let mut params =
                rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()])
                    .unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap();
            std::fs::write(path("cert.pem"), certificate.pem()).unwrap();
            std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
            path("cert.pem")
        });
        for _ in 0..5 {
            let address = free_address();
            let tls = if tls {
                format!(
                    "  tls:\n    certificate: {}\n    key: {}\n",
                    path("cert.pem").display(),
                    path("key.pem").display()
                )
            } else {
                String::new()
            };
            let config = format!(
                "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {root}\n  delete:\n    enabled: true\n{extra}http:\n  addr: {address}\n{tls}auth:\n  htpasswd:\n    realm: test\n    path: {htpasswd}\n",
                root = path("store").display(),
                htpasswd = path("htpasswd").display(),
            );
            std::fs::write(path("config.yml"), config).unwrap();
            let mut child = Command::new("docker-registry")
                .arg("serve")
                .arg(path("config.yml"))
                .stdout(Stdio::null())
                .stderr(std::fs::File::create(path("log")).unwrap())
                .spawn()
                .expect("docker-registry must be installed");
            let deadline = Instant::now() + Duration::from_secs(20);
            // Somebody may have taken the port meanwhile: then it ends, and another is tried.
            while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
                if TcpStream::connect(address).is_ok() {
                    return Self {
                        child,
                        address,
                        folder,
                        ca,
                    };
                }
                std::thread::yield_now();
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!(
            "docker-registry does not start: {}",
            std::fs::read_to_string(path("log")).unwrap_or_default()
        );
    }

    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// A store of credentials in a folder of its own, with a login to this registry.
    pub async fn store(&self, folder: &Path) -> Store {
        let store = Store::in_folder(folder);
        store
            .store(&self.host(), &credential(PASSWORD))
            .await
            .unwrap();
        store
    }
}

impl Drop for TestRegistry {
    fn drop(&mut self) {
        self.stop();
    }
}

pub fn credential(password: &str) -> Credential {
    Credential::password(USER, password.into())
}
