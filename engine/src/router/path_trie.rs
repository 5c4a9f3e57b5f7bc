//! Exact and longest-prefix paths of all host tiers in one segment trie.
//!
//! A tier is a root node; every other node is reached from its parent by one path segment. One open-addressed table keyed by
//! (parent, segment) holds all those steps, so a route costs a node and its text, not a map of its own, and a step touches
//! one slot and one node, which is one cache line: a slot knows the hash of its step, so that no other node is looked at. A walk hashes each byte of the path once and ends at the first segment that no route has: a path
//! of 8,192 slashes ends at its second one unless the operator configured `//`.

use std::hash::Hasher;

use rustc_hash::FxHasher;

/// No route here.
const NONE: u32 = u32::MAX;
/// Segments up to this length stand in their node; the few longer ones in the trie's text.
const INLINE_BYTES: usize = 40;

pub(super) type NodeId = u32;

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Node {
    /// `=/a`: the path ends here.
    exact: u32,
    /// `/a`: the path ends here or goes on with a slash.
    prefix: u32,
    /// `/a/`: the path goes on with a slash.
    prefix_slash: u32,
    /// Where the node is reached from, and by which segment; a root is not in the slots and never reached.
    parent: NodeId,
    segment: Segment,
    /// Whether any route goes on below; most end here, and a path that goes on then needs no look at the slots.
    is_parent: bool,
}

const _: () = assert!(size_of::<Node>() == 64);

impl Node {
    /// Where the route of a prefix stands at its node.
    fn prefix_of(&mut self, path: &str) -> &mut u32 {
        if path.ends_with('/') { &mut self.prefix_slash } else { &mut self.prefix }
    }
}

/// One step of the trie.
#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u32,
    /// [`NONE`] = free.
    node: NodeId,
}

const FREE: Slot = Slot { hash: 0, node: NONE };

#[derive(Debug, Clone, Copy)]
struct Segment {
    len: u32,
    /// The text, or for a long one its start in the trie's text.
    bytes: [u8; INLINE_BYTES],
}

/// The trie being built and searched. Node and route numbers are u32: the caller refuses more.
#[derive(Debug, Clone, Default)]
pub(super) struct PathTrie {
    nodes: Vec<Node>,
    /// Segments too long for their node.
    text: Vec<u8>,
    /// A power of two long and at most half full, so that a miss ends soon.
    slots: Vec<Slot>,
}

/// What a walk found: the route and how much of the path it matched.
pub(super) type PathMatch = (u32, usize);

/// The path is taken: the route that has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken(pub(super) u32);

impl PathTrie {
    pub(super) fn add_root(&mut self) -> NodeId {
        self.push(NONE, Segment { len: 0, bytes: [0; INLINE_BYTES] })
    }

    /// Enters `/…` as a prefix route. `path` starts with a slash.
    pub(super) fn insert_prefix(&mut self, root: NodeId, path: &str, route: u32) -> Result<(), Taken> {
        let node = self.reach(root, stem(path));
        claim(self.nodes[node as usize].prefix_of(path), route)
    }

    /// Enters `=/…` (without the `=`). `path` starts with a slash.
    pub(super) fn insert_exact(&mut self, root: NodeId, path: &str, route: u32) -> Result<(), Taken> {
        let node = self.reach(root, path.as_bytes());
        claim(&mut self.nodes[node as usize].exact, route)
    }

    /// Takes out what [`Self::insert_prefix`] entered. The way there stays.
    pub(super) fn remove_prefix(&mut self, root: NodeId, path: &str) {
        let node = self.reach(root, stem(path));
        *self.nodes[node as usize].prefix_of(path) = NONE;
    }

    /// Takes out what [`Self::insert_exact`] entered. The way there stays.
    pub(super) fn remove_exact(&mut self, root: NodeId, path: &str) {
        let node = self.reach(root, path.as_bytes());
        self.nodes[node as usize].exact = NONE;
    }

    pub(super) fn renumber(&mut self, new: impl Fn(u32) -> u32) {
        for node in &mut self.nodes {
            for route in [&mut node.exact, &mut node.prefix, &mut node.prefix_slash] {
                if *route != NONE {
                    *route = new(*route);
                }
            }
        }
    }

