use std::sync::Arc;

/// One datagram on its way. What is in it is not shown.
pub struct UdpDatagramContext {
    pub client_ip: Arc<str>,
    pub proxy_id: Arc<str>,
    pub proxy_name: Option<Arc<str>>,
    pub listen_port: u16,
    /// Bytes of payload.
    pub datagram_size: usize,
    pub direction: UdpDatagramDirection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UdpDatagramDirection {
    ClientToBackend,
    BackendToClient,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UdpDatagramVerdict {
    Forward,
    /// Discarded without a word.
    Drop,
}
