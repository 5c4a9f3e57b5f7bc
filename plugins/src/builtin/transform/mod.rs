//! What `request_transformer` and `response_transformer` share: the grammar of their rules, and how these edit header fields,
//! query parameters and JSON bodies (traffic plugins sheet §2.1 and §2.2).

mod body;
mod body_path;
mod fields;
mod json;
mod rules;

#[cfg(test)]
pub use body::SCANNED_BYTES_MAX;
pub use body::{Rewriter, is_encoded, is_json};
pub use fields::{QueryFields, RejectionFields, RequestFields, ResponseFields, edit};
pub use rules::{Dialect, KEYS as RULE_KEYS, Rules, Target};
