//! One `HEAD /` per backend before traffic is admitted (traffic sheet §15.5): shows at once which backends do not answer.

use std::net::Ipv6Addr;
use std::time::Duration;

use engine::snapshot::Security;
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::capabilities::{Entry, Support, Target, connect, seal};
use crate::dns::Dns;

/// The cap on one backend.
const BACKEND_MAX: Duration = Duration::from_secs(5);

/// Asks every backend to which HTTP/1.1 may be spoken; failures are logged and nothing else.
pub(super) async fn warm_up(backends: Vec<Entry>, dns: &Dns, concurrency: usize) {
    let asked = stream::iter(backends.into_iter().filter(may_get_http1)).for_each_concurrent(
        concurrency,
        |Entry { target, .. }| async move {
            let answer = tokio::time::timeout(BACKEND_MAX, ask(&target, dns)).await;
            let reason = match answer {
                Ok(Ok(())) => return,
                Ok(Err(reason)) => reason,
                Err(_) => format!("no answer within {} s", BACKEND_MAX.as_secs()),
            };
            tracing::warn!("Warm-up of backend {}:{} failed: {reason}", target.host, target.port);
        },
    );
    asked.await;
}

/// Not one that is known to choose HTTP/2, unless a proxy does not offer that.
fn may_get_http1(backend: &Entry) -> bool {
    backend.findings.h2_tls != Support::Supported || backend.target.uses_http1
}

async fn ask(target: &Target, dns: &Dns) -> Result<(), String> {
    let stream = connect(target, dns).await?;
    match &target.security {
        Security::Tls(tls) => head(seal(stream, target, tls, &tls.offers.http1).await?, &target.host).await,
        Security::Plain | Security::Broken(_) => head(stream, &target.host).await,
    }
}

async fn head(mut stream: impl AsyncRead + AsyncWrite + Unpin, host: &str) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let host = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() };
    let request = format!("HEAD / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    let mut first = [0; 16];
    match stream.read(&mut first).await.map_err(failed)? {
        0 => Err("the connection was closed without an answer".to_owned()),
        _ => Ok(()),
    }
}
