//! Bodies that a plugin rewrites as they pass.

use engine::http::{Headers, ResponseHead};

use crate::Rejection;

/// Rewrites both bodies of one exchange, piece by piece. Nothing is collected, so that streams stay streams; a codec keeps only
/// what it needs to go on with the next piece.
pub trait Codec {
    /// A piece of the request; what goes to the backend in its place is appended.
    ///
    /// # Errors
    /// The answer to a request that cannot be rewritten.
    fn request(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Box<Rejection>>;

    /// The request has ended.
    ///
    /// # Errors
    /// As [`Codec::request`].
    fn request_end(&mut self, out: &mut Vec<u8>) -> Result<(), Box<Rejection>>;

    /// The head of the response, before anything of it has been sent.
    fn response_head(&mut self, head: &mut ResponseHead);

    fn response(&mut self, piece: &[u8], out: &mut Vec<u8>);

    /// The response has ended. What is left in `trailers` follows it.
    fn response_end(&mut self, trailers: &mut Option<Headers>, out: &mut Vec<u8>);
}
