//! One backend, asked what it speaks (traffic sheet §12). No request is sent.

use std::time::Duration;

use engine::snapshot::Security;
use engine::tls::{ALPN_HTTP2, BackendTls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::dial::{connect, seal};
use super::findings::{Findings, Support};
use super::target::Target;
use crate::dns::Dns;

/// Bounds of a probe, whatever `backend_connect_timeout_ms` says.
const TIMEOUT_MS: std::ops::RangeInclusive<u64> = 1..=5_000;

/// How a client begins that knows that the server speaks HTTP/2, with empty SETTINGS (RFC 9113, §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The acknowledgement of the server's SETTINGS, and a GOAWAY without an error.
const FAREWELL: &[u8] = b"\0\0\0\x04\x01\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0";

const FRAME_HEAD_BYTES: usize = 9;

/// The longest frame that may be sent before SETTINGS allow more (RFC 9113, §4.2).
const FRAME_BYTES_MAX: u32 = 16_384;

/// Never longer than the bound of the target. Without an answer all is unknown (again) that has to be asked for.
pub(super) async fn probe(target: &Target, dns: &Dns) -> Findings {
    let limit_ms = target.connect_timeout_ms.clamp(*TIMEOUT_MS.start(), *TIMEOUT_MS.end());
    let answer = tokio::time::timeout(Duration::from_millis(limit_ms), ask(target, dns)).await;
    let error = match answer {
        Ok(Ok(findings)) => return findings,
        Ok(Err(reason)) => reason,
        Err(_) => format!("no answer within {limit_ms} ms"),
    };
    tracing::info!("Capability probe of backend {}:{} failed: {error}", target.host, target.port);
    Findings { error: Some(error), ..target.unasked() }
}

async fn ask(target: &Target, dns: &Dns) -> Result<Findings, String> {
    match &target.security {
        Security::Plain => in_the_clear(target, dns).await,
        Security::Tls(tls) => under_tls(target, tls, dns).await,
        Security::Broken(reason) => Err(reason.clone()),
    }
}

async fn in_the_clear(target: &Target, dns: &Dns) -> Result<Findings, String> {
    let stream = connect(target, dns).await?;
    Ok(Findings { h2c: Support::of(speaks_http2(stream).await), ..Findings::CLEAR })
}

/// Whether the first frame is SETTINGS. A peer that closes, or answers in another language, has answered.
async fn speaks_http2(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> bool {
    if stream.write_all(PREFACE).await.is_err() {
        return false;
    }
    let mut head = [0; FRAME_HEAD_BYTES];
    let is_spoken = stream.read_exact(&mut head).await.is_ok() && begins_http2(&head);
    if is_spoken {
        // The answer is there; whether the peer hears the rest does not matter.
        let _ = stream.write_all(FAREWELL).await;
    }
    let _ = stream.shutdown().await;
    is_spoken
}

/// The head of SETTINGS that acknowledge nothing (RFC 9113, §4.1 and §6.5).
fn begins_http2(head: &[u8; FRAME_HEAD_BYTES]) -> bool {
    let [l0, l1, l2, kind, flags, stream @ ..] = *head;
    let (bytes, stream) = (u32::from_be_bytes([0, l0, l1, l2]), u32::from_be_bytes(stream) & 0x7fff_ffff);
    kind == 4 && flags & 1 == 0 && stream == 0 && bytes.is_multiple_of(6) && bytes <= FRAME_BYTES_MAX
}

async fn under_tls(target: &Target, tls: &BackendTls, dns: &Dns) -> Result<Findings, String> {
    let stream = connect(target, dns).await?;
    let mut stream = seal(stream, target, tls, &tls.offers.either).await?;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_HTTP2);
    let _ = stream.shutdown().await;
    // Whether one that prefers HTTP/2 would take HTTP/1.1 is not asked: the sheet's view says that it does.
    Ok(Findings { h1: Support::Supported, h2_tls: Support::of(is_http2), ..Findings::UNDER_TLS })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a probe makes of a peer that reads nothing and says this, and then closes.
    async fn told(answer: &[u8]) -> bool {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        theirs.write_all(answer).await.unwrap();
        theirs.shutdown().await.unwrap();
        speaks_http2(ours).await
    }

    #[tokio::test]
    async fn settings_are_the_only_beginning_of_http2() {
        assert!(told(b"\0\0\0\x04\0\0\0\0\0").await, "empty SETTINGS");
        assert!(told(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64").await);
        assert!(told(b"\0\0\0\x04\0\x80\0\0\0").await, "the reserved bit is ignored");
        for other in [
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            b"\0\0\0\x04\x01\0\0\0\0",
            b"\0\0\0\x04\0\0\0\0\x01",
            b"\0\0\x05\x04\0\0\0\0\0",
            b"\0\x40\x02\x04\0\0\0\0\0",
            b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01",
            b"\0\0\0\x04\0",
            b"",
        ] {
            assert!(!told(other).await, "{other:?}");
        }
    }

    #[tokio::test]
    async fn a_peer_that_speaks_http2_is_told_goodbye() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        theirs.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
        assert!(speaks_http2(ours).await);
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, [PREFACE, FAREWELL].concat());
    }
}
