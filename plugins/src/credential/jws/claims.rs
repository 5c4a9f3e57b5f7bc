//! Reads from a token's JSON the few members that are wanted, without building a tree of the others.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Which members are read, compiled from dot paths once. Each has a number, and so has each on the way to one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    root: Node,
    count: usize,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Node {
    number: usize,
    is_wanted: bool,
    members: Vec<(String, Node)>,
}

/// Whether that can be a path: names with dots between them.
pub fn is_path(text: &str) -> bool {
    !text.trim().is_empty() && text.split('.').all(|name| !name.is_empty())
}

impl Wanted {
    /// The number of the member at that path.
    pub fn want(&mut self, path: &str) -> usize {
        self.want_at(path.split('.'))
    }

    /// The number of the member of that name, of which a dot is a part.
    pub fn want_name(&mut self, name: &str) -> usize {
        self.want_at(std::iter::once(name))
    }

    fn want_at<'n>(&mut self, names: impl Iterator<Item = &'n str>) -> usize {
        let mut node = &mut self.root;
        for name in names {
            let present = node.members.iter().position(|(present, _)| present == name);
            let index = present.unwrap_or(node.members.len());
            if present.is_none() {
                node.members.push((name.to_owned(), Node { number: self.count, ..Node::default() }));
                self.count += 1;
            }
            node = &mut node.members[index].1;
        }
        node.is_wanted = true;
        node.number
    }

    /// None unless the JSON is an object and nothing else, and each member is there once (RFC 7515 §4, RFC 7519 §4).
    pub fn read<'t>(&self, json: &'t [u8]) -> Option<Claims<'t>> {
        let mut claims = Claims(Vec::with_capacity(self.count));
        claims.0.resize_with(self.count, || None);
        let mut reader = serde_json::Deserializer::from_slice(json);
        reader.deserialize_map(Member { node: &self.root, claims: &mut claims }).ok()?;
        reader.end().ok()?;
        Some(claims)
    }
}

/// What was found, by number.
#[derive(Debug)]
pub struct Claims<'t>(Vec<Option<Claim<'t>>>);

impl<'t> Claims<'t> {
    pub fn get(&self, number: usize) -> Option<&Claim<'t>> {
        self.0.get(number)?.as_ref()
    }

    pub fn text(&self, number: usize) -> Option<&str> {
        match self.get(number)? {
            Claim::Text(text) => Some(text),
            _ => None,
        }
    }

    /// That the member is there; false when it was before.
    fn note(&mut self, node: &Node) -> bool {
        self.0.get_mut(node.number).is_some_and(|place| place.replace(Claim::Other).is_none())
    }

    fn set(&mut self, node: &Node, claim: Claim<'t>) {
        if let Some(place) = self.0.get_mut(node.number).filter(|_| node.is_wanted) {
            *place = Some(claim);
        }
    }
}

#[derive(Debug, PartialEq)]
pub enum Claim<'t> {
    Text(Cow<'t, str>),
    /// The strings of a list.
    List(Vec<Cow<'t, str>>),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Flag(bool),
    /// Null or an object.
    Other,
}

impl Claim<'_> {
    pub fn number(&self) -> Option<f64> {
        match self {
            Claim::Unsigned(number) => Some(*number as f64),
            Claim::Signed(number) => Some(*number as f64),
            Claim::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// Whether it is that string, or a list that has it.
    pub fn has(&self, wanted: &str) -> bool {
        match self {
            Claim::Text(text) => text == wanted,
            Claim::List(list) => list.iter().any(|text| text == wanted),
            _ => false,
        }
    }

    /// Whether it has that word: a string is split at white space, a list has its strings.
    pub fn has_word(&self, wanted: &str) -> bool {
        match self {
            Claim::Text(text) => text.split_whitespace().any(|word| word == wanted),
            _ => self.has(wanted),
        }
    }

    /// As the value of a header; none of what has no text, and of text that is no value.
    pub fn shown(&self, separator: &str) -> Option<String> {
        let text = match self {
            Claim::Text(text) => text.clone().into_owned(),
            Claim::List(list) => list.join(separator),
            Claim::Unsigned(number) => number.to_string(),
            Claim::Signed(number) => number.to_string(),
            Claim::Float(number) => number.to_string(),
            Claim::Flag(flag) => flag.to_string(),
            Claim::Other => return None,
        };
        (!text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))).then_some(text)
    }
}

