//! The document as it is stored: its own bytes, compressed, with their hash.

use std::io::{self, Read, Write};

use aws_lc_rs::digest::{SHA256, digest};
use engine::tls::hex;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

pub(in crate::admin) struct Content {
    pub(in crate::admin) gzip: Vec<u8>,
    /// Of the document, not of what is stored.
    pub(in crate::admin) bytes: u64,
    /// Of the document; lower-case hex.
    pub(in crate::admin) sha256: String,
}

impl Content {
    pub(super) fn of(document: &[u8]) -> Self {
        Self { gzip: compressed(document), bytes: document.len() as u64, sha256: sha256(document) }
    }
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn compressed(document: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Into memory: neither can fail.
    let written = encoder.write_all(document);
    written.and_then(|()| encoder.finish()).unwrap_or_default()
}

/// # Errors
/// It is no gzip, is cut, or unpacks to more than `bytes_max`.
pub(super) fn unpacked(gzip: &[u8], bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut document = Vec::new();
    GzDecoder::new(gzip).take(bytes_max.saturating_add(1)).read_to_end(&mut document)?;
    match document.len() as u64 <= bytes_max {
        true => Ok(document),
        false => Err(io::Error::other(format!("it unpacks to more than {bytes_max} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_comes_back_byte_for_byte() {
        let content = Content::of(b"openapi: 3.1.0\n");
        assert_eq!(content.bytes, 15);
        assert_eq!(sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(content.sha256, sha256(b"openapi: 3.1.0\n"));
        assert_eq!(unpacked(&content.gzip, 15).unwrap(), b"openapi: 3.1.0\n");
    }

    #[test]
    fn unpacking_ends_at_the_limit() {
        let bomb = Content::of(&vec![b'a'; 1_000_001]).gzip;
        assert!(bomb.len() < 10_000);
        assert_eq!(unpacked(&bomb, 1_000_001).unwrap().len(), 1_000_001);
        assert!(unpacked(&bomb, 1_000_000).is_err());
        assert!(unpacked(b"plain", 100).is_err());
        assert!(unpacked(&bomb[..bomb.len() / 2], 2_000_000).is_err(), "cut");
    }
}
