//! What a peer makes the gateway do for nothing, and faults that are better called by their name.
//!
//! Frames that carry no part of an exchange (PING, SETTINGS, PRIORITY, RST_STREAM, WINDOW_UPDATE, empty DATA, unknown types) cost
//! work to read and often an answer. [`Meter`] reads the frame headers of what is received and counts them against an
//! allowance that time refills; [`Guarded`] puts it in front of the library. Streams that are reset before they were served,
//! header blocks without end and small DATA frames are the library's to bound. Frames of a wrong size, and settings out of
//! range, are refused here because the library's error code for them is not the RFC's.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use engine::core::Deadlines;
use engine::net::Duplex;
use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Idle frames that may come in one go, and how many more each second: far above what keep-alives, window updates and
/// changes of mind take, far below what hurts.
const ALLOWANCE: u64 = 10_000;
const ALLOWANCE_PER_SECOND: u64 = 2_000;
/// What is worth more than its frame header: a window update pays for so many bytes of ours, and DATA for as many of theirs.
const BYTES_PER_FRAME: u64 = 1024;

/// A stream that is begun and given up costs the backend a request; it is worth this many idle frames.
const FRAMES_PER_RESET: u64 = 10;

const FRAME_HEADER_BYTES: usize = 9;
/// RFC 9113 §6.5.1.
const SETTING_BYTES: usize = 6;
const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;
const INITIAL_WINDOW_SIZE: u16 = 4;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// Reads the frame headers, and the settings, in a stream of bytes.
pub struct Meter {
    /// The frame header at hand, or the setting.
    part: [u8; FRAME_HEADER_BYTES],
    part_len: usize,
    kind: u8,
    /// Of the frame at hand, what is still to come.
    payload_left: usize,
    frame_bytes_max: usize,
    has_settings: bool,
    is_counted: bool,
    allowance: u64,
    refilled_ms: u64,
}

impl Meter {
    /// `preface_bytes` come before the first frame.
    pub fn new(preface_bytes: usize, frame_bytes_max: u32, now_ms: u64) -> Self {
        Self {
            part: [0; FRAME_HEADER_BYTES],
            part_len: 0,
            kind: DATA,
            payload_left: preface_bytes,
            frame_bytes_max: frame_bytes_max as usize,
            has_settings: false,
            is_counted: true,
            allowance: ALLOWANCE,
            refilled_ms: now_ms,
        }
    }

    /// For a backend, which may reset as many streams as it likes: it answers early.
    pub fn of_backend(frame_bytes_max: u32, now_ms: u64) -> Self {
        Self { is_counted: false, ..Self::new(0, frame_bytes_max, now_ms) }
    }

    /// Looks at what came.
    ///
    /// # Errors
    /// What the connection is to be closed with.
    pub fn note(&mut self, received: &[u8], now_ms: u64) -> Result<(), Reason> {
        let refill = now_ms.saturating_sub(self.refilled_ms) * ALLOWANCE_PER_SECOND / 1000;
        if refill > 0 {
            self.earn(refill);
            self.refilled_ms = now_ms;
        }
        let mut rest = received;
        while !rest.is_empty() {
            let wanted = match (self.payload_left, self.kind) {
                (0, _) => FRAME_HEADER_BYTES,
                (_, SETTINGS) => SETTING_BYTES,
                (left, _) => {
                    let skipped = left.min(rest.len());
                    self.payload_left -= skipped;
                    rest = &rest[skipped..];
                    continue;
                }
            };
            let taken = (wanted - self.part_len).min(rest.len());
            self.part[self.part_len..self.part_len + taken].copy_from_slice(&rest[..taken]);
            self.part_len += taken;
            rest = &rest[taken..];
            if self.part_len == wanted {
                self.part_len = 0;
                if wanted == SETTING_BYTES { self.setting()? } else { self.frame()? }
            }
        }
        Ok(())
    }

