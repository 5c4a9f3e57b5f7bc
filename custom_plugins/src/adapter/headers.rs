//! Headers as plugins see them, in a map, and what they change in it (plugin API sheet §4.5).
//!
//! A map keeps its memory from request to request, names and values included, and so it keeps its order. With it go the
//! [`Places`] of the fields behind its entries, and the names it was filled with. Most requests have the names of the one before
//! in the order of the one before: then filling a map means to overwrite a few texts, and what a hook has changed is found in one
//! pass. Anything else is looked up name by name.

use std::borrow::Cow;
use std::collections::HashMap;

use engine::http::{Field, Headers, Known, KnownSet, RequestHead};

pub(super) type Map = HashMap<String, String>;

/// Fields of a response that end at this hop.
const HOP: KnownSet = KnownSet::of(&[
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyAuthenticate,
    Known::ProxyAuthorization,
    Known::ProxyConnection,
    Known::Te,
    Known::Trailer,
    Known::TransferEncoding,
    Known::Upgrade,
]);

/// Headers that a map shows.
pub(super) trait View {
    fn headers(&self) -> &Headers;

    /// Whether plugins see nothing of this field.
    fn hides(&self, field: &Field<'_>) -> bool;

    /// Whether there may be such a field.
    fn may_hide(&self) -> bool;

    /// What stands between the values of several fields of that name; nothing if only the last one counts.
    fn joins(&self, name: &[u8]) -> Option<&'static str>;

    /// A value that stands for a field that is not there, of that name.
    fn implied(&self) -> Option<(&'static str, &str)> {
        None
    }
}

/// Of a request on its way to the backend.
pub(super) struct OfRequest<'a>(pub &'a RequestHead);

impl View for OfRequest<'_> {
    fn headers(&self) -> &Headers {
        &self.0.headers
    }

    /// What clients say of who they are is nobody's business.
    fn hides(&self, field: &Field<'_>) -> bool {
        matches!(field.known, Known::XConsumerUsername | Known::XConsumerCustomId) && !field.is_edit
    }

    fn may_hide(&self) -> bool {
        self.0.headers.has(Known::XConsumerUsername) || self.0.headers.has(Known::XConsumerCustomId)
    }

    fn joins(&self, name: &[u8]) -> Option<&'static str> {
        let is_list = name.eq_ignore_ascii_case(b"baggage") || name.eq_ignore_ascii_case(b"sec-websocket-protocol");
        is_list.then_some(",")
    }

    fn implied(&self) -> Option<(&'static str, &str)> {
        if self.0.headers.has(Known::Host) {
            return None;
        }
        text(self.0.authority()).filter(|authority| !authority.is_empty()).map(|authority| ("host", authority))
    }
}

/// Of a response on its way to the client.
pub(super) struct OfResponse<'a> {
    pub headers: &'a Headers,
    /// What its `Connection` fields name, lower-case.
    pub named: Vec<Vec<u8>>,
}

impl<'a> OfResponse<'a> {
    pub(super) fn new(headers: &'a Headers) -> Self {
        let tokens = headers.known(Known::Connection).flat_map(|value| value.split(|byte| *byte == b','));
        let is_name = |token: &&[u8]| {
            !token.is_empty() && !token.eq_ignore_ascii_case(b"keep-alive") && !token.eq_ignore_ascii_case(b"close")
        };
        let named = tokens.map(<[u8]>::trim_ascii).filter(is_name).map(<[u8]>::to_ascii_lowercase);
        Self { headers, named: named.collect() }
    }
}

impl View for OfResponse<'_> {
    fn headers(&self) -> &Headers {
        self.headers
    }

    fn hides(&self, field: &Field<'_>) -> bool {
        HOP.has(field.known) || self.named.iter().any(|name| field.name.eq_ignore_ascii_case(name))
    }

    fn may_hide(&self) -> bool {
        // What names further ones is one of these itself.
        self.headers.has_any(HOP)
    }

    fn joins(&self, name: &[u8]) -> Option<&'static str> {
        Some(if name.eq_ignore_ascii_case(b"set-cookie") { "\n" } else { ", " })
    }
}

