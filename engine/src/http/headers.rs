//! Header fields as spans into the bytes that were received, with edits appended.
//!
//! Fields keep the order, spelling and multiplicity they came in. A name that the gateway knows carries its [`Known`]
//! number; any other look-up is a scan that compares lengths first. Nothing is copied until something is set.

use crate::buffer::Buffer;

use super::{Known, KnownSet};

/// One field, both parts as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub known: Known,
    pub name: &'a [u8],
    pub value: &'a [u8],
    /// Set here and not by the sender of the message.
    pub is_edit: bool,
}

#[derive(Clone, Copy)]
struct Entry {
    name: u32,
    value: u32,
    value_len: u32,
    name_len: u16,
    known: Known,
    /// Set when the spans point into `edits` instead of the received bytes.
    edited: bool,
}

/// The fields of one message, and the bytes they live in.
#[derive(Default)]
pub struct Headers {
    received: Buffer,
    edits: Vec<u8>,
    entries: Vec<Entry>,
    present: KnownSet,
    /// One bit per length and first letter of the names seen, so that most heads are known to repeat none.
    name_bits: u64,
    may_repeat: bool,
}

impl Headers {
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts over, keeping the memory of the entry list.
    pub fn reset(&mut self) {
        self.received = Buffer::none();
        self.edits.clear();
        self.entries.clear();
        self.forget_names();
    }

    fn forget_names(&mut self) {
        self.present = KnownSet::empty();
        self.name_bits = 0;
        self.may_repeat = false;
    }

    /// Gives the memory back; what an idle connection does.
    pub fn release(&mut self) {
        *self = Self::default();
    }

    /// The bytes the spans point into. Set once by the parser, behind whose spans it must stay unchanged.
    pub fn set_received(&mut self, bytes: Buffer) {
        self.received = bytes;
    }

    pub fn received(&self) -> &Buffer {
        &self.received
    }

    /// Takes the received bytes out again, to read on in them. All fields are gone afterwards.
    pub fn take_received(&mut self) -> Buffer {
        self.edits.clear();
        self.entries.clear();
        self.forget_names();
        std::mem::take(&mut self.received)
    }

    /// Adds a field by its position in the received bytes. Names are at most 65,535 bytes, which the parser checks.
    pub fn push_received(&mut self, known: Known, name: (usize, usize), first: u8, value: (usize, usize)) {
        self.present.insert(known);
        self.note_name(name.1 - name.0, first);
        self.entries.push(Entry {
            name: name.0 as u32,
            name_len: (name.1 - name.0) as u16,
            value: value.0 as u32,
            value_len: (value.1 - value.0) as u32,
            known,
            edited: false,
        });
    }

    fn note_name(&mut self, length: usize, first: u8) {
        let bit = 1u64 << ((length * 7 + usize::from(first & 0x1f)) & 63);
        self.may_repeat |= self.name_bits & bit != 0;
        self.name_bits |= bit;
    }

    /// Whether a field of the same name comes later than the `index`-th. Cheap when all names differ.
    pub fn is_repeated_later(&self, index: usize) -> bool {
        if !self.may_repeat {
            return false;
        }
        let name = self.field(&self.entries[index]).name;
        let later = self.entries[index + 1..].iter().filter(|entry| entry.name_len as usize == name.len());
        later.map(|entry| self.field(entry).name).any(|other| other.eq_ignore_ascii_case(name))
    }

