//! HTTP/1.1 (RFC 9112), both sides: the frontend that clients talk to and the client that talks to backends.

mod backend;
pub mod chunked;
mod frontend;
mod inbox;
pub mod parse;
mod request_body;
mod responder;
mod response_body;

pub use backend::{BackendConnection, ResponseFraming, keeps_alive, read_response_head, write_request_head};
pub use frontend::serve_connection;
pub use request_body::append_framed;
pub use response_body::{BackendBody, MOVED_BYTES_MIN};
