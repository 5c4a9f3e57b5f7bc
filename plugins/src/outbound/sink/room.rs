//! The bounds of a queue, kept exactly over all who write into it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Loss;

const BYTES_BITS: u32 = 40;
const BYTES_MASK: u64 = (1 << BYTES_BITS) - 1;

/// The most bytes that can be counted: a tebibyte.
pub(super) const BYTES_MAX: usize = BYTES_MASK as usize;

/// Places for records, and for their bytes. Taken and given back once for many records.
pub(super) struct Room {
    /// What is taken: the number of records above the bytes.
    taken: AtomicU64,
    records_max: usize,
    bytes_max: usize,
}

/// How many records got a place, and what kept the others out.
pub(super) struct Taken {
    pub records: usize,
    pub refusal: Loss,
}

impl Room {
    pub fn new(records_max: usize, bytes_max: usize) -> Self {
        Self { taken: AtomicU64::new(0), records_max, bytes_max: bytes_max.min(BYTES_MAX) }
    }

    /// Places for as many of these records, from the first on, as there are places. `ends` says where each one ends.
    pub fn take(&self, ends: &[u32]) -> Taken {
        let mut taken = Taken { records: 0, refusal: Loss::QueueFull };
        // Nothing else is read behind it: the records themselves go through a channel.
        let _ = self.taken.fetch_update(Relaxed, Relaxed, |before| {
            let (records, bytes) = unpack(before);
            let by_number = ends.len().min(self.records_max.saturating_sub(records));
            let bytes_left = self.bytes_max.saturating_sub(bytes);
            let by_bytes = ends.partition_point(|end| *end as usize <= bytes_left);
            let refusal = if by_bytes < by_number { Loss::ByteBudget } else { Loss::QueueFull };
            taken = Taken { records: by_number.min(by_bytes), refusal };
            let last = taken.records.checked_sub(1)?;
            Some(pack(records + taken.records, bytes + ends[last] as usize))
        });
        taken
    }

    pub fn give_back(&self, records: usize, bytes: usize) {
        self.taken.fetch_sub(pack(records, bytes), Relaxed);
    }

    #[cfg(test)]
    pub fn taken(&self) -> (usize, usize) {
        unpack(self.taken.load(Relaxed))
    }
}

fn pack(records: usize, bytes: usize) -> u64 {
    (records as u64) << BYTES_BITS | bytes as u64
}

fn unpack(taken: u64) -> (usize, usize) {
    ((taken >> BYTES_BITS) as usize, (taken & BYTES_MASK) as usize)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_last_place_is_given_and_the_one_behind_it_is_not() {
        let room = Room::new(3, 1000);
        assert_eq!(room.take(&[10, 20]).records, 2);
        let taken = room.take(&[10, 20]);
        assert_eq!((taken.records, taken.refusal), (1, Loss::QueueFull));
        assert_eq!(room.take(&[10]).records, 0);
        assert_eq!(room.taken(), (3, 30));
        room.give_back(2, 20);
        assert_eq!(room.take(&[10, 20, 30]).records, 2);
    }

    #[test]
    fn the_last_byte_is_given_and_the_one_behind_it_is_not() {
        let room = Room::new(100, 30);
        assert_eq!(room.take(&[10, 20, 30]).records, 3);
        assert_eq!(room.taken(), (3, 30));
        room.give_back(3, 30);
        let taken = room.take(&[10, 20, 31]);
        assert_eq!((taken.records, taken.refusal), (2, Loss::ByteBudget));
        let taken = room.take(&[11]);
        assert_eq!((taken.records, taken.refusal), (0, Loss::ByteBudget));
    }

    #[test]
    fn many_threads_get_exactly_as_many_places_as_there_are() {
        let room = Arc::new(Room::new(1000, BYTES_MAX));
        let take = |room: Arc<Room>| (0..200).map(|_| room.take(&[5, 10, 15]).records).sum::<usize>();
        let threads: Vec<_> = (0..4).map(|_| room.clone()).map(|room| std::thread::spawn(move || take(room))).collect();
        let taken: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!((taken, room.taken()), (1000, (1000, 5000)));
    }
}
