//! Requests counted in Redis, together with every gateway that says the same prefix (plugins sheet §2.36).
//!
//! Each window of a caller has a counter per piece of time of that length. What the piece before counted weighs in by as
//! much of it as still lies within one window from now. A request is counted first and judged then, so a refused one counts.

use std::pin::pin;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use engine::net::sleep;
use futures_util::future::{Either, select};

use super::{Caller, Judgement, Limit, Rule};
use crate::CoreEnv;
use crate::outbound::redis::{Away, Redis, Synchronised, Transaction, Value, WAIT_MAX};

/// What Redis is told at most: 100 years.
const TTL_SECONDS_MAX: u64 = 3_155_760_000;

pub(super) struct Shared {
    redis: Rc<Redis>,
    prefix: String,
}

impl Shared {
    pub(super) fn new(synchronised: &Synchronised, plugin: &str, env: &CoreEnv) -> Self {
        let default = || format!("{}:{plugin}", env.services.options.namespace);
        Self {
            redis: Redis::of(&synchronised.endpoint, env),
            prefix: synchronised.key_prefix.clone().unwrap_or_else(default),
        }
    }

    /// Waits for all limits together no longer than for one.
    pub(super) async fn judge(&self, rule: &Rule, caller: Caller<'_>) -> Result<Judgement, Away> {
        let judging = self.judge_each(rule, caller);
        if rule.limits.len() <= 1 {
            return judging.await;
        }
        match select(pin!(judging), pin!(sleep(WAIT_MAX))).await {
            Either::Left((judgement, _)) => judgement,
            Either::Right(_) => Err(Away),
        }
    }

    /// Counts the request in one limit after the other, until one does not allow it.
    async fn judge_each(&self, rule: &Rule, caller: Caller<'_>) -> Result<Judgement, Away> {
        let key = match &rule.name {
            Some(name) => format!("{}:{name}:{caller}", self.prefix),
            None => format!("{}:{caller}", self.prefix),
        };
        let mut fewest = Fewest::default();
        for (index, limit) in rule.limits.iter().enumerate() {
            match self.count(&key, limit).await? {
                Some(remaining) => fewest.note(index, remaining),
                None => return Ok(Judgement::Refused { limit: index }),
            }
        }
        Ok(Judgement::Admitted { limit: fewest.limit, remaining: fewest.remaining })
    }

    /// What remains in that limit with this request, or nothing if it does not allow it.
    async fn count(&self, key: &str, limit: &Limit) -> Result<Option<u64>, Away> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let seconds = limit.seconds.get();
        let piece = now / seconds;
        let (before, current) = (format!("{key}:{}", piece.saturating_sub(1)), format!("{key}:{piece}"));
        let ttl = seconds.saturating_mul(2).saturating_add(1).min(TTL_SECONDS_MAX);
        let transaction = Transaction::new().get(&before).increment(&current).expire(&current, ttl);
        let values = self.redis.run(transaction).await?;
        let counts = (values.first().and_then(Value::count), values.get(1).and_then(Value::count));
        let (Some(before), Some(current)) = counts else { return Err(Away) };
        Ok(remaining(before, current, now % seconds, seconds, limit.requests.get()))
    }
}

#[derive(Default)]
struct Fewest {
    limit: usize,
    remaining: u64,
    is_known: bool,
}

impl Fewest {
    fn note(&mut self, limit: usize, remaining: u64) {
        if !self.is_known || remaining < self.remaining {
            *self = Self { limit, remaining, is_known: true };
        }
    }
}

/// Nothing when there were more than `limit`, the current request included.
fn remaining(before: u64, current: u64, into: u64, seconds: u64, limit: u64) -> Option<u64> {
    let weight = 1.0 - into as f64 / seconds as f64;
    let left = limit as f64 - (before as f64 * weight + current as f64);
    (left >= 0.0).then_some(left as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_piece_before_weighs_by_what_lies_within_a_window() {
        // At the beginning of a piece all of the one before counts, in its middle half of it.
        assert_eq!(remaining(10, 1, 0, 60, 10), None);
        assert_eq!(remaining(9, 1, 0, 60, 10), Some(0));
        assert_eq!(remaining(10, 5, 30, 60, 10), Some(0));
        assert_eq!(remaining(10, 6, 30, 60, 10), None);
        assert_eq!(remaining(10, 1, 59, 60, 10), Some(8));
        assert_eq!(remaining(0, 1, 0, 1, 1), Some(0));
        assert_eq!(remaining(0, 2, 0, 1, 1), None);
        assert_eq!(remaining(0, 1, 0, u64::MAX, u64::MAX), Some(u64::MAX));
    }

    #[test]
    fn the_limit_with_the_fewest_left_is_named_and_the_first_of_several() {
        let mut fewest = Fewest::default();
        [(0, 5), (1, 3), (2, 3), (3, 9)].into_iter().for_each(|(limit, remaining)| fewest.note(limit, remaining));
        assert_eq!((fewest.limit, fewest.remaining), (1, 3));
    }
}
