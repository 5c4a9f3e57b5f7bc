//! Tokens in JWS compact form (RFC 7515 §7.1): their header and claims are read without copies where their text has none to make,
//! and nothing of them is verified here.

mod claims;
mod token;

pub use claims::{Claim, Claims, Wanted, is_path};
pub use token::{TOKEN_BYTES_MAX, Token, read};
