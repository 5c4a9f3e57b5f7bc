//! Clients and backends that say the same thing over HTTP/1.1 and HTTP/2, in the clear and under TLS.
//!
//! A test asks a [`Client`] for an [`Ask`]; the [`Peer`] behind the gateway does what the path says ([`Plan`]). Bodies are pieces
//! of one [`pattern`], so that whoever receives one can tell a byte that is missing, doubled or swapped without a checksum.
//! HTTP/1.1 is written and read here byte by byte, HTTP/2 by the `h2` crate, so that windows and resets are the test's to decide.

mod backend;
mod client;
pub mod crossings;
mod flow;
mod http1;
pub mod pattern;
mod plan;
mod tls;

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::Runtime;

use crate::wait::PATIENCE;

pub use backend::{Peer, PeerConnection, Seen};
pub use client::{Answer, Ask, Client, Reply, Size};
pub use flow::{Inlet, Outlet, Received};
pub use plan::Plan;
pub use tls::{ClientTls, ServerTls};

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Http1,
    Http1Tls,
    H2c,
    Http2Tls,
}

impl Transport {
    pub const ALL: [Self; 4] = [Self::Http1, Self::Http1Tls, Self::H2c, Self::Http2Tls];

    pub fn is_tls(self) -> bool {
        matches!(self, Self::Http1Tls | Self::Http2Tls)
    }

    pub fn is_http2(self) -> bool {
        matches!(self, Self::H2c | Self::Http2Tls)
    }

    fn alpn(self) -> &'static str {
        if self.is_http2() { "h2" } else { "http/1.1" }
    }
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).enable_all().build().expect("a runtime for clients and backends")
    })
}

/// Runs the story of a client to its end.
pub fn run<T>(story: impl Future<Output = T>) -> T {
    runtime().block_on(story)
}

/// The same thing, if it happens in time.
pub async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    let in_time = tokio::time::timeout(PATIENCE, event).await;
    in_time.unwrap_or_else(|_| panic!("gave up waiting until {what}"))
}
