//! A client that sends exactly the frames it is told and judges every frame it gets.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::frame::{ErrorCode, Frame, flag, kind, setting};
use super::hpack::{Decoder, block};
use crate::wait::PATIENCE;
use crate::wire::{Fault, Framing, Headers, Response, fault_of, framing_of};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What RFC 9113 gives both sides before any SETTINGS.
const DEFAULT_WINDOW: i64 = 65_535;
/// This client never asks for larger frames.
const FRAME_MAX: usize = 16_384;
/// The bit of a stream identifier that means nothing.
const RESERVED: u32 = 1 << 31;

/// How the gateway reacted on a stream.
#[derive(Debug)]
pub enum Outcome {
    Answered(Box<Response>),
    Reset(ErrorCode),
    /// The connection is over, after this GOAWAY if one came.
    ConnectionOver(Option<ErrorCode>),
    /// Nothing came within the patience that was given.
    Nothing,
}

/// What has come on one stream so far.
#[derive(Default)]
struct Answer {
    interim: Vec<u16>,
    status: Option<u16>,
    headers: Headers,
    body: Vec<u8>,
    trailers: Headers,
    is_whole: bool,
    reset: Option<ErrorCode>,
    to_head: bool,
    /// What the gateway may still send, and what it lets this client send.
    receive_window: i64,
    send_window: i64,
    updates: u64,
}

pub struct Http2Client {
    stream: TcpStream,
    ahead: Vec<u8>,
    decoder: Decoder,
    /// A field section whose END_HEADERS has not come.
    section: Option<(u32, u8, Vec<u8>)>,
    answers: BTreeMap<u32, Answer>,
    /// SETTINGS sent and not acknowledged.
    unacknowledged: VecDeque<Vec<(u16, u32)>>,
    /// What the gateway announced, the last value of each.
    announced: BTreeMap<u16, u32>,
    /// The gateway's first SETTINGS have come.
    greeted: bool,
    counts_acknowledgements: bool,
    pongs: Vec<[u8; 8]>,
    goaway: Option<(u32, ErrorCode)>,
    over: Option<Fault>,
    receive_window: i64,
    send_window: i64,
    updates: u64,
    initial_receive_window: i64,
    initial_send_window: i64,
    /// The last frames, to be shown when something was not as expected.
    seen: VecDeque<Frame>,
}

impl Http2Client {
    /// A connection with empty SETTINGS on which both sides have greeted each other.
    #[track_caller]
    pub fn connect(port: u16) -> Self {
        Self::connect_with(port, &[])
    }

    /// A connection with these SETTINGS, which the gateway has acknowledged.
    #[track_caller]
    pub fn connect_with(port: u16, settings: &[(u16, u32)]) -> Self {
        let mut client = Self::open(port);
        client.send_bytes(PREFACE);
        client.settings(settings);
        client.expect("SETTINGS", |c| c.greeted);
        client.expect_settings_acknowledged();
        client
    }

