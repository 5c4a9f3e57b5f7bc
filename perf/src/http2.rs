//! The client's side of an HTTP/2 connection (RFC 9113) on which one request is sent again and again: sans-IO.
//!
//! The request's header block is made once, and of an answer only its status and its end are looked at, so that the
//! load generator costs less than what it measures. Header blocks are not decoded: a status is understood where it is
//! the static table's, as every peer writes 200, and counts as a failure otherwise.

use crate::framing::Malformed;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD_BYTES: usize = 9;
/// We do not allow larger ones (`SETTINGS_MAX_FRAME_SIZE` is left as it is).
const FRAME_BYTES_MAX: usize = 16 * 1024;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PUSH_PROMISE: u8 = 0x5;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

const SETTINGS_HEADER_TABLE_SIZE: u16 = 0x1;
const SETTINGS_ENABLE_PUSH: u16 = 0x2;
const SETTINGS_MAX_CONCURRENT_STREAMS: u16 = 0x3;
const SETTINGS_INITIAL_WINDOW_SIZE: u16 = 0x4;

/// Windows that are never what a proxy waits for.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;
const WINDOW_BYTES_DEFAULT: u32 = 65_535;
const HEADER_TABLE_BYTES: u32 = 4096;
const STREAM_ID_MAX: u32 = 0x7fff_ffff;

/// What has come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The server's settings: requests may be sent, so many at a time.
    Ready { streams_max: u32 },
    /// The answer on a stream is whole; a status that is not in the static table is 0.
    Answer { stream: u32, status: u16, body_bytes: u64 },
    /// The server has given a stream up.
    Reset { stream: u32 },
}

/// A stream that waits for its answer or for the rest of it.
struct Stream {
    id: u32,
    status: Option<u16>,
    body_bytes: u64,
    /// Received and not yet given back to the stream's window.
    window_used: u32,
}

pub struct Connection {
    request: RequestBlocks,
    next_id: u32,
    streams: Vec<Stream>,
    window_used: u32,
    has_settings: bool,
    is_table_used: bool,
}

impl Connection {
    /// Puts the connection's beginning into `out`.
    pub fn begin(request: RequestBlocks, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(PREFACE);
        push_frame_head(out, 12, SETTINGS, 0, 0);
        push_setting(out, SETTINGS_ENABLE_PUSH, 0);
        push_setting(out, SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES);
        push_window_update(out, 0, CONNECTION_WINDOW_BYTES - WINDOW_BYTES_DEFAULT);
        Self { request, next_id: 1, streams: Vec::new(), window_used: 0, has_settings: false, is_table_used: true }
    }

    /// Puts one more request into `out` and gives its stream; nothing once the connection has no more numbers.
    pub fn request(&mut self, out: &mut Vec<u8>) -> Option<u32> {
        let id = self.next_id;
        if id > STREAM_ID_MAX {
            return None;
        }
        let block = match (self.is_table_used, id) {
            (true, 1) => &self.request.indexing,
            (true, _) => &self.request.indexed,
            (false, 1) => &self.request.literal_without_table,
            (false, _) => &self.request.literal,
        };
        push_frame_head(out, block.len(), HEADERS, END_STREAM | END_HEADERS, id);
        out.extend_from_slice(block);
        self.next_id += 2;
        self.streams.push(Stream { id, status: None, body_bytes: 0, window_used: 0 });
        Some(id)
    }