    fn frame(&mut self) -> Result<(), Reason> {
        let [high, middle, low, kind, flags, ..] = self.part;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        // RFC 9113 §3.4: settings come first, and no mere acknowledgement of ours.
        if !std::mem::replace(&mut self.has_settings, true) && (kind != SETTINGS || flags & 1 != 0) {
            return Err(Reason::PROTOCOL_ERROR);
        }
        let is_sized = match kind {
            PRIORITY => length == 5,
            RST_STREAM | WINDOW_UPDATE => length == 4,
            SETTINGS => length % SETTING_BYTES == 0 && (length == 0 || flags & 1 == 0),
            PING => length == 8,
            _ => true,
        };
        if !is_sized || length > self.frame_bytes_max {
            return Err(Reason::FRAME_SIZE_ERROR);
        }
        (self.kind, self.payload_left) = (kind, length);
        match kind {
            DATA if length > 0 => self.earn(1 + length as u64 / BYTES_PER_FRAME),
            HEADERS | CONTINUATION => self.earn(1),
            RST_STREAM => self.spend(FRAMES_PER_RESET)?,
            _ => self.spend(1)?,
        }
        Ok(())
    }

    /// RFC 9113 §6.5.2.
    fn setting(&mut self) -> Result<(), Reason> {
        self.payload_left -= SETTING_BYTES;
        let [id_high, id_low, value @ ..] = self.part;
        let value = u32::from_be_bytes([value[0], value[1], value[2], value[3]]);
        let is_too_large = u16::from_be_bytes([id_high, id_low]) == INITIAL_WINDOW_SIZE && value > WINDOW_BYTES_MAX;
        if is_too_large { Err(Reason::FLOW_CONTROL_ERROR) } else { Ok(()) }
    }

    /// Bytes that the peer took from us.
    fn note_sent(&mut self, count: usize) {
        self.earn(count as u64 / BYTES_PER_FRAME);
    }

    fn earn(&mut self, frames: u64) {
        self.allowance = (self.allowance + frames).min(ALLOWANCE);
    }

    fn spend(&mut self, frames: u64) -> Result<(), Reason> {
        if !self.is_counted {
            return Ok(());
        }
        self.allowance = self.allowance.checked_sub(frames).ok_or(Reason::ENHANCE_YOUR_CALM)?;
        Ok(())
    }
}

/// A connection whose frames are looked at. After a fault it gives the library nothing more to read.
pub struct Guarded {
    inner: Duplex,
    meter: Meter,
    clock: Rc<Deadlines>,
    watch: Watch,
}

/// What is known of a connection's frames, for whoever drives it.
#[derive(Clone, Default)]
pub struct Watch {
    pub fault: Fault,
    /// The peer has begun as one of HTTP/2 does.
    pub has_begun: Rc<Cell<bool>>,
    /// A fault is an error of the connection at once; else whoever drives it says farewell first.
    ends_at_fault: bool,
}

impl Watch {
    /// For connections whose other end is a backend.
    pub fn of_backend() -> Self {
        Self { ends_at_fault: true, ..Self::default() }
    }
}

/// What a connection is to be closed with.
pub type Fault = Rc<Cell<Option<Reason>>>;

impl Guarded {
    pub fn new(inner: Duplex, meter: Meter, clock: Rc<Deadlines>, watch: Watch) -> Self {
        Self { inner, meter, clock, watch }
    }
}

