//! HTTP/1.1 (RFC 9112), both sides: the frontend that clients talk to and the client that talks to backends.

mod backend;
pub mod chunked;
mod frontend;
mod inbox;
pub mod parse;
mod request_body;
mod responder;
mod response;

pub use backend::{BackendConnection, read_final_head, write_request_head, write_upgrade_head};
pub use frontend::serve_connection;
pub use inbox::CLIENT_STALL_MS;
pub use request_body::{append_framed, append_last_chunk};
pub use response::{Http1Response, MOVED_BYTES_MIN, class_of};
