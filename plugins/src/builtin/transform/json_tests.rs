//! Edits of texts, one by one and against a plain tree.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::body_path::{Path, parse};
use super::*;

/// More than any test has items, unless it is about that.
const ITEMS: usize = 16;

fn open_text<'n>(text: &str, names: &'n Names, items_max: usize) -> Document<'n> {
    Document::new(text.as_bytes().to_vec(), names, items_max).unwrap_or_else(|_| panic!("no JSON: {text}"))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// The text after an edit, if it was made.
fn edited(body: &str, paths: &[&str], edit: impl Fn(&mut Document, &[Path]) -> bool) -> Option<String> {
    let mut names = Names::default();
    let paths: Vec<Path> = paths.iter().map(|path| parse(path, &mut names)).collect();
    let mut document = open_text(body, &names, ITEMS);
    edit(&mut document, &paths).then(|| text(document.into_edited()))
}

fn set(body: &str, path: &str, value: &str) -> Option<String> {
    edited(body, &[path], |document, paths| {
        let value = document.value(value);
        document.set(&paths[0], value).is_ok()
    })
}

fn removed(body: &str, path: &str) -> Option<String> {
    edited(body, &[path], |document, paths| document.remove(&paths[0]))
}

fn renamed(body: &str, from: &str, to: &str) -> Option<String> {
    edited(body, &[from, to], |document, paths| document.rename(&paths[0], &paths[1]))
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn a_value_is_set_where_the_path_leads() {
    assert_eq!(set(r#"{"a":1,"b":2}"#, "a", "[0]"), some(r#"{"a":[0],"b":2}"#));
    assert_eq!(set(r#"{"a":{"b":{"c":1}}}"#, "a.b.c", "2"), some(r#"{"a":{"b":{"c":2}}}"#));
    assert_eq!(set(r#"{"a":[1,{"b":2},3]}"#, "a.1.b", "null"), some(r#"{"a":[1,{"b":null},3]}"#));
    assert_eq!(set(r#"[[1],[2]]"#, "1.0", "\"x\""), some(r#"[[1],["x"]]"#));
    assert_eq!(set(r#"{"0":1}"#, "0", "2"), some(r#"{"0":2}"#), "a number is a name too");
}

#[test]
fn missing_objects_are_made_and_arrays_are_not() {
    assert_eq!(set("{}", "a", "1"), some(r#"{"a":1}"#));
    assert_eq!(set(r#"{"z":0}"#, "a.b.c", "1"), some(r#"{"z":0,"a":{"b":{"c":1}}}"#));
    assert_eq!(set(r#"{"a":[{}]}"#, "a.0.b.c", "1"), some(r#"{"a":[{"b":{"c":1}}]}"#));
    for path in ["a.0", "a.b.0", "a.0.b"] {
        assert_eq!(set("{}", path, "1"), None, "{path}");
    }
    assert_eq!(set(r#"{"a":[1,2]}"#, "a.2", "3"), None, "one past the end");
    assert_eq!(set(r#"{"a":[1,2]}"#, "a.1", "3"), some(r#"{"a":[1,3]}"#));
    assert_eq!(set(r#"{"a":[1,2]}"#, "a.b", "3"), None);
    for scalar in ["5", "null", "\"x\"", "true"] {
        assert_eq!(set(&format!(r#"{{"a":{scalar}}}"#), "a.b", "1"), None, "{scalar} is nothing to go into");
        assert_eq!(set(scalar, "a", "1"), None);
    }
}

#[test]
fn what_is_removed_leaves_no_trace() {
    assert_eq!(removed(r#"{"a":1,"b":2,"c":3}"#, "b"), some(r#"{"a":1,"c":3}"#));
    assert_eq!(removed(r#"{"a":[1,2,3]}"#, "a.1"), some(r#"{"a":[1,3]}"#), "the rest moves up");
    assert_eq!(removed(r#"{"a":{"b":1}}"#, "a.b"), some(r#"{"a":{}}"#));
    assert_eq!(removed("[1]", "0"), some("[]"));
    for path in ["x", "a.x", "a.0.x", "a.3", "a.00x"] {
        assert_eq!(removed(r#"{"a":[1,2,3]}"#, path), None, "{path}");
    }
}

#[test]
fn what_is_renamed_moves_and_what_cannot_arrive_stays() {
    assert_eq!(renamed(r#"{"a":1,"b":2}"#, "a", "c"), some(r#"{"b":2,"c":1}"#));
    assert_eq!(renamed(r#"{"a":1,"b":2}"#, "a", "b"), some(r#"{"b":1}"#), "over what was there");
    assert_eq!(renamed(r#"{"a":{"b":1},"c":{}}"#, "a.b", "c.d.e"), some(r#"{"a":{},"c":{"d":{"e":1}}}"#));
    assert_eq!(renamed(r#"{"a":1}"#, "a", "a.b"), some(r#"{"a":{"b":1}}"#), "into itself");
    assert_eq!(renamed(r#"{"a":{"b":1}}"#, "a.b", "a"), some(r#"{"a":1}"#));
    assert_eq!(renamed(r#"{"a":1}"#, "b", "c"), None);
    let stays = edited(r#"{"x":0,"a":{"b":1},"y":5}"#, &["a", "y.z", "x", "a.b"], |document, paths| {
        assert!(!document.rename(&paths[0], &paths[1]), "5 is no object");
        document.remove(&paths[2]) && document.has(&paths[3])
    });
    assert_eq!(stays, some(r#"{"a":{"b":1},"y":5}"#), "it stands where it stood");
}

#[test]
fn of_several_members_of_a_name_the_last_counts_and_the_others_go_with_it() {
    let body = r#"{"a":1,"b":0,"a":2}"#;
    assert_eq!(set(body, "a", "3"), some(r#"{"b":0,"a":3}"#));
    assert_eq!(set(body, "x", "3"), some(r#"{"a":1,"b":0,"a":2,"x":3}"#), "nobody asked for them");
    assert_eq!(removed(body, "a"), some(r#"{"b":0}"#));
    assert_eq!(removed(r#"{"a":1,"a":2,"a":3}"#, "a"), some("{}"));
    assert_eq!(renamed(body, "a", "c"), some(r#"{"b":0,"c":2}"#));
    assert_eq!(removed(r#"{"a":1,"\u0061":2}"#, "a"), some("{}"), "however they are written");
}

#[test]
fn what_no_path_leads_through_stays_as_it_was_written() {
    let body = "{ \"n\" : 12345678901234567890.10e0 , \"s\":\"\\u0041 \\\" b\" ,\r\n\t\"x\":[ 1 , { } ] }\n";
    assert_eq!(
        set(body, "y", "1"),
        some("{\"n\":12345678901234567890.10e0,\"s\":\"\\u0041 \\\" b\",\"x\":[1,{}],\"y\":1}")
    );
    let mut names = Names::default();
    let [there, absent] = ["x.1", "x.2"].map(|path| parse(path, &mut names));
    let mut document = open_text(body, &names, ITEMS);
    assert!(document.has(&there) && !document.has(&absent));
    assert_eq!(text(document.into_received()), body);
}

#[test]
fn what_is_no_json_is_given_back() {
    let nulls: &[&[u8]] = &[b"", b" ", b"{", b"{}x", b"{'a':1}", b"[1,]", b"{\"a\":1,}", b"01", b"\"\xff\"", b"NaN"];
    for body in nulls {
        assert_eq!(Document::new(body.to_vec(), &Names::default(), 0).unwrap_err(), *body);
    }
}

#[test]
fn depth_and_size_do_not_matter() {
    let deep = format!("{{\"a\":{}{},\"b\":1}}", "[".repeat(200_000), "]".repeat(200_000));
    assert_eq!(removed(&deep, "b").unwrap().len(), deep.len() - ",\"b\":1".len());
    assert_eq!(removed(&deep, "a"), some(r#"{"b":1}"#));
    let nested = format!("{}1{}", "{\"a\":".repeat(200_000), "}".repeat(200_000));
    let path = vec!["a"; 128].join(".");
    assert!(set(&nested, &path, "2").unwrap().ends_with(&format!("2{}", "}".repeat(128))));
    let wide = format!("{{{}\"b\":1}}", "\"\":0,".repeat(200_000));
    assert!(removed(&wide, "b").unwrap().ends_with("\"\":0}"));
    assert_eq!(removed(&wide, ""), some(r#"{"b":1}"#));
}

#[test]
fn of_a_long_array_only_the_items_that_can_be_meant_are_looked_at() {
    let body = "[ 0, 1 , [2] ,3, 4 ]";
    let after = |items_max: usize, removals: usize| {
        let mut names = Names::default();
        let first = parse("0", &mut names);
        let mut document = open_text(body, &names, items_max);
        (0..removals).for_each(|_| assert!(document.remove(&first)));
        text(document.into_edited())
    };
    assert_eq!(after(1, 1), "[1,[2],3,4]");
    assert_eq!(after(3, 3), "[3,4]");
    assert_eq!(after(5, 5), "[]");
    assert_eq!(after(6, 5), "[]");
}

/// What a plain tree would do.
mod tree {
    use super::*;
    use crate::builtin::transform::body_path::Segment;

    fn name(names: &Names, segment: &Segment) -> String {
        serde_json::from_str(names.quoted(segment.name)).unwrap()
    }

    pub fn get<'v>(root: &'v Value, names: &Names, path: &[Segment]) -> Option<&'v Value> {
        path.iter().try_fold(root, |node, segment| match node {
            Value::Object(map) => map.get(&name(names, segment)),
            Value::Array(items) => items.get(segment.index?),
            _ => None,
        })
    }

    pub fn get_mut<'v>(root: &'v mut Value, names: &Names, path: &[Segment]) -> Option<&'v mut Value> {
        path.iter().try_fold(root, |node, segment| match node {
            Value::Object(map) => map.get_mut(&name(names, segment)),
            Value::Array(items) => items.get_mut(segment.index?),
            _ => None,
        })
    }

    pub fn set(root: &mut Value, names: &Names, path: &[Segment], value: Value) -> bool {
        let (first, rest) = path.split_first().unwrap();
        match root {
            Value::Object(map) => {
                if rest.is_empty() {
                    map.insert(name(names, first), value);
                    return true;
                }
                if let Some(next) = map.get_mut(&name(names, first)) {
                    return set(next, names, rest, value);
                }
                let mut next = Value::Object(Map::new());
                let is_all_names = rest.iter().all(|segment| segment.index.is_none());
                let is_set = is_all_names && set(&mut next, names, rest, value);
                if is_set {
                    map.insert(name(names, first), next);
                }
                is_set
            }
            Value::Array(items) => match first.index.and_then(|index| items.get_mut(index)) {
                Some(item) if rest.is_empty() => {
                    *item = value;
                    true
                }
                Some(item) => set(item, names, rest, value),
                None => false,
            },
            _ => false,
        }
    }

    pub fn take(root: &mut Value, names: &Names, path: &[Segment]) -> Option<Value> {
        let (last, way) = path.split_last().unwrap();
        match get_mut(root, names, way)? {
            Value::Object(map) => map.shift_remove(&name(names, last)),
            Value::Array(items) => {
                let index = last.index.filter(|index| *index < items.len())?;
                Some(items.remove(index))
            }
            _ => None,
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..5).prop_map(Value::from),
        "[ -~ü]{0,4}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let names = prop_oneof![
            Just("a".to_owned()),
            Just("b".to_owned()),
            Just("0".to_owned()),
            Just("a.b".to_owned()),
            Just("ü\"".to_owned())
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..10).prop_map(Value::from),
            prop::collection::vec((names, inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![Just("a"), Just("b"), Just("0"), Just("1"), Just(r"a\.b"), Just("ü\""), Just("z")];
    prop::collection::vec(segment, 1..4).prop_map(|segments| segments.join("."))
}

proptest! {
    #[test]
    fn edits_mean_what_they_mean_in_a_tree(
        body in value(),
        is_pretty in any::<bool>(),
        edits in prop::collection::vec((0..3, path(), path(), value()), 1..5),
    ) {
        let written = if is_pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) }.unwrap();
        let mut names = Names::default();
        let edits: Vec<(i32, Path, Path, Value)> = edits
            .into_iter()
            .map(|(kind, one, other, value)| (kind, parse(&one, &mut names), parse(&other, &mut names), value))
            .collect();
        let names = &names;
        // The paths have no higher index than 1, and there are at most four removals.
        let (mut document, mut tree) = (open_text(&written, names, 6), body);
        for (kind, one, other, value) in edits {
            match kind {
                0 => {
                    prop_assert_eq!(document.has(&one), tree::get(&tree, names, &one).is_some());
                    let node = document.value(&value.to_string());
                    prop_assert_eq!(document.set(&one, node).is_ok(), tree::set(&mut tree, names, &one, value));
                }
                1 => prop_assert_eq!(document.remove(&one), tree::take(&mut tree, names, &one).is_some()),
                _ if [&one, &other].iter().all(|path| path.iter().all(|segment| segment.index.is_none())) => {
                    let before = tree.clone();
                    let is_moved = match tree::take(&mut tree, names, &one) {
                        Some(taken) => tree::set(&mut tree, names, &other, taken),
                        None => false,
                    };
                    if !is_moved {
                        tree = before;
                    }
                    prop_assert_eq!(document.rename(&one, &other), is_moved);
                }
                _ => {}
            }
        }
        let edited = document.into_edited();
        let parsed: Value = serde_json::from_slice(&edited).unwrap();
        prop_assert_eq!(&parsed, &tree);
        prop_assert_eq!(edited, json!(parsed).to_string().into_bytes(), "without blanks");
    }
}

#[test]
fn members_and_items_cost_little_and_a_name_again_and_again_nothing() {
    assert!(size_of::<Node>() <= 24 && size_of::<Piece>() <= 40);
    let mut names = Names::default();
    let path = parse("a.b", &mut names);
    let again = format!(r#"{{"x":0,{}"a":{{"b":1}},"y":2}}"#, r#""a":{"b":0},"#.repeat(1000));
    let mut document = open_text(&again, &names, 0);
    assert!(document.remove(&path));
    let Node::Object(root) = &document.root else { panic!("it was opened") };
    assert_eq!((root.pieces.len(), root.known.len()), (3, 1));
    assert_eq!(text(document.into_edited()), r#"{"x":0,"a":{},"y":2}"#);
}
