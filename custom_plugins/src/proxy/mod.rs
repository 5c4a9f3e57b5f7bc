//! Words about proxied connections.

pub mod tcp_proxy;
