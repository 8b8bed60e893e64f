//! The process itself: everything the sandbox is made of, put together.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::RngExt;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::admission::KatibAdmission;
use crate::api::auth::Credentials;
use crate::api::{self, Api};
use crate::doorway::Doorway;
use crate::metrics::{DbManager, ObservationStore};
use crate::registry::{self, Registry};
use crate::runtime::{self, Runtime};
use crate::store::{Retention, Store};
use crate::tls::{Identity, write_private};
use crate::{bootstrap, controllers, gc};

use super::{Endpoint, LifecycleError, endpoint_file, io_error, kubeconfig, process, state_dir};

/// How the sandbox runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// KATLAB_HOME; the state is in `sandbox` below it.
    pub home: PathBuf,
    /// How much history the store keeps.
    pub retention: Retention,
}

impl Options {
    /// The sandbox of a home, as users run it.
    pub fn new(home: impl Into<PathBuf>) -> Options {
        Options {
            home: home.into(),
            retention: Retention::default(),
        }
    }
}

/// The ports of the last run. They are part of image references, so they stay if they can.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Ports {
    api: u16,
    registry: u16,
    dbmanager: u16,
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// The port if it is free, else any.
fn free(port: u16) -> u16 {
    match std::net::TcpListener::bind(loopback(port)) {
        Ok(_) => port,
        Err(_) => 0,
    }
}

async fn listen(port: u16) -> Result<TcpListener, LifecycleError> {
    match TcpListener::bind(loopback(port)).await {
        Ok(listener) => Ok(listener),
        Err(_) if port != 0 => TcpListener::bind(loopback(0))
            .await
            .map_err(LifecycleError::Listen),
        Err(error) => Err(LifecycleError::Listen(error)),
    }
}

#[derive(Serialize, Deserialize)]
struct Login {
    username: String,
    password: String,
}

fn login(dir: &Path) -> Result<registry::Credentials, LifecycleError> {
    let path = dir.join("registry.json");
    let kept = std::fs::read(&path)
        .ok()
        .and_then(|t| serde_json::from_slice::<Login>(&t).ok());
    let login = match kept {
        Some(login) => login,
        None => {
            let password: [u8; 16] = rand::rng().random();
            let login = Login {
                username: "katlab".into(),
                password: hex::encode(password),
            };
            let text = serde_json::to_vec(&login).unwrap_or_default();
            write_private(&path, &text).map_err(io_error(&path))?;
            login
        }
    };
    Ok(registry::Credentials {
        username: login.username,
        password: SecretString::from(login.password),
    })
}

