//! WebSocket: the handshake on both sides, and then frames in both directions until either ends (traffic sheet §14).
//!
//! Two ways lead through a session. [`relay`] passes bytes on as they come and reads the frame headers among them; [`framed`] puts
//! messages together for the plugins of a chain that sees them, and nobody else pays for that.

mod encode;
mod ends;
mod framed;
mod frames;
mod handshake;
mod messages;
mod meter;
mod relay;
mod session;

pub use encode::Encoder;
pub use frames::{Side, Violation};
pub use handshake::exchange;
pub use messages::Assembler;
pub use meter::Meter;