/// Reads the value of one member.
struct Member<'w, 'c, 't> {
    node: &'w Node,
    claims: &'c mut Claims<'t>,
}

impl<'t> DeserializeSeed<'t> for Member<'_, '_, 't> {
    type Value = ();

    fn deserialize<D: Deserializer<'t>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'t> Visitor<'t> for Member<'_, '_, 't> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'t str) -> Result<(), E> {
        self.claims.set(self.node, Claim::Text(Cow::Borrowed(text)));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.claims.set(self.node, Claim::Text(Cow::Owned(text.to_owned())));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.claims.set(self.node, Claim::Unsigned(number));
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.claims.set(self.node, Claim::Signed(number));
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.claims.set(self.node, Claim::Float(number));
        Ok(())
    }

    fn visit_bool<E>(self, flag: bool) -> Result<(), E> {
        self.claims.set(self.node, Claim::Flag(flag));
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.claims.set(self.node, Claim::Other);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut list: A) -> Result<(), A::Error> {
        if !self.node.is_wanted {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        let mut texts = Vec::new();
        while let Some(element) = list.next_element_seed(Text)? {
            texts.extend(element);
        }
        self.claims.set(self.node, Claim::List(texts));
        Ok(())
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(member) = map.next_key_seed(Name(self.node))? {
            match member {
                Some(node) if self.claims.note(node) => {
                    map.next_value_seed(Member { node, claims: self.claims })?;
                }
                Some(_) => return Err(A::Error::custom("a member is there twice")),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Reads the name of a member: which of the wanted ones it is.
struct Name<'w>(&'w Node);

impl<'t, 'w> DeserializeSeed<'t> for Name<'w> {
    type Value = Option<&'w Node>;

    fn deserialize<D: Deserializer<'t>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_str(self)
    }
}

impl<'w> Visitor<'_> for Name<'w> {
    type Value = Option<&'w Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.members.iter().find(|(wanted, _)| wanted == name).map(|(_, node)| node))
    }
}

/// Reads an element of a list: its text, if it is one.
struct Text;

impl<'t> DeserializeSeed<'t> for Text {
    type Value = Option<Cow<'t, str>>;

    fn deserialize<D: Deserializer<'t>>(self, element: D) -> Result<Self::Value, D::Error> {
        element.deserialize_any(self)
    }
}

impl<'t> Visitor<'t> for Text {
    type Value = Option<Cow<'t, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'t str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(paths: &[&str], json: &str) -> Option<Vec<String>> {
        let mut wanted = Wanted::default();
        let numbers: Vec<usize> = paths.iter().map(|path| wanted.want(path)).collect();
        let claims = wanted.read(json.as_bytes())?;
        let shown = |number: &usize| match claims.get(*number) {
            Some(claim) => claim.shown("+").unwrap_or("(nothing to show)".to_owned()),
            None => "(absent)".to_owned(),
        };
        Some(numbers.iter().map(shown).collect())
    }

    #[test]
    fn claims_are_found_at_dot_paths_and_others_are_passed_over() {
        let json = r#"{"a":{"x":[{"b":1}],"b":{"c":"deep"}},"other":{"b":{"c":"no"}},"s":"t","b":{"c":"top"}}"#;
        assert_eq!(
            read(&["a.b.c", "s", "b.c", "c", "a.x"], json).unwrap(),
            ["deep", "t", "top", "(absent)", "(nothing to show)"]
        );
    }

