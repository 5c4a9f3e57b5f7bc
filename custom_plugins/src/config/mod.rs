//! What the gateway is configured with, as far as a plugin may see it.

mod allow_ips;
pub mod conf_file;
pub mod migrations;
mod pool;
pub mod types;

pub use allow_ips::BackendAllowIps;
pub use pool::PoolConfig;
