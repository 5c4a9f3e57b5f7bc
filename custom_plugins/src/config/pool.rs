/// The `FERRUM_POOL_*` settings that a client of a plugin follows.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    pub max_idle_per_host: usize,
    pub idle_timeout_seconds: u64,
    pub enable_http_keep_alive: bool,
    pub enable_http2: bool,
    pub tcp_keepalive_seconds: u64,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            max_idle_per_host: 64,
            idle_timeout_seconds: 90,
            enable_http_keep_alive: true,
            enable_http2: true,
            tcp_keepalive_seconds: 60,
        }
    }
}
