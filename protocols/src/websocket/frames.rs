//! Frames of RFC 6455 §5.2 as they pass by.
//!
//! Sans-IO: the [`Meter`] of one direction is shown the bytes and reads the frame headers among them. It counts, holds the sender to
//! the protocol and to the limits, and never touches a payload, so that bytes go on as they came.

/// Which side a direction comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Client,
    Backend,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Violation {
    #[error("frame with reserved bits or an unknown opcode")]
    Reserved,
    #[error("client frame without a mask, or masked backend frame")]
    Mask,
    #[error("control frame that is fragmented or longer than 125 bytes")]
    Control,
    #[error("fragment without a beginning, or beginning without an end")]
    Fragments,
    #[error("frame longer than {0} bytes")]
    FrameTooLong(u64),
    #[error("message longer than {0} bytes")]
    MessageTooLong(u64),
    #[error("frames behind a Close")]
    AfterClose,
}

impl Violation {
    /// What the sender is told (RFC 6455 §7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Violation::FrameTooLong(_) | Violation::MessageTooLong(_) => 1009,
            _ => 1002,
        }
    }
}

/// A message may be this many times as long as a frame (traffic sheet §14.3).
const FRAMES_PER_MESSAGE: u64 = 4;
const HEADER_BYTES_MAX: usize = 14;
const CONTROL_BYTES_MAX: u64 = 125;

const CONTINUATION: u8 = 0;
const CLOSE: u8 = 8;

pub struct Meter {
    from: Side,
    frame_bytes_max: u64,
    header: [u8; HEADER_BYTES_MAX],
    header_len: usize,
    payload_left: u64,
    /// Of the message whose fragments are coming.
    message_bytes: Option<u64>,
    pub frames: u64,
    is_closed: bool,
    /// A frame could be put in behind what was noted without a fault; a fault does not go on.
    took_close: bool,
    is_broken: bool,
}

impl Meter {
    pub fn new(from: Side, frame_bytes_max: u64) -> Self {
        Self {
            from,
            frame_bytes_max,
            header: [0; HEADER_BYTES_MAX],
            header_len: 0,
            payload_left: 0,
            message_bytes: None,
            frames: 0,
            is_closed: false,
            took_close: true,
            is_broken: false,
        }
    }

    /// Whether a frame could be put in here.
    pub fn is_between_frames(&self) -> bool {
        self.header_len == 0 && self.payload_left == 0
    }

    /// The sender has said that it is done.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether a Close could be put in behind what has gone on.
    pub fn takes_close(&self) -> bool {
        if self.is_broken { self.took_close } else { self.is_between_frames() && !self.is_closed }
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
            if self.is_closed {
                return Err(Violation::AfterClose);
            }
            let wanted = self.header_size();
            let taken = (wanted - self.header_len).min(rest.len());
            self.header[self.header_len..self.header_len + taken].copy_from_slice(&rest[..taken]);
            self.header_len += taken;
            rest = &rest[taken..];
            if self.header_len == wanted && wanted == self.header_size() {
                self.frame()?;
                self.header_len = 0;
            }
        }
        Ok(())
    }

    /// As far as is known: the second byte says.
    fn header_size(&self) -> usize {
        if self.header_len < 2 {
            return 2;
        }
        let length = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.is_masked() { 4 } else { 0 }
    }

    fn is_masked(&self) -> bool {
        self.header[1] & 0x80 != 0
    }

    fn length(&self) -> u64 {
        match self.header[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([self.header[2], self.header[3]])),
            127 => self.header[2..10].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
            short => u64::from(short),
        }
    }

    fn frame(&mut self) -> Result<(), Violation> {
        let (is_final, opcode, length) = (self.header[0] & 0x80 != 0, self.header[0] & 0x0f, self.length());
        // No extension is ever agreed on.
        if self.header[0] & 0x70 != 0 || !matches!(opcode, 0..=2 | 8..=10) {
            return Err(Violation::Reserved);
        }
        if self.is_masked() != (self.from == Side::Client) {
            return Err(Violation::Mask);
        }
        if opcode >= CLOSE {
            if !is_final || length > CONTROL_BYTES_MAX {
                return Err(Violation::Control);
            }
            self.is_closed = opcode == CLOSE;
        } else {
            self.data_frame(is_final, opcode, length)?;
        }
        self.frames += 1;
        self.payload_left = length;
        Ok(())
    }

    fn data_frame(&mut self, is_final: bool, opcode: u8, length: u64) -> Result<(), Violation> {
        if length > self.frame_bytes_max {
            return Err(Violation::FrameTooLong(self.frame_bytes_max));
        }
        let before = match (opcode, self.message_bytes) {
            (CONTINUATION, Some(before)) => before,
            (CONTINUATION, None) => return Err(Violation::Fragments),
            (_, Some(_)) => return Err(Violation::Fragments),
            (_, None) => 0,
        };
        let message_bytes_max = self.frame_bytes_max.saturating_mul(FRAMES_PER_MESSAGE);
        if before + length > message_bytes_max {
            return Err(Violation::MessageTooLong(message_bytes_max));
        }
        self.message_bytes = (!is_final).then_some(before + length);
        Ok(())
    }
}

/// A Close frame for one side: masked if it goes to the backend. Without a code it says nothing about why.
pub fn close(to: Side, code: Option<u16>) -> Vec<u8> {
    let payload = code.map(u16::to_be_bytes);
    let payload = payload.as_ref().map_or(&[][..], |code| &code[..]);
    let mut frame = vec![0x80 | CLOSE, payload.len() as u8];
    if to == Side::Backend {
        // A mask of zeros leaves the payload as it is; it hides nothing here, where the gateway says all of it.
        frame[1] |= 0x80;
        frame.extend([0; 4]);
    }
    frame.extend(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let from = if to == Side::Client { Side::Backend } else { Side::Client };
            let mut meter = Meter::new(from, MAX);
            meter.note(&close(to, code)).expect("a sound frame");
            assert!(meter.is_closed() && meter.is_between_frames());
        }
    }
}
