//! `bot_detection`: refuses clients by what their `User-Agent` says they are (plugins sheet §2.7).
//!
//! The texts of a list are one expression of literals, so that a search takes one pass over the user agent however many they are.

use std::cell::RefCell;
use std::rc::Rc;

use engine::http::Known;
use regex::bytes::{Regex, RegexBuilder};
use serde_json::Value;

use super::BuiltIn;
use crate::config::{Key, Keys, Null, Parsed, key};
use crate::{CoreEnv, Flow, Phases, Plugin, Protocols, Rejection, RequestContext, Specs};

const DEFAULT_BLOCKED: [&str; 10] = [
    "curl",
    "wget",
    "python-requests",
    "python-urllib",
    "scrapy",
    "httpclient",
    "java/",
    "libwww-perl",
    "mechanize",
    "php/",
];
/// Stands where a word begins or ends. No header has it.
const MARK: u8 = 0;
/// Of all texts of one list together.
const LIST_BYTES_MAX: usize = 65_536;
/// More than the longest list needs; the crate's own bound would refuse it.
const COMPILED_BYTES_MAX: usize = 64 << 20;

#[derive(Clone, Debug)]
pub struct BotDetection {
    blocked: Texts,
    /// With their words marked.
    allowed: Texts,
    allow_missing_user_agent: bool,
    status: u16,
}

/// Texts of which one may occur in another text, in any case. Without one there is nothing to find.
#[derive(Clone, Debug, Default)]
struct Texts(Option<Regex>);

impl Texts {
    fn new(texts: &[String]) -> Result<Self, String> {
        if texts.is_empty() {
            return Ok(Self(None));
        }
        let alternatives: Vec<String> = texts.iter().map(|text| regex::escape(text)).collect();
        let built = RegexBuilder::new(&alternatives.join("|")).size_limit(COMPILED_BYTES_MAX).build();
        built.map(|regex| Self(Some(regex))).map_err(|error| format!("cannot be compiled: {error}"))
    }

    /// `text` is in lower case.
    fn occur_in(&self, text: &[u8]) -> bool {
        self.0.as_ref().is_some_and(|regex| regex.is_match(text))
    }
}

/// Marks where words begin and end, so that a text that was marked too occurs in it only where its words stand alone. What is
/// not ASCII belongs to a word.
fn mark_words(text: &[u8], out: &mut Vec<u8>) {
    let mut in_word = false;
    for byte in text {
        let is_word = byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii();
        if is_word != in_word {
            out.push(MARK);
            in_word = is_word;
        }
        out.push(*byte);
    }
    if in_word {
        out.push(MARK);
    }
}

impl BuiltIn for BotDetection {
    const NAME: &'static str = "bot_detection";
    const PRIORITY: u16 = 200;
    const PROTOCOLS: Protocols = Protocols::HTTP_FAMILY;
    const KEYS: &'static [Key] = &[
        key(
            "blocked_patterns",
            "string[]",
            "see [below](#what-is-blocked)",
            "texts that no user agent may have in it, in any case; takes the place of the default list; `[]` blocks none, and is only for \
             `allow_missing_user_agent: false`",
        ),
        key(
            "allow_list",
            "string[]",
            "`[]`",
            "a user agent that has one of these texts in it as words of its own, in any case, always passes",
        ),
        key(
            "allow_missing_user_agent",
            "boolean",
            "`true`",
            "whether a request without a user agent, or with a blank one, passes",
        ),
        key("custom_response_code", "integer", "`403`", "the status of the answer to what is blocked, 200-599"),
    ];

    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>> {
        let mut keys = Keys::open(Self::NAME, Self::KEYS, config, Null::Unset)?;
        let blocked = texts(&mut keys, "blocked_patterns", &DEFAULT_BLOCKED, str::to_ascii_lowercase);
        let allowed = texts(&mut keys, "allow_list", &[], marked);
        let allow_missing_user_agent = keys.flag("allow_missing_user_agent", true);
        let status = keys.status("custom_response_code", 403);
        let is_empty = keys.value("blocked_patterns").is_some_and(|list| list.as_array().is_some_and(Vec::is_empty));
        if is_empty && allow_missing_user_agent {
            keys.refuse("blocked_patterns", "must not be empty unless 'allow_missing_user_agent' is false");
        }
        keys.finish(Self { blocked, allowed, allow_missing_user_agent, status })
    }
}