    /// Takes whole frames off the beginning of `bytes` and says how many bytes they were. What has to be answered goes
    /// into `out`.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        mut on_event: impl FnMut(&mut Self, &mut Vec<u8>, Event),
    ) -> Result<usize, Malformed> {
        let mut used = 0;
        while let Some((head, rest)) = bytes[used..].split_first_chunk::<FRAME_HEAD_BYTES>() {
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            if !self.has_settings && head[3] != SETTINGS {
                return Err(Malformed("the server does not speak HTTP/2"));
            }
            if length > FRAME_BYTES_MAX {
                return Err(Malformed("frame too long"));
            }
            let Some(payload) = rest.get(..length) else { break };
            used += FRAME_HEAD_BYTES + length;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & STREAM_ID_MAX;
            if let Some(event) = self.frame(head[3], head[4], stream, payload, out)? {
                on_event(self, out, event);
            }
        }
        Ok(used)
    }

    fn frame(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event>, Malformed> {
        match kind {
            HEADERS => {
                let status = head_status(flags, payload)?;
                let position = self.position(stream)?;
                // A second block on a stream is its trailers.
                self.streams[position].status.get_or_insert(status);
                Ok(self.end_if(flags & END_STREAM != 0, position))
            }
            DATA => {
                let position = self.position(stream)?;
                let waiting = &mut self.streams[position];
                waiting.body_bytes += payload.len() as u64;
                let has_ended = flags & END_STREAM != 0;
                if !has_ended {
                    give_back(out, &mut waiting.window_used, payload.len(), STREAM_WINDOW_BYTES, stream);
                }
                give_back(out, &mut self.window_used, payload.len(), CONNECTION_WINDOW_BYTES, 0);
                Ok(self.end_if(has_ended, position))
            }
            RST_STREAM => {
                let position = self.position(stream)?;
                self.streams.swap_remove(position);
                Ok(Some(Event::Reset { stream }))
            }
            SETTINGS => Ok(self.settings(flags, payload, out)),
            PING if flags & ACK == 0 => {
                push_frame_head(out, payload.len(), PING, ACK, 0);
                out.extend_from_slice(payload);
                Ok(None)
            }
            GOAWAY => Err(Malformed("goaway")),
            PUSH_PROMISE => Err(Malformed("a push, which was refused")),
            CONTINUATION => Err(Malformed("a head in several frames")),
            // We send no bodies and need no window; a kind that is not known is to be ignored (section 4.1).
            _ => Ok(None),
        }
    }

    fn position(&self, stream: u32) -> Result<usize, Malformed> {
        self.streams
            .iter()
            .position(|waiting| waiting.id == stream)
            .ok_or(Malformed("a frame on a stream that is not open"))
    }

    fn end_if(&mut self, has_ended: bool, position: usize) -> Option<Event> {
        has_ended.then(|| {
            let ended = self.streams.swap_remove(position);
            Event::Answer { stream: ended.id, status: ended.status.unwrap_or(0), body_bytes: ended.body_bytes }
        })
    }

    fn settings(&mut self, flags: u8, payload: &[u8], out: &mut Vec<u8>) -> Option<Event> {
        if flags & ACK != 0 {
            return None;
        }
        push_frame_head(out, 0, SETTINGS, ACK, 0);
        if std::mem::replace(&mut self.has_settings, true) {
            return None;
        }
        let mut streams_max = u32::MAX;
        for setting in payload.chunks_exact(6) {
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            match u16::from_be_bytes([setting[0], setting[1]]) {
                SETTINGS_HEADER_TABLE_SIZE if value < HEADER_TABLE_BYTES => self.is_table_used = false,
                SETTINGS_MAX_CONCURRENT_STREAMS => streams_max = value,
                _ => {}
            }
        }
        self.is_table_used &= self.request.table_bytes <= HEADER_TABLE_BYTES;
        Some(Event::Ready { streams_max })
    }
}

/// Gives a window back once half of it is used.
fn give_back(out: &mut Vec<u8>, used: &mut u32, bytes: usize, window_bytes: u32, stream: u32) {
    *used += bytes as u32;
    if *used >= window_bytes / 2 {
        push_window_update(out, stream, *used);
        *used = 0;
    }
}

/// The status of a header block that begins with it, as every response's does.
fn head_status(flags: u8, payload: &[u8]) -> Result<u16, Malformed> {
    if flags & END_HEADERS == 0 {
        return Err(Malformed("a head in several frames"));
    }
    if flags & PADDED != 0 {
        return Err(Malformed("a padded head"));
    }
    let mut block = payload.get(if flags & PRIORITY != 0 { 5 } else { 0 }..).unwrap_or_default();
    // Updates of the table's size come first (RFC 7541 section 6.3).
    while let [first, rest @ ..] = block
        && first & 0xe0 == 0x20
    {
        let more = if first & 0x1f == 0x1f { rest.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1 } else { 0 };
        block = rest.get(more..).unwrap_or_default();
    }
    const FIRST_STATUS: u8 = 0x80 | 8;
    const STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    let index = block.first().map(|first| usize::from(first.wrapping_sub(FIRST_STATUS)));
    Ok(index.and_then(|index| STATUSES.get(index)).copied().unwrap_or(0))
}

/// The header blocks of the one request.
#[derive(Debug, Clone)]
pub struct RequestBlocks {
    /// For a connection's first request: puts the fields into the server's table (RFC 7541 section 6.2.1).
    indexing: Vec<u8>,
    /// For those after it: names their places in the table.
    indexed: Vec<u8>,
    /// For a server without such a table: the first request says that none is used.
    literal_without_table: Vec<u8>,
    literal: Vec<u8>,
    /// What the fields take in the table (RFC 7541 section 4.1).
    table_bytes: u32,
}