/// A value that can be shown: visible ASCII, blanks and tabs.
fn text(value: &[u8]) -> Option<&str> {
    // Without an early end, because many bytes at once are faster.
    let is_shown = value.iter().fold(true, |shown, byte| shown & matches!(byte, b'\t' | b' '..=b'~'));
    is_shown.then(|| std::str::from_utf8(value).ok()).flatten()
}

/// The value that plugins see under that name.
fn value<'v>(view: &'v impl View, name: &str) -> Option<Cow<'v, str>> {
    let mut found: Option<Cow<'v, str>> = None;
    for field in view.headers().iter() {
        if field.name.len() != name.len() || !field.name.eq_ignore_ascii_case(name.as_bytes()) || view.hides(&field) {
            continue;
        }
        let Some(value) = text(field.value) else { continue };
        found = Some(match (found, view.joins(field.name)) {
            (Some(earlier), Some(between)) => Cow::Owned(format!("{earlier}{between}{value}")),
            _ => Cow::Borrowed(value),
        });
    }
    found.or_else(|| view.implied().filter(|(implied, _)| *implied == name).map(|(_, value)| Cow::Borrowed(value)))
}

/// How many names plugins see. More than there can be when a name repeats with a value that cannot be shown, which costs a
/// second look.
fn count(view: &impl View) -> usize {
    let headers = view.headers();
    let mut count = usize::from(view.implied().is_some());
    for (index, field) in headers.iter().enumerate() {
        if view.hides(&field) {
            continue;
        }
        if text(field.value).is_some() {
            count += usize::from(!headers.is_repeated_later(index));
        } else if std::str::from_utf8(field.name).is_ok_and(|name| headers.all(name).nth(1).is_some()) {
            return usize::MAX;
        }
    }
    count
}

/// What a map was last filled from, in the order of the map.
#[derive(Default)]
pub(super) struct Places {
    at: Vec<Place>,
    /// The names in the map as it was filled, one after the other.
    names: String,
    /// Every field that is shown is behind one entry, and has not changed since.
    are_exact: bool,
}

/// Where an entry comes from.
#[derive(Clone, Copy)]
struct Place {
    field: u16,
    known: Known,
    /// Where its name ends among the names; it begins where the one before ends.
    name_end: u32,
}

/// Not a field, but what stands for one.
const IMPLIED: u16 = u16::MAX;

/// Meets the entries of a map in its order, and tells those that it was filled with from those that a plugin has added.
struct Walk<'p> {
    places: &'p Places,
    next: usize,
    name_start: usize,
}

impl Walk<'_> {
    fn meet(&mut self, name: &str) -> Option<Place> {
        let place = *self.places.at.get(self.next)?;
        let name_end = place.name_end as usize;
        if self.places.names.as_bytes()[self.name_start..name_end] != *name.as_bytes() {
            return None;
        }
        (self.next, self.name_start) = (self.next + 1, name_end);
        Some(place)
    }

    fn has_met_all(&self) -> bool {
        self.next == self.places.at.len()
    }
}

/// A map, and where its entries come from.
#[derive(Default)]
pub(super) struct Shown {
    pub map: Map,
    pub places: Places,
}

impl Shown {
    pub(super) fn fill(&mut self, view: &impl View) {
        fill(&mut self.map, &mut self.places, view);
    }

    /// Shows a response that is whole: trailers stand among its headers, where those do not have the name.
    pub(super) fn fill_whole(&mut self, headers: &Headers, trailers: Option<&Headers>) {
        self.fill(&OfResponse::new(headers));
        let Some(trailers) = trailers.map(OfResponse::new) else { return };
        for field in trailers.headers.iter() {
            let Ok(name) = std::str::from_utf8(field.name) else { continue };
            let name = name.to_ascii_lowercase();
            if let Some(value) = value(&trailers, &name) {
                self.map.entry(name).or_insert_with(|| value.into_owned());
            }
        }
    }
}

/// How many entries a map has that shows each field by itself.
fn fields(view: &impl View) -> usize {
    let headers = view.headers();
    let hidden = if view.may_hide() { headers.iter().filter(|field| view.hides(field)).count() } else { 0 };
    headers.len() - hidden + usize::from(view.implied().is_some())
}

