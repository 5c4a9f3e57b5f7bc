use std::collections::HashMap;

use super::Direction;
use crate::proxy::tcp_proxy::StreamIoSide;
use crate::retry::ErrorClass;

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebSocketFrameDirection {
    ClientToBackend,
    BackendToClient,
}

/// A WebSocket session that has ended.
#[derive(Debug, Clone)]
pub struct WsDisconnectContext {
    pub namespace: String,
    pub proxy_id: String,
    pub proxy_name: Option<String>,
    pub client_ip: String,
    /// Without the query.
    pub backend_target: String,
    pub listen_port: u16,
    /// From the upgrade to the end.
    pub duration_ms: f64,
    pub frames_client_to_backend: u64,
    pub frames_backend_to_client: u64,
    /// The half that failed first; none after a clean close.
    pub direction: Option<Direction>,
    pub io_side: Option<StreamIoSide>,
    pub error_class: Option<ErrorClass>,
    pub consumer_username: Option<String>,
    pub auth_method: Option<&'static str>,
    /// Of the request that was upgraded.
    pub metadata: HashMap<String, String>,
}