impl RequestBlocks {
    /// A GET; the names of `fields` are in lower case.
    pub fn get(is_tls: bool, authority: &str, path: &str, fields: &[(String, String)]) -> Self {
        const METHOD_GET: u8 = 0x80 | 2;
        const SCHEME_HTTP: u8 = 0x80 | 6;
        const SCHEME_HTTPS: u8 = 0x80 | 7;
        const NAME_AUTHORITY: u8 = 1;
        const NAME_PATH: u8 = 4;
        const INDEXING: u8 = 0x40;
        const TABLE_OF_0_BYTES: u8 = 0x20;
        const FIRST_PLACE: u8 = 62;

        let start = [METHOD_GET, if is_tls { SCHEME_HTTPS } else { SCHEME_HTTP }];
        let block = |how: u8| {
            let mut block = start.to_vec();
            for (name, value) in [(NAME_PATH, path), (NAME_AUTHORITY, authority)] {
                block.push(how | name);
                push_string(&mut block, value);
            }
            for (name, value) in fields {
                block.push(how);
                push_string(&mut block, name);
                push_string(&mut block, value);
            }
            block
        };
        let count = 2 + fields.len() as u8;
        let literal = block(0);
        let entry = |name: &str, value: &str| (name.len() + value.len() + 32) as u32;
        Self {
            indexing: block(INDEXING),
            // The last one put in has the first place.
            indexed: start.into_iter().chain((0..count).rev().map(|place| 0x80 | (FIRST_PLACE + place))).collect(),
            literal_without_table: [&[TABLE_OF_0_BYTES], &literal[..]].concat(),
            literal,
            table_bytes: entry(":path", path)
                + entry(":authority", authority)
                + fields.iter().map(|(name, value)| entry(name, value)).sum::<u32>(),
        }
    }
}

/// A string without Huffman coding (RFC 7541 section 5.2).
fn push_string(block: &mut Vec<u8>, text: &str) {
    const PREFIX_MAX: usize = 0x7f;
    if text.len() < PREFIX_MAX {
        block.push(text.len() as u8);
    } else {
        block.push(PREFIX_MAX as u8);
        let mut rest = text.len() - PREFIX_MAX;
        while rest >= 0x80 {
            block.push(0x80 | rest as u8);
            rest >>= 7;
        }
        block.push(rest as u8);
    }
    block.extend_from_slice(text.as_bytes());
}

fn push_frame_head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

fn push_setting(out: &mut Vec<u8>, name: u16, value: u32) {
    out.extend_from_slice(&name.to_be_bytes());
    out.extend_from_slice(&value.to_be_bytes());
}