    #[inline]
    fn field(&self, entry: &Entry) -> Field<'_> {
        let bytes: &[u8] = if entry.edited { &self.edits } else { &self.received };
        Field {
            known: entry.known,
            is_edit: entry.edited,
            name: &bytes[entry.name as usize..entry.name as usize + entry.name_len as usize],
            value: &bytes[entry.value as usize..entry.value as usize + entry.value_len as usize],
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How long all values are together.
    pub fn value_bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.value_len as usize).sum()
    }

    /// Another one after every edit, so that a copy of the fields can be known to be up to date.
    pub fn revision(&self) -> (usize, usize) {
        (self.entries.len(), self.edits.len())
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The field at that place in the order.
    #[inline]
    pub fn at(&self, place: usize) -> Option<Field<'_>> {
        self.entries.get(place).map(|entry| self.field(entry))
    }

    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.entries.iter().map(|entry| self.field(entry))
    }

    pub fn has(&self, known: Known) -> bool {
        self.present.has(known)
    }

    /// Whether there is a field with one of these names.
    pub fn has_any(&self, names: KnownSet) -> bool {
        self.present.intersects(names)
    }

    /// All values of a known name, in order.
    pub fn known(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        let entries: &[Entry] = if self.present.has(known) { &self.entries } else { &[] };
        entries.iter().filter(move |entry| entry.known == known).map(|entry| self.field(entry).value)
    }

    /// The first value of a known name.
    pub fn first(&self, known: Known) -> Option<&[u8]> {
        self.known(known).next()
    }

    /// Whether a known name's values, each a comma-separated list, have that element; compared without regard to case.
    pub fn lists(&self, known: Known, element: &[u8]) -> bool {
        let mut elements = self.known(known).flat_map(|value| value.split(|byte| *byte == b','));
        elements.any(|present| present.trim_ascii().eq_ignore_ascii_case(element))
    }

    /// All values of `name`, in order, compared without regard to case.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.entries
            .iter()
            .filter(move |entry| entry.name_len as usize == name.len())
            .map(|entry| self.field(entry))
            .filter(move |field| field.name.eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| field.value)
    }

    /// The value plugins see: the last one of that name. Values that are not visible ASCII, spaces or tabs are not seen.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.all(name).last()?;
        // Without an end at the first that is not, many bytes are looked at in one step.
        let is_visible = value.iter().fold(true, |is_visible, byte| is_visible & matches!(byte, b'\t' | b' '..=b'~'));
        is_visible.then(|| std::str::from_utf8(value).ok()).flatten()
    }

    /// Removes every field of that name.
    pub fn remove(&mut self, name: &str) {
        let mut kept = std::mem::take(&mut self.entries);
        kept.retain(|entry| {
            entry.name_len as usize != name.len() || !self.field(entry).name.eq_ignore_ascii_case(name.as_bytes())
        });
        self.entries = kept;
        self.recount();
    }

    /// Removes every field whose name is in the set.
    pub fn remove_known(&mut self, names: KnownSet) {
        self.entries.retain(|entry| !names.has(entry.known));
        self.recount();
    }

    /// Replaces all fields of that name by one, at the end.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        self.append(name, value);
    }

    /// Adds a field at the end. A value that could end the line is not a value: such bytes are dropped.
    pub fn append(&mut self, name: &str, value: &[u8]) {
        let name_at = self.edits.len();
        self.edits.extend_from_slice(name.as_bytes());
        let value_at = self.edits.len();
        self.edits.extend(value.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)));
        let known = Known::of(name.as_bytes());
        self.present.insert(known);
        self.note_name(name.len(), name.as_bytes().first().copied().unwrap_or_default());
        self.entries.push(Entry {
            name: name_at as u32,
            name_len: name.len() as u16,
            value: value_at as u32,
            value_len: (self.edits.len() - value_at) as u32,
            known,
            edited: true,
        });
    }

    fn recount(&mut self) {
        self.present = KnownSet::empty();
        for entry in &self.entries {
            self.present.insert(entry.known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_replaces_all_and_append_keeps_order() {
        let mut headers = Headers::new();
        headers.append("Accept", b"a");
        headers.append("X-One", b"1");
        headers.append("x-one", b"2");
        assert_eq!(headers.get("X-ONE"), Some("2"));
        assert_eq!(headers.all("x-one").count(), 2);
        headers.set("x-one", b"3");
        assert_eq!(headers.all("x-one").collect::<Vec<_>>(), [b"3"]);
        let names = KnownSet::of(&[Known::Accept, Known::Host]);
        assert!(headers.has_any(names));
        headers.remove("accept");
        assert!(!headers.has(Known::Accept) && !headers.has_any(names));
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn every_edit_makes_another_revision() {
        let mut headers = Headers::new();
        let mut seen = vec![headers.revision()];
        let edits: [fn(&mut Headers); 4] =
            [|h| h.append("a", b"1"), |h| h.set("a", b"2"), |h| h.append("b", b""), |h| h.remove("b")];
        for edit in edits {
            edit(&mut headers);
            assert!(!seen.contains(&headers.revision()), "{seen:?}");
            seen.push(headers.revision());
        }
    }

    #[test]
    fn a_list_is_searched_over_all_lines_and_by_whole_elements() {
        let mut headers = Headers::new();
        headers.append("Connection", b"keep-alive-ish, Upgrade");
        headers.append("Connection", b"x ,\tClose");
        let lists = |element| headers.lists(Known::Connection, element);
        assert_eq!([&b"close"[..], b"upgrade", b"keep-alive", b""].map(lists), [true, true, false, false]);
    }

    #[test]
    fn a_value_cannot_start_a_new_line() {
        let mut headers = Headers::new();
        headers.append("X", b"a\r\nSet-Cookie: b\0");
        assert_eq!(headers.get("x"), Some("aSet-Cookie: b"));
    }

    #[test]
    fn values_with_other_than_visible_ascii_are_not_seen_by_plugins() {
        let mut headers = Headers::new();
        headers.append("X", "ü".as_bytes());
        assert_eq!(headers.get("x"), None);
        assert_eq!(headers.all("x").count(), 1);
    }
}
