//! One `HEAD /` per backend before traffic is admitted (traffic sheet §15.5): shows at once which backends do not answer.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use engine::dns::Resolution;
use engine::model::{BackendScheme, Document};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::dns::Dns;

/// The cap on one backend.
const BACKEND_MAX: Duration = Duration::from_secs(5);

/// Asks every distinct plain HTTP backend; failures are logged and nothing else.
pub(super) async fn warm_up(document: &Document, dns: &Dns, concurrency: usize) {
    let places = std::sync::Arc::new(Semaphore::new(concurrency.clamp(1, Semaphore::MAX_PERMITS)));
    let mut asked = JoinSet::new();
    for (host, port) in backends(document) {
        let (dns, places) = (dns.clone(), places.clone());
        asked.spawn(async move {
            let _place = places.acquire().await;
            let answer = tokio::time::timeout(BACKEND_MAX, ask(&dns, &host, port)).await;
            let reason = match answer {
                Ok(Ok(())) => return,
                Ok(Err(reason)) => reason,
                Err(_) => format!("no answer within {} s", BACKEND_MAX.as_secs()),
            };
            tracing::warn!("Warm-up of backend {host}:{port} failed: {reason}");
        });
    }
    while asked.join_next().await.is_some() {}
}

fn backends(document: &Document) -> BTreeSet<(String, u16)> {
    let mut backends = BTreeSet::new();
    for proxy in &document.proxies {
        if proxy.listen_port.is_some() || proxy.backend_scheme != Some(BackendScheme::Http) {
            continue;
        }
        let upstream = proxy.upstream_id.as_ref();
        let upstream = upstream.and_then(|id| document.upstreams.iter().find(|upstream| upstream.id == *id));
        match upstream {
            Some(upstream) => {
                backends.extend(upstream.targets.iter().map(|target| (target.host.clone(), target.port)));
            }
            None => {
                let host = proxy.dns_override.as_ref().unwrap_or(&proxy.backend_host);
                backends.insert((host.clone(), proxy.backend_port));
            }
        }
    }
    backends.retain(|(host, port)| !host.is_empty() && !host.starts_with("*.") && *port != 0);
    backends
}

async fn ask(dns: &Dns, host: &str, port: u16) -> Result<(), String> {
    let ip = match host.parse::<IpAddr>() {
        Ok(ip) => ip,
        Err(_) => match dns.resolve(host).await {
            Resolution::Address(ip) => ip,
            Resolution::Failed(reason) => return Err(reason),
        },
    };
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(SocketAddr::new(ip, port)).await.map_err(failed)?;
    let request = format!("HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut first = [0; 16];
    match stream.read(&mut first).await.map_err(failed)? {
        0 => Err("the connection was closed without an answer".to_owned()),
        _ => Ok(()),
    }
}
