//! A wRPC peer made of the published crates: it serves the interfaces of tests/wit, and calls them.
//!
//!     wrpc-NN serve nats://HOST:PORT PREFIX
//!     wrpc-NN serve tcp:HOST:PORT | unix:PATH
//!     wrpc-NN call  (the same) SCRIPT
//!
//! `serve` prints "ready" and runs until it is killed. `call` prints one line of JSON for each line
//! of the script (script.rs).
mod client;
mod script;
mod server;

mod bindings {
    wit_bindgen_wrpc::generate!({
        path: [
            "../../../sdk/interfaces/wrpc-keyvalue",
            "../../../sdk/interfaces/wrpc-http",
            "../../../sdk/interfaces/wrpc-blobstore",
            "../../wit",
        ],
        world: "test:vec/tests@0.1.0",
        generate_all,
    });
}

use anyhow::{bail, Context as _};
use bytes::Bytes;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use wrpc_transport::frame::{tcp, unix, Accept, Incoming, Outgoing, Server};
use wrpc_transport::Invoke;

/// Both kinds of sockets as one type: all that bindgen makes is compiled once for each type.
enum Client {
    Tcp(tcp::Client<String>),
    Unix(unix::Client<PathBuf>),
}

impl Invoke for Client {
    type Context = ();
    type Outgoing = Outgoing;
    type Incoming = Incoming;

    async fn invoke<P: AsRef<[Option<usize>]> + Send + Sync>(
        &self,
        cx: (),
        instance: &str,
        func: &str,
        params: Bytes,
        paths: impl AsRef<[P]> + Send,
    ) -> anyhow::Result<(Outgoing, Incoming)> {
        match self {
            Self::Tcp(c) => c.invoke(cx, instance, func, params, paths).await,
            Self::Unix(c) => c.invoke(cx, instance, func, params, paths).await,
        }
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

type Sender = Box<dyn AsyncWrite + Send + Sync + Unpin>;
type Receiver = Box<dyn AsyncRead + Send + Sync + Unpin>;

impl Accept for &Listener {
    type Context = Option<SocketAddr>;
    type Outgoing = Sender;
    type Incoming = Receiver;

    async fn accept(&self) -> std::io::Result<(Self::Context, Sender, Receiver)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                let (rx, tx) = stream.into_split();
                Ok((Some(from), Box::new(tx), Box::new(rx)))
            }
            Listener::Unix(listener) => {
                let (rx, tx) = listener.accept().await?.0.into_split();
                Ok((None, Box::new(tx), Box::new(rx)))
            }
        }
    }
}

type Nats = wrpc_transport_nats::Client;

async fn call_nats(url: &str, prefix: &str, script: &str) -> anyhow::Result<()> {
    let nats = async_nats::connect(url).await.context("cannot connect")?;
    client::run(&Nats::new(nats, prefix, None).await?, &None, script).await
}

async fn serve_nats(url: &str, prefix: &str) -> anyhow::Result<()> {
    let nats = async_nats::connect(url).await.context("cannot connect")?;
    let wrpc = Nats::new(nats.clone(), prefix, Some(Arc::from(prefix))).await?;
    // Ready is who is subscribed.
    server::run(&wrpc, async { nats.flush().await.context("cannot flush") }).await
}

async fn serve_framed(listener: Listener) -> anyhow::Result<()> {
    let srv = Server::default();
    let accepting = async {
        loop {
            if let Err(err) = srv.accept(&listener).await {
                eprintln!("not served: {err}");
            }
        }
    };
    tokio::select! {
        () = accepting => Ok(()),
        ended = server::run(&srv, async { Ok(()) }) => ended,
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (&mode, &address, rest) = match &args[..] {
        [mode, address, rest @ ..] => (mode, address, rest),
        _ => bail!("serve or call, an address, and for NATS a prefix expected"),
    };
    let scheme = address.split(':').next().unwrap_or_default();
    let place = &address[scheme.len()..].trim_start_matches(':');
    match (mode, scheme, rest) {
        ("serve", "nats", [prefix]) => serve_nats(address, prefix).await,
        ("serve", "tcp", []) => serve_framed(Listener::Tcp(TcpListener::bind(place).await?)).await,
        ("serve", "unix", []) => serve_framed(Listener::Unix(UnixListener::bind(place)?)).await,
        ("call", "nats", [prefix, script]) => call_nats(address, prefix, script).await,
        ("call", "tcp", [script]) => {
            client::run(&Client::Tcp(place.to_string().into()), &(), script).await
        }
        ("call", "unix", [script]) => {
            client::run(&Client::Unix(PathBuf::from(place).into()), &(), script).await
        }
        _ => bail!("cannot {mode} {address} with {rest:?}"),
    }
}