/// The bytes that stand at that place now, if they are of the name that they were of.
fn value_at<'v>(view: &'v impl View, place: Place, name: &str) -> Option<&'v [u8]> {
    if place.field == IMPLIED {
        return view.implied().filter(|(implied, _)| *implied == name).map(|(_, value)| value.as_bytes());
    }
    let field = view.headers().at(usize::from(place.field))?;
    let is_it = field.known == place.known
        && (field.known != Known::Other || field.name.eq_ignore_ascii_case(name.as_bytes()))
        && !view.hides(&field);
    is_it.then_some(field.value)
}

/// The same where it is known that nothing has changed.
fn unchanged_at(view: &impl View, place: Place) -> Option<&[u8]> {
    if place.field == IMPLIED {
        return view.implied().map(|(_, value)| value.as_bytes());
    }
    view.headers().at(usize::from(place.field)).map(|field| field.value)
}

/// Makes the map show what the view does.
pub(super) fn fill(map: &mut Map, places: &mut Places, view: &impl View) {
    if fill_again(map, places, view) {
        places.are_exact = true;
        return;
    }
    fill_anew(map, view);
    places.find(map, view);
}

/// Overwrites the values, if the names are those that were there before. Entries that plugins have added are dropped.
fn fill_again(map: &mut Map, places: &Places, view: &impl View) -> bool {
    let (mut walk, mut are_same) = (places.walk(), true);
    map.retain(|name, kept| {
        if !are_same {
            // What is left is looked up name by name.
            return true;
        }
        let Some(place) = walk.meet(name) else { return false };
        match value_at(view, place, name).and_then(text) {
            // On a connection that is kept, nearly all are what they were.
            Some(value) if kept == value => {}
            Some(value) => {
                kept.clear();
                kept.push_str(value);
            }
            None => are_same = false,
        }
        true
    });
    are_same && walk.has_met_all() && places.at.len() == fields(view)
}

fn fill_anew(map: &mut Map, view: &impl View) {
    map.retain(|name, kept| match value(view, name) {
        Some(value) if !name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
            kept.clear();
            kept.push_str(&value);
            true
        }
        _ => false,
    });
    if map.len() == count(view) {
        return;
    }
    for (index, field) in view.headers().iter().enumerate() {
        if view.hides(&field) || view.headers().is_repeated_later(index) {
            continue;
        }
        let Ok(name) = std::str::from_utf8(field.name) else { continue };
        let name = name.to_ascii_lowercase();
        if !map.contains_key(&name)
            && let Some(value) = value(view, &name)
        {
            map.insert(name, value.into_owned());
        }
    }
    if let Some((name, value)) = view.implied() {
        map.insert(name.to_owned(), value.to_owned());
    }
}

impl Places {
    fn walk(&self) -> Walk<'_> {
        Walk { places: self, next: 0, name_start: 0 }
    }

    /// Of a map that was just filled. None are known if a name has several fields.
    fn find(&mut self, map: &Map, view: &impl View) {
        self.at.clear();
        self.names.clear();
        for name in map.keys() {
            let is_it = |field: &Field<'_>| field.name.eq_ignore_ascii_case(name.as_bytes()) && !view.hides(field);
            let mut fields = view.headers().iter().enumerate().filter(|(_, field)| is_it(field));
            let (field, known) = match (fields.next(), fields.next()) {
                (Some((at, field)), None) => (at as u16, field.known),
                (None, None) => (IMPLIED, Known::Other),
                _ => break,
            };
            self.names.push_str(name);
            self.at.push(Place { field, known, name_end: self.names.len() as u32 });
        }
        self.are_exact = self.at.len() == map.len() && self.at.len() == fields(view);
    }

    /// The fields behind the map have changed.
    pub(super) fn are_outdated(&mut self) {
        self.are_exact = false;
    }
}

/// What has become of the fields in the map; nothing when nothing has.
#[derive(Default)]
pub(super) struct Changes<'m> {
    set: Vec<Set<'m>>,
    removed: Vec<Cow<'m, str>>,
}

