//! Message heads as every protocol and plugin sees them: a method, a target, a status, and header fields in the order
//! and spelling they came in.

mod head;
mod headers;
mod known;
mod status;

pub use head::{Method, RequestHead, ResponseHead, Span, Version};
pub use headers::{Field, Headers};
pub use known::{Known, KnownSet};
pub use status::reason;
