//! The way to the Docker Engine, which a test can cut. The engine itself is left alone.

use std::path::Path;

use tokio::net::{UnixListener, UnixStream};
use tokio::task::{JoinHandle, JoinSet};

/// A way to the engine that can be cut: aborting the task closes every connection.
pub fn road(path: &Path) -> JoinHandle<()> {
    // What an earlier road left would keep the new one from its place.
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).expect("socket");
    tokio::spawn(async move {
        let mut travellers = JoinSet::new();
        while let Ok((mut here, _)) = listener.accept().await {
            travellers.spawn(async move {
                let mut there = UnixStream::connect("/var/run/docker.sock").await?;
                tokio::io::copy_bidirectional(&mut here, &mut there).await
            });
        }
    })
}

/// Cuts the way: whoever is on it is lost, and nobody gets through.
pub async fn cut(road: JoinHandle<()>, path: &Path) {
    road.abort();
    let _ = road.await;
    std::fs::remove_file(path).expect("socket");
}
