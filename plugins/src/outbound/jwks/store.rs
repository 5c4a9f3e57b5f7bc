//! The keys at one URI, kept up to date.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use engine::publish::{Fanout, View};
use reqwest::Url;
use tokio::sync::Notify;

use super::schedule::Schedule;
use super::{KeySet, fetch};
use crate::outbound::{Services, shown};

/// A token whose key is not known brings about a fetch at most this often.
const ASKED_FETCH_PAUSE_MS: u64 = 30_000;
/// While there are no keys, the pauses behind the first and the second failed fetch, and behind all others.
const EMPTY_PAUSES_SECS: [u64; 3] = [5, 15, 30];

/// Read by the cores through views of their own; dropping the last handle ends the fetching.
pub struct Store {
    uri: Url,
    plugin: &'static str,
    schedule: Schedule,
    published: Fanout<KeySet>,
    /// A fetch is wanted before its time.
    wanted: Arc<Notify>,
    began: Instant,
    /// When that was asked last, in milliseconds behind `began`, with a pause added so that zero is never.
    asked_ms: AtomicU64,
}

impl Store {
    pub(super) fn new(cores: usize, uri: Url, plugin: &'static str, schedule: Schedule) -> Self {
        Self {
            uri,
            plugin,
            schedule,
            published: Fanout::new(cores, Arc::default()),
            wanted: Arc::default(),
            began: Instant::now(),
            asked_ms: AtomicU64::new(0),
        }
    }

    /// One core's side. There are no keys until the first fetch has gone well.
    pub fn view(&self, core: usize) -> View<KeySet> {
        self.published.view(core)
    }

    /// Somebody has met a key that is not here. Does nothing if that was so a short while ago.
    pub fn ask_for_fetch(&self) {
        let now = ASKED_FETCH_PAUSE_MS + self.began.elapsed().as_millis() as u64;
        let last = self.asked_ms.load(Relaxed);
        if may_ask(last, now) && self.asked_ms.compare_exchange(last, now, Relaxed, Relaxed).is_ok() {
            self.wanted.notify_one();
        }
    }

    /// From the present configuration on. The first of its plugins that says it counts.
    pub fn refresh_every(&self, interval: Duration, services: &Services) {
        if self.schedule.set(interval, services.jwks.configuration()) {
            self.wanted.notify_one();
        }
    }

    fn keys(&self) -> Option<Arc<KeySet>> {
        self.published.latest().filter(|keys| !keys.is_empty())
    }

    /// Answers with how many fetches have failed one after the other, this one included.
    async fn fetch(&self, services: &Services, failures: usize) -> usize {
        let (plugin, from) = (self.plugin, shown(&self.uri));
        let document = fetch::document(&services.http, &self.uri, plugin).await;
        let keys = document.and_then(|document| KeySet::parse(&document));
        let reason = match keys {
            Ok(keys) => match keys.why_useless() {
                None => {
                    self.publish(keys, &from);
                    return 0;
                }
                Some(reason) => format!("it {reason}"),
            },
            Err(reason) => reason,
        };
        let pause_secs = self.pause(failures + 1).as_secs();
        match self.keys() {
            Some(_) => tracing::warn!(
                pause_secs,
                "{plugin}: the keys at {from} cannot be fetched, the ones before are kept: {reason}"
            ),
            None => {
                tracing::warn!(pause_secs, "{plugin}: the keys at {from} cannot be fetched, there are none: {reason}")
            }
        }
        failures + 1
    }

    fn publish(&self, keys: KeySet, from: &str) {
        if self.keys().is_some_and(|present| *present == keys) {
            return;
        }
        let plugin = self.plugin;
        for reason in &keys.skipped {
            tracing::warn!("{plugin}: {from}: {reason}");
        }
        tracing::info!("{plugin}: {} key(s) from {from}", keys.len());
        self.published.publish(&Arc::new(keys));
    }