/// Runs the sandbox until `shutdown`, or until the process is asked to stop.
pub async fn serve(options: Options, shutdown: CancellationToken) -> Result<(), LifecycleError> {
    let dir = state_dir(&options.home);
    process::private_dir(&dir).map_err(io_error(&dir))?;
    let store = Store::open(&dir, api::storages(), options.retention)?;
    let identity = Identity::open(&dir)?;
    let ports_path = dir.join("ports.json");
    let ports: Ports = std::fs::read(&ports_path)
        .ok()
        .and_then(|t| serde_json::from_slice(&t).ok())
        .unwrap_or_default();

    let listener = listen(ports.api).await?;
    let api_port = listener
        .local_addr()
        .map_err(LifecycleError::Listen)?
        .port();
    let part = |part: &'static str| {
        move |error: &dyn std::fmt::Display| LifecycleError::Part {
            part,
            reason: error.to_string(),
        }
    };
    let registry = Registry::bind(
        loopback(free(ports.registry)),
        &dir.join("registry"),
        login(&dir)?,
    )
    .await
    .map_err(|e| part("registry")(&e))?;
    let observation = ObservationStore::open(&dir.join("observations.db"))
        .await
        .map_err(|e| part("observation log")(&e))?;
    let dbmanager = DbManager::bind(loopback(free(ports.dbmanager)), observation.clone())
        .await
        .map_err(|e| part("metrics service")(&e))?;
    let engine = runtime::Engine::connect(None).map_err(|e| part("pod runtime")(&e))?;
    let endpoint = Endpoint {
        engine: engine.address().to_owned(),
        pid: std::process::id(),
        api_port,
        registry_host: format!("127.0.0.1:{}", registry.address().port()),
        dbmanager_port: dbmanager.address().port(),
    };
    let ports = Ports {
        api: api_port,
        registry: registry.address().port(),
        dbmanager: endpoint.dbmanager_port,
    };
    let text = serde_json::to_vec(&ports).unwrap_or_default();
    write_private(&ports_path, &text).map_err(io_error(&ports_path))?;

    let stop = shutdown.child_token();
    let admission = Arc::new(KatibAdmission::new(store.clone()));
    let api = Api::new(
        store,
        admission,
        Credentials::new(identity.token(), identity.account_key()),
        stop.clone(),
    );
    bootstrap::run(&api, identity.ca_pem()).await?;

    let config = identity.kubeconfig(api_port, bootstrap::USER_NAMESPACE);
    let path = kubeconfig(&options.home);
    write_private(&path, config.expose_secret().as_bytes()).map_err(io_error(&path))?;

    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(api::server::serve(
        api.clone(),
        listener,
        identity.server_config()?,
    ));
    tasks.spawn(gc::run(
        api.clone(),
        identity.ca_pem().to_owned(),
        stop.clone(),
    ));
    let serving = registry.serve(stop.clone());
    tasks.spawn(async move { log_end("registry", serving.await) });
    let serving = dbmanager.serve(stop.clone());
    tasks.spawn(async move { log_end("metrics service", serving.await) });

    let client = client(config.expose_secret()).map_err(|e| part("client")(&e))?;
    let runtime = Runtime::on(engine, client.clone(), &dir, observation.clone());
    api.set_log_source(Arc::new(runtime.clone()));
    runtime.set_doorway(Doorway::new(
        api.clone(),
        identity,
        observation.clone(),
        api_port,
        stop.clone(),
    ));
    api.set_stream_source(Arc::new(runtime.clone()));
    tasks.spawn(runtime.run(stop.clone()));
    tasks.spawn(controllers::run(client, observation, stop.clone()));

    let path = endpoint_file(&options.home);
    let text = serde_json::to_vec_pretty(&endpoint).unwrap_or_default();
    write_private(&path, &text).map_err(io_error(&path))?;
    tracing::info!(api = api_port, registry = %endpoint.registry_host, "ready");

    tokio::select! {
        () = shutdown.cancelled() => {}
        () = asked_to_stop() => {}
    }
    tracing::info!("stopping");
    let _ = std::fs::remove_file(&path);
    stop.cancel();
    let rest = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(5), rest).await;
    Ok(())
}

/// The client of the controllers and the runtime: the same API, over the same socket as everyone
/// else's.
fn client(kubeconfig: &str) -> Result<kube::Client, Box<dyn std::error::Error + Send + Sync>> {
    // The kubeconfig is read here and not inferred, so that no proxy of the environment gets
    // between the sandbox and itself.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let parsed = kube::config::Kubeconfig::from_yaml(kubeconfig)?;
    let named = parsed.clusters.first().and_then(|c| c.cluster.as_ref());
    let server = named
        .and_then(|c| c.server.as_deref())
        .ok_or("no server in the kubeconfig")?;
    let mut config = kube::Config::new(server.parse()?);
    if let Some(ca) = named.and_then(|c| c.certificate_authority_data.as_deref()) {
        let pem = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, ca)?;
        config.root_cert = Some(vec![CertificateDer::from_pem_slice(&pem)?.to_vec()]);
    }
    if let Some(user) = parsed.auth_infos.first().and_then(|u| u.auth_info.clone()) {
        config.auth_info.token = user.token;
    }
    config.default_namespace = bootstrap::USER_NAMESPACE.to_owned();
    Ok(kube::Client::try_from(config)?)
}

fn log_end<E: std::fmt::Display>(part: &str, end: Result<(), E>) {
    if let Err(error) = end {
        tracing::error!(part, %error, "a part of the sandbox has ended");
    }
}

async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Removes what the pod runtime made on the Docker Engine.
pub(super) async fn remove_containers(home: &Path) -> Result<(), LifecycleError> {
    let removed = runtime::remove_everything(&state_dir(home)).await;
    removed.map(drop).map_err(|error| LifecycleError::Part {
        part: "pod runtime",
        reason: error.to_string(),
    })
}
