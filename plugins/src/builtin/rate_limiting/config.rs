//! The limits in a config, in both shapes: the keys of one rule at the top, or a list of rules.

use std::num::NonZeroU64;

use rustc_hash::FxHashMap;
use serde_json::Value;

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
const SCOPE: &str = "scope";
const CONSUMERS: &str = "consumers";
/// What a rule of the list may have.
const RULE_KEYS: [&str; 7] = [SCOPE, CONSUMERS, WINDOW, REQUESTS, PRESETS[0].0, PRESETS[1].0, PRESETS[2].0];

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
    let presets: Vec<&str> = present(keys);
    if keys.raw(WINDOW).is_some() {
        for name in presets {
            keys.warn_of(name, format_args!("is ignored, because '{WINDOW}' is set"));
        }
        return rule(window(keys, Some(MAX_REQUESTS_DEFAULT)));
    }
    if presets.is_empty() {
        let [second, minute, hour] = PRESETS.map(|(name, _)| name);
        let plugin = keys.plugin();
        keys.error(format!("{plugin}: one of '{WINDOW}', '{second}', '{minute}', '{hour}' and '{LIMITS}' must be set"));
    }
    if keys.raw(REQUESTS).is_some() {
        keys.warn_of(REQUESTS, format_args!("is ignored, because '{WINDOW}' is not set"));
    }
    rule(windows_of_presets(keys))
}

fn present(keys: &Keys<'_>) -> Vec<&'static str> {
    PRESETS.iter().map(|(name, _)| *name).filter(|name| keys.raw(name).is_some()).collect()
}

/// What the pair of keys says; the number of requests may have a default.
fn window(keys: &mut Keys<'_>, requests_default: Option<u64>) -> Vec<Limit> {
    let seconds = keys.positive(WINDOW);
    let requests = if keys.raw(REQUESTS).is_some() { keys.positive(REQUESTS) } else { requests_default };
    seconds.zip(requests).and_then(|(seconds, requests)| limit(requests, seconds)).into_iter().collect()
}

fn windows_of_presets(keys: &mut Keys<'_>) -> Vec<Limit> {
    PRESETS.into_iter().filter_map(|(name, seconds)| limit(keys.positive(name)?, seconds)).collect()
}

fn listed<'a>(keys: &mut Keys<'a>, list: &'a Value, counts_consumers: bool) -> Rules {
    let mut rules = Rules { rules: Vec::new(), default_rule: 0, rules_of: FxHashMap::default() };
    let Some(list) = list.as_array() else {
        keys.refuse(LIMITS, "must be an array of rules");
        return rules;
    };
    let mut defaults = 0;
    for (index, value) in list.iter().enumerate() {
        let Some(mut entry) = keys.within(format_args!("{LIMITS}[{index}]"), &RULE_KEYS, value) else { continue };
        match is_default(&mut entry) {
            Some(true) => {
                defaults += 1;
                rules.default_rule = rules.rules.len();
                if entry.raw(CONSUMERS).is_some() {
                    entry.refuse(CONSUMERS, "is only for rules with scope 'consumers'");
                }
            }
            Some(false) => {
                if !counts_consumers {
                    entry.refuse(SCOPE, "may be 'consumers' only with 'limit_by: consumer'");
                }
                name(&mut entry, &mut rules);
            }
            None => {}
        }
        rules.rules.push(rule(windows(&mut entry)));
        keys.absorb(entry);
    }
    if defaults != 1 {
        keys.refuse(LIMITS, format_args!("must have exactly one rule with scope 'default' (got {defaults})"));
    }
    rules
}

/// Whether the rule is for everybody.
fn is_default(entry: &mut Keys<'_>) -> Option<bool> {
    match entry.raw(SCOPE).map(Value::as_str) {
        Some(Some("default")) => return Some(true),
        Some(Some("consumers")) => return Some(false),
        Some(_) => entry.refuse(SCOPE, "must be 'default' or 'consumers'"),
        None => entry.refuse(SCOPE, "is required"),
    }
    None
}

/// Notes whom the next rule is for. Who is named twice has the first.
fn name(entry: &mut Keys<'_>, rules: &mut Rules) {
    let list = entry.raw(CONSUMERS).and_then(Value::as_array);
    let names: Option<Vec<&str>> = list.and_then(|list| list.iter().map(Value::as_str).collect());
    let Some(names) = names.filter(|names| !names.is_empty()) else {
        entry.refuse(CONSUMERS, "must be an array of strings, at least one");
        return;
    };
    let index = rules.rules.len();
    for consumer in names {
        if rules.rules_of.contains_key(consumer) {
            entry.warn_of(CONSUMERS, format_args!("names '{consumer}' again; the first rule that does so counts"));
        } else {
            rules.rules_of.insert(consumer.to_owned(), index);
        }
    }
}

/// A pair of window and requests, or one or more of the others.
fn windows(entry: &mut Keys<'_>) -> Vec<Limit> {
    let has = |name: &str| entry.raw(name).is_some();
    match (has(WINDOW), has(REQUESTS), present(entry).first()) {
        (false, false, Some(_)) => return windows_of_presets(entry),
        (true, true, None) => return window(entry, None),
        (false, false, None) => {
            let [second, minute, hour] = PRESETS.map(|(name, _)| name);
            entry.refuse_all(format_args!(
                "must have '{WINDOW}' with '{REQUESTS}', or one of '{second}', '{minute}' and '{hour}'"
            ));
        }
        (_, _, Some(first)) => {
            entry.refuse_all(format_args!("must have either '{WINDOW}' with '{REQUESTS}' or '{first}', not both"));
        }
        (true, false, None) => entry.refuse(REQUESTS, format_args!("is required with '{WINDOW}'")),
        (false, true, None) => entry.refuse(WINDOW, format_args!("is required with '{REQUESTS}'")),
    }
    Vec::new()
}
