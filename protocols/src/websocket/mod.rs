//! WebSocket: the handshake on both sides, and then frames in both directions until either ends (traffic sheet §14).

mod frames;
mod handshake;
mod relay;

pub use frames::{Meter, Side, Violation};
pub use handshake::exchange;
