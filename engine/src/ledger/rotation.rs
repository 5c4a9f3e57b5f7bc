//! Positions of a round robin that all cores turn together.
//!
//! Invariant: a position is handed out at most once. While a core is slow it draws each position from the shared cell, so
//! that sequential requests get consecutive positions on whatever cores they land. A core that is fast for a while draws
//! ranges; those positions are handed out in its own order, and when it slows down the rest of its range is dropped
//! rather than dealt out late between the positions of others.

use std::sync::atomic::AtomicU64 as Pace;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam::utils::CachePadded;

use super::sync::AtomicU64;

/// The rate of a core is looked at in pieces of this length.
const PIECE_MS: u64 = 100;

/// Requests in a piece that make it a fast one: 10,000/s. Below that a shared `fetch_add` per request is under 0.1 % of a
/// core's time; above it order between cores is nothing a client could see.
const FAST_REQUESTS_PER_PIECE: u64 = 1_000;

/// Fast pieces in a row before a core draws more than one position.
const FAST_PIECES: u64 = 2;

/// The most positions a core draws at once.
const LEASE_POSITIONS_MAX: u64 = 256;

const LEFT_BITS: u32 = 9;
const LEFT_MAX: u64 = (1 << LEFT_BITS) - 1;

struct Cell {
    /// Next position above, positions left below.
    lease: AtomicU64,
    /// Number of the current piece, requests in it, fast pieces before it. Written by the core only; a torn reading could
    /// only make a lease begin or end a little early.
    piece: Pace,
    requests: Pace,
    fast_pieces: Pace,
}

/// Hands out 0, 1, 2, ... once each. `cycle` is the number of positions after which the user's pattern repeats (targets of
/// a round robin, the total weight of a weighted one): leases are multiples of it where it fits, so that each lease by
/// itself is fair.
pub struct Rotation {
    home: CachePadded<AtomicU64>,
    /// Empty when there is one core: it has no one to share with.
    cells: Box<[CachePadded<Cell>]>,
    cycle: u64,
}

impl Rotation {
    #[must_use]
    pub fn new(cores: usize, cycle: usize) -> Self {
        let cell = || Cell {
            lease: AtomicU64::new(0),
            piece: Pace::new(0),
            requests: Pace::new(0),
            fast_pieces: Pace::new(0),
        };
        let cells = if cores < 2 { 0 } else { cores };
        Self {
            home: CachePadded::new(AtomicU64::new(0)),
            cells: (0..cells).map(|_| CachePadded::new(cell())).collect(),
            cycle: cycle.max(1) as u64,
        }
    }

    /// The next position. A `core` past the last is a thread that is none; it never leases.
    #[inline]
    pub fn next(&self, core: usize, now_ms: u64) -> u64 {
        let Some(cell) = self.cells.get(core) else {
            return self.home.fetch_add(1, Relaxed);
        };
        let fast_pieces = cell.pace(now_ms);
        if fast_pieces < FAST_PIECES {
            return self.home.fetch_add(1, Relaxed);
        }
        if let Some(position) = cell.leased() {
            return position;
        }
        let positions = self.lease_positions(fast_pieces);
        let first = self.home.fetch_add(positions, Relaxed);
        if positions > 1 {
            cell.lease.store((first + 1) << LEFT_BITS | (positions - 1), Relaxed);
        }
        first
    }

    /// 64, 128, then 256 positions, cut to whole cycles.
    fn lease_positions(&self, fast_pieces: u64) -> u64 {
        let positions = (64 << (fast_pieces - FAST_PIECES).min(2)).min(LEASE_POSITIONS_MAX);
        if self.cycle <= positions { positions - positions % self.cycle } else { positions }
    }
}

