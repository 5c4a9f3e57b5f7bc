//! What a peer makes the gateway do for nothing.
//!
//! Frames that carry no part of an exchange (PING, SETTINGS, PRIORITY, RST_STREAM, WINDOW_UPDATE, empty DATA, unknown types) cost
//! work to read and often an answer. [`Meter`] reads the frame headers of what is received and counts them against an
//! allowance that time refills; [`Guarded`] puts it in front of the library. Streams that are reset, header blocks without
//! end and small DATA frames are the library's to bound.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use engine::core::Deadlines;
use engine::net::Duplex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Idle frames that may come in one go, and how many more each second: far above what keep-alives, window updates and
/// changes of mind take, far below what hurts.
const ALLOWANCE: u64 = 10_000;
const ALLOWANCE_PER_SECOND: u64 = 2_000;
/// What is worth more than its frame header: a window update pays for so many bytes of ours, and DATA for as many of theirs.
const BYTES_PER_FRAME: u64 = 1024;

const FRAME_HEADER_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;

/// Counts the idle frames in a stream of bytes.
pub struct Meter {
    header: [u8; FRAME_HEADER_BYTES],
    header_len: usize,
    /// Of the frame at hand, what is still to come.
    payload_left: usize,
    allowance: u64,
    refilled_ms: u64,
}

impl Meter {
    /// `preface_bytes` come before the first frame.
    pub fn new(preface_bytes: usize, now_ms: u64) -> Self {
        let header = [0; FRAME_HEADER_BYTES];
        Self { header, header_len: 0, payload_left: preface_bytes, allowance: ALLOWANCE, refilled_ms: now_ms }
    }

    /// Looks at what came. False: the allowance is used up.
    pub fn note(&mut self, received: &[u8], now_ms: u64) -> bool {
        let refill = now_ms.saturating_sub(self.refilled_ms) * ALLOWANCE_PER_SECOND / 1000;
        if refill > 0 {
            self.earn(refill);
            self.refilled_ms = now_ms;
        }
        let mut rest = received;
        while !rest.is_empty() {
            if self.payload_left > 0 {
                let skipped = self.payload_left.min(rest.len());
                self.payload_left -= skipped;
                rest = &rest[skipped..];
                continue;
            }
            let taken = (FRAME_HEADER_BYTES - self.header_len).min(rest.len());
            self.header[self.header_len..self.header_len + taken].copy_from_slice(&rest[..taken]);
            self.header_len += taken;
            rest = &rest[taken..];
            if self.header_len == FRAME_HEADER_BYTES {
                self.header_len = 0;
                if !self.frame() {
                    return false;
                }
            }
        }
        true
    }

    fn frame(&mut self) -> bool {
        let [high, middle, low, kind, ..] = self.header;
        self.payload_left = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        match kind {
            DATA if self.payload_left > 0 => self.earn(1 + self.payload_left as u64 / BYTES_PER_FRAME),
            HEADERS | CONTINUATION => self.earn(1),
            _ if self.allowance == 0 => return false,
            _ => self.allowance -= 1,
        }
        true
    }

    /// Bytes that the peer took from us.
    fn note_sent(&mut self, count: usize) {
        self.earn(count as u64 / BYTES_PER_FRAME);
    }

    fn earn(&mut self, frames: u64) {
        self.allowance = (self.allowance + frames).min(ALLOWANCE);
    }
}

/// A connection whose idle frames are counted. When there are too many it gives the library nothing more to read.
pub struct Guarded {
    inner: Duplex,
    meter: Meter,
    clock: Rc<Deadlines>,
    flooded: Rc<Cell<bool>>,
}

impl Guarded {
    pub fn new(inner: Duplex, meter: Meter, clock: Rc<Deadlines>) -> (Self, Rc<Cell<bool>>) {
        let flooded = Rc::new(Cell::new(false));
        (Self { inner, meter, clock, flooded: flooded.clone() }, flooded)
    }
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.flooded.get() {
            return Poll::Pending;
        }
        let before = into.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, into))?;
        if !this.meter.note(&into.filled()[before..], this.clock.now_ms()) {
            into.set_filled(before);
            this.flooded.set(true);
            // Whoever drives the connection looks at the flag next.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.meter.note_sent(count);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, pieces))?;
        self.meter.note_sent(count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![0, (payload >> 8) as u8, payload as u8, kind, 0, 0, 0, 0, 1];
        frame.resize(FRAME_HEADER_BYTES + payload, 0);
        frame
    }

    #[test]
    fn so_many_idle_frames_pass_and_not_one_more() {
        let ping = frame(PING, 8);
        let mut meter = Meter::new(0, 0);
        assert!((0..ALLOWANCE).all(|_| meter.note(&ping, 0)));
        assert!(!meter.note(&ping, 0));
    }

    #[test]
    fn time_refills_the_allowance_up_to_its_size() {
        let ping = frame(PING, 8);
        let mut meter = Meter::new(0, 0);
        (0..ALLOWANCE).for_each(|_| assert!(meter.note(&ping, 0)));
        assert!((0..ALLOWANCE_PER_SECOND).all(|_| meter.note(&ping, 1000)));
        assert!(!meter.note(&ping, 1000));
        let mut meter = Meter::new(0, 0);
        assert!((0..ALLOWANCE).all(|_| meter.note(&ping, 3_600_000)));
        assert!(!meter.note(&ping, 3_600_000));
    }

    #[test]
    fn what_carries_an_exchange_is_free_however_it_is_cut() {
        let mut bytes = b"preface".to_vec();
        for _ in 0..ALLOWANCE {
            bytes.extend(frame(HEADERS, 20));
            bytes.extend(frame(DATA, 1));
            bytes.extend(frame(PING, 8));
        }
        for step in [1, 7, 4096] {
            let mut meter = Meter::new(7, 0);
            assert!(bytes.chunks(step).all(|piece| meter.note(piece, 0)), "{step}");
        }
    }

    #[test]
    fn empty_data_frames_are_idle() {
        let empty = frame(DATA, 0);
        let mut meter = Meter::new(0, 0);
        assert!(!(0..=ALLOWANCE).all(|_| meter.note(&empty, 0)));
    }
}
