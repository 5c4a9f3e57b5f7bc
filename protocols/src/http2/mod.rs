//! HTTP/2 (RFC 9113), both sides. The `h2` crate keeps the protocol's state; here its streams become exchanges, its heads become
//! the gateway's, and what it leaves open is bounded.

mod bandwidth;
mod client;
mod flood;
mod frontend;
mod heads;
mod names;
mod piece;
mod request_body;
mod responder;
mod response;

pub use client::{Dialing, Http2Connections, Lease, Leased, start_request};
pub use flood::Meter;
pub use frontend::{PREFACE, serve_connection};
pub use heads::request;
pub use piece::{Piece, pieces};
pub use response::{Http2Response, Upload};
