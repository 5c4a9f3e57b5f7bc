use serde::{Deserialize, Serialize};

/// Which half of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    ClientToBackend,
    BackendToClient,
    Unknown,
}

/// Why a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisconnectCause {
    IdleTimeout,
    RecvError,
    BackendError,
    GracefulShutdown,
}