    #[test]
    fn a_claim_and_one_within_it_may_both_be_wanted() {
        let paths = ["a", "a.b"];
        assert_eq!(read(&paths, r#"{"a":{"b":"x"}}"#).unwrap(), ["(nothing to show)", "x"]);
        assert_eq!(read(&paths, r#"{"a":"x"}"#).unwrap(), ["x", "(absent)"]);
        assert_eq!(read(&["a", "a"], r#"{"a":"x"}"#).unwrap(), ["x", "x"]);
    }

    #[test]
    fn every_kind_of_value_has_its_text() {
        let json = r#"{"a":"q\"\u0075","b":["x",1,null,"y",["z"],{"k":"z"},1.5,-1,true],"c":18446744073709551615,"d":-5,"e":1.5,"f":true,"g":null,"h":{}}"#;
        let shown = read(&["a", "b", "c", "d", "e", "f", "g", "h"], json).unwrap();
        assert_eq!(shown[..6], ["q\"u", "x+y", "18446744073709551615", "-5", "1.5", "true"]);
        assert_eq!(shown[6..], ["(nothing to show)"; 2]);
        for none in [r"line\nbreak", r"\u007f", "ü", r"\u00fc"] {
            assert_eq!(read(&["a"], &format!(r#"{{"a":"{none}"}}"#)).unwrap(), ["(nothing to show)"], "{none}");
        }
        assert_eq!(read(&["a"], r#"{"a":""}"#).unwrap(), ["(nothing to show)"]);
    }

    #[test]
    fn a_member_that_is_wanted_or_on_the_way_to_one_is_there_once() {
        for twice in [
            r#"{"a":{"b":"x"},"a":{"b":"x"}}"#,
            r#"{"a":{"b":"x"},"a":{"c":"y"}}"#,
            r#"{"a":{"c":"y"},"a":5}"#,
            r#"{"a":null,"a":{"b":"x"}}"#,
            r#"{"a":{"b":"x","b":"y"}}"#,
            r#"{"a":{"b":"x","\u0062":null}}"#,
        ] {
            assert_eq!(read(&["a.b", "a.c"], twice), None, "{twice}");
        }
        let others = r#"{"x":1,"x":2,"a":{"b":"x","y":1,"y":2},"b":{"b":"z"}}"#;
        assert_eq!(read(&["a.b", "a.c"], others).unwrap(), ["x", "(absent)"]);
    }

    #[test]
    fn a_name_may_have_a_dot() {
        let mut wanted = Wanted::default();
        let (name, path) = (wanted.want_name("a.b"), wanted.want("a.b"));
        let claims = wanted.read(br#"{"a.b":"name","a":{"b":"path"}}"#).unwrap();
        assert_eq!((claims.text(name), claims.text(path)), (Some("name"), Some("path")));
    }

    #[test]
    fn numbers_are_those_of_any_kind() {
        let number = |json: &str| {
            let mut wanted = Wanted::default();
            let at = wanted.want_name("n");
            wanted.read(format!(r#"{{"n":{json}}}"#).as_bytes()).unwrap().get(at).unwrap().number()
        };
        assert_eq!([number("5"), number("-5"), number("5.5")], [Some(5.0), Some(-5.0), Some(5.5)]);
        assert_eq!([number("\"5\""), number("null"), number("[5]"), number("true")], [None; 4]);
    }

    #[test]
    fn only_an_object_and_nothing_behind_it_is_read() {
        for wrong in ["", "[]", "\"a\"", "5", "{", "{}{}", "{\"a\":}", "{\"a\":1,}", "null"] {
            assert_eq!(read(&["a"], wrong), None, "{wrong}");
        }
        assert!(read(&["a"], " {} \n").is_some());
        let mut wanted = Wanted::default();
        wanted.want("a");
        assert!(wanted.read(b"{\"a\":\"\xff\"}").is_none(), "JSON is UTF-8");
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(8_000), close.repeat(8_000));
        let json = format!(r#"{{"a":{},"b":{},"c":"x"}}"#, deep("[", "]"), deep(r#"{"k":"#, "}"));
        assert_eq!(read(&["a", "b.k.k", "c"], &json).unwrap(), ["(nothing to show)", "(nothing to show)", "x"]);
    }

    #[test]
    fn a_path_has_names_between_its_dots() {
        assert!(is_path("sub") && is_path("realm_access.roles") && is_path("a b"));
        assert!(!is_path("") && !is_path(" ") && !is_path(".a") && !is_path("a.") && !is_path("a..b"));
    }

    #[test]
    fn words_are_those_of_a_string_or_of_a_list() {
        let text = Claim::Text("read  write\tadmin".into());
        assert!(text.has_word("read") && text.has_word("admin") && !text.has_word("wri") && !text.has("read"));
        let list = Claim::List(vec!["read write".into(), "admin".into()]);
        assert!(list.has_word("admin") && list.has_word("read write") && !list.has_word("read"));
        assert!(!Claim::Unsigned(5).has_word("5") && !Claim::Other.has(""));
    }
}
