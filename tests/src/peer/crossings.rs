//! Every way through one gateway: clients of all kinds in front of it, backends of all kinds behind it.

use std::time::Duration;

use serde_json::json;

use super::{Ask, Client, ClientTls, Peer, Plan, ServerTls, Size, Transport, run, soon};
use crate::{Authority, Document, Gateway, GatewayBuilder, Proxy};

/// What the gateway's certificate is for.
pub const HOST: &str = "shop.example.com";

/// Backends of all kinds behind one gateway; each has a path of its own.
pub struct Crossings {
    pub gateway: Gateway,
    authority: Authority,
    peers: Vec<(Transport, Peer)>,
}

impl Crossings {
    /// With what a test wants to be different about each proxy, about the document and about the settings.
    pub fn start(
        proxy: impl Fn(Proxy) -> Proxy,
        document: impl FnOnce(Document) -> Document,
        settings: impl FnOnce(GatewayBuilder) -> GatewayBuilder,
    ) -> Self {
        let authority = Authority::new();
        let tls = ServerTls::showing(&authority.issue(&["127.0.0.1"]));
        let peers: Vec<(Transport, Peer)> = Transport::ALL
            .map(|transport| {
                let peer = if transport.is_tls() { Peer::secured(transport, &tls) } else { Peer::plain(transport) };
                (transport, peer)
            })
            .into();
        let proxies = peers.iter().fold(Document::new(), |document, (transport, peer)| {
            let id = format!("{transport:?}").to_lowercase();
            let proxy = proxy(Proxy::new(&id).path(prefix(*transport)).to(peer.port()));
            document.proxy(if transport.is_tls() { secured(proxy, &authority) } else { proxy })
        });
        let builder = Gateway::builder().document(&document(proxies.global_plugin("stdout_logging", json!({}))));
        Self { gateway: settings(listening(builder, &authority)).start(), authority, peers }
    }

    pub fn peer(&self, transport: Transport) -> &Peer {
        &self.peers.iter().find(|(known, _)| *known == transport).expect("one of each").1
    }

    pub fn tls(&self) -> ClientTls {
        ClientTls { bundle: self.authority.bundle(), name: HOST }
    }

    pub async fn client(&self, frontend: Transport) -> Client {
        soon("the client is connected", Client::connect(&self.gateway, frontend, &self.tls())).await
    }

    /// The request a plan is asked for with.
    pub fn ask(&self, backend: Transport, method: &'static str, plan: &Plan, size: Size) -> Ask {
        let ask = Ask::new(method, plan.under(prefix(backend)), size).with("te", "trailers");
        if backend == Transport::H2c { ask.with("content-type", "application/grpc") } else { ask }
    }

    /// Runs a story for each pair of frontend and backend and names all pairs that fail, not only the first.
    pub fn each(&self, story: impl AsyncFn(Transport, Transport) -> Result<(), String>) {
        let mut failures = Vec::new();
        for frontend in Transport::ALL {
            for (backend, _) in &self.peers {
                if let Err(what) = run(async { in_time(story(frontend, *backend)).await }) {
                    failures.push(format!("{frontend:?} to {backend:?}: {what}"));
                }
            }
        }
        assert!(failures.is_empty(), "{} crossings fail:\n{}", failures.len(), failures.join("\n"));
    }
}

fn prefix(transport: Transport) -> &'static str {
    match transport {
        Transport::Http1 => "/h1",
        Transport::Http1Tls => "/h1s",
        Transport::H2c => "/grpc",
        Transport::Http2Tls => "/h2",
    }
}

/// A backend under TLS whose authority is known.
pub fn secured(proxy: Proxy, authority: &Authority) -> Proxy {
    let bundle = authority.bundle().display().to_string();
    proxy.set("backend_scheme", "https").set("backend_tls_server_ca_cert_path", bundle)
}

/// On the port for TLS too, as [`HOST`].
pub fn listening(builder: GatewayBuilder, authority: &Authority) -> GatewayBuilder {
    let identity = authority.issue(&[HOST]);
    builder
        .env("FERRUM_FRONTEND_TLS_CERT_PATH", identity.certificate.display())
        .env("FERRUM_FRONTEND_TLS_KEY_PATH", identity.key.display())
}

/// A cell of a table that hangs is one that fails.
pub async fn in_time(story: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    tokio::time::timeout(Duration::from_secs(60), story).await.unwrap_or_else(|_| Err("hangs".into()))
}
