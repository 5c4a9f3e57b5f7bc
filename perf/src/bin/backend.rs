//! The backend: answers every request with as many bytes as the last segment of its path says (`/bytes/1024`), and
//! with 64 if that is no number. Responses are made once per size and sent from the same memory.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use clap::Parser;
use io_uring::IoUring;
use perf::buffers::BufferRing;
use perf::framing::Framing;
use perf::ring::{self, BUFFER_GROUP, Completion, Operation};
use perf::tcp;

/// Fixed-response HTTP/1.1 backend.
#[derive(Parser)]
struct Options {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
}

const BODY_BYTES_DEFAULT: usize = 64;
const BODY_BYTES_MAX: usize = 64 << 20;
const BUFFERS: u16 = 1024;
const BUFFER_BYTES: usize = 4096;

fn main() -> io::Result<()> {
    let options = Options::parse();
    tcp::raise_descriptor_limit()?;
    let listener = tcp::listen(options.listen)?;
    let mut ring = ring::build()?;
    let buffers = BufferRing::register(&ring.submitter(), BUFFER_GROUP, BUFFERS, BUFFER_BYTES)?;
    ring::accept(&mut ring, listener.as_raw_fd())?;
    let backend = Backend { ring, buffers, connections: Vec::new(), free: Vec::new(), responses: Responses::default() };
    backend.run(listener.as_raw_fd())
}

/// The responses made so far, by body size. They are never freed: the kernel may be reading them.
#[derive(Default)]
struct Responses {
    by_size: HashMap<usize, &'static [u8]>,
    last: Option<(usize, &'static [u8])>,
}

impl Responses {
    fn get(&mut self, body_bytes: usize) -> &'static [u8] {
        if let Some((size, response)) = self.last
            && size == body_bytes
        {
            return response;
        }
        let response = *self.by_size.entry(body_bytes).or_insert_with(|| {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {body_bytes}\r\n\r\n"
            );
            let mut response = head.into_bytes();
            response.resize(response.len() + body_bytes, b'x');
            response.leak()
        });
        self.last = Some((body_bytes, response));
        response
    }
}

/// The body size a request head asks for.
fn body_bytes(head: &[u8]) -> usize {
    let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let segment = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let size = std::str::from_utf8(segment).ok().and_then(|text| text.parse().ok());
    size.unwrap_or(BODY_BYTES_DEFAULT).min(BODY_BYTES_MAX)
}

struct Connection {
    descriptor: RawFd,
    framing: Framing,
    /// The size the request that is being read asks for.
    body_bytes: usize,
    sending: Option<&'static [u8]>,
    is_receiving: bool,
    is_closing: bool,
}

struct Backend {
    ring: IoUring,
    buffers: BufferRing,
    connections: Vec<Connection>,
    free: Vec<u32>,
    responses: Responses,
}

impl Backend {
    fn run(mut self, listener: RawFd) -> io::Result<()> {
        let mut batch = Vec::new();
        loop {
            ring::wait(&self.ring, None)?;
            ring::drain(&mut self.ring, &mut batch);
            for completion in &batch {
                match completion.token.operation {
                    Operation::Receive => self.received(completion)?,
                    Operation::Send => self.sent(completion),
                    Operation::Accept => self.accepted(completion, listener)?,
                }
            }
        }
    }

    #[cold]
    fn accepted(&mut self, completion: &Completion, listener: RawFd) -> io::Result<()> {
        if completion.result >= 0 {
            tcp::set_nodelay(completion.result)?;
            let slot = self.add(completion.result);
            ring::receive(&mut self.ring, completion.result, 0, slot)?;
        }
        if completion.is_armed() { Ok(()) } else { ring::accept(&mut self.ring, listener) }
    }

    fn received(&mut self, completion: &Completion) -> io::Result<()> {
        let slot = completion.token.slot;
        let connection = &mut self.connections[slot as usize];
        connection.is_receiving = completion.is_armed();
        let Some(buffer) = completion.buffer().filter(|_| completion.result > 0) else {
            if completion.result == -libc::ENOBUFS && !connection.is_closing {
                connection.is_receiving = true;
                return ring::receive(&mut self.ring, connection.descriptor, 0, slot);
            }
            self.close(slot);
            return Ok(());
        };
        let size = &mut connection.body_bytes;
        let bytes = self.buffers.bytes(buffer, completion.result as usize);
        let fed = connection.framing.feed(bytes, |head| *size = body_bytes(head));
        self.buffers.give_back(buffer);
        // One request at a time: leftover bytes, or a request before the last response has left, end the connection.
        let fed = fed.ok().filter(|fed| fed.used == completion.result as usize);
        let Some(fed) = fed.filter(|_| !connection.is_closing && connection.sending.is_none()) else {
            self.close(slot);
            return Ok(());
        };
        if fed.is_complete {
            let response = self.responses.get(connection.body_bytes);
            connection.sending = Some(response);
            ring::send(&mut self.ring, connection.descriptor, response.as_ptr(), response.len(), 0, slot)?;
        }
        if !connection.is_receiving {
            connection.is_receiving = true;
            ring::receive(&mut self.ring, connection.descriptor, 0, slot)?;
        }
        Ok(())
    }

    fn sent(&mut self, completion: &Completion) {
        let slot = completion.token.slot;
        let connection = &mut self.connections[slot as usize];
        let sent_all = connection.sending.take().is_some_and(|bytes| bytes.len() == completion.result.max(0) as usize);
        if connection.is_closing || !sent_all {
            self.close(slot);
        }
    }

    fn add(&mut self, descriptor: RawFd) -> u32 {
        let connection = Connection {
            descriptor,
            framing: Framing::default(),
            body_bytes: 0,
            sending: None,
            is_receiving: true,
            is_closing: false,
        };
        if let Some(slot) = self.free.pop() {
            self.connections[slot as usize] = connection;
            return slot;
        }
        self.connections.push(connection);
        (self.connections.len() - 1) as u32
    }

    /// Ends a connection. Its slot is free again once no operation is in flight.
    #[cold]
    fn close(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        if connection.descriptor < 0 {
            return;
        }
        if !connection.is_closing {
            connection.is_closing = true;
            tcp::shutdown(connection.descriptor);
        }
        if !connection.is_receiving && connection.sending.is_none() {
            // SAFETY: the backend alone owns the descriptor, and it is forgotten in the same breath.
            drop(unsafe { OwnedFd::from_raw_fd(std::mem::replace(&mut connection.descriptor, -1)) });
            self.free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_segment_names_the_size() {
        assert_eq!(body_bytes(b"GET /bytes/1048576 HTTP/1.1\r\n\r\n"), 1_048_576);
        assert_eq!(body_bytes(b"GET /route-7/bytes/1024?x=/9 HTTP/1.1\r\n\r\n"), 1024);
        assert_eq!(body_bytes(b"GET / HTTP/1.1\r\n\r\n"), BODY_BYTES_DEFAULT);
    }

    #[test]
    fn a_response_has_the_length_it_names() {
        let response = Responses::default().get(3);
        assert!(response.ends_with(b"Content-Length: 3\r\n\r\nxxx"));
    }
}
