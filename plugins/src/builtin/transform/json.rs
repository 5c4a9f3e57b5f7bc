//! A JSON text that is edited without being taken apart: only the objects and arrays that a path leads through are opened, of
//! these only what rules have names for is looked at, and everything else stays the text it was.
//!
//! So a number keeps all its digits, and what a client can put into a body costs a few scans of its bytes and no more: nothing
//! here recurses over the body's own depth, and next to nothing is allocated for what no rule is about. A member or item that a
//! rule has a name or a place for takes a piece of 40 bytes, or 24, which is the most that a few bytes of body can cost.

use serde::de::IgnoredAny;

use super::body_path::{NameId, Names, Segment};

/// A part of the text.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    start: usize,
    end: usize,
}

impl Part {
    fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

/// A value. Most are closed, so what is open lies elsewhere.
#[derive(Debug)]
pub enum Node {
    /// Text without blanks around it.
    Closed(Part),
    Object(Box<Object>),
    Array(Box<Array>),
}

#[derive(Debug, Default)]
pub struct Object {
    pieces: Vec<Piece>,
    /// The members that rules have names for, and where among the pieces they are. Each name is there once.
    known: Vec<(NameId, usize)>,
}

#[derive(Debug)]
enum Piece {
    /// Members one after the other, of which nobody wants to know anything.
    Others(Part),
    /// The name is with its quotes.
    Member(Part, Node),
    /// There was one.
    Gone,
}

#[derive(Debug)]
pub struct Array {
    /// As many as rules could be about.
    items: Vec<Node>,
    others: Option<Part>,
}

/// A text and what has become of it.
#[derive(Debug)]
pub struct Document<'n> {
    names: &'n Names,
    /// So many items of an array may be wanted.
    items_max: usize,
    /// The text as it came, and behind it what was added.
    text: Vec<u8>,
    received_bytes: usize,
    root: Node,
}

impl<'n> Document<'n> {
    /// Paths have these names, and no higher index than leaves room for removals below it. Gives the text back when it is no
    /// JSON.
    pub fn new(text: Vec<u8>, names: &'n Names, items_max: usize) -> Result<Self, Vec<u8>> {
        let is_json = |text: &str| serde_json::from_str::<IgnoredAny>(text).is_ok();
        if !std::str::from_utf8(&text).is_ok_and(is_json) {
            return Err(text);
        }
        let end = text.len() - text.iter().rev().take_while(|byte| is_blank(**byte)).count();
        let root = Node::Closed(Part { start: token(&text, 0), end });
        Ok(Self { names, items_max, received_bytes: text.len(), text, root })
    }

    /// The text as it came.
    pub fn into_received(mut self) -> Vec<u8> {
        self.text.truncate(self.received_bytes);
        self.text
    }