impl Cell {
    /// Counts a request and gives the number of fast pieces in a row before the current one. Drops the lease when the core
    /// has slowed down.
    fn pace(&self, now_ms: u64) -> u64 {
        let piece = now_ms / PIECE_MS;
        let current = self.piece.load(Relaxed);
        let requests = self.requests.load(Relaxed);
        let fast_pieces = self.fast_pieces.load(Relaxed);
        if piece == current {
            self.requests.store(requests + 1, Relaxed);
            return fast_pieces;
        }
        let was_fast = piece == current + 1 && requests >= FAST_REQUESTS_PER_PIECE;
        let fast_pieces = if was_fast { fast_pieces + 1 } else { 0 };
        self.piece.store(piece, Relaxed);
        self.requests.store(1, Relaxed);
        self.fast_pieces.store(fast_pieces, Relaxed);
        if !was_fast {
            self.lease.store(0, Relaxed);
        }
        fast_pieces
    }

    fn leased(&self) -> Option<u64> {
        let mut seen = self.lease.load(Relaxed);
        while seen & LEFT_MAX > 0 {
            // One position on, one fewer left.
            let next = seen + (1 << LEFT_BITS) - 1;
            match self.lease.compare_exchange_weak(seen, next, Relaxed, Relaxed) {
                Ok(_) => return Some(seen >> LEFT_BITS),
                Err(now) => seen = now,
            }
        }
        None
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn thirty_requests_over_three_targets_are_ten_each_on_whatever_cores() {
        for seed in 0..200_u64 {
            let rotation = Rotation::new(8, 3);
            let mut hits = [0; 3];
            for i in 0..30_u64 {
                let core = ((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(i as u32 * 7) % 8) as usize;
                hits[(rotation.next(core, 1_000 + i * (seed % 5)) % 3) as usize] += 1;
            }
            assert_eq!(hits, [10, 10, 10], "seed {seed}");
        }
    }

    /// Asks at a steady rate from one core; gives how often the shared cell moved.
    fn drive(rotation: &Rotation, core: usize, from_ms: u64, ms: u64, per_ms: u64) -> u64 {
        let mut draws = 0;
        for now in from_ms..from_ms + ms {
            for _ in 0..per_ms {
                let before = rotation.home.load(Relaxed);
                rotation.next(core, now);
                draws += u64::from(rotation.home.load(Relaxed) != before);
            }
        }
        draws
    }

    #[test]
    fn a_core_draws_one_by_one_up_to_ten_thousand_a_second() {
        assert_eq!(drive(&Rotation::new(4, 3), 1, 0, 2_000, 9), 18_000);
    }

    #[test]
    fn a_core_that_stays_fast_touches_the_shared_cell_once_in_hundreds_of_requests() {
        let rotation = Rotation::new(4, 3);
        assert_eq!(drive(&rotation, 1, 0, 200, 100), 20_000, "not before two fast pieces");
        let draws = drive(&rotation, 1, 200, 1_000, 100);
        assert!(draws < 100_000 / 100, "{draws} draws for 100,000 requests");
        assert!(rotation.lease_positions(9) == 255, "85 cycles of 3");
    }

    #[test]
    fn thirty_requests_right_after_a_burst_are_ten_each_again() {
        let rotation = Rotation::new(4, 3);
        (0..4).for_each(|core| _ = drive(&rotation, core, 0, 1_000, 50));
        let mut hits = [0; 3];
        for i in 0..30 {
            hits[(rotation.next(i % 4, 1_200) % 3) as usize] += 1;
        }
        assert_eq!(hits, [10, 10, 10]);
    }

    #[test]
    fn no_position_is_handed_out_twice_and_a_lease_is_made_of_whole_cycles() {
        let rotation = Rotation::new(3, 7);
        let mut seen = HashSet::new();
        let mut hits = [0_u64; 7];
        for now in 0..1_000 {
            for i in 0..60 {
                let position = rotation.next(i % 3, now);
                assert!(seen.insert(position), "position {position} twice");
                hits[(position % 7) as usize] += 1;
            }
        }
        let (least, most) = (hits.iter().min().unwrap(), hits.iter().max().unwrap());
        assert!(most - least <= 3, "at most one for each core's begun lease: {hits:?}");
    }

    #[test]
    fn one_core_draws_from_its_own_cell_only() {
        let rotation = Rotation::new(1, 3);
        assert!(rotation.cells.is_empty());
        assert!((0..1_000).all(|i| rotation.next(0, i) == i));
    }
}