    /// The exact route of `path`, else its longest prefix.
    pub(super) fn find(&self, root: NodeId, path: &[u8]) -> Option<PathMatch> {
        let mut id = root;
        let mut at = 0;
        let mut longest = None;
        // `at` is the end of the text that leads to the node: the end of the path or the place of a slash
        loop {
            let node = &self.nodes[id as usize];
            let Some(rest) = path.get(at + 1..).filter(|_| path[at] == b'/') else {
                if at == path.len() && at > 0 {
                    return matched(node.exact, at).or_else(|| matched(node.prefix, at)).or(longest);
                }
                return longest;
            };
            longest = matched(node.prefix_slash, at + 1).or_else(|| matched(node.prefix, at)).or(longest);
            if !node.is_parent {
                return longest;
            }
            let segment = &rest[..memchr::memchr(b'/', rest).unwrap_or(rest.len())];
            match self.child(id, segment) {
                Some(child) => id = child,
                None => return longest,
            }
            at += 1 + segment.len();
        }
    }

    /// The node of `path`, made if need be. The empty path is the root.
    fn reach(&mut self, root: NodeId, path: &[u8]) -> NodeId {
        let segments = path.split(|&byte| byte == b'/').skip(1);
        segments.fold(root, |node, segment| match self.child(node, segment) {
            Some(child) => child,
            None => self.add_child(node, segment),
        })
    }

    fn child(&self, parent: NodeId, segment: &[u8]) -> Option<NodeId> {
        let mask = self.slots.len().checked_sub(1)?;
        let hash = step_hash(parent, segment);
        let mut slot = hash as usize & mask;
        loop {
            let found = self.slots[slot];
            if found.node == NONE {
                return None;
            }
            if found.hash == hash {
                let node = &self.nodes[found.node as usize];
                if node.parent == parent && self.segment(&node.segment) == segment {
                    return Some(found.node);
                }
            }
            slot = (slot + 1) & mask;
        }
    }

    fn segment<'a>(&'a self, segment: &'a Segment) -> &'a [u8] {
        let len = segment.len as usize;
        match segment.bytes.get(..len) {
            Some(inline) => inline,
            None => {
                let [a, b, c, d, ..] = segment.bytes;
                &self.text[u32::from_le_bytes([a, b, c, d]) as usize..][..len]
            }
        }
    }

    fn add_child(&mut self, parent: NodeId, segment: &[u8]) -> NodeId {
        let mut bytes = [0; INLINE_BYTES];
        if let Some(inline) = bytes.get_mut(..segment.len()) {
            inline.copy_from_slice(segment);
        } else {
            bytes[..4].copy_from_slice(&(self.text.len() as u32).to_le_bytes());
            self.text.extend_from_slice(segment);
        }
        let id = self.push(parent, Segment { len: segment.len() as u32, bytes });
        self.nodes[parent as usize].is_parent = true;
        if self.nodes.len() * 2 > self.slots.len() {
            self.fill_slots((self.nodes.len() * 4).next_power_of_two());
        } else {
            self.enter(id);
        }
        id
    }

    fn push(&mut self, parent: NodeId, segment: Segment) -> NodeId {
        let (exact, prefix, prefix_slash) = (NONE, NONE, NONE);
        self.nodes.push(Node { exact, prefix, prefix_slash, parent, segment, is_parent: false });
        (self.nodes.len() - 1) as NodeId
    }

    fn fill_slots(&mut self, count: usize) {
        self.slots = vec![FREE; count];
        for id in 0..self.nodes.len() as NodeId {
            if self.nodes[id as usize].parent != NONE {
                self.enter(id);
            }
        }
    }