    /// The text as it is now, without blanks between its tokens.
    pub fn into_edited(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len());
        write(&self.text, &self.root, &mut out);
        out
    }

    /// A value of its own, from its text, which has no blanks around it.
    pub fn value(&mut self, text: &str) -> Node {
        Node::Closed(append(&mut self.text, text.as_bytes()))
    }

    /// Whether there is anything at that path.
    pub fn has(&mut self, path: &[Segment]) -> bool {
        self.reach(path).is_some()
    }

    /// Whether the text of what is at that path is exactly this one.
    pub fn is(&mut self, path: &[Segment], text: &str) -> bool {
        let Some(Node::Closed(part)) = self.reach(path) else { return false };
        let part = *part;
        part.of(&self.text) == text.as_bytes()
    }

    fn reach(&mut self, path: &[Segment]) -> Option<&mut Node> {
        let Self { names, items_max, text, root, .. } = self;
        let opener = Opener { text, names, items_max: *items_max };
        path.iter().try_fold(root, |node, segment| opener.step(node, segment))
    }

    /// Puts a value where the path leads, making the objects that are missing on the way. Gives it back when there is no way:
    /// a value that is no object, or a place that an array does not have.
    pub fn set(&mut self, path: &[Segment], value: Node) -> Result<(), Node> {
        let Self { names, items_max, text, root, .. } = self;
        let mut node = root;
        let mut ahead = path;
        while let Some((segment, rest)) = ahead.split_first() {
            let opener = Opener { text, names, items_max: *items_max };
            match opener.find(node, segment) {
                Found::Here if rest.is_empty() => {
                    if let Some(place) = opener.step(node, segment) {
                        *place = value;
                    }
                    return Ok(());
                }
                Found::Here => match opener.step(node, segment) {
                    Some(next) => node = next,
                    None => return Err(value),
                },
                // Arrays are not made, so what follows has to be all names.
                Found::Room if rest.iter().all(|segment| segment.index.is_none()) => {
                    let mut value = value;
                    for segment in rest.iter().rev() {
                        let mut object = Box::<Object>::default();
                        object.push(segment.name, append(text, names.quoted(segment.name).as_bytes()), value);
                        value = Node::Object(object);
                    }
                    if let Node::Object(object) = node {
                        object.push(segment.name, append(text, names.quoted(segment.name).as_bytes()), value);
                    }
                    return Ok(());
                }
                Found::Room | Found::No => return Err(value),
            }
            ahead = rest;
        }
        Err(value)
    }

    /// Takes away what is at that path.
    pub fn remove(&mut self, path: &[Segment]) -> bool {
        self.take(path).is_some()
    }

    /// Moves what is at one path to another; what cannot arrive stays. Paths of a rename lead through objects only.
    pub fn rename(&mut self, from: &[Segment], to: &[Segment]) -> bool {
        let Some(taken) = self.take(from) else { return false };
        let closed = self.close(taken.value);
        let Err(value) = self.set(to, closed) else { return true };
        if let Some((last, way)) = from.split_last()
            && let Some(Node::Object(object)) = self.reach(way)
            && let Some(piece) = object.pieces.get_mut(taken.place)
        {
            *piece = Piece::Member(taken.name, value);
            object.known.push((last.name, taken.place));
        }
        false
    }

    fn take(&mut self, path: &[Segment]) -> Option<Taken> {
        let (last, way) = path.split_last()?;
        let has = self.has(path);
        match self.reach(way).filter(|_| has)? {
            Node::Object(object) => {
                let known = object.known.iter().position(|(name, _)| *name == last.name)?;
                let (_, place) = object.known.swap_remove(known);
                match std::mem::replace(object.pieces.get_mut(place)?, Piece::Gone) {
                    Piece::Member(name, value) => Some(Taken { place, name, value }),
                    Piece::Others(_) | Piece::Gone => None,
                }
            }
            Node::Array(array) => {
                let place = last.index.filter(|index| *index < array.items.len())?;
                Some(Taken { place, name: Part { start: 0, end: 0 }, value: array.items.remove(place) })
            }
            Node::Closed(_) => None,
        }
    }

    /// As text again: what is moved may come to stand deeper than paths go.
    fn close(&mut self, node: Node) -> Node {
        if matches!(node, Node::Closed(_)) {
            return node;
        }
        let mut out = Vec::new();
        write(&self.text, &node, &mut out);
        Node::Closed(append(&mut self.text, &out))
    }
}

/// What was taken away, and where it stood.
struct Taken {
    place: usize,
    name: Part,
    value: Node,
}

fn append(text: &mut Vec<u8>, more: &[u8]) -> Part {
    let start = text.len();
    text.extend_from_slice(more);
    Part { start, end: text.len() }
}

impl Object {
    fn place(&self, name: NameId) -> Option<usize> {
        self.known.iter().find(|(known, _)| *known == name).map(|(_, place)| *place)
    }

    /// Adds a member at the end, of a name that is not there.
    fn push(&mut self, id: NameId, name: Part, value: Node) {
        self.known.push((id, self.pieces.len()));
        self.pieces.push(Piece::Member(name, value));
    }

    /// Adds a member in the place of an earlier one of that name, which others must not find instead.
    fn push_last(&mut self, id: NameId, name: Part, value: Node) {
        if let Some(known) = self.known.iter().position(|(known, _)| *known == id) {
            let (_, place) = self.known.swap_remove(known);
            if place + 1 == self.pieces.len() {
                self.pieces.pop();
            } else if let Some(piece) = self.pieces.get_mut(place) {
                *piece = Piece::Gone;
            }
        }
        self.push(id, name, value);
    }

    /// Adds members that nobody asks for.
    fn push_others(&mut self, start: usize, end: usize) {
        match self.pieces.last_mut() {
            Some(Piece::Others(others)) => others.end = end,
            _ => self.pieces.push(Piece::Others(Part { start, end })),
        }
    }
}

enum Found {
    Here,
    /// An object that does not have it.
    Room,
    /// Nothing that could have it.
    No,
}

/// Opens values on the way of a path.
struct Opener<'d> {
    text: &'d [u8],
    names: &'d Names,
    items_max: usize,
}