struct Set<'m> {
    name: &'m str,
    value: &'m str,
    /// No field has that name yet.
    is_new: bool,
}

/// Compares the map with what it was filled from.
pub(super) fn changes<'m>(map: &'m Map, places: &Places, view: &impl View) -> Option<Changes<'m>> {
    let changes = additions(map, places, view).unwrap_or_else(|| differences(map, view));
    (!changes.set.is_empty() || !changes.removed.is_empty()).then_some(changes)
}

/// What was set, if all names are still there that the map was filled with; else nothing is known.
fn additions<'m>(map: &'m Map, places: &Places, view: &impl View) -> Option<Changes<'m>> {
    if !places.are_exact {
        return None;
    }
    let (mut walk, mut changes) = (places.walk(), Changes::default());
    for (name, new) in map {
        match walk.meet(name) {
            Some(place) if unchanged_at(view, place) == Some(new.as_bytes()) => {}
            Some(_) => changes.note(name, new, false),
            // A plugin's spelling of a name that is there, or a name that it does not see.
            None if view.headers().all(name).next().is_some() || changes.sets(name) => return None,
            None => changes.note(name, new, true),
        }
    }
    walk.has_met_all().then_some(changes)
}

fn differences<'m>(map: &'m Map, view: &impl View) -> Changes<'m> {
    // A name in another spelling is a plugin's; it goes before the one that was there.
    let respelled: Vec<&String> =
        map.keys().filter(|name| name.bytes().any(|byte| byte.is_ascii_uppercase())).collect();
    let is_overruled =
        |name: &String| !respelled.contains(&name) && respelled.iter().any(|other| other.eq_ignore_ascii_case(name));
    let mut found = Changes::default();
    for (name, new) in map.iter().filter(|(name, _)| !is_overruled(name)) {
        if value(view, name).is_some_and(|old| old == new.as_str()) {
            continue;
        }
        found.note(name, new, false);
    }
    for field in view.headers().iter() {
        let Ok(name) = std::str::from_utf8(field.name) else { continue };
        let is_there = || map.keys().any(|present| present.eq_ignore_ascii_case(name));
        if !view.hides(&field) && text(field.value).is_some() && !is_there() {
            found.removed.push(Cow::Owned(name.to_owned()));
        }
    }
    found
}

impl<'m> Changes<'m> {
    fn sets(&self, name: &str) -> bool {
        self.set.iter().any(|set| set.name.eq_ignore_ascii_case(name))
    }

    fn note(&mut self, name: &'m str, value: &'m str, is_new: bool) {
        if native::config::is_token(name) && value.split('\n').all(|line| text(line.as_bytes()).is_some()) {
            self.set.push(Set { name, value, is_new });
        } else {
            // What no field can be is not sent, and neither is what it was to replace.
            self.removed.push(Cow::Borrowed(name));
        }
    }

    /// Of a request. A value with a line break in it is no value there.
    pub(super) fn apply_to_request(self, headers: &mut Headers) {
        self.remove_from(headers);
        for set in self.set.iter().filter(|set| !set.value.contains('\n')) {
            headers.append(set.name, set.value.as_bytes());
        }
    }

    /// Of a response: each line of cookies is a field.
    pub(super) fn apply_to_response(self, headers: &mut Headers) {
        self.remove_from(headers);
        for Set { name, value, .. } in self.set {
            if name.eq_ignore_ascii_case("set-cookie") {
                value.split('\n').for_each(|line| headers.append(name, line.as_bytes()));
            } else if !value.contains('\n') {
                headers.append(name, value.as_bytes());
            }
        }
    }

    /// What is gone, and what is replaced.
    fn remove_from(&self, headers: &mut Headers) {
        self.removed.iter().for_each(|name| headers.remove(name));
        self.set.iter().filter(|set| !set.is_new).for_each(|set| headers.remove(set.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&str, &[u8])]) -> RequestHead {
        let mut head = RequestHead::new();
        fields.iter().for_each(|(name, value)| head.headers.append(name, value));
        head
    }