fn marked(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    mark_words(text.to_ascii_lowercase().as_bytes(), &mut out);
    // No mark is within a character.
    String::from_utf8_lossy(&out).into_owned()
}

/// The texts of a list as they are searched for.
fn texts(keys: &mut Keys<'_>, key: &str, default: &[&str], searched: fn(&str) -> String) -> Texts {
    let is_set = keys.value(key).is_some();
    let own = keys.texts(key);
    let texts = if is_set { &own[..] } else { default };
    if texts.iter().any(|text| text.trim().is_empty()) {
        keys.refuse(key, "has a blank entry");
    }
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    if bytes > LIST_BYTES_MAX {
        keys.refuse(key, format_args!("has {bytes} bytes of text; {LIST_BYTES_MAX} is the most"));
        return Texts::default();
    }
    let searched: Vec<String> = texts.iter().map(|text| searched(text)).collect();
    Texts::new(&searched).unwrap_or_else(|reason| {
        keys.refuse(key, reason);
        Texts::default()
    })
}

impl Specs for BotDetection {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn protocols(&self) -> Protocols {
        Self::PROTOCOLS
    }

    fn build(&self, _env: &CoreEnv) -> Rc<dyn Plugin> {
        // A clone of an expression has working memory of its own, so that cores do not share it.
        Rc::new(Detector { rules: self.clone(), scratch: RefCell::default() })
    }
}

/// The plugin on one core.
struct Detector {
    rules: BotDetection,
    scratch: RefCell<Scratch>,
}

/// A user agent; its memory serves the next request.
#[derive(Default)]
struct Scratch {
    /// In lower case.
    folded: Vec<u8>,
    /// With its words marked, too.
    marked: Vec<u8>,
}

impl Detector {
    fn passes(&self, cx: &RequestContext) -> bool {
        // What is not visible ASCII is looked through as well: one such byte would hide a bot.
        let agent = cx.head.headers.known(Known::UserAgent).last().unwrap_or_default();
        if agent.trim_ascii().is_empty() {
            return self.rules.allow_missing_user_agent;
        }
        let Scratch { folded, marked } = &mut *self.scratch.borrow_mut();
        folded.clear();
        folded.extend(agent.iter().map(u8::to_ascii_lowercase));
        if !self.rules.blocked.occur_in(folded) {
            return true;
        }
        if self.rules.allowed.0.is_none() {
            return false;
        }
        marked.clear();
        mark_words(folded, marked);
        self.rules.allowed.occur_in(marked)
    }
}

