//! Tokens that were found good. A client shows the same one with each request until it expires; what was verified once need not
//! be verified again while whatever it was verified by stays. When that is no longer so, is for the owner to say.

use std::cell::Cell;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use rustc_hash::FxHashMap;

/// Tokens that one core keeps for one config. Another one with the same place takes it over.
const TOKENS_MAX: usize = 256;
/// Longer ones are verified each time. Those of providers with a few dozen claims and an RSA signature have 2 KiB.
const TOKEN_BYTES_MAX: usize = 4096;
/// What nobody guesses: 192 bits in base64.
const SECRET_BYTES: usize = 32;

/// What one core keeps for all configs: a few thousand tokens. Those that have no room are verified each time.
const CORE_BYTES_MAX: usize = 4 * 1024 * 1024;

thread_local! {
    static CORE_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// A part of this core's room, given back when it is dropped.
struct Room(usize);

impl Room {
    /// None while there is not so much.
    fn take(bytes: usize) -> Option<Self> {
        let taken = CORE_BYTES.get() + bytes;
        (taken <= CORE_BYTES_MAX).then(|| {
            CORE_BYTES.set(taken);
            Self(bytes)
        })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        CORE_BYTES.set(CORE_BYTES.get() - self.0);
    }
}

/// A token with what it is good for.
struct Kept<T> {
    token: Box<str>,
    good: T,
    _room: Room,
}

impl<T> Kept<T> {
    /// Without what `T` points to.
    fn bytes(token: &str) -> usize {
        size_of::<Self>() + token.len()
    }
}

/// With what each is good for.
pub struct Remembered<T> {
    by_place: FxHashMap<usize, Kept<T>>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self { by_place: FxHashMap::default() }
    }
}

impl<T> Remembered<T> {
    pub fn find(&self, token: &str) -> Option<&T> {
        let known = self.by_place.get(&place(token)?)?;
        is_same(known.token.as_bytes(), token.as_bytes()).then_some(&known.good)
    }

    /// Unless the token is too long, or this core has no room for it.
    pub fn keep(&mut self, token: &str, good: T) {
        let Some(place) = place(token).filter(|_| token.len() <= TOKEN_BYTES_MAX) else { return };
        // First, so that the newer one may have its room.
        self.by_place.remove(&place);
        if let Some(room) = Room::take(Kept::<T>::bytes(token)) {
            self.by_place.insert(place, Kept { token: token.into(), good, _room: room });
        }
    }

    pub fn forget(&mut self) {
        self.by_place = FxHashMap::default();
    }
}

/// Takes as long for every guess at the end of the signature; who has that much of it has the token.
fn is_same(known: &[u8], shown: &[u8]) -> bool {
    let end = known.len().saturating_sub(SECRET_BYTES);
    known.len() == shown.len()
        && verify_slices_are_equal(&known[end..], &shown[end..]).is_ok()
        && known[..end] == shown[..end]
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

    #[test]
    fn a_token_is_known_until_it_is_forgotten() {
        let mut remembered = Remembered::default();
        assert_eq!(remembered.find("header.claims.signature"), None);
        remembered.keep("header.claims.signature", 1);
        assert_eq!(remembered.find("header.claims.signature"), Some(&1));
        for other in ["header.other!.signature", "eader.claims.signature", "short"] {
            assert_eq!(remembered.find(other), None, "{other}");
        }
        let long = |beginning: char| format!("{beginning}{}", "x".repeat(SECRET_BYTES));
        remembered.keep(&long('a'), 2);
        assert_eq!((remembered.find(&long('a')), remembered.find(&long('b'))), (Some(&2), None));
        remembered.forget();
        assert_eq!(remembered.find("header.claims.signature"), None);
    }

    #[test]
    fn another_with_the_same_place_takes_it_over() {
        let mut remembered = Remembered::default();
        remembered.keep("header.claims.signature", 1);
        remembered.keep("header.other!.signature", 2);
        assert_eq!(remembered.find("header.claims.signature"), None);
        assert_eq!(remembered.find("header.other!.signature"), Some(&2));
    }

    #[test]
    fn the_longest_token_is_kept_and_no_longer_one() {
        let mut remembered = Remembered::default();
        let (longest, longer) = ("x".repeat(TOKEN_BYTES_MAX), "y".repeat(TOKEN_BYTES_MAX + 1));
        remembered.keep(&longest, 1);
        remembered.keep(&longer, 2);
        assert_eq!((remembered.find(&longest), remembered.find(&longer)), (Some(&1), None));
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let mut remembered = Remembered::default();
        (0..10 * TOKENS_MAX).for_each(|number| remembered.keep(&format!("token {number:08}"), number));
        assert_eq!(remembered.by_place.len(), TOKENS_MAX);
    }

    /// All of this core's room but so many bytes.
    fn all_but(bytes: usize) -> Room {
        Room::take(CORE_BYTES_MAX - CORE_BYTES.get() - bytes).unwrap()
    }

    #[test]
    fn a_token_is_kept_while_the_core_has_room_for_it_and_not_a_byte_less() {
        let token = "header.claims.signature";
        let bytes = Kept::<u64>::bytes(token);
        for (room, is_kept) in [(bytes, true), (bytes - 1, false)] {
            let _others = all_but(room);
            let mut remembered = Remembered::default();
            remembered.keep(token, 1u64);
            assert_eq!(remembered.find(token).is_some(), is_kept);
        }
        assert_eq!(CORE_BYTES.get(), 0);
    }

    #[test]
    fn what_is_overwritten_forgotten_or_dropped_gives_its_room_to_others_of_this_core() {
        let (token, same_place) = ("header.claims.signature", "header.other!.signature");
        let _others = all_but(Kept::<u64>::bytes(token));
        let (mut one, mut two) = (Remembered::default(), Remembered::default());
        one.keep(token, 1u64);
        two.keep(token, 2u64);
        assert_eq!((one.find(token), two.find(token)), (Some(&1), None));
        one.keep(same_place, 3);
        assert_eq!((one.find(token), one.find(same_place)), (None, Some(&3)));
        one.forget();
        two.keep(token, 2);
        assert_eq!(two.find(token), Some(&2));
        drop(two);
        one.keep(token, 1);
        assert_eq!(one.find(token), Some(&1));
    }

    #[test]
    fn many_configs_keep_no_more_than_the_core_has_room_for() {
        let token = "x".repeat(TOKEN_BYTES_MAX);
        let most = CORE_BYTES_MAX / Kept::<u64>::bytes(&token);
        let mut configs: Vec<Remembered<u64>> = (0..most + 10).map(|_| Remembered::default()).collect();
        configs.iter_mut().for_each(|remembered| remembered.keep(&token, 0));
        assert_eq!(configs.iter().filter(|remembered| remembered.find(&token).is_some()).count(), most);
        drop(configs);
        assert_eq!(CORE_BYTES.get(), 0);
    }
}
