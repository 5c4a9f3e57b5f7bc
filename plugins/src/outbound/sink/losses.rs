//! How many records each kind of sink took and lost, since the process began (traffic sheet §8.12). A reload resets nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why records did not arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// The sink refused their batch for good.
    BatchDiscard,
    /// The queue had as many bytes as it may.
    ByteBudget,
    /// The queue had as many records as it may.
    QueueFull,
    RecordTooLarge,
    /// The time to deliver them was over.
    Shutdown,
    /// All attempts to deliver their batch failed.
    SinkError,
}

impl Loss {
    pub const ALL: [Loss; 6] =
        [Loss::BatchDiscard, Loss::ByteBudget, Loss::QueueFull, Loss::RecordTooLarge, Loss::Shutdown, Loss::SinkError];

    /// The label in `/metrics`.
    pub fn name(self) -> &'static str {
        match self {
            Loss::BatchDiscard => "batch_discard",
            Loss::ByteBudget => "byte_budget",
            Loss::QueueFull => "queue_full",
            Loss::RecordTooLarge => "record_too_large",
            Loss::Shutdown => "shutdown",
            Loss::SinkError => "sink_error",
        }
    }
}

/// The figures of all sinks of one plugin.
pub struct Tally {
    pub plugin: &'static str,
    accepted: AtomicU64,
    lost: [AtomicU64; Loss::ALL.len()],
}

impl Tally {
    const fn new(plugin: &'static str) -> Self {
        Self { plugin, accepted: AtomicU64::new(0), lost: [const { AtomicU64::new(0) }; Loss::ALL.len()] }
    }

    pub(super) fn accept(&self, records: usize) {
        self.accepted.fetch_add(records as u64, Relaxed);
    }

    pub(super) fn lose(&self, why: Loss, records: usize) {
        self.lost[why as usize].fetch_add(records as u64, Relaxed);
    }

    /// Records that got into a queue.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Records lost for that reason, whether or not they had got into a queue.
    pub fn lost(&self, why: Loss) -> u64 {
        self.lost[why as usize].load(Relaxed)
    }
}

static TALLIES: [Tally; 10] = [
    Tally::new("http_logging"),
    Tally::new("tcp_logging"),
    Tally::new("udp_logging"),
    Tally::new("ws_logging"),
    Tally::new("statsd_logging"),
    Tally::new("loki_logging"),
    Tally::new("kafka_logging"),
    Tally::new("ai_transcript_audit"),
    Tally::new("api_chargeback_sink"),
    Tally::new("other"),
];

/// All of them, in the sheet's order.
pub fn tallies() -> &'static [Tally] {
    &TALLIES
}

/// That of a plugin; those that the sheet does not name share one.
pub(super) fn tally(plugin: &str) -> &'static Tally {
    let [.., other] = &TALLIES;
    TALLIES.iter().find(|tally| tally.plugin == plugin).unwrap_or(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_for_itself() {
        let tally = tally("api_chargeback_sink");
        tally.accept(5);
        for (index, why) in Loss::ALL.into_iter().enumerate() {
            tally.lose(why, index + 1);
        }
        assert_eq!(tally.accepted(), 5);
        assert_eq!(Loss::ALL.map(|why| tally.lost(why)), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_plugin_that_the_sheet_does_not_name_is_among_the_others() {
        assert_eq!(tally("my_own").plugin, "other");
        assert_eq!(tally("tcp_logging").plugin, "tcp_logging");
    }
}
