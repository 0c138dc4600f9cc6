//! wadm-server: wadm 0.21 to test against.
//!
//! `wadm-server NATS_URL` serves every lattice it hears of until it is killed. Logs go to stderr as
//! RUST_LOG asks. What it keeps is in streams in memory.

use anyhow::{bail, Result};
use wadm::{config::WadmConfig, StreamPersistence};

#[tokio::main]
async fn main() -> Result<()> {
    let Some(nats_server) = std::env::args().nth(1) else {
        bail!("usage: wadm-server NATS_URL");
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let stream_persistence = StreamPersistence::Memory;
    let config = WadmConfig { nats_server, stream_persistence, ..WadmConfig::default() };
    let mut tasks = wadm::start_wadm(config).await?;
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    bail!("wadm has ended by itself")
}
