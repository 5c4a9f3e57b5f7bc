//! The limits in a config, in both shapes: the keys of one rule at the top, or a list of rules.

use std::fmt::Display;
use std::num::NonZeroU64;

use rustc_hash::FxHashMap;
use serde_json::{Map, Value};

use crate::config::Keys;
use crate::limits::{Counting, Limit, Rule};

/// Windows up to this length are token buckets (plugins sheet §2.29).
const BUCKET_SECONDS_MAX: u64 = 5;

const MAX_REQUESTS_DEFAULT: u64 = 10;

const WINDOW: &str = "window_seconds";
const REQUESTS: &str = "max_requests";
const PRESETS: [(&str, u64); 3] =
    [("requests_per_second", 1), ("requests_per_minute", 60), ("requests_per_hour", 3600)];
const LIMITS: &str = "limits";
/// What a rule of the list may have.
const RULE_KEYS: [&str; 7] = ["scope", "consumers", WINDOW, REQUESTS, PRESETS[0].0, PRESETS[1].0, PRESETS[2].0];

pub(super) struct Rules {
    pub(super) rules: Vec<Rule>,
    pub(super) default_rule: usize,
    pub(super) rules_of: FxHashMap<String, usize>,
}

pub(super) fn rules(keys: &mut Keys<'_>, counts_consumers: bool) -> Rules {
    match keys.raw(LIMITS) {
        None => Rules { rules: vec![flat(keys)], default_rule: 0, rules_of: FxHashMap::default() },
        Some(list) => {
            let flat = [WINDOW, REQUESTS].into_iter().chain(PRESETS.map(|(name, _)| name));
            for name in flat.filter(|name| keys.raw(name).is_some()).collect::<Vec<_>>() {
                keys.refuse(name, format_args!("must be in a rule of '{LIMITS}', if that is set"));
            }
            listed(keys, list, counts_consumers)
        }
    }
}

fn limit(requests: u64, seconds: u64) -> Option<Limit> {
    let counting = if seconds <= BUCKET_SECONDS_MAX { Counting::TokenBucket } else { Counting::SlidingLog };
    Some(Limit { requests: NonZeroU64::new(requests)?, seconds: NonZeroU64::new(seconds)?, counting })
}

fn rule(limits: Vec<Limit>) -> Rule {
    Rule { limits, name: None }
}

/// The rule that stands at the top of the config.
fn flat(keys: &mut Keys<'_>) -> Rule {
    let presets: Vec<_> = PRESETS.into_iter().filter(|(name, _)| keys.raw(name).is_some()).collect();
    if keys.raw(WINDOW).is_some() {
        for (name, _) in presets {
            keys.warn_of(name, format_args!("is ignored, because '{WINDOW}' is set"));
        }
        let seconds = keys.positive(WINDOW);
        let requests = if keys.raw(REQUESTS).is_some() { keys.positive(REQUESTS) } else { Some(MAX_REQUESTS_DEFAULT) };
        return rule(
            requests.zip(seconds).and_then(|(requests, seconds)| limit(requests, seconds)).into_iter().collect(),
        );
    }
    if presets.is_empty() {
        let [second, minute, hour] = PRESETS.map(|(name, _)| name);
        let plugin = keys.plugin();
        keys.error(format!("{plugin}: one of '{WINDOW}', '{second}', '{minute}', '{hour}' and '{LIMITS}' must be set"));
    }
    if keys.raw(REQUESTS).is_some() {
        keys.warn_of(REQUESTS, format_args!("is ignored, because '{WINDOW}' is not set"));
    }
    rule(presets.into_iter().filter_map(|(name, seconds)| limit(keys.positive(name)?, seconds)).collect())
}

/// One rule of the list while it is read.
struct Entry<'k, 'a> {
    keys: &'k mut Keys<'a>,
    at: String,
    map: &'a Map<String, Value>,
}