    fn enter(&mut self, id: NodeId) {
        let mask = self.slots.len() - 1;
        let node = &self.nodes[id as usize];
        let hash = step_hash(node.parent, self.segment(&node.segment));
        let mut slot = hash as usize & mask;
        while self.slots[slot].node != NONE {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = Slot { hash, node: id };
    }

    /// Gives back what growing left over, with the slots at the smallest size that is at most half full.
    pub(super) fn seal(&mut self) {
        self.nodes.shrink_to_fit();
        self.text.shrink_to_fit();
        let slots = (self.nodes.len() * 2).next_power_of_two();
        if slots < self.slots.len() {
            self.fill_slots(slots);
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>() + self.text.capacity() + self.slots.capacity() * size_of::<Slot>()
    }
}

/// What leads to the node of a prefix.
fn stem(path: &str) -> &[u8] {
    path.strip_suffix('/').unwrap_or(path).as_bytes()
}

fn matched(route: u32, len: usize) -> Option<PathMatch> {
    (route != NONE).then_some((route, len))
}

fn claim(place: &mut u32, route: u32) -> Result<(), Taken> {
    // a proxy may list one host twice
    if *place != NONE && *place != route {
        return Err(Taken(*place));
    }
    *place = route;
    Ok(())
}

/// A fast hash is enough: the keys are the operator's, so a hostile path can at worst meet the longest run of slots that
/// those keys happen to form.
fn step_hash(parent: NodeId, segment: &[u8]) -> u32 {
    let mut hasher = FxHasher::default();
    hasher.write_u32(parent);
    hasher.write(segment);
    let hash = hasher.finish();
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trie(prefixes: &[&str], exacts: &[&str]) -> (PathTrie, NodeId) {
        let mut trie = PathTrie::default();
        let root = trie.add_root();
        for (route, path) in prefixes.iter().enumerate() {
            trie.insert_prefix(root, path, route as u32).unwrap();
        }
        for (route, path) in exacts.iter().enumerate() {
            trie.insert_exact(root, path, 100 + route as u32).unwrap();
        }
        trie.seal();
        (trie, root)
    }

    #[test]
    fn a_prefix_matches_only_at_a_segment_boundary() {
        let rows: &[(&str, &[&str], &[&str])] = &[
            (
                "/api",
                &["/api", "/api/", "/api/x", "/api//x"],
                &["/apix", "/api.json", "/my-api", "/API", "/api%2Fx", "", "*", "api"],
            ),
            ("/api/", &["/api/", "/api/x"], &["/api", "/apix"]),
            ("/", &["/", "/x", "//"], &["*", "", "x/y"]),
            ("//", &["//", "//x"], &["/", "/x"]),
            ("/a//b", &["/a//b", "/a//b/c"], &["/a/b", "/a//bc"]),
        ];
        for (prefix, matching, others) in rows {
            let (trie, root) = trie(&[prefix], &[]);
            for path in *matching {
                assert_eq!(trie.find(root, path.as_bytes()), Some((0, prefix.len())), "{prefix} {path}");
            }
            for path in *others {
                assert_eq!(trie.find(root, path.as_bytes()), None, "{prefix} {path}");
            }
        }
    }

    #[test]
    fn the_longest_prefix_wins_whatever_the_order() {
        let (trie, root) = trie(&["/", "/a/b/", "/a/b", "/a"], &[]);
        let route = |path: &str| trie.find(root, path.as_bytes()).unwrap();
        assert_eq!(route("/a/b/c"), (1, 5));
        assert_eq!(route("/a/b"), (2, 4));
        assert_eq!(route("/a/bc"), (3, 2));
        assert_eq!(route("/ab"), (0, 1));
    }

    #[test]
    fn an_exact_path_beats_every_prefix_and_matches_only_whole() {
        let (trie, root) = trie(&["/a", "/a/"], &["/a", "/a/", "/"]);
        let route = |path: &str| trie.find(root, path.as_bytes());
        assert_eq!(route("/a"), Some((100, 2)));
        assert_eq!(route("/a/"), Some((101, 3)));
        assert_eq!(route("/a//"), Some((1, 3)));
        assert_eq!(route("/a/x"), Some((1, 3)));
        assert_eq!(route("/"), Some((102, 1)));
        assert_eq!(route("/x"), None);
    }

    #[test]
    fn a_path_of_slashes_costs_no_more_than_its_length() {
        let (trie, root) = trie(&["/", "/a"], &["//"]);
        assert_eq!(trie.find(root, &[b'/'; 8192]), Some((0, 1)));
        let deep = "/".repeat(500);
        let (trie, root) = self::trie(&[&deep], &[]);
        assert_eq!(trie.find(root, &[b'/'; 8192]), Some((0, 500)));
    }

    #[test]
    fn a_taken_path_names_its_owner() {
        let mut trie = PathTrie::default();
        let (one, other) = (trie.add_root(), trie.add_root());
        trie.insert_prefix(one, "/a", 4).unwrap();
        assert_eq!(trie.insert_prefix(one, "/a", 5), Err(Taken(4)));
        assert_eq!(trie.insert_prefix(one, "/a", 4), Ok(()));
        assert_eq!(trie.insert_prefix(one, "/a/", 5), Ok(()));
        assert_eq!(trie.insert_exact(one, "/a", 5), Ok(()));
        assert_eq!(trie.insert_prefix(other, "/a", 5), Ok(()));
        assert_eq!(trie.find(other, b"/a"), Some((5, 2)));
    }

    #[test]
    fn segments_are_compared_whole_whether_they_fit_their_node_or_not() {
        let paths: Vec<String> = [39, 40, 41, 60].into_iter().map(|len| format!("/{}", "s".repeat(len))).collect();
        let (trie, root) = trie(&paths.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        for (route, path) in paths.iter().enumerate() {
            assert_eq!(trie.find(root, path.as_bytes()), Some((route as u32, path.len())));
            assert_eq!(trie.find(root, format!("{path}/x").as_bytes()), Some((route as u32, path.len())));
        }
        assert_eq!(trie.find(root, format!("/{}", "s".repeat(42)).as_bytes()), None);
    }
}