    fn pause(&self, failures: usize) -> Duration {
        match self.keys() {
            Some(_) => self.schedule.interval(),
            None => empty_pause(failures).min(self.schedule.interval()),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // So that its task finds out.
        self.wanted.notify_one();
    }
}

fn may_ask(last_ms: u64, now_ms: u64) -> bool {
    now_ms.saturating_sub(last_ms) >= ASKED_FETCH_PAUSE_MS
}

fn empty_pause(failures: usize) -> Duration {
    let [.., longest] = EMPTY_PAUSES_SECS;
    Duration::from_secs(EMPTY_PAUSES_SECS.get(failures.saturating_sub(1)).copied().unwrap_or(longest))
}

/// Fetches as long as somebody uses the store.
pub(super) async fn keep_fresh(store: Weak<Store>, services: Arc<Services>) {
    let mut failures = 0;
    while let Some(present) = store.upgrade() {
        failures = present.fetch(&services, failures).await;
        let (pause, wanted) = (present.pause(failures), present.wanted.clone());
        drop(present);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = wanted.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::outbound::jwks::fetch::DOCUMENT_BYTES_MAX;
    use crate::testing::peer::{Act, Peer, eventually};
    use crate::testing::tokens::Signer;
    use serde_json::json;

    const DAY: Duration = Duration::from_secs(86_400);

    fn key_set(signers: &[&Signer]) -> Vec<u8> {
        let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
        json!({ "keys": keys }).to_string().into_bytes()
    }

    fn store(peer: &Peer, interval: Duration) -> (Arc<Services>, Arc<Store>) {
        let services = Services::of_tests();
        let store = services.jwks(&Url::parse(&peer.url("/jwks")).unwrap(), "jwks_auth", interval);
        (services, store)
    }

    #[track_caller]
    fn wait_for_keys(store: &Store, count: usize) {
        eventually(&format!("there are {count} keys"), || store.keys().filter(|keys| keys.len() == count).map(|_| ()));
    }

    #[test]
    fn the_pauses_while_there_are_no_keys_are_5_15_and_then_30_seconds() {
        let pauses: Vec<u64> = (1..=5).map(|failures| empty_pause(failures).as_secs()).collect();
        assert_eq!(pauses, [5, 15, 30, 30, 30]);
        let short = Store::new(
            1,
            Url::parse("http://idp.test/").unwrap(),
            "jwks_auth",
            Schedule::new(Duration::from_secs(10), 1),
        );
        assert_eq!((short.pause(1).as_secs(), short.pause(2).as_secs()), (5, 10), "never longer than the interval");
    }

    #[test]
    fn an_unknown_key_is_asked_for_once_in_30_seconds() {
        assert!(may_ask(0, ASKED_FETCH_PAUSE_MS), "at once the first time");
        assert!(!may_ask(40_000, 69_999));
        assert!(may_ask(40_000, 70_000));
    }

    #[test]
    fn keys_are_fetched_at_once_and_again_at_every_interval() {
        let (one, two) = (Signer::es256("one"), Signer::es256("two"));
        let answers = [key_set(&[&one]), key_set(&[&one, &two])];
        let peer = Peer::new(move |earlier, _| Act::Answer(200, answers[earlier.min(1)].clone()));
        let (_services, store) = store(&peer, Duration::from_millis(50));
        wait_for_keys(&store, 1);
        wait_for_keys(&store, 2);
        assert_eq!(peer.seen()[0].line, "GET /jwks HTTP/1.1");
        let mut view = store.view(0);
        assert_eq!(view.look().0.len(), 2);
        peer.wait_for(4);
        assert!(!view.look().1, "the same keys are not published again");
    }

    #[test]
    fn a_fetch_that_fails_keeps_the_keys_there_are() {
        let good = key_set(&[&Signer::es256("one")]);
        let bad = [
            (500, good.clone()),
            (200, b"<html>".to_vec()),
            (200, br#"{"keys":[]}"#.to_vec()),
            (200, vec![b' '; DOCUMENT_BYTES_MAX + 1]),
        ];
        let peer = Peer::new(move |earlier, _| match earlier.checked_sub(1).and_then(|bad_one| bad.get(bad_one)) {
            Some((status, body)) => Act::Answer(*status, body.clone()),
            None => Act::Answer(200, good.clone()),
        });
        let (_services, store) = store(&peer, Duration::from_millis(20));
        peer.wait_for(6);
        assert_eq!(store.keys().map(|keys| keys.len()), Some(1));
    }

    #[test]
    fn an_answer_of_the_most_bytes_is_read_and_a_longer_one_is_not() {
        for (extra, is_read) in [(0, true), (1, false)] {
            let mut body = key_set(&[&Signer::es256("one")]);
            body.resize(DOCUMENT_BYTES_MAX + extra, b' ');
            let peer = Peer::new(move |_, _| Act::Answer(200, body.clone()));
            let (services, store) = store(&peer, DAY);
            let failures = services.runtime.block_on(store.fetch(&services, 0));
            assert_eq!(failures == 0, is_read);
        }
    }

    #[test]
    fn stores_are_shared_by_uri_and_end_with_their_last_user() {
        let body = key_set(&[&Signer::es256("one")]);
        let peer = Peer::new(move |_, _| Act::Answer(200, body.clone()));
        let (services, store) = store(&peer, Duration::from_millis(30));
        let again = services.jwks(&store.uri, "jwks_auth", DAY);
        assert!(Arc::ptr_eq(&store, &again));
        assert_eq!(again.schedule.interval(), Duration::from_millis(30), "the first one's interval counts");
        let other = services.jwks(&Url::parse(&peer.url("/other")).unwrap(), "jwks_auth", DAY);
        assert!(!Arc::ptr_eq(&store, &other));
        peer.wait_for(4);
        drop((store, again));
        let count = || peer.seen().iter().filter(|seen| seen.path() == "/jwks").count();
        // One may still be under way.
        std::thread::sleep(Duration::from_millis(60));
        let before = count();
        std::thread::sleep(Duration::from_millis(150));
        assert_eq!(count(), before, "nobody wants them any more");
    }

    #[test]
    fn another_interval_counts_from_the_next_configuration_on() {
        let body = key_set(&[&Signer::es256("one")]);
        let peer = Peer::new(move |_, _| Act::Answer(200, body.clone()));
        let (services, store) = store(&peer, DAY);
        peer.wait_for(1);
        services.begin_configuration();
        let again = services.jwks(&store.uri, "jwks_auth", Duration::from_millis(30));
        assert!(Arc::ptr_eq(&store, &again));
        peer.wait_for(4);
        let third = services.jwks(&store.uri, "jwks_auth", DAY);
        assert_eq!(third.schedule.interval(), Duration::from_millis(30), "the first of the configuration counts");
    }

    #[test]
    fn a_set_without_a_usable_key_is_refused_with_the_reasons() {
        let peer = Peer::new(|_, _| Act::Answer(200, br#"{"keys":[{"kty":"oct","kid":"o"}]}"#.to_vec()));
        let log = crate::testing::log::Log::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let services = Services::of_tests();
        let uri = Url::parse(&peer.url("/jwks")).unwrap();
        let store = Store::new(1, uri, "jwks_auth", Schedule::new(DAY, 0));
        assert_eq!(runtime.block_on(store.fetch(&services, 0)), 1);
        let [warning] = &log.warnings()[..] else { panic!("{:?}", log.warnings()) };
        assert!(
            warning.ends_with("it has no key that can be used: keys[0] 'o' is skipped: kty 'oct' is not supported"),
            "{warning}"
        );
    }

    #[test]
    fn a_key_that_is_met_and_not_known_is_fetched_at_once() {
        let rotated = Arc::new(AtomicBool::new(false));
        let (one, two) = (Signer::es256("one"), Signer::es256("two"));
        let (answers, is_rotated) = ([key_set(&[&one]), key_set(&[&two, &one])], rotated.clone());
        let peer = Peer::new(move |_, _| Act::Answer(200, answers[usize::from(is_rotated.load(Relaxed))].clone()));
        let (_services, store) = store(&peer, DAY);
        wait_for_keys(&store, 1);
        rotated.store(true, Relaxed);
        store.ask_for_fetch();
        wait_for_keys(&store, 2);
        for _ in 0..50 {
            store.ask_for_fetch();
        }
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(peer.seen().len(), 2, "not again within 30 seconds");
    }
}