    /// A TCP connection on which nothing was said.
    #[track_caller]
    pub fn open(port: u16) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .unwrap_or_else(|error| panic!("cannot connect to port {port}: {error}"));
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_write_timeout(Some(PATIENCE)).expect("a write timeout");
        Self {
            stream,
            ahead: Vec::new(),
            decoder: Decoder::new(),
            section: None,
            answers: BTreeMap::new(),
            unacknowledged: VecDeque::new(),
            announced: BTreeMap::new(),
            greeted: false,
            counts_acknowledgements: true,
            pongs: Vec::new(),
            goaway: None,
            over: None,
            receive_window: DEFAULT_WINDOW,
            send_window: DEFAULT_WINDOW,
            updates: 0,
            initial_receive_window: DEFAULT_WINDOW,
            initial_send_window: DEFAULT_WINDOW,
            seen: VecDeque::new(),
        }
    }

    /// From now on a write that makes no progress for this long is a [`Fault::TimedOut`].
    pub fn with_write_patience(self, patience: Duration) -> Self {
        self.stream.set_write_timeout(Some(patience)).expect("a write timeout");
        self
    }

    // --- sending

    /// Writes a frame. That the gateway has closed shows when the answer is read.
    pub fn send(&mut self, frame: &Frame) {
        drop(self.try_send(frame));
    }

    pub fn try_send(&mut self, frame: &Frame) -> Result<(), Fault> {
        self.note_sent(frame);
        self.try_send_bytes(frame.bytes())
    }

    /// SETTINGS go out as bytes from here on, so acknowledgements are not held against what was sent.
    pub fn settings_go_uncounted(&mut self) {
        self.counts_acknowledgements = false;
    }

    /// Several frames in one write, so that the gateway is likely to read them at once.
    pub fn send_together(&mut self, frames: &[Frame]) {
        for frame in frames {
            self.note_sent(frame);
        }
        self.send_bytes(frames.iter().flat_map(Frame::bytes).collect::<Vec<u8>>());
    }

    /// Writes these bytes exactly, and keeps no account of what they mean.
    pub fn send_bytes(&mut self, bytes: impl AsRef<[u8]>) {
        drop(self.try_send_bytes(bytes));
    }

    /// Fails with [`Fault::Reset`] when the gateway closed and with [`Fault::TimedOut`] when it does not read.
    pub fn try_send_bytes(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Fault> {
        self.stream.write_all(bytes.as_ref()).map_err(|error| fault_of(&error))
    }

    pub fn settings(&mut self, values: &[(u16, u32)]) {
        self.send(&Frame::settings(values));
    }

    /// HEADERS of a request, in one frame.
    pub fn request(&mut self, stream: u32, fields: &[(&str, &str)], end_stream: bool) {
        let flags = if end_stream { flag::WHOLE } else { flag::END_HEADERS };
        self.send(&Frame::headers(stream, flags, block(fields)));
        self.answer(stream).to_head = fields.contains(&(":method", "HEAD"));
    }

    pub fn data(&mut self, stream: u32, payload: impl Into<Vec<u8>>, end_stream: bool) {
        let flags = if end_stream { flag::END_STREAM } else { flag::NONE };
        self.send(&Frame::data(stream, flags, payload));
    }

    /// Sends DATA on this stream for as long as the gateway opens its windows, at most `limit` bytes in all, and gives
    /// how much went before no more was allowed for `patience` (or the stream or the connection ended).
    pub fn upload_until_stalled(&mut self, stream: u32, limit: u64, patience: Duration) -> u64 {
        let mut sent = 0;
        while sent < limit && self.over.is_none() && !self.is_finished(stream) {
            let window = self.send_window.min(self.answer(stream).send_window);
            if window > 0 {
                let size = window.min(FRAME_MAX as i64).min((limit - sent) as i64);
                if self.try_send(&Frame::data(stream, flag::NONE, vec![b'u'; size as usize])).is_err() {
                    break;
                }
                sent += size as u64;
                self.take_in();
            } else {
                let opened = self.wait(patience, |c| {
                    c.over.is_some() || c.is_finished(stream) || c.send_window.min(c.answer(stream).send_window) > 0
                });
                if !opened {
                    break;
                }
            }
        }
        sent
    }

    /// Ends the sending side.
    pub fn finish_sending(&mut self) {
        drop(self.stream.shutdown(Shutdown::Write));
    }

    fn note_sent(&mut self, frame: &Frame) {
        match frame.kind {
            kind::SETTINGS if !frame.has(flag::ACK) && frame.payload.len().is_multiple_of(6) => {
                let values = pairs(&frame.payload);
                for &(id, value) in &values {
                    // More may be used as soon as it is offered; less binds only when it was acknowledged.
                    if id == setting::INITIAL_WINDOW_SIZE && i64::from(value) > self.initial_receive_window {
                        self.set_initial_receive_window(i64::from(value));
                    }
                }
                self.unacknowledged.push_back(values);
            }
            kind::WINDOW_UPDATE if frame.payload.len() == 4 => {
                let increment = i64::from(frame.number(0));
                match frame.stream & !RESERVED {
                    0 => self.receive_window += increment,
                    stream => self.answer(stream).receive_window += increment,
                }
            }
            kind::DATA => {
                self.send_window -= frame.payload.len() as i64;
                self.answer(frame.stream).send_window -= frame.payload.len() as i64;
            }
            _ if frame.stream & !RESERVED != 0 => {
                self.answer(frame.stream & !RESERVED);
            }
            _ => {}
        }
    }

    // --- waiting for answers

    /// The whole response on this stream.
    #[track_caller]
    pub fn response(&mut self, stream: u32) -> Response {
        match self.outcome(stream, PATIENCE) {
            Outcome::Answered(response) => *response,
            other => panic!("no response on stream {stream} but {other:?}, after {:?}", self.seen),
        }
    }

    /// The status on this stream; the body may be still to come.
    #[track_caller]
    pub fn status(&mut self, stream: u32) -> u16 {
        self.expect(&format!("a response head on stream {stream}"), |c| c.answer(stream).status.is_some());
        self.answer(stream).status.expect("it has just come")
    }

    /// A GET on this stream has an answer of 200.
    #[track_caller]
    pub fn expect_served(&mut self, stream: u32) {
        let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/good")];
        self.request(stream, &fields, true);
        let status = self.status(stream);
        assert_eq!(status, 200, "stream {stream} after {:?}", self.seen);
    }

    /// How much of the body has come on this stream, when at least `bytes` have.
    #[track_caller]
    pub fn body(&mut self, stream: u32, bytes: usize) -> Vec<u8> {
        let what = format!("{bytes} bytes of body on stream {stream}");
        self.expect(&what, |c| c.answer(stream).body.len() >= bytes);
        self.answer(stream).body.clone()
    }

    #[track_caller]
    pub fn goaway(&mut self) -> ErrorCode {
        self.expect("GOAWAY", |c| c.goaway.is_some());
        self.goaway.expect("it has just come").1
    }

    #[track_caller]
    pub fn reset(&mut self, stream: u32) -> ErrorCode {
        self.expect(&format!("RST_STREAM of stream {stream}"), |c| c.answer(stream).reset.is_some());
        self.answer(stream).reset.expect("it has just come")
    }

    #[track_caller]
    pub fn expect_settings_acknowledged(&mut self) {
        self.expect("an acknowledgement of the SETTINGS", |c| c.unacknowledged.is_empty());
    }

    /// A PING goes out and comes back: everything sent before has been read.
    #[track_caller]
    pub fn ping(&mut self, payload: [u8; 8]) {
        assert!(self.try_ping(payload), "no answer to a PING ({:?}), after {:?}", self.over, self.seen);
    }

    /// False when the PING does not come back because the connection is over.
    pub fn try_ping(&mut self, payload: [u8; 8]) -> bool {
        let before = self.pongs.len();
        self.send(&Frame::ping(payload));
        self.wait(PATIENCE, |c| c.pongs[before..].contains(&payload))
    }

    /// The gateway closes the connection.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        assert!(self.is_closed_within(PATIENCE), "the connection should be closed, after {:?}", self.seen);
    }

    pub fn is_closed_within(&mut self, patience: Duration) -> bool {
        self.wait(patience, |c| c.over.is_some())
    }

    /// The first thing that settles this stream: a whole response, its reset, or the end of the connection.
    pub fn outcome(&mut self, stream: u32, patience: Duration) -> Outcome {
        let settled = |c: &mut Self| {
            let failed = c.goaway.is_some_and(|(_, code)| code != ErrorCode::NO_ERROR);
            failed || c.over.is_some() || c.is_finished(stream)
        };
        if !self.wait(patience, settled) {
            return Outcome::Nothing;
        }
        let answer = self.answer(stream);
        if let Some(code) = answer.reset.filter(|_| !answer.is_whole) {
            return Outcome::Reset(code);
        }
        if answer.is_whole {
            return Outcome::Answered(Box::new(answer.response()));
        }
        // A GOAWAY for an error is followed by the end of the connection.
        if !self.is_closed_within(patience) {
            return Outcome::Nothing;
        }
        Outcome::ConnectionOver(self.goaway.map(|(_, code)| code))
    }

    /// Whether the end of the connection or an error of it comes within `patience`.
    pub fn connection_outcome(&mut self, patience: Duration) -> Outcome {
        if self.is_closed_within(patience) {
            return Outcome::ConnectionOver(self.goaway.map(|(_, code)| code));
        }
        Outcome::Nothing
    }

    /// A setting the gateway has announced.
    pub fn announced(&self, id: u16) -> Option<u32> {
        self.announced.get(&id).copied()
    }

    /// Payloads of the PINGs that were acknowledged.
    pub fn pongs(&self) -> &[[u8; 8]] {
        &self.pongs
    }

    /// The GOAWAY's code, if one has come already.
    pub fn goaway_so_far(&self) -> Option<ErrorCode> {
        self.goaway.map(|(_, code)| code)
    }

    /// Bytes of credit the gateway gave by WINDOW_UPDATE, on the connection and on this stream.
    pub fn credit(&self, stream: u32) -> (u64, u64) {
        (self.updates, self.answers.get(&stream).map_or(0, |answer| answer.updates))
    }

    /// Takes in what has arrived without waiting for more. False when the connection is over.
    pub fn take_in(&mut self) -> bool {
        while self.over.is_none() && self.read(Duration::ZERO) {}
        self.over.is_none()
    }

    /// Starts over with what is known about this stream.
    pub fn forget(&mut self, stream: u32) {
        self.answers.remove(&stream);
    }

    // --- receiving

    #[track_caller]
    fn expect(&mut self, what: &str, condition: impl Fn(&mut Self) -> bool) {
        let happened = self.wait(PATIENCE, |c| condition(c) || c.over.is_some());
        assert!(
            happened && condition(self),
            "gave up waiting for {what} (connection over: {:?}), after {:?}",
            self.over,
            self.seen
        );
    }

    /// Reads until `condition` holds; false when `patience` is used up.
    fn wait(&mut self, patience: Duration, condition: impl Fn(&mut Self) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            if condition(self) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if self.over.is_some() || left.is_zero() {
                return false;
            }
            self.read(left);
        }
    }

    /// Reads once, for no longer than this, and takes in the frames that are whole. False when nothing came.
    fn read(&mut self, patience: Duration) -> bool {
        let mut space = [0; 65_536];
        self.stream.set_nonblocking(patience.is_zero()).expect("a change of blocking");
        if !patience.is_zero() {
            self.stream.set_read_timeout(Some(patience)).expect("a read timeout");
        }
        let result = self.stream.read(&mut space);
        if patience.is_zero() {
            self.stream.set_nonblocking(false).expect("a change of blocking");
        }
        match result {
            Ok(0) => {
                self.over = Some(if self.ahead.is_empty() { Fault::Closed } else { Fault::Cut });
                return false;
            }
            Ok(count) => self.ahead.extend_from_slice(&space[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return self.failed(&error),
        }
        self.take_frames();
        self.over.is_none()
    }

    fn failed(&mut self, error: &io::Error) -> bool {
        match fault_of(error) {
            Fault::TimedOut => {}
            fault => self.over = Some(fault),
        }
        false
    }

    fn take_frames(&mut self) {
        let mut at = 0;
        while let Some(head) = self.ahead.get(at..at + 9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            assert!(length <= FRAME_MAX, "a frame of {length} bytes, after {:?}", self.seen);
            let (kind, flags) = (head[3], head[4]);
            let stream = u32::from_be_bytes(head[5..9].try_into().expect("four bytes"));
            let Some(payload) = self.ahead.get(at + 9..at + 9 + length) else { break };
            let frame = Frame::new(kind, flags, stream, payload);
            at += 9 + length;
            if self.seen.len() == 20 {
                self.seen.pop_front();
            }
            self.seen.push_back(frame.clone());
            // A GOAWAY without SETTINGS before it refuses a bad preface.
            let may_be_first = matches!(kind, kind::SETTINGS | kind::GOAWAY);
            assert!(self.greeted || may_be_first, "SETTINGS come first (RFC 9113, 3.4): {frame:?}");
            self.digest(frame);
        }
        self.ahead.drain(..at);
    }

    fn digest(&mut self, mut frame: Frame) {
        let open_section = self.section.as_ref().map(|(stream, _, _)| *stream);
        let continues = frame.kind == kind::CONTINUATION;
        assert_eq!(continues.then_some(frame.stream), open_section, "a field section is not interrupted: {frame:?}");
        let is_of_stream = matches!(frame.kind, kind::DATA | kind::HEADERS | kind::RST_STREAM);
        let is_of_connection = matches!(frame.kind, kind::SETTINGS | kind::PING | kind::GOAWAY);
        assert!(!is_of_stream || self.answers.contains_key(&frame.stream), "on a stream never opened: {frame:?}");
        assert!(!is_of_connection || frame.stream == 0, "on a stream: {frame:?}");
        match frame.kind {
            kind::DATA => {
                let length = frame.payload.len() as i64;
                let payload = unpadded(&mut frame);
                self.receive_window -= length;
                assert!(self.receive_window >= 0 || length == 0, "past the connection's window: {frame:?}");
                let answer = self.answer(frame.stream);
                answer.receive_window -= length;
                assert!(answer.receive_window >= 0 || length == 0, "past the stream's window: {frame:?}");
                assert!(answer.status.is_some() && !answer.is_whole, "out of turn: {frame:?}");
                answer.body.extend_from_slice(&payload);
                if frame.has(flag::END_STREAM) {
                    answer.finish();
                }
            }
            kind::HEADERS => {
                let mut payload = unpadded(&mut frame);
                if frame.has(flag::PRIORITY) {
                    payload.drain(..5);
                }
                self.section = Some((frame.stream, frame.flags, payload));
                self.end_section(frame.has(flag::END_HEADERS));
            }
            kind::CONTINUATION => {
                self.section.as_mut().expect("checked above").2.extend_from_slice(&frame.payload);
                self.end_section(frame.has(flag::END_HEADERS));
            }
            kind::RST_STREAM => {
                assert_eq!(frame.payload.len(), 4, "{frame:?}");
                self.answer(frame.stream).reset = Some(ErrorCode(frame.number(0)));
            }
            kind::SETTINGS if frame.has(flag::ACK) => {
                assert!(frame.payload.is_empty(), "{frame:?}");
                let values = self.unacknowledged.pop_front();
                assert!(values.is_some() || !self.counts_acknowledgements, "an acknowledgement of no SETTINGS");
                self.settings_took_effect(&values.unwrap_or_default());
            }
            kind::SETTINGS => {
                assert_eq!(frame.payload.len() % 6, 0, "{frame:?}");
                for (id, value) in pairs(&frame.payload) {
                    assert!(id != setting::ENABLE_PUSH || value == 0, "a server cannot enable push");
                    if id == setting::INITIAL_WINDOW_SIZE {
                        let change = i64::from(value) - self.initial_send_window;
                        self.initial_send_window += change;
                        self.answers.values_mut().for_each(|answer| answer.send_window += change);
                    }
                    self.announced.insert(id, value);
                }
                self.greeted = true;
                self.send(&Frame::settings_ack());
            }
            kind::PUSH_PROMISE => panic!("pushed: {frame:?}"),
            kind::PING => {
                let payload: [u8; 8] = frame.payload.as_slice().try_into().expect("a PING has 8 bytes");
                if frame.has(flag::ACK) {
                    self.pongs.push(payload);
                } else {
                    self.send(&Frame::new(kind::PING, flag::ACK, 0, payload));
                }
            }
            kind::GOAWAY => {
                assert!(frame.payload.len() >= 8, "{frame:?}");
                self.goaway = Some((frame.number(0), ErrorCode(frame.number(4))));
            }
            kind::WINDOW_UPDATE => {
                assert!(frame.payload.len() == 4 && frame.number(0) > 0, "{frame:?}");
                let increment = u64::from(frame.number(0));
                if frame.stream == 0 {
                    self.send_window += increment as i64;
                    self.updates += increment;
                } else {
                    let answer = self.answer(frame.stream);
                    answer.send_window += increment as i64;
                    answer.updates += increment;
                }
            }
            // PRIORITY says nothing that matters, and unknown types are to be ignored.
            _ => {}
        }
    }

    fn end_section(&mut self, is_whole: bool) {
        if !is_whole {
            return;
        }
        let (stream, flags, block) = self.section.take().expect("a section that ends has begun");
        let fields = self.decoder.decode(&block).unwrap_or_else(|error| panic!("a bad field section: {error}"));
        let answer = self.answer(stream);
        assert!(!answer.is_whole, "HEADERS after the end of stream {stream}");
        let end_stream = flags & flag::END_STREAM != 0;
        if answer.status.is_some() {
            assert!(end_stream, "trailers that do not end stream {stream}");
            answer.trailers = regular(&fields);
        } else {
            let Some(((":status", code), rest)) = fields.split_first().map(|((n, v), rest)| ((n.as_str(), v), rest))
            else {
                panic!("a response does not begin with :status: {fields:?}")
            };
            let status: u16 = code.parse().unwrap_or_else(|_| panic!(":status {code}"));
            if (100..200).contains(&status) {
                assert!(!end_stream, "an interim response ends stream {stream}");
                return answer.interim.push(status);
            }
            answer.status = Some(status);
            answer.headers = regular(rest);
        }
        if end_stream {
            answer.finish();
        }
    }

    fn settings_took_effect(&mut self, values: &[(u16, u32)]) {
        for &(id, value) in values {
            match id {
                setting::INITIAL_WINDOW_SIZE => self.set_initial_receive_window(i64::from(value)),
                setting::HEADER_TABLE_SIZE => self.decoder.limit(value as usize),
                _ => {}
            }
        }
    }

    fn set_initial_receive_window(&mut self, bytes: i64) {
        let change = bytes - self.initial_receive_window;
        self.initial_receive_window = bytes;
        self.answers.values_mut().for_each(|answer| answer.receive_window += change);
    }

    fn answer(&mut self, stream: u32) -> &mut Answer {
        let (receive_window, send_window) = (self.initial_receive_window, self.initial_send_window);
        self.answers.entry(stream).or_insert_with(|| Answer { receive_window, send_window, ..Answer::default() })
    }

    fn is_finished(&self, stream: u32) -> bool {
        self.answers.get(&stream).is_some_and(|answer| answer.is_whole || answer.reset.is_some())
    }
}

impl Answer {
    fn finish(&mut self) {
        self.is_whole = true;
        let bodiless = self.to_head || matches!(self.status, Some(204 | 304));
        if let Framing::Length(length) = self.framing() {
            assert!(bodiless || length == self.body.len() as u64, "content-length {length}, but {}", self.body.len());
        }
        assert!(!bodiless || self.body.is_empty(), "a body after {:?}", self.status);
    }

    fn framing(&self) -> Framing {
        framing_of(&self.headers, Framing::None).unwrap_or_else(|fault| panic!("{fault:?}"))
    }

    fn response(&self) -> Response {
        Response {
            version: "HTTP/2".to_owned(),
            status: self.status.expect("a whole response has a status"),
            headers: self.headers.clone(),
            framing: self.framing(),
            body: self.body.clone(),
            trailers: self.trailers.clone(),
            interim: self.interim.clone(),
        }
    }
}

/// Fields as RFC 9113 sections 8.2 and 8.3 want them after the pseudo-header fields.
fn regular(fields: &[(String, String)]) -> Headers {
    for (name, value) in fields {
        let hop_by_hop = ["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"];
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        assert!(!name.is_empty() && name.bytes().all(is_token), "the field name {name:?}");
        assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()), "the field name {name:?} in upper case");
        assert!(!hop_by_hop.contains(&name.as_str()), "{name}: {value} does not belong into HTTP/2");
        assert!(!value.contains(['\r', '\n', '\0']) && value.trim() == value, "the value {value:?} of {name}");
    }
    fields.iter().cloned().collect()
}

/// Takes the padding off a frame that says it has some.
fn unpadded(frame: &mut Frame) -> Vec<u8> {
    let mut payload = std::mem::take(&mut frame.payload);
    if frame.has(flag::PADDED) {
        let padding = usize::from(payload.remove(0));
        assert!(padding <= payload.len(), "more padding than payload: {frame:?}");
        payload.truncate(payload.len() - padding);
    }
    payload
}

fn pairs(payload: &[u8]) -> Vec<(u16, u32)> {
    let pair = |six: &[u8]| {
        (u16::from_be_bytes([six[0], six[1]]), u32::from_be_bytes(six[2..6].try_into().expect("four bytes")))
    };
    payload.chunks_exact(6).map(pair).collect()
}
