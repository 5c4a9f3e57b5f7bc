//! What one pinned core owns, and the values the control thread publishes to it.

pub mod balance;
pub mod core;
pub mod http;
pub mod ledger;
pub mod model;
pub mod net;
pub mod pool;
pub mod router;
