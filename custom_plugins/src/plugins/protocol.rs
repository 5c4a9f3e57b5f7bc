/// The kinds of traffic that a plugin may take part in. TLS makes no difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyProtocol {
    Http,
    Grpc,
    WebSocket,
    Tcp,
    Udp,
}

use ProxyProtocol::{Grpc, Http, Tcp, Udp, WebSocket};

pub const ALL_PROTOCOLS: &[ProxyProtocol] = &[Http, Grpc, WebSocket, Tcp, Udp];
pub const HTTP_FAMILY_PROTOCOLS: &[ProxyProtocol] = &[Http, Grpc, WebSocket];
pub const HTTP_FAMILY_AND_TCP_PROTOCOLS: &[ProxyProtocol] = &[Http, Grpc, WebSocket, Tcp];
pub const HTTP_FAMILY_AND_STREAM_PROTOCOLS: &[ProxyProtocol] = &[Http, Grpc, WebSocket, Tcp, Udp];
pub const HTTP_GRPC_PROTOCOLS: &[ProxyProtocol] = &[Http, Grpc];
pub const HTTP_ONLY_PROTOCOLS: &[ProxyProtocol] = &[Http];
pub const GRPC_ONLY_PROTOCOLS: &[ProxyProtocol] = &[Grpc];
pub const WS_ONLY_PROTOCOLS: &[ProxyProtocol] = &[WebSocket];
pub const TCP_ONLY_PROTOCOLS: &[ProxyProtocol] = &[Tcp];
pub const UDP_ONLY_PROTOCOLS: &[ProxyProtocol] = &[Udp];
