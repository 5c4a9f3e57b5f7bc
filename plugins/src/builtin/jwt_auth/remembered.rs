//! Tokens that were found good. A client shows the same one with each request until it expires; what was verified once need not
//! be verified again while the configuration stays and the token's time lasts.

use std::rc::{Rc, Weak};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use engine::consumers::ConsumerId;

use crate::Facts;

/// Tokens that one core keeps for one config. Another one with the same place takes it over.
const TOKENS_MAX: usize = 256;
/// Longer ones are verified each time.
const TOKEN_BYTES_MAX: usize = 1024;

/// Whom a token identifies, and when it is good, in seconds of Unix time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Good {
    pub consumer: ConsumerId,
    pub from: f64,
    /// The first moment when it is not.
    pub until: f64,
}

impl Good {
    pub fn is_at(&self, now: f64) -> bool {
        now >= self.from && now < self.until
    }
}

#[derive(Default)]
pub struct Remembered {
    /// Empty until the first token was good.
    places: Vec<Option<(Box<str>, Good)>>,
    /// Consumers and their secrets may be others in the next configuration.
    of: Weak<Facts>,
}

impl Remembered {
    /// Only if it was found good with these consumers, and still is.
    pub fn find(&self, token: &str, facts: &Rc<Facts>, now: f64) -> Option<ConsumerId> {
        if !std::ptr::eq(self.of.as_ptr(), Rc::as_ptr(facts)) {
            return None;
        }
        let (known, good) = self.places.get(place(token)?)?.as_ref()?;
        let is_it = verify_slices_are_equal(known.as_bytes(), token.as_bytes()).is_ok();
        (is_it && good.is_at(now)).then_some(good.consumer)
    }

    pub fn keep(&mut self, token: &str, facts: &Rc<Facts>, good: Good) {
        let Some(place) = place(token).filter(|_| token.len() <= TOKEN_BYTES_MAX) else { return };
        if !std::ptr::eq(self.of.as_ptr(), Rc::as_ptr(facts)) {
            self.places.clear();
            self.of = Rc::downgrade(facts);
        }
        self.places.resize_with(TOKENS_MAX, || None);
        self.places[place] = Some((token.into(), good));
    }
}

/// By the end of the signature, which nobody can choose who does not have the secret.
fn place(token: &str) -> Option<usize> {
    const { assert!(TOKENS_MAX.is_power_of_two()) };
    let end = u64::from_le_bytes(*token.as_bytes().last_chunk()?);
    // Fibonacci hashing: the upper bits depend on all of them.
    let mixed = end.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Some((mixed >> (u64::BITS - TOKENS_MAX.trailing_zeros())) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::facts;

    fn good(facts: &Facts) -> Good {
        Good { consumer: facts.consumers.by_identity("bob").unwrap(), from: 10.0, until: 20.0 }
    }

    #[test]
    fn a_token_is_known_while_it_is_good_and_its_configuration_stays() {
        let (facts, others) = (facts(&[]), facts(&[]));
        let bob = good(&facts).consumer;
        let mut remembered = Remembered::default();
        assert_eq!(remembered.find("header.claims.signature", &facts, 15.0), None);
        remembered.keep("header.claims.signature", &facts, good(&facts));
        let found = |token: &str, facts, now| remembered.find(token, facts, now);
        assert_eq!(found("header.claims.signature", &facts, 10.0), Some(bob));
        assert_eq!(found("header.claims.signature", &facts, 9.9), None);
        assert_eq!(found("header.claims.signature", &facts, 20.0), None);
        assert_eq!(found("header.other!.signature", &facts, 15.0), None, "with the same place");
        assert_eq!(found("short", &facts, 15.0), None);
        assert_eq!(found("header.claims.signature", &others, 15.0), None);
    }

    #[test]
    fn the_next_configuration_forgets_and_the_longest_token_is_kept() {
        let (first, second) = (facts(&[]), facts(&[]));
        let mut remembered = Remembered::default();
        remembered.keep("header.claims.signature", &first, good(&first));
        let longest = "x".repeat(TOKEN_BYTES_MAX);
        remembered.keep(&longest, &second, good(&second));
        assert_eq!(remembered.find("header.claims.signature", &first, 15.0), None);
        assert_eq!(remembered.find(&longest, &second, 15.0), Some(good(&second).consumer));
        let longer = "y".repeat(TOKEN_BYTES_MAX + 1);
        remembered.keep(&longer, &second, good(&second));
        assert_eq!(remembered.find(&longer, &second, 15.0), None);
    }
}
