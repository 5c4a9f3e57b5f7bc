//! Exact and longest-prefix paths of all host tiers in one segment trie.
//!
//! A tier is a root node; an edge is one path segment. All edges stand in one open-addressed table keyed by (parent,
//! segment), so a route costs a node, an edge and its text, not a map of its own. A walk hashes each byte of the path once
//! and ends at the first segment that no route has: a path of 8,192 slashes ends at its second one unless the operator
//! configured `//`.

use std::hash::Hasher;

use rustc_hash::FxHasher;

/// No route here.
const NONE: u32 = u32::MAX;
pub(super) type Node = u32;

#[derive(Debug, Clone, Copy)]
struct Routes {
    /// `=/a`: the path ends here.
    exact: u32,
    /// `/a`: the path ends here or goes on with a slash.
    prefix: u32,
    /// `/a/`: the path goes on with a slash.
    prefix_slash: u32,
}

#[derive(Debug, Clone, Copy)]
struct Edge {
    parent: Node,
    child: Node,
    text_start: u32,
    text_len: u32,
    hash: u32,
}

/// The trie being built and searched. Node and route numbers are u32: the caller refuses more.
#[derive(Debug, Default)]
pub(super) struct PathTrie {
    nodes: Vec<Routes>,
    edges: Vec<Edge>,
    text: Vec<u8>,
    /// Edge number + 1, 0 = free; a power of two long and at most half full, so that a miss ends soon.
    slots: Vec<u32>,
}

/// What a walk found: the route and how much of the path it matched.
pub(super) type PathMatch = (u32, usize);

/// The path is taken: the route that has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken(pub(super) u32);

impl PathTrie {
    pub(super) fn add_root(&mut self) -> Node {
        self.nodes.push(Routes { exact: NONE, prefix: NONE, prefix_slash: NONE });
        (self.nodes.len() - 1) as Node
    }

    /// Enters `/…` as a prefix route. `path` starts with a slash.
    pub(super) fn insert_prefix(&mut self, root: Node, path: &str, route: u32) -> Result<(), Taken> {
        match path.strip_suffix('/') {
            Some(stem) => {
                let node = self.reach(root, stem.as_bytes());
                claim(&mut self.nodes[node as usize].prefix_slash, route)
            }
            None => {
                let node = self.reach(root, path.as_bytes());
                claim(&mut self.nodes[node as usize].prefix, route)
            }
        }
    }

    /// Enters `=/…` (without the `=`). `path` starts with a slash.
    pub(super) fn insert_exact(&mut self, root: Node, path: &str, route: u32) -> Result<(), Taken> {
        let node = self.reach(root, path.as_bytes());
        claim(&mut self.nodes[node as usize].exact, route)
    }

    /// The exact route of `path`, else its longest prefix.
    pub(super) fn find(&self, root: Node, path: &[u8]) -> Option<PathMatch> {
        let mut node = root;
        let mut at = 0;
        let mut longest = None;
        // `at` is the end of the text that leads to `node`: the end of the path or the place of a slash
        loop {
            let routes = &self.nodes[node as usize];
            let Some(rest) = path.get(at + 1..).filter(|_| path[at] == b'/') else {
                if at == path.len() && at > 0 {
                    return matched(routes.exact, at).or_else(|| matched(routes.prefix, at)).or(longest);
                }
                return longest;
            };
            longest = matched(routes.prefix_slash, at + 1).or_else(|| matched(routes.prefix, at)).or(longest);
            let segment = &rest[..memchr::memchr(b'/', rest).unwrap_or(rest.len())];
            match self.child(node, segment) {
                Some(child) => node = child,
                None => return longest,
            }
            at += 1 + segment.len();
        }
    }

    /// The node of `path`, made if need be. The empty path is the root.
    fn reach(&mut self, root: Node, path: &[u8]) -> Node {
        let segments = path.split(|&byte| byte == b'/').skip(1);
        segments.fold(root, |node, segment| match self.child(node, segment) {
            Some(child) => child,
            None => self.add_child(node, segment),
        })
    }

    fn child(&self, parent: Node, segment: &[u8]) -> Option<Node> {
        let mask = self.slots.len().checked_sub(1)?;
        let hash = edge_hash(parent, segment);
        let mut slot = hash as usize & mask;
        loop {
            let number = self.slots[slot].checked_sub(1)?;
            let edge = &self.edges[number as usize];
            if edge.hash == hash && edge.parent == parent && self.segment(edge) == segment {
                return Some(edge.child);
            }
            slot = (slot + 1) & mask;
        }
    }

    fn segment(&self, edge: &Edge) -> &[u8] {
        &self.text[edge.text_start as usize..][..edge.text_len as usize]
    }

    fn add_child(&mut self, parent: Node, segment: &[u8]) -> Node {
        let child = self.add_root();
        let text_start = self.text.len() as u32;
        self.text.extend_from_slice(segment);
        let hash = edge_hash(parent, segment);
        self.edges.push(Edge { parent, child, text_start, text_len: segment.len() as u32, hash });
        if self.edges.len() * 2 > self.slots.len() {
            self.slots = vec![0; (self.edges.len() * 4).next_power_of_two()];
            for number in 0..self.edges.len() {
                self.enter(number);
            }
        } else {
            self.enter(self.edges.len() - 1);
        }
        child
    }

    fn enter(&mut self, number: usize) {
        let mask = self.slots.len() - 1;
        let mut slot = self.edges[number].hash as usize & mask;
        while self.slots[slot] != 0 {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = number as u32 + 1;
    }

    /// Gives back what growing left over, with the slot table at the smallest size that is at most half full.
    pub(super) fn seal(&mut self) {
        self.nodes.shrink_to_fit();
        self.edges.shrink_to_fit();
        self.text.shrink_to_fit();
        let slots = (self.edges.len() * 2).next_power_of_two();
        if !self.edges.is_empty() && slots < self.slots.len() {
            self.slots = vec![0; slots];
            (0..self.edges.len()).for_each(|number| self.enter(number));
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.nodes.capacity() * size_of::<Routes>()
            + self.edges.capacity() * size_of::<Edge>()
            + self.text.capacity()
            + self.slots.capacity() * size_of::<u32>()
    }
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
fn edge_hash(parent: Node, segment: &[u8]) -> u32 {
    let mut hasher = FxHasher::default();
    hasher.write_u32(parent);
    hasher.write(segment);
    let hash = hasher.finish();
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trie(prefixes: &[&str], exacts: &[&str]) -> (PathTrie, Node) {
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
}
