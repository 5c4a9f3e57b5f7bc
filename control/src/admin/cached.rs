//! A rendered body that is served again until it is too old.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use hyper::body::Bytes;

pub(super) struct Cached {
    ttl: Duration,
    body: Mutex<Option<(Instant, Bytes)>>,
}

impl Cached {
    /// A TTL of zero renders every time.
    pub(super) fn new(ttl: Duration) -> Self {
        Self { ttl, body: Mutex::new(None) }
    }

    /// The body, and whether it was there. Callers that come at once wait for one rendering.
    pub(super) fn get(&self, render: impl FnOnce() -> Vec<u8>) -> (Bytes, bool) {
        let mut slot = super::lock(&self.body);
        if let Some((made_at, body)) = &*slot
            && made_at.elapsed() < self.ttl
        {
            return (body.clone(), true);
        }
        let body = Bytes::from(render());
        *slot = Some((Instant::now(), body.clone()));
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
}
