//! Messages out of the bytes of one direction.
//!
//! Sans-IO: the [`Assembler`] takes bytes however they are cut, holds the sender to the protocol and to the limits, takes masks
//! off and puts fragments together. It keeps one message at most and, beside it, a control frame that came between its
//! fragments; its memory follows what has come, not what a header promises.

use plugins::websocket::{Close, Message};

use super::frames::{BINARY, CLOSE, CONTINUATION, HeaderReader, PING, PONG, Rules, Side, TEXT, Violation, mask};

pub struct Assembler {
    rules: Rules,
    header: HeaderReader,
    frame: Option<Frame>,
    /// Of the message whose frames are coming.
    data: Vec<u8>,
    is_text: bool,
    /// So much of a text is known to be UTF-8; behind it there is a part of a character at most.
    checked: usize,
    control: Vec<u8>,
}

/// A frame whose payload is coming.
struct Frame {
    opcode: u8,
    is_final: bool,
    length: u64,
    left: u64,
    key: Option<[u8; 4]>,
}

impl Frame {
    /// It is a whole message.
    fn is_alone(&self) -> bool {
        self.is_final && self.opcode != CONTINUATION
    }
}

impl Assembler {
    pub fn new(from: Side, frame_bytes_max: u64) -> Self {
        Self {
            rules: Rules::new(from, frame_bytes_max),
            header: HeaderReader::default(),
            frame: None,
            data: Vec::new(),
            is_text: false,
            checked: 0,
            control: Vec::new(),
        }
    }

    /// The sender has said that it is done.
    pub fn is_closed(&self) -> bool {
        self.rules.is_closed()
    }

    /// Takes bytes from the front until a message is whole. Without one all of them have been taken.
    pub fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<Message>, Violation> {
        loop {
            let Some(frame) = &mut self.frame else {
                if bytes.is_empty() {
                    return Ok(None);
                }
                self.begin(bytes)?;
                continue;
            };
            let taken = frame.left.min(bytes.len() as u64) as usize;
            let (here, behind) = bytes.split_at(taken);
            *bytes = behind;
            let target = if frame.opcode >= CLOSE { &mut self.control } else { &mut self.data };
            make_room(target, taken, if frame.is_alone() { frame.left } else { u64::MAX });
            let begin = target.len();
            target.extend_from_slice(here);
            if let Some(key) = frame.key {
                mask(&mut target[begin..], key, frame.length - frame.left);
            }
            frame.left -= taken as u64;
            if frame.left > 0 {
                self.check_text()?;
                return Ok(None);
            }
            if let Some(message) = self.end_frame()? {
                return Ok(Some(message));
            }
        }
    }

    /// The header of the next frame, if all of it is there.
    fn begin(&mut self, bytes: &mut &[u8]) -> Result<(), Violation> {
        if self.rules.is_closed() {
            return Err(Violation::AfterClose);
        }
        let Some(header) = self.header.read(bytes) else { return Ok(()) };
        self.rules.judge(&header)?;
        let opcode = header.opcode();
        if matches!(opcode, TEXT | BINARY) {
            self.is_text = opcode == TEXT;
        }
        let (length, is_final, key) = (header.length, header.is_final(), header.key);
        self.frame = Some(Frame { opcode, is_final, length, left: length, key });
        Ok(())
    }

    /// The payload of the frame is there whole; so is its message, if it was the last.
    fn end_frame(&mut self) -> Result<Option<Message>, Violation> {
        let Some(frame) = self.frame.take() else { return Ok(None) };
        if frame.opcode >= CLOSE {
            let payload = std::mem::take(&mut self.control);
            return match frame.opcode {
                PING => Ok(Some(Message::Ping(payload))),
                PONG => Ok(Some(Message::Pong(payload))),
                _ => read_close(payload).map(|close| Some(Message::Close(close))),
            };
        }
        if !frame.is_final {
            self.check_text()?;
            return Ok(None);
        }
        self.checked = 0;
        let payload = std::mem::take(&mut self.data);
        if self.is_text {
            return String::from_utf8(payload).map(|text| Some(Message::Text(text))).map_err(|_| Violation::Text);
        }
        Ok(Some(Message::Binary(payload)))
    }

    /// A text that is none is refused when that is known, not when it has come whole.
    fn check_text(&mut self) -> Result<(), Violation> {
        if !self.is_text || self.data.len() == self.checked {
            return Ok(());
        }
        match std::str::from_utf8(&self.data[self.checked..]) {
            Ok(_) => self.checked = self.data.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(Violation::Text),
        }
        Ok(())
    }
}

/// Makes room for what is here; for the rest of what is to come only as much as the sender has shown that it sends.
fn make_room(target: &mut Vec<u8>, here: usize, left: u64) {
    if target.capacity() - target.len() < here {
        let doubled = left.min(target.len() as u64) as usize;
        target.reserve_exact(doubled.max(here));
    }
}

fn read_close(payload: Vec<u8>) -> Result<Option<Close>, Violation> {
    if payload.is_empty() {
        return Ok(None);
    }
    let Some((code, reason)) = payload.split_first_chunk() else { return Err(Violation::CloseCode) };
    let code = u16::from_be_bytes(*code);
    if !Close::is_code(code) {
        return Err(Violation::CloseCode);
    }
    let reason = std::str::from_utf8(reason).map_err(|_| Violation::Text)?;
    Ok(Some(Close::new(code, reason)))
}

#[cfg(test)]
mod tests;
