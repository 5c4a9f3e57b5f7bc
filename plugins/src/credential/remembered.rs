//! Tokens that were found good. A client shows the same one with each request until it expires; what was verified once need not
//! be verified again while whatever it was verified by stays. When that is no longer so, is for the owner to say.

use aws_lc_rs::constant_time::verify_slices_are_equal;

/// Tokens that one core keeps for one config. Another one with the same place takes it over.
const TOKENS_MAX: usize = 256;
/// Longer ones are verified each time. Those of providers with a few dozen claims and an RSA signature have 2 KiB.
const TOKEN_BYTES_MAX: usize = 4096;
/// What nobody guesses: 192 bits in base64.
const SECRET_BYTES: usize = 32;

/// With what each is good for.
pub struct Remembered<T> {
    /// Empty until the first token was good.
    places: Vec<Option<(Box<str>, T)>>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self { places: Vec::new() }
    }
}

impl<T> Remembered<T> {
    pub fn find(&self, token: &str) -> Option<&T> {
        let (known, good) = self.places.get(place(token)?)?.as_ref()?;
        is_same(known.as_bytes(), token.as_bytes()).then_some(good)
    }

    pub fn keep(&mut self, token: &str, good: T) {
        let Some(place) = place(token).filter(|_| token.len() <= TOKEN_BYTES_MAX) else { return };
        self.places.resize_with(TOKENS_MAX, || None);
        self.places[place] = Some((token.into(), good));
    }

    pub fn forget(&mut self) {
        self.places.clear();
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
        assert_eq!(remembered.places.len(), TOKENS_MAX);
    }
}