    fn shown(view: &impl View) -> Vec<(String, String)> {
        let left = [("left".to_owned(), "over".to_owned()), ("Accept".to_owned(), "x".to_owned())];
        let mut filled = Shown { map: Map::from(left), places: Places::default() };
        // Once name by name, once as it was before.
        for _ in 0..2 {
            filled.fill(view);
            assert!(changes(&filled.map, &filled.places, view).is_none(), "a map that was just filled shows no change");
            assert!(differences(&filled.map, view).set.is_empty());
        }
        let mut shown: Vec<_> = filled.map.into_iter().collect();
        shown.sort();
        shown
    }

    fn filled(view: &impl View) -> Shown {
        let mut filled = Shown::default();
        filled.fill(view);
        filled
    }

    #[test]
    fn the_next_request_is_shown_in_the_memory_of_the_last_and_nothing_of_it_is_left() {
        let mut shown = Shown::default();
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        for round in 0..50_usize {
            let value = format!("value {round}");
            let fields: Vec<(&str, &[u8])> = match round % 7 {
                // Now and then one is missing, another is there, or they come in another order.
                3 => names[1..].iter().map(|name| (*name, value.as_bytes())).collect(),
                5 => names.iter().rev().chain(&["more"]).map(|name| (*name, value.as_bytes())).collect(),
                _ => names.iter().map(|name| (*name, value.as_bytes())).collect(),
            };
            let head = request(&fields);
            shown.fill(&OfRequest(&head));
            let expected: Map = fields.iter().map(|(name, _)| ((*name).to_owned(), value.clone())).collect();
            assert_eq!(shown.map, expected, "round {round}");
            // A plugin leaves something of its own, in two spellings.
            shown.map.insert("own".to_owned(), value.clone());
            shown.map.insert("B".to_owned(), value.clone());
            let found = changes(&shown.map, &shown.places, &OfRequest(&head)).unwrap();
            // What it respells has the value that it had.
            let set: Vec<&str> = found.set.iter().map(|set| set.name).collect();
            assert!(set == ["own"] && found.removed.is_empty(), "{set:?}");
        }
    }

