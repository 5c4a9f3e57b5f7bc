//! What is said to Redis: commands as arrays of bulk strings.

use std::fmt::{self, Write as _};
use std::io::Write as _;

/// Commands that Redis carries out together, as they go onto the wire.
pub struct Transaction {
    pub(super) bytes: Vec<u8>,
    /// Commands between MULTI and EXEC.
    pub(super) commands: usize,
}

impl Default for Transaction {
    fn default() -> Self {
        Self::new()
    }
}

impl Transaction {
    pub fn new() -> Self {
        let mut bytes = Vec::with_capacity(256);
        command(&mut bytes, &[b"MULTI"]);
        Self { bytes, commands: 0 }
    }

    pub fn get(self, key: &str) -> Self {
        self.with(&[b"GET", key.as_bytes()])
    }

    pub fn increment(self, key: &str) -> Self {
        self.with(&[b"INCR", key.as_bytes()])
    }

    pub fn expire(self, key: &str, seconds: u64) -> Self {
        self.with(&[b"EXPIRE", key.as_bytes(), Decimal::new(seconds).bytes()])
    }

    fn with(mut self, words: &[&[u8]]) -> Self {
        command(&mut self.bytes, words);
        self.commands += 1;
        self
    }

    /// Closed, as it is sent.
    pub(super) fn finish(mut self) -> Self {
        command(&mut self.bytes, &[b"EXEC"]);
        self
    }
}

pub(super) fn command(bytes: &mut Vec<u8>, words: &[&[u8]]) {
    // Writing to a vector does not fail.
    let _ = write!(bytes, "*{}\r\n", words.len());
    for word in words {
        let _ = write!(bytes, "${}\r\n", word.len());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
}

/// A number as text, without an allocation.
struct Decimal {
    digits: [u8; 20],
    length: usize,
}

impl Decimal {
    fn new(number: u64) -> Self {
        let mut decimal = Self { digits: [0; 20], length: 0 };
        // No number is longer.
        let _ = write!(decimal, "{number}");
        decimal
    }

    fn bytes(&self) -> &[u8] {
        &self.digits[..self.length]
    }
}

impl fmt::Write for Decimal {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.digits.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_written_as_redis_reads_it() {
        let transaction = Transaction::new().get("a:1").increment("ü").expire("a:1", u64::MAX).finish();
        assert_eq!(transaction.commands, 3);
        let text = String::from_utf8(transaction.bytes).unwrap();
        assert_eq!(
            text,
            "*1\r\n$5\r\nMULTI\r\n*2\r\n$3\r\nGET\r\n$3\r\na:1\r\n*2\r\n$4\r\nINCR\r\n$2\r\nü\r\n\
             *3\r\n$6\r\nEXPIRE\r\n$3\r\na:1\r\n$20\r\n18446744073709551615\r\n*1\r\n$4\r\nEXEC\r\n"
        );
    }

    #[test]
    fn a_key_cannot_end_its_command() {
        let text = String::from_utf8(Transaction::new().get("k\r\n*1").bytes).unwrap();
        assert!(text.ends_with("*2\r\n$3\r\nGET\r\n$5\r\nk\r\n*1\r\n"), "{text:?}");
        let text = String::from_utf8(Transaction::new().expire("k", 0).bytes).unwrap();
        assert!(text.ends_with("$6\r\nEXPIRE\r\n$1\r\nk\r\n$1\r\n0\r\n"), "{text:?}");
    }
}
