//! What is known of each name, and when to ask again. No clock and no I/O: time comes as an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use engine::dns::Resolution;
use tokio::sync::watch;
use tokio::time::Instant;

use super::lookup::{Failure, Found};
use super::order::Kind;
use super::{DnsOptions, NameSpec};

/// A name is not asked for again in the background before this, whatever the settings and the records say.
const ASK_GAP_MIN: Duration = Duration::from_millis(200);

/// When there are too many names outside the configuration, this many of a hundred stay.
const KEEP_PERCENT: usize = 75;

/// The end of a lookup that others wait for.
pub(super) type Pending = watch::Receiver<Option<Resolution>>;

/// What a lookup has changed.
pub(super) struct Ended {
    /// What the name resolves to now.
    pub(super) resolution: Resolution,
    /// An expired answer is kept.
    pub(super) is_stale: bool,
    /// The lookup before had not failed.
    pub(super) is_news: bool,
}

/// The rules of time, from the options.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    ttl_override: Option<Duration>,
    ttl_min: Duration,
    stale_ttl: Duration,
    error_ttl: Duration,
    failed_retry: Option<Duration>,
    refresh_percent: u32,
    cache_max: usize,
}

impl Rules {
    pub(super) fn new(options: &DnsOptions) -> Self {
        Self {
            ttl_override: options.ttl_override,
            ttl_min: options.ttl_min,
            stale_ttl: options.stale_ttl,
            error_ttl: options.error_ttl,
            failed_retry: (!options.failed_retry_interval.is_zero()).then_some(options.failed_retry_interval),
            refresh_percent: options.refresh_threshold_percent.clamp(1, 99).into(),
            cache_max: options.cache_max.max(1),
        }
    }

    fn ttl(&self, found: &Found, name_override: Option<Duration>) -> Duration {
        match found.kind {
            // What no server has said does not change.
            None => found.ttl,
            Some(_) => name_override.or(self.ttl_override).unwrap_or(found.ttl).max(self.ttl_min),
        }
    }

    /// After the error TTL a request would have asked again; the background retry may come sooner.
    fn retry_after(&self) -> Duration {
        self.failed_retry.map_or(self.error_ttl, |interval| interval.min(self.error_ttl)).max(ASK_GAP_MIN)
    }
}

struct Answer {
    address: IpAddr,
    learnt_at: Instant,
    ttl: Duration,
}

#[derive(Default)]
struct Entry {
    /// The configuration uses it.
    is_named: bool,
    /// A control task has asked for it.
    is_asked: bool,
    ttl_override: Option<Duration>,
    answer: Option<Answer>,
    failure: Option<(String, Instant)>,
    last_kind: Option<Kind>,
    pending: Option<Pending>,
}

/// What a question finds.
pub(super) enum Seen {
    Fresh(Resolution),
    /// Serve it, and ask anew unless that is under way.
    Stale(Resolution, bool),
    /// A lookup is under way.
    Pending(Pending),
    Unknown,
}

/// Why a lookup is started; each has its own limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    New,
    Refresh,
}

pub(super) struct Cache {
    rules: Rules,
    entries: HashMap<String, Entry>,
}

impl Cache {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, entries: HashMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Makes these the names of the configuration. Forgets former ones that nobody has asked for otherwise.
    pub(super) fn set_names(&mut self, names: Vec<NameSpec>) {
        for entry in self.entries.values_mut() {
            entry.is_named = false;
            entry.ttl_override = None;
        }
        for name in names {
            let entry = self.entries.entry(name.host.to_ascii_lowercase()).or_default();
            entry.is_named = true;
            entry.ttl_override = [entry.ttl_override, name.ttl_override].into_iter().flatten().min();
        }
        self.entries.retain(|_, entry| entry.is_named || entry.is_asked);
    }