impl Opener<'_> {
    fn find(&self, node: &mut Node, segment: &Segment) -> Found {
        self.open(node, segment);
        match node {
            Node::Object(object) => object.place(segment.name).map_or(Found::Room, |_| Found::Here),
            Node::Array(array) if segment.index.is_some_and(|index| index < array.items.len()) => Found::Here,
            Node::Array(_) | Node::Closed(_) => Found::No,
        }
    }

    fn step<'d>(&self, node: &'d mut Node, segment: &Segment) -> Option<&'d mut Node> {
        self.open(node, segment);
        match node {
            Node::Object(object) => {
                let place = object.place(segment.name)?;
                match object.pieces.get_mut(place) {
                    Some(Piece::Member(_, value)) => Some(value),
                    _ => None,
                }
            }
            Node::Array(array) => array.items.get_mut(segment.index?),
            Node::Closed(_) => None,
        }
    }

    /// Finds what rules have names or places for in an object or array that is still closed.
    fn open(&self, node: &mut Node, segment: &Segment) {
        let Node::Closed(part) = *node else { return };
        match self.text.get(part.start) {
            Some(b'{') => *node = Node::Object(Box::new(self.object(part))),
            Some(b'[') if segment.index.is_some() => *node = Node::Array(Box::new(self.array(part))),
            _ => {}
        }
    }

    fn object(&self, part: Part) -> Object {
        let text = self.text.get(..part.end).unwrap_or_default();
        let mut object = Object::default();
        let mut scratch = Vec::new();
        let mut at = token(text, part.start + 1);
        while text.get(at) == Some(&b'"') {
            let name = Part { start: at, end: string_end(text, at) };
            let start = token(text, token(text, name.end) + 1);
            let end = value_end(text, start);
            let bare = text.get(name.start + 1..name.end.saturating_sub(1)).unwrap_or_default();
            match self.names.find(bare, &mut scratch) {
                Some(id) => object.push_last(id, name, Node::Closed(Part { start, end })),
                None => object.push_others(name.start, end),
            }
            at = token(text, token(text, end) + 1);
        }
        object
    }

    fn array(&self, part: Part) -> Array {
        let text = self.text.get(..part.end).unwrap_or_default();
        let mut items = Vec::new();
        let mut at = token(text, part.start + 1);
        while !matches!(text.get(at), None | Some(b']')) {
            if items.len() >= self.items_max {
                let others = Part { start: at, end: part.end.saturating_sub(1) };
                return Array { items, others: Some(others) };
            }
            let end = value_end(text, at);
            items.push(Node::Closed(Part { start: at, end }));
            at = match token(text, end) {
                comma if text.get(comma) == Some(&b',') => token(text, comma + 1),
                bracket => bracket,
            };
        }
        Array { items, others: None }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Where the next token begins.
fn token(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|byte| is_blank(**byte)).count()
}

/// Where the string that begins here ends, its quotes included.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(rest) = text.get(at..) {
        match memchr::memchr2(b'"', b'\\', rest) {
            Some(offset) if rest[offset] == b'"' => return at + offset + 1,
            Some(offset) => at += offset + 2,
            None => break,
        }
    }
    text.len()
}

/// Where the value that begins here ends.
fn value_end(text: &[u8], start: usize) -> usize {
    let mut at = start;
    let mut depth = 0usize;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                at = string_end(text, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return if depth == 1 { at + 1 } else { at },
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => return at,
            byte if depth == 0 && is_blank(*byte) => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Recurses only as deep as values were opened, which is as deep as paths go.
fn write(text: &[u8], node: &Node, out: &mut Vec<u8>) {
    match node {
        Node::Closed(part) => compact(part.of(text), out),
        Node::Object(object) => {
            out.push(b'{');
            let mut is_first = true;
            for piece in &object.pieces {
                if matches!(piece, Piece::Gone) {
                    continue;
                }
                if !std::mem::replace(&mut is_first, false) {
                    out.push(b',');
                }
                match piece {
                    Piece::Others(part) => compact(part.of(text), out),
                    Piece::Member(name, value) => {
                        out.extend_from_slice(name.of(text));
                        out.push(b':');
                        write(text, value, out);
                    }
                    Piece::Gone => {}
                }
            }
            out.push(b'}');
        }
        Node::Array(array) => {
            out.push(b'[');
            for (index, item) in array.items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(text, item, out);
            }
            if let Some(others) = array.others {
                if !array.items.is_empty() {
                    out.push(b',');
                }
                compact(others.of(text), out);
            }
            out.push(b']');
        }
    }
}

/// Leaves out the blanks between tokens.
pub fn compact(text: &[u8], out: &mut Vec<u8>) {
    let (mut at, mut kept_from) = (0, 0);
    while let Some(byte) = text.get(at) {
        if *byte == b'"' {
            at = string_end(text, at);
        } else if is_blank(*byte) {
            out.extend_from_slice(text.get(kept_from..at).unwrap_or_default());
            at = token(text, at);
            kept_from = at;
        } else {
            at += 1;
        }
    }
    out.extend_from_slice(text.get(kept_from..).unwrap_or_default());
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
