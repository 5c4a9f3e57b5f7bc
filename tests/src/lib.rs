//! The end-to-end harness: starts the built gateway on free ports, puts scripted backends behind it, and talks to it
//! byte by byte or with curl.
//!
//! [`Gateway`] is the process under test, [`Document`] the configuration it reads, [`Backend`] what stands behind it
//! and records all it was sent, [`RawClient`] a client that writes exactly the bytes it is told and reads answers with
//! a strict parser, [`http2`] the same for HTTP/2, [`curl`], [`Peer`] and [`Redis`] clients and servers nobody here wrote,
//! [`Database`] an empty database and [`Cable`] the way to it. [`peer`]
//! has clients and backends that speak HTTP/1.1 and HTTP/2, with TLS and without, and mean the same in all of them. Nothing
//! in the harness sleeps to synchronise: it waits for a condition with a bound ([`eventually`], [`Gate`]).

mod backend;
mod certificates;
mod client;
mod curl;
mod database;
mod document;
mod frames;
mod gateway;
pub mod http2;
mod logs;
mod metrics_page;
mod openssl;
pub mod peer;
mod ports;
mod python_peer;
mod redis;
mod wait;
mod wire;

pub use backend::{Backend, Connection, DeafPort, RefusingPort, Reply, Request};
pub use certificates::{Authority, Identity, Validity};
pub use client::RawClient;
pub use curl::{CurlResponse, curl};
pub use database::{Cable, Database, admin_token, token_signed_with};
pub use document::{Document, Proxy};
pub use frames::{BackendWebSocket, Frame, FrameReader, Http2WebSocket, RawWebSocket, WEBSOCKET_KEY, websocket_accept};
pub use gateway::{Exit, Gateway, GatewayBuilder, Signal, run_cli};
pub use metrics_page::{MetricFamily, MetricsPage, Sample};
pub use openssl::openssl;
pub use ports::PortLease;
pub use python_peer::{Peer, peer_program};
pub use redis::Redis;
pub use wait::{Finally, Gate, PATIENCE, eventually};
pub use wire::{Fault, Framing, Headers, Response};
