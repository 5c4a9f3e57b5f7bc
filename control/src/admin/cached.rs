//! A rendered body that is served again until it is too old.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use hyper::body::Bytes;

pub(super) struct Cached {
    ttl: Duration,
    made: Mutex<Option<Made>>,
}

struct Made {
    at: Instant,
    /// What the caller knew it to show.
    mark: u64,
    body: Bytes,
}

impl Cached {
    /// A TTL of zero renders every time.
    pub(super) fn new(ttl: Duration) -> Self {
        Self { ttl, made: Mutex::new(None) }
    }

    /// The body, and whether it was there. Callers that come at once wait for one rendering.
    pub(super) fn get(&self, render: impl FnOnce() -> Vec<u8>) -> (Bytes, bool) {
        self.get_if(0, |age, _| age < self.ttl, render)
    }

    /// Like [`get`](Self::get), but the body that is there is taken if `is_good` says so of its age and of the mark it was
    /// made at. A new one is made at `mark`.
    pub(super) fn get_if(
        &self,
        mark: u64,
        is_good: impl FnOnce(Duration, u64) -> bool,
        render: impl FnOnce() -> Vec<u8>,
    ) -> (Bytes, bool) {
        let mut slot = super::lock(&self.made);
        if let Some(made) = &*slot
            && is_good(made.at.elapsed(), made.mark)
        {
            return (made.body.clone(), true);
        }
        let body = Bytes::from(render());
        *slot = Some(Made { at: Instant::now(), mark, body: body.clone() });
        (body, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_served_until_its_ttl() {
        let cached = Cached::new(Duration::from_secs(60));
        assert_eq!(cached.get(|| b"one".to_vec()), (Bytes::from("one"), false));
        assert_eq!(cached.get(|| b"two".to_vec()), (Bytes::from("one"), true));
        let uncached = Cached::new(Duration::ZERO);
        uncached.get(|| b"one".to_vec());
        assert_eq!(uncached.get(|| b"two".to_vec()), (Bytes::from("two"), false));
    }

    #[test]
    fn a_body_may_be_judged_by_the_mark_it_was_made_at() {
        let cached = Cached::new(Duration::ZERO);
        assert_eq!(cached.get_if(7, |_, _| true, || b"one".to_vec()), (Bytes::from("one"), false));
        assert_eq!(cached.get_if(8, |_, mark| mark == 7, || b"two".to_vec()), (Bytes::from("one"), true));
        assert_eq!(cached.get_if(8, |_, mark| mark == 8, || b"two".to_vec()), (Bytes::from("two"), false));
        assert_eq!(cached.get_if(9, |_, mark| mark == 8, || b"three".to_vec()), (Bytes::from("two"), true));
    }
}
