//! Query parameters in the documented context, and what hooks change in them. Only later plugins see it: the backend gets the
//! query as it came (plugin API sheet §4.8).

use native::{RequestContext as Native, query};

use super::headers::Map;

/// The entries of a map as they were, in its order: a map that nobody has touched is known by one pass over it.
#[derive(Default)]
pub(super) struct Copy {
    /// Names and values, one after the other.
    text: String,
    ends: Vec<usize>,
}

impl Copy {
    /// Memory that it keeps.
    pub(super) fn text_bytes(&self) -> usize {
        self.text.capacity()
    }

    fn take(&mut self, map: &Map) {
        self.text.clear();
        self.ends.clear();
        for text in map.iter().flat_map(|(name, value)| [name, value]) {
            self.text.push_str(text);
            self.ends.push(self.text.len());
        }
    }

    fn is_of(&self, map: &Map) -> bool {
        let mut from = 0;
        let is_next = |(text, end): (&String, &usize)| {
            let part = &self.text.as_bytes()[from..*end];
            from = *end;
            part == text.as_bytes()
        };
        2 * map.len() == self.ends.len()
            && map.iter().flat_map(|(name, value)| [name, value]).zip(&self.ends).all(is_next)
    }
}

/// Adds what native plugins see.
pub(super) fn fill(map: &mut Map, copy: &mut Copy, cx: &Native) {
    map.extend(query::all(cx).map(|(name, value)| (name.into_owned(), value.into_owned())));
    copy.take(map);
}

/// Lets native plugins see what a hook has changed.
pub(super) fn carry_back(map: &Map, copy: &mut Copy, cx: &mut Native) {
    if copy.is_of(map) {
        return;
    }
    let present: Map = query::all(cx).map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    for name in present.keys().filter(|name| !map.contains_key(*name)) {
        query::set(cx, name, None);
    }
    for (name, value) in map.iter().filter(|(name, value)| present.get(*name) != Some(*value)) {
        query::set(cx, name, Some(value.clone()));
    }
    copy.take(map);
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    use async_trait::async_trait;

    use super::super::testing::Rig;
    use super::*;
    use crate::plugins::{Plugin, PluginResult, RequestContext};

    /// Changes the query in one hook and notes what the next one sees.
    #[derive(Default)]
    struct Edits(Mutex<Vec<(String, String)>>);

    #[async_trait]
    impl Plugin for Edits {
        fn name(&self) -> &str {
            "edits"
        }

        async fn authorize(&self, ctx: &mut RequestContext) -> PluginResult {
            ctx.query_params.remove("gone");
            ctx.query_params.insert("a".to_owned(), "2".to_owned());
            ctx.query_params.insert("new".to_owned(), String::new());
            PluginResult::Continue
        }

        async fn before_proxy(&self, ctx: &mut RequestContext, _headers: &mut Map) -> PluginResult {
            let mut seen: Vec<_> = ctx.query_params.clone().into_iter().collect();
            seen.sort();
            *self.0.lock().unwrap() = seen;
            PluginResult::Continue
        }
    }

    #[tokio::test]
    async fn edits_of_the_query_pass_between_documented_and_native_plugins() {
        let plugin = Arc::new(Edits::default());
        let rig = Rig::new(vec![plugin.clone()]);
        let mut cx = rig.request("/?a=1&b=%20&gone=1&renamed=x", &[]);
        query::set(&mut cx, "early", Some("by a native one".into()));
        rig.chain.authorize(&mut cx).await.unwrap();
        let seen = |cx: &Native, name| query::parameter(cx, name).map(|value| value.into_owned());
        let expected = [Some("2"), Some(" "), None, Some("")].map(|value| value.map(str::to_owned));
        assert_eq!(["a", "b", "gone", "new"].map(|name| seen(&cx, name)), expected);
        query::set(&mut cx, "renamed", None);
        query::set(&mut cx, "name", Some("x".into()));
        rig.chain.before_proxy(&mut cx).await.unwrap();
        let pairs = [("a", "2"), ("b", " "), ("early", "by a native one"), ("name", "x"), ("new", "")];
        assert_eq!(*plugin.0.lock().unwrap(), pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(cx.head.query(), b"a=1&b=%20&gone=1&renamed=x", "the backend gets what came");
    }

    /// Puts one parameter in the place of all others.
    struct Clears;

    #[async_trait]
    impl Plugin for Clears {
        fn name(&self) -> &str {
            "clears"
        }

        async fn authorize(&self, ctx: &mut RequestContext) -> PluginResult {
            ctx.query_params.clear();
            ctx.query_params.insert("only".to_owned(), ctx.path.clone());
            PluginResult::Continue
        }
    }

    #[tokio::test]
    async fn a_query_costs_no_more_than_its_length_whatever_is_in_it() {
        const PAIRS: usize = 20_000;
        let rig = Rig::new(vec![Arc::new(Clears)]);
        let pairs: Vec<String> = (0..PAIRS).map(|number| format!("%61{number}=%20")).collect();
        let mut cx = rig.request(&format!("/?{}", pairs.join("&")), &[]);
        let began = Instant::now();
        rig.chain.authorize(&mut cx).await.unwrap();
        rig.chain.authorize(&mut cx).await.unwrap();
        let seen: Vec<_> = query::all(&cx).collect();
        assert_eq!(seen, [("only".into(), "/".into())]);
        // Each pair against each other takes minutes.
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }

    #[test]
    fn a_map_that_was_touched_is_another() {
        let mut map = Map::from([("a".to_owned(), "bc".to_owned()), ("d".to_owned(), String::new())]);
        let mut copy = Copy::default();
        assert!(copy.is_of(&Map::new()) && !copy.is_of(&map));
        copy.take(&map);
        assert!(copy.is_of(&map));
        map.insert("d".to_owned(), "e".to_owned());
        assert!(!copy.is_of(&map));
        map.remove("d");
        assert!(!copy.is_of(&map));
        copy.take(&Map::from([("ab".to_owned(), "c".to_owned())]));
        assert!(!copy.is_of(&Map::from([("a".to_owned(), "bc".to_owned())])), "the same bytes, divided otherwise");
    }
}