impl<'a> Entry<'_, 'a> {
    fn refuse(&mut self, name: &str, reason: impl Display) {
        let key = format!("{}.{name}", self.at);
        self.keys.refuse(&key, reason);
    }

    fn positive(&mut self, name: &str) -> Option<u64> {
        let number = self.map.get(name)?.as_u64().filter(|number| *number > 0);
        if number.is_none() {
            self.refuse(name, "must be an integer above 0");
        }
        number
    }

    /// A pair of window and requests, or one or more of the others.
    fn limits(&mut self) -> Vec<Limit> {
        let has = |name: &str| self.map.contains_key(name);
        let (window, requests) = (has(WINDOW), has(REQUESTS));
        let presets: Vec<_> = PRESETS.into_iter().filter(|(name, _)| has(name)).collect();
        if (window || requests) && !presets.is_empty() {
            let (at, first) = (self.at.clone(), presets[0].0);
            self.keys.refuse(&at, format_args!("must have either '{WINDOW}' with '{REQUESTS}' or '{first}', not both"));
            return Vec::new();
        }
        match (window, requests) {
            (true, true) => {
                let pair = (self.positive(REQUESTS), self.positive(WINDOW));
                let limit = if let (Some(requests), Some(seconds)) = pair { limit(requests, seconds) } else { None };
                return limit.into_iter().collect();
            }
            (true, false) => self.refuse(REQUESTS, format_args!("is required with '{WINDOW}'")),
            (false, true) => self.refuse(WINDOW, format_args!("is required with '{REQUESTS}'")),
            (false, false) if presets.is_empty() => {
                let ([second, minute, hour], at) = (PRESETS.map(|(name, _)| name), self.at.clone());
                let reason =
                    format!("must have '{WINDOW}' with '{REQUESTS}', or one of '{second}', '{minute}' and '{hour}'");
                self.keys.refuse(&at, reason);
            }
            (false, false) => {}
        }
        presets.into_iter().filter_map(|(name, seconds)| limit(self.positive(name)?, seconds)).collect()
    }

    /// Whether the rule is for everybody.
    fn is_default(&mut self) -> Option<bool> {
        match self.map.get("scope").map(Value::as_str) {
            Some(Some("default")) => Some(true),
            Some(Some("consumers")) => Some(false),
            Some(_) => {
                self.refuse("scope", "must be 'default' or 'consumers'");
                None
            }
            None => {
                self.refuse("scope", "is required");
                None
            }
        }
    }

    fn consumers(&mut self) -> Vec<&'a str> {
        let list = self.map.get("consumers").and_then(Value::as_array);
        let names: Option<Vec<&str>> = list.and_then(|list| list.iter().map(Value::as_str).collect());
        names.filter(|names| !names.is_empty()).unwrap_or_else(|| {
            self.refuse("consumers", "must be an array of strings, at least one");
            Vec::new()
        })
    }
}

fn listed<'a>(keys: &mut Keys<'a>, list: &'a Value, counts_consumers: bool) -> Rules {
    let mut rules = Rules { rules: Vec::new(), default_rule: 0, rules_of: FxHashMap::default() };
    let Some(list) = list.as_array() else {
        keys.refuse(LIMITS, "must be an array of rules");
        return rules;
    };
    let mut defaults = 0;
    for (index, value) in list.iter().enumerate() {
        let at = format!("{LIMITS}[{index}]");
        let Some(map) = value.as_object() else {
            keys.refuse(&at, "must be an object");
            continue;
        };
        let mut entry = Entry { keys, at, map };
        match entry.is_default() {
            Some(true) => {
                defaults += 1;
                rules.default_rule = rules.rules.len();
                if map.contains_key("consumers") {
                    entry.refuse("consumers", "is only for rules with scope 'consumers'");
                }
            }
            Some(false) => name(&mut entry, &mut rules, counts_consumers),
            None => {}
        }
        let limits = entry.limits();
        for unknown in map.keys().filter(|name| !RULE_KEYS.contains(&name.as_str())) {
            entry.keys.warn(format!("{}: unknown key '{}.{unknown}' is ignored", entry.keys.plugin(), entry.at));
        }
        rules.rules.push(rule(limits));
    }
    if defaults != 1 {
        keys.refuse(LIMITS, format_args!("must have exactly one rule with scope 'default' (got {defaults})"));
    }
    rules
}

/// Notes whom the next rule is for. Who is named twice has the first.
fn name(entry: &mut Entry<'_, '_>, rules: &mut Rules, counts_consumers: bool) {
    if !counts_consumers {
        entry.refuse("scope", "may be 'consumers' only with 'limit_by: consumer'");
    }
    let index = rules.rules.len();
    for consumer in entry.consumers() {
        if rules.rules_of.contains_key(consumer) {
            let (plugin, at) = (entry.keys.plugin(), &entry.at);
            entry.keys.warn(format!(
                "{plugin}: '{at}.consumers' names '{consumer}' again; the first rule that does so counts"
            ));
        } else {
            rules.rules_of.insert(consumer.to_owned(), index);
        }
    }
}
