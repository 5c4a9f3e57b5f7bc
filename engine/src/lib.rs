//! What one pinned core owns, and the values the control thread publishes to it.

pub mod balance;
pub mod buffer;
pub mod consumers;
pub mod core;
pub mod counters;
pub mod dns;
pub mod http;
pub mod ledger;
pub mod logring;
pub mod model;
pub mod net;
pub mod overload;
pub mod pool;
pub mod publish;
pub mod router;
pub mod snapshot;
pub mod tls;
