//! Runs a sandbox in the foreground: `cargo run -p katlab-sandbox --example serve -- HOME`.

use katlab_sandbox::lifecycle::{Options, serve};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let home = std::env::args().nth(1).ok_or("usage: serve HOME")?;
    serve(Options::new(home), CancellationToken::new()).await?;
    Ok(())
}