    #[test]
    fn a_plugin_s_spelling_of_a_name_overrules_the_client_s_whatever_the_order_of_the_map() {
        let names = ["A", "B", "C", "D", "E", "F", "G", "H"];
        for _ in 0..200 {
            // Each map has an order of its own.
            let mut shown = Shown::default();
            for round in 0..2 {
                let fields: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, &b"the client's"[..])).collect();
                let mut head = request(&fields);
                shown.fill(&OfRequest(&head));
                let present = names.iter().map(|name| shown.map.get(&name.to_ascii_lowercase()).map(String::as_str));
                assert!(present.into_iter().all(|value| value == Some("the client's")), "{:?}", shown.map);
                assert_eq!(shown.map.len(), names.len(), "round {round}: {:?}", shown.map);
                shown.map.insert("B".to_owned(), "the plugin's".to_owned());
                changes(&shown.map, &shown.places, &OfRequest(&head)).unwrap().apply_to_request(&mut head.headers);
                assert_eq!(head.headers.all("b").collect::<Vec<_>>(), [b"the plugin's"]);
            }
        }
    }

    #[test]
    fn a_name_that_is_gone_is_removed_also_when_another_came() {
        let head = request(&[("a", b"1"), ("b", b"2"), ("c", b"3")]);
        let Shown { mut map, places } = filled(&OfRequest(&head));
        map.remove("b");
        map.insert("d".into(), "4".into());
        let found = changes(&map, &places, &OfRequest(&head)).unwrap();
        assert!(found.removed == ["b"] && found.set.len() == 1);
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_request_is_shown_lower_case_with_the_last_of_several_values() {
        let head =
            request(&[("Accept", b"a"), ("ACCEPT", b"b"), ("Baggage", b"x=1"), ("baggage", b"y=2"), ("Bad", b"\xff")]);
        assert_eq!(shown(&OfRequest(&head)), pairs(&[("accept", "b"), ("baggage", "x=1,y=2")]));
    }

    #[test]
    fn a_value_that_cannot_be_shown_leaves_the_one_before() {
        let head = request(&[("a", b"1"), ("a", b"\xff")]);
        assert_eq!(shown(&OfRequest(&head)), pairs(&[("a", "1")]));
    }

    #[test]
    fn a_response_is_shown_without_its_hop_and_with_cookies_in_lines() {
        let mut headers = Headers::new();
        let fields = [("Connection", "X-Hop"), ("X-Hop", "1"), ("Vary", "a"), ("Vary", "b"), ("Keep-Alive", "5")];
        fields.iter().for_each(|(name, value)| headers.append(name, value.as_bytes()));
        headers.append("Set-Cookie", b"a=1, x");
        headers.append("set-cookie", b"b=2");
        assert_eq!(shown(&OfResponse::new(&headers)), pairs(&[("set-cookie", "a=1, x\nb=2"), ("vary", "a, b")]));
    }

    #[test]
    fn trailers_are_shown_among_the_headers_of_one_response_and_not_of_the_next() {
        let (mut headers, mut trailers) = (Headers::new(), Headers::new());
        headers.append("Content-Type", b"application/grpc");
        trailers.append("Grpc-Status", b"0");
        trailers.append("content-type", b"not this one");
        let mut shown = Shown::default();
        shown.fill_whole(&headers, Some(&trailers));
        let of = |list: &[(&str, &str)]| pairs(list).into_iter().collect::<Map>();
        assert_eq!(shown.map, of(&[("content-type", "application/grpc"), ("grpc-status", "0")]));
        shown.fill_whole(&headers, None);
        assert_eq!(shown.map, of(&[("content-type", "application/grpc")]));
    }

    #[test]
    fn what_is_set_removed_and_respelled_reaches_the_fields() {
        let mut head =
            request(&[("Accept", b"a"), ("X-Old", b"1"), ("X-Gone", b"2"), ("Twice", b"1"), ("twice", b"2")]);
        let Shown { mut map, places } = filled(&OfRequest(&head));
        map.insert("accept".into(), "b".into());
        map.insert("X-OLD".into(), "new".into());
        map.insert("x-new".into(), "3".into());
        map.insert("bad name".into(), "x".into());
        map.insert("bad-value".into(), "a\r\nb: c".into());
        map.remove("x-gone");
        changes(&map, &places, &OfRequest(&head)).unwrap().apply_to_request(&mut head.headers);
        let mut fields: Vec<String> = head
            .headers
            .iter()
            .map(|field| format!("{}: {}", String::from_utf8_lossy(field.name), String::from_utf8_lossy(field.value)))
            .collect();
        fields.sort();
        assert_eq!(fields, ["Twice: 1", "X-OLD: new", "accept: b", "twice: 2", "x-new: 3"]);
        // What could not be written does not come up as a change over and over.
        assert!(differences(&map, &OfRequest(&head)).set.is_empty());
    }

    #[test]
    fn a_cookie_can_be_added_to_two() {
        let mut headers = Headers::new();
        headers.append("Set-Cookie", b"a=1");
        headers.append("Set-Cookie", b"b=2");
        let Shown { mut map, places } = filled(&OfResponse::new(&headers));
        map.get_mut("set-cookie").unwrap().push_str("\nc=3");
        changes(&map, &places, &OfResponse::new(&headers)).unwrap().apply_to_response(&mut headers);
        assert_eq!(headers.known(Known::SetCookie).collect::<Vec<_>>(), [&b"a=1"[..], b"b=2", b"c=3"]);
    }

    #[test]
    fn what_clients_say_of_who_they_are_is_not_shown() {
        use engine::buffer::Buffer;

        let mut head = RequestHead::new();
        let mut bytes = Buffer::head();
        bytes.extend(b"x-consumer-usernameroot");
        head.headers.set_received(bytes);
        head.headers.push_received(Known::XConsumerUsername, (0, 19), b'x', (19, 23));
        assert_eq!(shown(&OfRequest(&head)), []);
        head.headers.set("X-Consumer-Username", b"set by a plugin");
        assert_eq!(shown(&OfRequest(&head)), pairs(&[("x-consumer-username", "set by a plugin")]));
    }
}