fn push_window_update(out: &mut Vec<u8>, stream: u32, bytes: u32) {
    push_frame_head(out, 4, WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&bytes.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection whose server has sent its settings.
    fn connection() -> (Connection, Vec<u8>) {
        let (mut connection, mut out) = new_connection();
        events(&mut connection, &frame(SETTINGS, 0, 0, &[])).unwrap();
        out.clear();
        (connection, out)
    }

    fn new_connection() -> (Connection, Vec<u8>) {
        let mut out = Vec::new();
        let fields = [("x-api-key".to_owned(), "k".to_owned())];
        let connection = Connection::begin(RequestBlocks::get(false, "a:1", "/bytes/64", &fields), &mut out);
        (connection, out)
    }

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        push_frame_head(&mut frame, payload.len(), kind, flags, stream);
        frame.extend_from_slice(payload);
        frame
    }

    fn events(connection: &mut Connection, bytes: &[u8]) -> Result<(usize, Vec<Event>, Vec<u8>), Malformed> {
        let (mut found, mut out) = (Vec::new(), Vec::new());
        let used = connection.receive(bytes, &mut out, |_, _, event| found.push(event))?;
        Ok((used, found, out))
    }

    /// Reads what [`Connection::begin`] and [`Connection::request`] have written with the `h2` crate's server.
    async fn heads_seen_by_a_server(requests: usize, table_bytes: Option<u32>) -> Vec<http::Request<()>> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let serve = async move {
            let mut builder = h2::server::Builder::new();
            if let Some(bytes) = table_bytes {
                builder.header_table_size(bytes);
            }
            let mut connection = builder.handshake::<_, bytes::Bytes>(server).await.unwrap();
            let mut seen = Vec::new();
            while seen.len() < requests {
                let (request, _) = connection.accept().await.unwrap().unwrap();
                seen.push(request.map(drop));
            }
            seen
        };
        let ask = async move {
            let (mut out, mut received) = (Vec::new(), Vec::new());
            let fields = [("x-long".to_owned(), "v".repeat(300))];
            let mut connection = Connection::begin(RequestBlocks::get(true, "a:1", "/x", &fields), &mut out);
            loop {
                client.write_all(&out).await.unwrap();
                out.clear();
                if client.read_buf(&mut received).await.unwrap() == 0 {
                    break;
                }
                let used = connection.receive(&received, &mut out, |connection, out, event| {
                    if matches!(event, Event::Ready { .. }) {
                        for _ in 0..requests {
                            connection.request(out);
                        }
                    }
                });
                received.drain(..used.unwrap());
            }
        };
        tokio::select! { seen = serve => seen, () = ask => unreachable!("the server ends first") }
    }

    #[test]
    fn another_implementation_reads_every_request_the_same_with_a_table_and_without() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for table_bytes in [None, Some(0)] {
            let seen = runtime.block_on(heads_seen_by_a_server(3, table_bytes));
            assert_eq!(seen.len(), 3);
            for request in seen {
                assert_eq!(request.uri(), "https://a:1/x");
                assert_eq!(request.method(), http::Method::GET);
                assert_eq!(request.headers()["x-long"].len(), 300);
                assert_eq!(request.headers().len(), 1);
            }
        }
    }

    #[test]
    fn settings_are_acknowledged_and_say_how_many_requests_there_may_be() {
        let (mut connection, _) = new_connection();
        let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 128]);
        let (_, found, out) = events(&mut connection, &settings).unwrap();
        assert_eq!(found, [Event::Ready { streams_max: 128 }]);
        assert_eq!(out, frame(SETTINGS, ACK, 0, &[]));
    }

    #[test]
    fn a_server_that_answers_with_http1_is_told_apart() {
        let (mut connection, _) = new_connection();
        let why = events(&mut connection, b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap_err();
        assert_eq!(why, Malformed("the server does not speak HTTP/2"));
    }

    #[test]
    fn an_answer_cut_anywhere_is_found_whole() {
        let answer = [frame(HEADERS, END_HEADERS, 1, &[0x20, 0x88]), frame(DATA, END_STREAM, 1, b"hello")].concat();
        for cut in 0..answer.len() {
            let (mut connection, mut out) = connection();
            connection.request(&mut out);
            let (used, found, _) = events(&mut connection, &answer[..cut]).unwrap();
            assert_eq!(found, [], "cut at {cut}");
            let (_, found, _) = events(&mut connection, &answer[used..]).unwrap();
            assert_eq!(found, [Event::Answer { stream: 1, status: 200, body_bytes: 5 }], "cut at {cut}");
        }
    }

    #[test]
    fn trailers_end_an_answer_and_do_not_change_its_status() {
        let (mut connection, mut out) = connection();
        connection.request(&mut out);
        let answer =
            [frame(HEADERS, END_HEADERS, 1, &[0x8d]), frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x88])].concat();
        let (_, found, _) = events(&mut connection, &answer).unwrap();
        assert_eq!(found, [Event::Answer { stream: 1, status: 404, body_bytes: 0 }]);
    }

    #[test]
    fn a_status_that_is_not_in_the_static_table_is_no_success() {
        assert_eq!(head_status(END_HEADERS, &[0x48, 3, b'5', b'0', b'3']), Ok(0));
        assert_eq!(head_status(END_HEADERS, &[0x3f, 0xe1, 0x1f, 0x88]), Ok(200));
        assert_eq!(head_status(END_HEADERS, &[]), Ok(0));
        assert!(head_status(0, &[0x88]).is_err());
    }

    #[test]
    fn a_reset_and_a_goaway_are_told() {
        let (mut connection, mut out) = connection();
        connection.request(&mut out);
        let (_, found, _) = events(&mut connection, &frame(RST_STREAM, 0, 1, &[0, 0, 0, 1])).unwrap();
        assert_eq!(found, [Event::Reset { stream: 1 }]);
        assert!(events(&mut connection, &frame(GOAWAY, 0, 0, &[0; 8])).is_err());
        assert!(events(&mut connection, &frame(DATA, 0, 9, b"x")).is_err());
    }

    #[test]
    fn a_window_is_given_back_when_half_of_it_is_used() {
        let (mut connection, mut out) = connection();
        connection.request(&mut out);
        let chunk = frame(DATA, 0, 1, &[0; FRAME_BYTES_MAX]);
        let mut updates = Vec::new();
        for _ in 0..STREAM_WINDOW_BYTES as usize / 2 / FRAME_BYTES_MAX {
            updates.extend(events(&mut connection, &chunk).unwrap().2);
        }
        assert_eq!(updates, frame(WINDOW_UPDATE, 0, 1, &(STREAM_WINDOW_BYTES / 2).to_be_bytes()));
    }

    #[test]
    fn a_ping_is_answered() {
        let (mut connection, _) = connection();
        let (_, _, out) = events(&mut connection, &frame(PING, 0, 0, b"12345678")).unwrap();
        assert_eq!(out, frame(PING, ACK, 0, b"12345678"));
    }
}