impl Guarded {
    fn at_fault(&self) -> Poll<io::Result<()>> {
        if self.watch.ends_at_fault { Poll::Ready(Err(io::ErrorKind::Unsupported.into())) } else { Poll::Pending }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.watch.fault.get().is_some() {
            return this.at_fault();
        }
        let before = into.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, into))?;
        if let Err(fault) = this.meter.note(&into.filled()[before..], this.clock.now_ms()) {
            into.set_filled(before);
            this.watch.fault.set(Some(fault));
            // Whoever drives the connection looks at the fault next.
            cx.waker().wake_by_ref();
            return this.at_fault();
        }
        if this.meter.has_settings {
            this.watch.has_begun.set(true);
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

    const FRAME_MAX: u32 = 16_384;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![(payload >> 16) as u8, (payload >> 8) as u8, payload as u8, kind, 0, 0, 0, 0, 1];
        frame.resize(FRAME_HEADER_BYTES + payload, 0);
        frame
    }

    /// One that has seen the settings it begins with.
    fn meter() -> Meter {
        let mut meter = Meter::new(0, FRAME_MAX, 0);
        meter.note(&frame(SETTINGS, 0), 0).expect("settings");
        meter.allowance = ALLOWANCE;
        meter
    }

    fn passes(meter: &mut Meter, frame: &[u8], now_ms: u64) -> bool {
        meter.note(frame, now_ms).is_ok()
    }

    #[test]
    fn so_many_idle_frames_pass_and_not_one_more() {
        let (ping, mut meter) = (frame(PING, 8), meter());
        assert!((0..ALLOWANCE).all(|_| passes(&mut meter, &ping, 0)));
        assert_eq!(meter.note(&ping, 0), Err(Reason::ENHANCE_YOUR_CALM));
    }

    #[test]
    fn streams_that_are_begun_and_given_up_are_bounded() {
        let mut meter = meter();
        let pair = [frame(HEADERS, 20), frame(RST_STREAM, 4)].concat();
        let count = (0..ALLOWANCE).take_while(|_| passes(&mut meter, &pair, 0)).count() as u64;
        assert_eq!(count, ALLOWANCE / (FRAMES_PER_RESET - 1));
    }

    #[test]
    fn time_refills_the_allowance_up_to_its_size() {
        let (ping, mut meter) = (frame(PING, 8), meter());
        (0..ALLOWANCE).for_each(|_| assert!(passes(&mut meter, &ping, 0)));
        assert!((0..ALLOWANCE_PER_SECOND).all(|_| passes(&mut meter, &ping, 1000)));
        assert!(!passes(&mut meter, &ping, 1000));
        let mut meter = self::meter();
        assert!((0..ALLOWANCE).all(|_| passes(&mut meter, &ping, 3_600_000)));
        assert!(!passes(&mut meter, &ping, 3_600_000));
    }

    #[test]
    fn what_carries_an_exchange_is_free_however_it_is_cut() {
        let mut bytes = b"preface".to_vec();
        bytes.extend(frame(SETTINGS, 12));
        for _ in 0..ALLOWANCE {
            bytes.extend(frame(HEADERS, 20));
            bytes.extend(frame(DATA, 1));
            bytes.extend(frame(PING, 8));
        }
        for step in [1, 7, 4096] {
            let mut meter = Meter::new(7, FRAME_MAX, 0);
            assert!(bytes.chunks(step).all(|piece| passes(&mut meter, piece, 0)), "{step}");
        }
    }

    #[test]
    fn the_frames_of_a_backend_are_not_counted() {
        let (reset, mut meter) = (frame(RST_STREAM, 4), Meter::of_backend(FRAME_MAX, 0));
        assert!(passes(&mut meter, &frame(SETTINGS, 0), 0));
        assert!((0..=ALLOWANCE).all(|_| passes(&mut meter, &reset, 0)));
    }

    #[test]
    fn empty_data_frames_are_idle() {
        let (empty, mut meter) = (frame(DATA, 0), meter());
        assert!(!(0..=ALLOWANCE).all(|_| passes(&mut meter, &empty, 0)));
    }

    #[test]
    fn settings_come_first() {
        let first = |frame: Vec<u8>| Meter::new(0, FRAME_MAX, 0).note(&frame, 0);
        assert_eq!(first(frame(SETTINGS, 6)), Ok(()));
        assert_eq!(first(frame(PING, 8)), Err(Reason::PROTOCOL_ERROR));
        let mut acknowledgement = frame(SETTINGS, 0);
        acknowledgement[4] = 1;
        assert_eq!(first(acknowledgement), Err(Reason::PROTOCOL_ERROR));
    }

    #[test]
    fn sizes_and_ranges_are_held_from_both_sides() {
        let rows = [
            (DATA, FRAME_MAX as usize, true),
            (DATA, FRAME_MAX as usize + 1, false),
            (PRIORITY, 5, true),
            (PRIORITY, 4, false),
            (RST_STREAM, 4, true),
            (RST_STREAM, 5, false),
            (SETTINGS, 12, true),
            (SETTINGS, 11, false),
            (PING, 8, true),
            (PING, 7, false),
            (WINDOW_UPDATE, 4, true),
            (WINDOW_UPDATE, 3, false),
        ];
        for (kind, length, is_sound) in rows {
            let expected = if is_sound { Ok(()) } else { Err(Reason::FRAME_SIZE_ERROR) };
            assert_eq!(meter().note(&frame(kind, length), 0), expected, "{kind} {length}");
        }
        for (value, expected) in [(WINDOW_BYTES_MAX, Ok(())), (WINDOW_BYTES_MAX + 1, Err(Reason::FLOW_CONTROL_ERROR))] {
            let mut settings = frame(SETTINGS, 12);
            settings[FRAME_HEADER_BYTES + 6..][..6].copy_from_slice(&[&[0, 4][..], &value.to_be_bytes()[..]].concat());
            assert_eq!(meter().note(&settings, 0), expected, "{value}");
        }
    }
}
