//! What each backend speaks, as control finds out by asking (traffic sheet §12).
//!
//! One entry per distinct backend of the running configuration: asked at start, after a reload if it is new, at an interval,
//! and on demand. Shown by the admin API. Cores never look here: they learn what a backend speaks from the handshake of each
//! connection, so that an answer that is a day old can mislead nobody.

mod dial;
mod findings;
mod probe;
mod registry;
mod target;

pub use dial::{connect, seal};
pub use findings::{Findings, Support};
pub use registry::{Capabilities, CapabilityOptions, Entry};
pub use target::{Target, targets};