    /// Names of the configuration of which nothing is known, each with the lookup under way, if any.
    pub(super) fn unknown(&self) -> Vec<(String, Option<Pending>)> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.is_named && entry.answer.is_none() && entry.failure.is_none())
            .map(|(host, entry)| (host.clone(), entry.pending.clone()))
            .collect()
    }

    pub(super) fn see(&mut self, host: &str, now: Instant) -> Seen {
        let Some(entry) = self.entries.get_mut(host) else { return Seen::Unknown };
        entry.is_asked = true;
        if let Some(answer) = &entry.answer {
            let expires_at = answer.learnt_at + answer.ttl;
            let resolution = Resolution::Address(answer.address);
            if now < expires_at {
                return Seen::Fresh(resolution);
            }
            if now < expires_at + self.rules.stale_ttl {
                let may_ask = entry.failure.as_ref().is_none_or(|(_, retry_at)| now >= *retry_at);
                return Seen::Stale(resolution, entry.pending.is_none() && may_ask);
            }
        }
        if let Some(pending) = &entry.pending {
            return Seen::Pending(pending.clone());
        }
        match &entry.failure {
            Some((text, retry_at)) if now < *retry_at => Seen::Fresh(Resolution::Failed(text.clone())),
            _ => Seen::Unknown,
        }
    }

    /// Notes that a lookup of `host` is under way, and says which kind of question answered last time. `None` when one
    /// is under way already.
    pub(super) fn begin(&mut self, host: &str, pending: Pending) -> Option<Option<Kind>> {
        if !self.entries.contains_key(host) {
            self.make_room();
            self.entries.insert(host.to_owned(), Entry { is_asked: true, ..Entry::default() });
        }
        let entry = self.entries.get_mut(host)?;
        if entry.pending.is_some() {
            return None;
        }
        entry.pending = Some(pending);
        Some(entry.last_kind)
    }

    /// Over the limit, those names outside the configuration go that would expire first.
    fn make_room(&mut self) {
        let mut others: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.is_named && entry.pending.is_none())
            .map(|(host, entry)| (entry.answer.as_ref().map(|answer| answer.learnt_at + answer.ttl), host.clone()))
            .collect();
        if others.len() < self.rules.cache_max {
            return;
        }
        others.sort();
        let surplus = others.len() - self.rules.cache_max * KEEP_PERCENT / 100;
        for (_, host) in others.into_iter().take(surplus) {
            self.entries.remove(&host);
        }
    }

    /// Takes the outcome of a lookup.
    pub(super) fn end(&mut self, host: &str, outcome: Result<Found, Failure>, now: Instant) -> Ended {
        let Some(entry) = self.entries.get_mut(host) else {
            // The name has left the configuration meanwhile; only those who wait for this lookup want to know.
            let resolution = match outcome {
                Ok(found) => Resolution::Address(found.address),
                Err(failure) => Resolution::Failed(failure.to_string()),
            };
            return Ended { resolution, is_stale: false, is_news: false };
        };
        entry.pending = None;
        let is_news = entry.failure.is_none();
        match outcome {
            Ok(found) => {
                let ttl = self.rules.ttl(&found, entry.ttl_override);
                entry.last_kind = found.kind.or(entry.last_kind);
                entry.failure = None;
                entry.answer = Some(Answer { address: found.address, learnt_at: now, ttl });
                Ended { resolution: Resolution::Address(found.address), is_stale: false, is_news }
            }
            Err(failure) => {
                // A name outside the configuration is refused by the policy anew each time it is asked for.
                let wait = match failure {
                    Failure::Forbidden { .. } if !entry.is_named => Duration::ZERO,
                    _ => self.rules.retry_after(),
                };
                let text = failure.to_string();
                entry.failure = Some((text.clone(), now + wait));
                let resolution = entry.resolution(&self.rules, now).unwrap_or(Resolution::Failed(text));
                let is_expired = entry.answer.as_ref().is_some_and(|answer| now >= answer.learnt_at + answer.ttl);
                let is_stale = is_expired && matches!(resolution, Resolution::Address(_));
                Ended { resolution, is_stale, is_news }
            }
        }
    }

    /// Forgets what has run out, and says which names to ask for now and when to look again.
    pub(super) fn due(&mut self, now: Instant) -> (Vec<(String, Purpose)>, Option<Instant>) {
        let rules = &self.rules;
        self.entries.retain(|_, entry| entry.is_named || entry.pending.is_some() || !entry.has_run_out(rules, now));
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        let mut look_at = |instant: Instant| next = Some(next.map_or(instant, |next| next.min(instant)));
        for (host, entry) in &self.entries {
            if entry.pending.is_some() {
                continue;
            }
            // A stale answer leaves the table at its last moment, whether or not a lookup is due.
            if let Some(ends_at) = entry.ends_at(rules).filter(|ends_at| *ends_at > now) {
                look_at(ends_at);
            }
            let Some(ask_at) = entry.ask_at(rules) else {
                due.push((host.clone(), Purpose::New));
                continue;
            };
            if ask_at <= now {
                due.push((host.clone(), Purpose::Refresh));
            } else {
                look_at(ask_at);
            }
        }
        due.sort_by_key(|(_, purpose)| *purpose == Purpose::Refresh);
        (due, next)
    }

    /// What cores may know of the names of the configuration.
    pub(super) fn table(&self, now: Instant) -> HashMap<String, Resolution> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.is_named)
            .filter_map(|(host, entry)| Some((host.clone(), entry.resolution(&self.rules, now)?)))
            .collect()
    }
}

