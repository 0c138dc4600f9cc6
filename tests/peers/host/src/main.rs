//! lattice-host: a wasmCloud 1.9 host to test against.
//!
//! `lattice-host NATS_URL LATTICE` prints its host id once it serves the lattice, and stops on
//! SIGTERM or SIGINT. Logs go to stderr as RUST_LOG asks. Artefacts are taken from file://
//! references, since the tests have no registry. Like wasmCloud's own host it gives a provider
//! 300 ms to shut down.

use anyhow::{bail, Context, Result};
use nkeys::KeyPair;
use std::{sync::Arc, time::Duration};
use tokio::signal::unix::{signal, SignalKind};
use url::Url;
use wasmcloud_host::wasmbus::{Host, HostConfig};

const PROVIDER_SHUTDOWN: Duration = Duration::from_millis(300);

fn config(url: &str, lattice: &str, identity: KeyPair) -> Result<HostConfig> {
    let nats = Url::parse(url).with_context(|| format!("{url} is not a URL"))?;
    Ok(HostConfig {
        ctl_nats_url: nats.clone(),
        rpc_nats_url: nats,
        lattice: lattice.into(),
        host_key: Some(Arc::new(identity)),
        allow_file_load: true,
        provider_shutdown_delay: Some(PROVIDER_SHUTDOWN),
        ..HostConfig::default()
    })
}

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, lattice] = args.as_slice() else {
        bail!("usage: lattice-host NATS_URL LATTICE");
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let identity = KeyPair::new_server();
    let id = identity.public_key();
    let (_host, stop) = Host::new(config(url, lattice, identity)?).await?;
    println!("{id}");

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.await
}
