//! Frames as they pass by.
//!
//! Sans-IO: the [`Meter`] of one direction is shown the bytes and reads the frame headers among them. It counts, holds the sender to
//! the protocol and to the limits, and never touches a payload, so that bytes go on as they came.

use super::frames::{HeaderReader, Rules, Side, Violation};

pub struct Meter {
    rules: Rules,
    header: HeaderReader,
    payload_left: u64,
    pub frames: u64,
    /// A frame could be put in behind what was noted without a fault; a fault does not go on.
    took_close: bool,
    is_broken: bool,
}

impl Meter {
    pub fn new(from: Side, frame_bytes_max: u64) -> Self {
        Self {
            rules: Rules::new(from, frame_bytes_max),
            header: HeaderReader::default(),
            payload_left: 0,
            frames: 0,
            took_close: true,
            is_broken: false,
        }
    }

    /// Whether a frame could be put in here.
    pub fn is_between_frames(&self) -> bool {
        self.header.is_empty() && self.payload_left == 0
    }

    /// The sender has said that it is done.
    pub fn is_closed(&self) -> bool {
        self.rules.is_closed()
    }

    /// Whether a Close could be put in behind what has gone on.
    pub fn takes_close(&self) -> bool {
        if self.is_broken { self.took_close } else { self.is_between_frames() && !self.is_closed() }
    }

    /// Looks at what passes.
    pub fn note(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        self.took_close = self.takes_close();
        self.scan(bytes).inspect_err(|_| self.is_broken = true)
    }

    fn scan(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.payload_left > 0 {
                let skipped = self.payload_left.min(rest.len() as u64);
                self.payload_left -= skipped;
                rest = &rest[skipped as usize..];
                continue;
            }
            if self.rules.is_closed() {
                return Err(Violation::AfterClose);
            }
            if let Some(header) = self.header.read(&mut rest) {
                self.rules.judge(&header)?;
                self.frames += 1;
                self.payload_left = header.length;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::frames::close;

    const MAX: u64 = 1000;

    /// A frame of zeros.
    fn frame(first: u8, length: u64, from: Side) -> Vec<u8> {
        let mask = if from == Side::Client { 0x80 } else { 0 };
        let mut frame = vec![first];
        match length {
            0..=125 => frame.push(mask | length as u8),
            126..=65_535 => {
                frame.push(mask | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend(length.to_be_bytes());
            }
        }
        frame.resize(frame.len() + if mask != 0 { 4 } else { 0 }, 7);
        frame.resize(frame.len() + length.min(70_000) as usize, 0);
        frame
    }

    fn noted(from: Side, frames: &[(u8, u64)]) -> Result<u64, Violation> {
        let mut meter = Meter::new(from, MAX);
        for (first, length) in frames {
            meter.note(&frame(*first, *length, from))?;
        }
        Ok(meter.frames)
    }

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let mut bytes = Vec::new();
        for (first, length) in [(0x81, 5), (0x02, 200), (0x89, 4), (0x80, 0), (0x82, 999), (0x8a, 0), (0x88, 2)] {
            bytes.extend(frame(first, length, Side::Client));
        }
        for step in [1, 2, 3, 5, 64, bytes.len()] {
            let mut meter = Meter::new(Side::Client, MAX);
            bytes.chunks(step).for_each(|piece| meter.note(piece).expect("sound frames"));
            assert_eq!((meter.frames, meter.is_closed(), meter.is_between_frames()), (7, true, true), "{step}");
        }
    }

    #[test]
    fn a_message_may_be_as_long_as_four_frames_and_no_longer() {
        let client = |frames: &[(u8, u64)]| noted(Side::Client, frames);
        assert_eq!(client(&[(0x82, MAX)]), Ok(1));
        assert_eq!(client(&[(0x82, MAX + 1)]), Err(Violation::FrameTooLong(MAX)));
        assert_eq!(client(&[(0x02, MAX), (0x00, MAX), (0x00, MAX), (0x80, MAX)]), Ok(4));
        let long = [(0x02, MAX), (0x00, MAX), (0x00, MAX), (0x00, MAX), (0x80, 1)];
        assert_eq!(client(&long), Err(Violation::MessageTooLong(4 * MAX)));
        assert_eq!(client(&[(0x82, u64::MAX)]), Err(Violation::FrameTooLong(MAX)));
    }

    #[test]
    fn what_the_protocol_forbids_is_noticed() {
        let client = |frames: &[(u8, u64)]| noted(Side::Client, frames);
        assert_eq!(client(&[(0xc1, 1)]), Err(Violation::Reserved));
        assert_eq!(client(&[(0x83, 1)]), Err(Violation::Reserved));
        assert_eq!(client(&[(0x09, 1)]), Err(Violation::Control));
        assert_eq!(client(&[(0x89, 126)]), Err(Violation::Control));
        assert_eq!(client(&[(0x80, 1)]), Err(Violation::Fragments));
        assert_eq!(client(&[(0x01, 1), (0x81, 1)]), Err(Violation::Fragments));
        assert_eq!(client(&[(0x88, 0), (0x81, 1)]), Err(Violation::AfterClose));
        let mut from_client = Meter::new(Side::Client, MAX);
        assert_eq!(from_client.note(&frame(0x81, 1, Side::Backend)), Err(Violation::Mask));
        let mut from_backend = Meter::new(Side::Backend, MAX);
        assert_eq!(from_backend.note(&frame(0x81, 1, Side::Client)), Err(Violation::Mask));
    }

    #[test]
    fn nothing_is_put_into_the_middle_of_a_frame_that_went_on() {
        let whole = frame(0x81, 10, Side::Client);
        let bad = frame(0xc1, 1, Side::Client);
        let mut meter = Meter::new(Side::Client, MAX);
        meter.note(&whole[..10]).expect("a part of a frame");
        meter.note(&[&whole[10..], &bad].concat()).expect_err("a fault behind its end, which does not go on either");
        assert!(!meter.takes_close());
        let mut meter = Meter::new(Side::Client, MAX);
        meter.note(&whole).expect("a frame");
        meter.note(&bad).expect_err("a fault");
        assert!(meter.takes_close());
    }

    #[test]
    fn a_close_is_a_frame_that_its_side_accepts() {
        for (to, code) in [(Side::Client, None), (Side::Backend, Some(1009)), (Side::Client, Some(1002))] {
            let mut meter = Meter::new(to.other(), MAX);
            meter.note(&close(to, code, "")).expect("a sound frame");
            assert!(meter.is_closed() && meter.is_between_frames());
        }
    }
}
