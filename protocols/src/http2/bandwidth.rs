//! How large a connection's receive windows should be (`FERRUM_POOL_HTTP2_ADAPTIVE_WINDOW`).
//!
//! A PING measures a round trip; what was received meanwhile is what the path holds. When that comes near the window, the window
//! holds the peer back, and doubles. Windows start small, so that a connection that needs little cannot make the gateway keep
//! much.

use tokio::io::{AsyncRead, AsyncWrite};

use super::piece::Piece;

/// What every connection starts with (RFC 9113 §6.9.2).
pub const WINDOW_START_BYTES: u32 = 65_535;

struct Estimate {
    window: u32,
    max: u32,
    /// Taken when the PING under way was sent; nothing when none is.
    since: Option<u64>,
    /// Taken when the last answer came.
    answered_at: u64,
}

impl Estimate {
    fn new(max: u32) -> Self {
        Self { window: WINDOW_START_BYTES.min(max), max, since: None, answered_at: 0 }
    }

    /// Whether a PING should be sent now, `taken` being all the body bytes so far.
    fn wants_ping(&mut self, taken: u64) -> bool {
        // A quarter of a window between two looks: PINGs stay rare among the data.
        let is_due =
            self.since.is_none() && self.window < self.max && taken - self.answered_at >= u64::from(self.window / 4);
        if is_due {
            self.since = Some(taken);
        }
        is_due
    }

    /// The answer to the PING came. A larger window, if one is needed.
    fn answered(&mut self, taken: u64) -> Option<u32> {
        let during = taken - self.since.take()?;
        self.answered_at = taken;
        if during < u64::from(self.window) / 3 * 2 {
            return None;
        }
        self.window = self.window.saturating_mul(2).min(self.max);
        Some(self.window)
    }
}

/// The receive windows of a connection that nobody has fixed.
pub struct Windows {
    estimate: Estimate,
    stream_max: u32,
    connection_max: u32,
}

/// A connection whose windows can be changed.
pub trait Receives {
    fn set_windows(&mut self, stream: u32, connection: u32);
}

impl<T: AsyncRead + AsyncWrite + Unpin> Receives for h2::server::Connection<T, Piece> {
    fn set_windows(&mut self, stream: u32, connection: u32) {
        self.set_target_window_size(connection);
        // The last change may not have been acknowledged; the next one says it.
        let _ = self.set_initial_window_size(stream);
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Receives for h2::client::Connection<T, Piece> {
    fn set_windows(&mut self, stream: u32, connection: u32) {
        self.set_target_window_size(connection);
        let _ = self.set_initial_window_size(stream);
    }
}

impl Windows {
    /// They grow up to these sizes.
    pub fn new(stream_max: u32, connection_max: u32) -> Self {
        Self { estimate: Estimate::new(stream_max.max(connection_max)), stream_max, connection_max }
    }

    /// Whether a PING should be sent now, `taken` being all the body bytes so far.
    pub fn wants_ping(&mut self, taken: u64) -> bool {
        self.estimate.wants_ping(taken)
    }

    /// The answer to a PING came.
    pub fn answered(&mut self, connection: &mut impl Receives, taken: u64) {
        if let Some(window) = self.estimate.answered(taken) {
            connection.set_windows(window.min(self.stream_max), window.min(self.connection_max));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_is_used_up_within_a_round_trip_doubles_up_to_its_bound() {
        let mut estimate = Estimate::new(200_000);
        assert!(!estimate.wants_ping(10_000));
        assert!(estimate.wants_ping(20_000));
        assert!(!estimate.wants_ping(80_000), "one at a time");
        assert_eq!(estimate.answered(85_000), Some(131_070));
        assert!(estimate.wants_ping(200_000));
        assert_eq!(estimate.answered(400_000), Some(200_000));
        assert!(!estimate.wants_ping(9_000_000), "it cannot grow any more");
    }

    #[test]
    fn a_slow_peer_keeps_the_small_window() {
        let mut estimate = Estimate::new(1 << 20);
        assert!(estimate.wants_ping(20_000));
        assert_eq!(estimate.answered(30_000), None);
        assert_eq!(estimate.answered(90_000), None, "no PING is under way");
    }
}
