//! Which target of an upstream serves a request.
//!
//! The control side compiles an upstream once into a [`BalancerSpec`], which all cores read, and gives it the
//! [`SharedBalance`] that carries what cores must agree on: positions drawn from the ledger, counts of requests in flight,
//! latencies. Each core builds its own [`Balancer`] from the two. A pick takes no lock and allocates nothing.
//!
//! Behaviour is that of the traffic sheet, section 16, and the resources sheet, sections 7 and 8.

mod algorithm;
mod balancer;
mod flight;
mod latency;
mod ring;
mod shared;
mod spec;
mod targets;
mod weighted;

#[cfg(all(test, not(loom)))]
mod tests;

pub use algorithm::{Algorithm, HashOn, HashOnError};
pub use balancer::{Balancer, Pick, PickRequest};
pub use flight::InFlight;
pub use shared::SharedBalance;
pub use spec::{BalancerSpec, CookieSpec, SpecError, SubsetSpec, TARGETS_MAX, TargetSpec, UpstreamSpec};
pub use targets::Eligible;
