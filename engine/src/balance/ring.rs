//! The hash ring.

/// Points each target has on the ring.
const POINTS_PER_TARGET: usize = 150;

const MULTIPLIER: u64 = 0x517c_c1b7_2722_0a95;

/// The ring's hash, byte for byte that of the gateway's earlier releases, so that keys stay where they are over a rolling
/// upgrade.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |hash: u64, &byte| (hash.rotate_left(5) ^ u64::from(byte)).wrapping_mul(MULTIPLIER))
}

/// Points sorted by hash; equal hashes by the order of the targets.
#[derive(Debug)]
pub(super) struct Ring {
    points: Box<[(u64, u16)]>,
}

impl Ring {
    /// From each target's index and its `host:port` text.
    pub(super) fn new<'a>(targets: impl Iterator<Item = (u16, &'a str)>) -> Self {
        let mut text = String::new();
        let mut points = Vec::new();
        for (target, address) in targets {
            for point in 0..POINTS_PER_TARGET {
                text.clear();
                text.push_str(address);
                text.push(':');
                text.push_str(&point.to_string());
                points.push((hash(text.as_bytes()), target));
            }
        }
        points.sort_unstable();
        Self { points: points.into() }
    }

    /// The first accepted target at or after the key, round the ring once.
    pub(super) fn find(&self, key: &[u8], is_candidate: impl Fn(usize) -> bool) -> Option<usize> {
        let key = hash(key);
        let first = self.points.partition_point(|&(hash, _)| hash < key);
        let (before, after) = self.points.split_at(first);
        after.iter().chain(before).map(|&(_, target)| usize::from(target)).find(|&target| is_candidate(target))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn ring(addresses: &[String]) -> Ring {
        Ring::new(addresses.iter().enumerate().map(|(index, address)| (index as u16, address.as_str())))
    }

    fn addresses(targets: usize) -> Vec<String> {
        (0..targets).map(|index| format!("10.0.0.{index}:8080")).collect()
    }

    #[test]
    fn the_hash_is_the_documented_one() {
        assert_eq!(hash(b""), 0);
        let a = 0x61_u64.wrapping_mul(MULTIPLIER);
        assert_eq!(hash(b"a"), a);
        assert_eq!(hash(b"ab"), (a.rotate_left(5) ^ 0x62).wrapping_mul(MULTIPLIER));
    }

    #[test]
    fn adding_a_target_moves_about_one_key_in_n_and_only_to_the_new_one() {
        let (old, new) = (addresses(10), addresses(11));
        let (before, after) = (ring(&old), ring(&new));
        let mut moved = 0;
        for key in 0..20_000 {
            let key = format!("client-{key}");
            let (was, is) = (before.find(key.as_bytes(), |_| true), after.find(key.as_bytes(), |_| true));
            if was != is {
                assert_eq!(is, Some(10));
                moved += 1;
            }
        }
        assert!((20_000 / 22..20_000 / 6).contains(&moved), "{moved} of 20000 moved");
    }

    #[test]
    fn a_target_that_is_no_candidate_hands_its_keys_on_and_all_others_keep_theirs() {
        let ring = ring(&addresses(5));
        let mut used = [false; 5];
        for key in 0..2_000 {
            let key = format!("k{key}");
            let at_first = ring.find(key.as_bytes(), |_| true).unwrap();
            let then = ring.find(key.as_bytes(), |target| target != 2).unwrap();
            assert!(then != 2 && (at_first == 2 || then == at_first));
            used[at_first] = true;
        }
        assert_eq!(used, [true; 5]);
        assert_eq!(ring.find(b"k", |_| false), None);
    }
}
