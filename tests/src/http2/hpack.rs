//! HPACK (RFC 7541): fields written as plain literals, field sections read with all there is.

use std::collections::VecDeque;

use super::huffman;
use crate::wire::latin1;

/// A field section of these fields: literals without indexing, no Huffman code, names as they are.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(0x00, name, value)).collect()
}

/// One literal field with a new name. `form` is 0x00 (not indexed), 0x10 (never indexed) or 0x40 (put in the table).
pub fn literal(form: u8, name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![form];
    for text in [name, value] {
        integer(text.len(), 7, &mut out);
        out.extend_from_slice(text.as_bytes());
    }
    out
}

/// RFC 7541 section 5.1, with nothing in the bits above the prefix.
fn integer(mut number: usize, prefix: u32, out: &mut Vec<u8>) {
    let most = (1 << prefix) - 1;
    if number < most {
        return out.push(number as u8);
    }
    out.push(most as u8);
    number -= most;
    while number >= 128 {
        out.push((number % 128) as u8 | 0x80);
        number /= 128;
    }
    out.push(number as u8);
}

/// What an entry costs beside its text, RFC 7541 section 4.1.
const ENTRY_OVERHEAD: usize = 32;

pub(super) struct Decoder {
    table: VecDeque<(String, String)>,
    /// What the encoder last chose.
    size_max: usize,
    /// What this side allows it to choose.
    size_limit: usize,
    /// The limit went below what the encoder chose, so its next block has to begin with an update.
    update_due: bool,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { table: VecDeque::new(), size_max: 4096, size_limit: 4096, update_due: false }
    }

    /// The peer has acknowledged this SETTINGS_HEADER_TABLE_SIZE.
    pub(super) fn limit(&mut self, bytes: usize) {
        self.size_limit = bytes;
        self.update_due |= self.size_max > bytes;
    }

    pub(super) fn decode(&mut self, block: &[u8]) -> Result<Vec<(String, String)>, String> {
        let mut input = block;
        let mut fields = Vec::new();
        while let Some(&first) = input.first() {
            if self.update_due && first & 0xe0 != 0x20 {
                return Err("no table size update after the limit was lowered".to_owned());
            }
            match first {
                0x80.. => fields.push(self.entry(number(&mut input, 7)?)?),
                0x40.. => {
                    let field = self.literal(&mut input, 6)?;
                    self.insert(field.clone());
                    fields.push(field);
                }
                0x20.. => {
                    let size = number(&mut input, 5)?;
                    if !fields.is_empty() || size > self.size_limit {
                        return Err(format!("a table size update to {size} where it may not be"));
                    }
                    (self.size_max, self.update_due) = (size, false);
                    self.evict();
                }
                _ => fields.push(self.literal(&mut input, 4)?),
            }
        }
        Ok(fields)
    }

    fn literal(&self, input: &mut &[u8], prefix: u32) -> Result<(String, String), String> {
        let name = match number(input, prefix)? {
            0 => text(input)?,
            index => self.entry(index)?.0,
        };
        Ok((name, text(input)?))
    }

    fn entry(&self, index: usize) -> Result<(String, String), String> {
        let place = index.checked_sub(1).ok_or("index 0")?;
        match STATIC_TABLE.get(place) {
            Some((name, value)) => Ok(((*name).to_owned(), (*value).to_owned())),
            None => self.table.get(place - STATIC_TABLE.len()).cloned().ok_or(format!("index {index} is empty")),
        }
    }

    fn insert(&mut self, field: (String, String)) {
        self.table.push_front(field);
        self.evict();
    }

    fn evict(&mut self) {
        let cost = |(name, value): &(String, String)| name.chars().count() + value.chars().count() + ENTRY_OVERHEAD;
        let mut size: usize = self.table.iter().map(cost).sum();
        while size > self.size_max {
            size -= cost(&self.table.pop_back().expect("what has a size has an entry"));
        }
    }
}

fn take<'a>(input: &mut &'a [u8], count: usize) -> Result<&'a [u8], String> {
    let (taken, rest) = input.split_at_checked(count).ok_or("the block ends inside a field")?;
    *input = rest;
    Ok(taken)
}

fn number(input: &mut &[u8], prefix: u32) -> Result<usize, String> {
    let most = (1 << prefix) - 1;
    let mut value = usize::from(take(input, 1)?[0]) & most;
    if value < most {
        return Ok(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = take(input, 1)?[0];
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("an integer of more than 28 bits".to_owned())
}

fn text(input: &mut &[u8]) -> Result<String, String> {
    let is_huffman = input.first().is_some_and(|byte| byte & 0x80 != 0);
    let length = number(input, 7)?;
    let bytes = take(input, length)?;
    Ok(latin1(&if is_huffman { huffman::decode(bytes)? } else { bytes.to_vec() }))
}

/// RFC 7541 appendix A.
const STATIC_TABLE: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let long = "v".repeat(300);
        let fields = [(":method", "GET"), ("x", ""), ("long", long.as_str())];
        assert_eq!(Decoder::new().decode(&block(&fields)).unwrap(), pairs(&fields));
    }

    /// RFC 7541 appendix C.5.1 and C.5.2 without their dates: a table of 256 bytes fills up.
    #[test]
    fn the_dynamic_table_is_kept_between_blocks() {
        let mut decoder = Decoder::new();
        let first = [&literal(0x40, "x-first", "1")[..], &literal(0x40, "x-second", "2"), &[0xbe, 0xbf]].concat();
        let expected = [("x-first", "1"), ("x-second", "2"), ("x-second", "2"), ("x-first", "1")];
        assert_eq!(decoder.decode(&first).unwrap(), pairs(&expected));
        // A literal whose name is that of entry 63.
        assert_eq!(decoder.decode(&[0x0f, 0x30, 0x01, b'y']).unwrap(), pairs(&[("x-first", "y")]));
        // With room for one entry the older one goes.
        assert_eq!(decoder.decode(&[0x3f, 0x11, 0xbe]).unwrap(), pairs(&[("x-second", "2")]));
        assert!(decoder.decode(&[0xbf]).is_err());
    }

    #[test]
    fn a_lowered_limit_is_answered_with_an_update() {
        let mut decoder = Decoder::new();
        decoder.limit(0);
        assert!(decoder.decode(&[0x88]).is_err(), "no update came");
        assert!(decoder.decode(&[0x20, 0x88]).is_ok());
    }
}