impl Entry {
    fn resolution(&self, rules: &Rules, now: Instant) -> Option<Resolution> {
        if let Some(answer) = &self.answer
            && now < answer.learnt_at + answer.ttl + rules.stale_ttl
        {
            return Some(Resolution::Address(answer.address));
        }
        match (&self.failure, &self.answer) {
            (Some((text, _)), _) => Some(Resolution::Failed(text.clone())),
            (None, Some(_)) => Some(Resolution::Failed("the last answer has expired".to_owned())),
            (None, None) => None,
        }
    }

    /// When the answer can no longer be served, stale or not.
    fn ends_at(&self, rules: &Rules) -> Option<Instant> {
        self.answer.as_ref().map(|answer| answer.learnt_at + answer.ttl + rules.stale_ttl)
    }

    fn has_run_out(&self, rules: &Rules, now: Instant) -> bool {
        match (self.ends_at(rules), &self.failure) {
            (Some(ends_at), _) => now >= ends_at,
            (None, Some((_, retry_at))) => now >= *retry_at,
            (None, None) => true,
        }
    }

    /// When to ask in the background. `None` = nothing is known yet.
    fn ask_at(&self, rules: &Rules) -> Option<Instant> {
        match (&self.failure, &self.answer) {
            (Some((_, retry_at)), _) => Some(*retry_at),
            (None, Some(answer)) => {
                Some(answer.learnt_at + (answer.ttl * rules.refresh_percent / 100).max(ASK_GAP_MIN))
            }
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules::new(&DnsOptions::default())
    }

    fn found(ttl: u64) -> Found {
        Found { address: [10, 0, 0, 1].into(), ttl: Duration::from_secs(ttl), kind: Some(Kind::A) }
    }

    fn missing() -> Failure {
        Failure::NotFound { host: "a".into(), reason: "no".into() }
    }

    fn named(host: &str, ttl_override: Option<u64>) -> NameSpec {
        NameSpec { host: host.into(), ttl_override: ttl_override.map(Duration::from_secs) }
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn the_ttl_is_the_names_own_then_the_global_then_the_records_and_never_below_the_minimum() {
        let rules = Rules { ttl_override: Some(seconds(60)), ..rules() };
        assert_eq!(rules.ttl(&found(30), Some(seconds(20))), seconds(20));
        assert_eq!(rules.ttl(&found(30), Some(seconds(1))), seconds(5));
        assert_eq!(rules.ttl(&found(30), None), seconds(60));
        let rules = Rules { ttl_override: None, ..rules };
        assert_eq!(rules.ttl(&found(30), None), seconds(30));
        assert_eq!(rules.ttl(&found(5), None), seconds(5));
        assert_eq!(rules.ttl(&found(4), None), seconds(5));
        assert_eq!(rules.ttl(&Found { kind: None, ..found(86_400) }, Some(seconds(20))), seconds(86_400));
    }

    #[test]
    fn a_host_named_twice_has_the_smaller_ttl_override() {
        let now = Instant::now();
        let mut cache = Cache::new(rules());
        cache.set_names(vec![named("A", Some(60)), named("a", None), named("a", Some(20))]);
        cache.end("a", Ok(found(300)), now);
        let (due, next) = cache.due(now);
        assert!(due.is_empty());
        assert_eq!(next, Some(now + seconds(18)), "90 % of 20 s");
    }

    #[test]
    fn an_answer_is_refreshed_at_its_threshold_served_stale_and_ends() {
        let now = Instant::now();
        let mut cache = Cache::new(Rules { stale_ttl: seconds(50), ..rules() });
        cache.set_names(vec![named("a", None)]);
        assert_eq!(cache.due(now).0, [("a".to_owned(), Purpose::New)]);
        cache.end("a", Ok(found(100)), now);

        assert!(cache.due(now + seconds(89)).0.is_empty());
        assert_eq!(cache.due(now + seconds(90)).0, [("a".to_owned(), Purpose::Refresh)]);

        let kept = cache.end("a", Err(missing()), now + seconds(95));
        assert_eq!(kept.resolution, Resolution::Address([10, 0, 0, 1].into()));
        assert!(!kept.is_stale && kept.is_news);
        assert!(cache.due(now + seconds(99)).0.is_empty(), "not before the error TTL");
        assert_eq!(cache.due(now + seconds(100)).0, [("a".to_owned(), Purpose::Refresh)]);
        let kept = cache.end("a", Err(missing()), now + seconds(100));
        assert!(kept.is_stale && !kept.is_news);

        assert!(matches!(cache.see("a", now + seconds(149)), Seen::Stale(..)));
        assert!(matches!(cache.table(now + seconds(149))["a"], Resolution::Address(_)));
        assert_eq!(cache.table(now + seconds(150))["a"], Resolution::Failed("a: no".into()));
    }

    #[test]
    fn a_failed_name_is_retried_at_the_sooner_of_error_ttl_and_retry_interval() {
        let now = Instant::now();
        for (error, interval, expected) in [(5, 10, 5), (30, 10, 10), (30, 0, 30)] {
            let options = DnsOptions {
                error_ttl: seconds(error),
                failed_retry_interval: seconds(interval),
                ..DnsOptions::default()
            };
            let mut cache = Cache::new(Rules::new(&options));
            cache.set_names(vec![named("a", None)]);
            cache.end("a", Err(missing()), now);
            assert_eq!(cache.due(now).1, Some(now + seconds(expected)));
        }
    }

    #[test]
    fn names_outside_the_configuration_are_bounded_and_the_soonest_to_expire_go() {
        let now = Instant::now();
        let mut cache = Cache::new(Rules { cache_max: 4, ..rules() });
        cache.set_names((0..10).map(|number| named(&format!("named-{number}"), None)).collect());
        let ask = |cache: &mut Cache, host: &str, ttl| {
            cache.begin(host, watch::channel(None).1);
            cache.end(host, Ok(found(ttl)), now);
        };
        for number in 0..4 {
            ask(&mut cache, &format!("asked-{number}"), 100 - number);
        }
        assert_eq!(cache.len(), 14);
        ask(&mut cache, "asked-4", 1000);
        assert_eq!(cache.len(), 14, "one too many: 3 of 4 stay, and the new one comes");
        assert!(matches!(cache.see("asked-3", now), Seen::Unknown));
        assert!(matches!(cache.see("asked-0", now), Seen::Fresh(_)));
    }

    #[test]
    fn names_that_leave_the_configuration_are_forgotten_unless_asked_for() {
        let now = Instant::now();
        let mut cache = Cache::new(rules());
        cache.set_names(vec![named("a", None), named("b", None)]);
        cache.end("a", Ok(found(100)), now);
        cache.end("b", Ok(found(100)), now);
        cache.see("b", now);
        cache.set_names(Vec::new());
        assert_eq!(cache.len(), 1);
        assert!(cache.table(now).is_empty());
    }

    #[test]
    fn a_refusal_by_policy_is_not_remembered_for_those_who_ask() {
        let now = Instant::now();
        let mut cache = Cache::new(rules());
        cache.begin("a", watch::channel(None).1);
        cache.end("a", Err(Failure::Forbidden { host: "a".into(), address: [10, 0, 0, 1].into() }), now);
        assert!(matches!(cache.see("a", now), Seen::Unknown));
    }
}