impl Plugin for Detector {
    fn name(&self) -> &'static str {
        BotDetection::NAME
    }

    fn phases(&self) -> Phases {
        Phases::RECEIVED
    }

    fn on_request_received<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        if self.passes(cx) {
            return Flow::Continue;
        }
        Flow::Reject(Box::new(Rejection::error(self.rules.status, "Forbidden")))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::testing::{core, ready, request};
    use crate::{AuthMode, Chain};
    use serde_json::json;

    fn chain(config: &Value) -> Chain {
        let (env, _drain) = core();
        Chain::new(&[BotDetection::parse(config).unwrap().spec.build(&env)], AuthMode::Single)
    }

    /// The status of the refusal; None when it passes.
    fn ask(config: &Value, headers: &[(&str, &str)]) -> Option<u16> {
        let rejection = ready(chain(config).on_request_received(&mut request("GET /", headers))).err()?;
        assert_eq!(rejection.body, br#"{"error":"Forbidden"}"#);
        Some(rejection.status)
    }

    fn agent(config: &Value, agent: &str) -> Option<u16> {
        ask(config, &[("User-Agent", agent)])
    }

    fn refused(config: Value) -> Vec<String> {
        BotDetection::parse(&config).unwrap_err()
    }

    #[test]
    fn well_known_tools_are_blocked_in_any_case() {
        for config in [json!({}), Value::Null] {
            for tool in [
                "curl/8.5.0",
                "Wget/1.21",
                "Python-Requests/2.31",
                "python-urllib/3.11",
                "Scrapy/2.11",
                "Apache-HttpClient/4.5",
                "Java/17.0.1",
                "libwww-perl/6.67",
                "WWW-Mechanize/2.17",
                "PHP/8.2",
                "Mozilla/5.0 (compatible; CURL)",
            ] {
                assert_eq!(agent(&config, tool), Some(403), "{tool}");
            }
            for browser in
                ["Mozilla/5.0 (X11; Linux x86_64) Firefox/128.0", "JavaScript", "cur l", "phpunit", "okhttp/4.12"]
            {
                assert_eq!(agent(&config, browser), None, "{browser}");
            }
        }
    }

    #[test]
    fn own_texts_take_the_place_of_the_usual_ones_and_are_no_expressions() {
        let config = json!({"blocked_patterns": ["Evil.Bot", "a|b", "^x", "Ünder"]});
        for blocked in ["my evil.bot/1", "EVIL.BOT", "xa|b", "y^X", "Ünder", "ÜNDER"] {
            assert_eq!(agent(&config, blocked), Some(403), "{blocked}");
        }
        for other in ["curl/8", "evilxbot", "a", "b", "x", "under", "ünder"] {
            assert_eq!(agent(&config, other), None, "{other}: only ASCII has cases");
        }
        assert_eq!(agent(&json!({"blocked_patterns": [], "allow_missing_user_agent": false}), "curl/8"), None);
    }

    #[test]
    fn the_allow_list_wins() {
        let config = json!({"allow_list": ["Friendly"], "blocked_patterns": ["bot", "friendly"]});
        assert_eq!(agent(&config, "a FRIENDLY bot"), None);
        assert_eq!(agent(&config, "a bot"), Some(403));
    }

    #[test]
    fn a_text_of_the_allow_list_stands_alone_where_it_begins_and_ends_with_a_word() {
        let config = json!({"blocked_patterns": ["b"], "allow_list": ["Friendly Bot", "mon/", "+up", "bücher", "x-1"]});
        for passes in
            ["friendly bot", "b(Friendly Bot/2)", "b mon/2.0", "b-mon/x", "b x+up", "b+up;", "b Bücher", "bb b.x-1"]
        {
            assert_eq!(agent(&config, passes), None, "{passes}");
        }
        for refused in [
            "unfriendly bot",
            "friendly bots",
            "friendly  bot",
            "bmon/2",
            "_mon/b",
            "b+ups",
            "übücher",
            "bücherb",
            "x-12 b",
            "bx-1",
        ] {
            assert_eq!(agent(&config, refused), Some(403), "{refused}");
        }
    }

    #[test]
    fn a_missing_user_agent_passes_unless_it_may_not_be_missing() {
        let strict = json!({"allow_missing_user_agent": false});
        for headers in
            [&[][..], &[("User-Agent", "")], &[("User-Agent", " ")], &[("User-Agent", "x"), ("User-Agent", "")]]
        {
            assert_eq!(ask(&json!({}), headers), None);
            assert_eq!(ask(&strict, headers), Some(403));
        }
        assert_eq!(agent(&strict, "Mozilla/5.0"), None);
        assert_eq!(ask(&json!({"allow_missing_user_agent": false, "blocked_patterns": []}), &[]), Some(403));
    }

    #[test]
    fn the_last_of_repeated_user_agents_counts_and_its_bytes_need_not_be_text() {
        assert_eq!(ask(&json!({}), &[("User-Agent", "curl"), ("user-agent", "Firefox")]), None);
        assert_eq!(ask(&json!({}), &[("User-Agent", "Firefox"), ("user-agent", "curl")]), Some(403));
        assert_eq!(agent(&json!({}), "curl/8 \u{fc}"), Some(403));
        assert_eq!(agent(&json!({"allow_missing_user_agent": false}), "b\u{fc}cher"), None, "it is there");
    }

    #[test]
    fn the_status_may_be_another() {
        assert_eq!(agent(&json!({"custom_response_code": 429}), "curl"), Some(429));
        assert_eq!(agent(&json!({"custom_response_code": 599}), "curl"), Some(599));
        assert_eq!(agent(&json!({"custom_response_code": 100}), "curl"), Some(500));
    }

    #[test]
    fn wrong_configs_are_refused_with_key_and_reason() {
        assert_eq!(refused(json!([])), ["bot_detection: config must be an object"]);
        assert_eq!(
            refused(json!({
                "blocked_patterns": ["bot", " "], "allow_list": "x", "allow_missing_user_agent": 0, "custom_response_code": 99,
            })),
            [
                "bot_detection: 'blocked_patterns' has a blank entry",
                "bot_detection: 'allow_list' must be an array of strings",
                "bot_detection: 'allow_missing_user_agent' must be a boolean",
                "bot_detection: 'custom_response_code' must be an integer from 100 to 599",
            ]
        );
        assert_eq!(refused(json!({"allow_list": [""]})), ["bot_detection: 'allow_list' has a blank entry"]);
        assert_eq!(
            refused(json!({"blocked_patterns": []})),
            ["bot_detection: 'blocked_patterns' must not be empty unless 'allow_missing_user_agent' is false"]
        );
        assert_eq!(refused(json!({"custom_response_code": 600})).len(), 1);
        assert_eq!(
            refused(json!({"blocked_patterns": [1]})),
            ["bot_detection: 'blocked_patterns' must be an array of strings"]
        );
    }

    #[test]
    fn null_is_the_default_and_what_has_no_effect_is_named() {
        let config = json!({
            "blocked_patterns": null, "allow_list": null, "allow_missing_user_agent": null, "custom_response_code": null,
        });
        assert_eq!((agent(&config, "curl"), ask(&config, &[])), (Some(403), None));
        let warnings = |config: Value| BotDetection::parse(&config).unwrap().warnings;
        assert_eq!(warnings(json!({"blocked": []})), ["bot_detection: unknown key 'blocked' is ignored"]);
        assert!(warnings(json!({"blocked_patterns": [], "allow_missing_user_agent": false})).is_empty());
    }

    /// Four-letter texts, 65,536 bytes in all.
    fn longest_list() -> Vec<String> {
        (0..16_384).map(|number| format!("{number:04x}")).collect()
    }

    #[test]
    fn a_list_holds_so_much_text() {
        let mut list = longest_list();
        let config = json!({"blocked_patterns": list});
        assert_eq!((agent(&config, "x 3fff x"), agent(&config, "x 4000 x")), (Some(403), None));
        list[0].push('x');
        let error = "bot_detection: 'blocked_patterns' has 65537 bytes of text; 65536 is the most";
        assert_eq!(refused(json!({"blocked_patterns": list})), [error]);
    }

    #[test]
    fn a_hostile_user_agent_is_looked_through_in_bounded_time() {
        // The longest list, and one of the length up to which the crate keeps an automaton of its own making.
        for count in [16_384, 2_900] {
            let blocked = &longest_list()[..count];
            let chain = chain(&json!({"blocked_patterns": blocked, "allow_list": ["aaaaaaaaaaaaaaab"]}));
            let scattered: String =
                (0..16_384_u32).map(|number| format!("{:03x}g", number.wrapping_mul(2_654_435) & 0xfff)).collect();
            for hostile in ["a".repeat(65_536), "00f".repeat(21_845), "0123456789abcdeg".repeat(4096), scattered] {
                let mut cx = request("GET /", &[("User-Agent", &hostile)]);
                let started = Instant::now();
                drop(ready(chain.on_request_received(&mut cx)));
                // It takes a few milliseconds. What tries each text at each place takes a thousand times as long.
                assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
            }
        }
    }
}
