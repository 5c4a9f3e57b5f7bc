//! The floor: a bare HTTP/1.1 relay on the raw ring. It parses head, forwards, parses head, forwards, and does
//! nothing else, so that what a gateway costs above it is the gateway's own.
//!
//! Bytes leave from the very buffer they arrived in. A backend connection is taken from a pool for the length of one
//! exchange. There is no back-pressure but the end of the buffers, and no pipelining: a floor, not a product.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use clap::Parser;
use io_uring::IoUring;
use perf::buffers::BufferRing;
use perf::framing::Framing;
use perf::ring::{self, BUFFER_GROUP, Completion, Operation};
use perf::tcp;

/// Bare HTTP/1.1 relay on raw io_uring.
#[derive(Parser)]
struct Options {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// Address of the backend.
    #[arg(long)]
    backend: SocketAddr,
    /// Receive buffers, a power of two.
    #[arg(long, default_value_t = 256)]
    buffers: u16,
    /// Size of a receive buffer.
    #[arg(long, default_value_t = 32 * 1024)]
    buffer_bytes: usize,
    /// Pass on whatever comes, without looking at it, and keep client and backend together: the floor of tunnels.
    #[arg(long)]
    tunnel: bool,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    tcp::raise_descriptor_limit()?;
    let listener = tcp::listen(options.listen)?;
    let mut ring = ring::build()?;
    let buffers = BufferRing::register(&ring.submitter(), BUFFER_GROUP, options.buffers, options.buffer_bytes)?;
    ring::accept(&mut ring, listener.as_raw_fd())?;
    let relay = Relay {
        ring,
        buffers,
        backend: options.backend,
        is_tunnel: options.tunnel,
        sockets: Vec::new(),
        free: Vec::new(),
        idle: Vec::new(),
        starved: Vec::new(),
        has_given_back: false,
    };
    relay.run(listener.as_raw_fd())
}

/// No socket stands at the other side.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Backend,
}

/// Bytes of one buffer on their way out.
#[derive(Clone, Copy)]
struct Chunk {
    buffer: u16,
    length: u32,
}

struct Socket {
    descriptor: RawFd,
    side: Side,
    /// The socket of the other side while an exchange runs.
    mate: u32,
    framing: Framing,
    sending: Option<Chunk>,
    waiting: VecDeque<Chunk>,
    is_receiving: bool,
    is_closing: bool,
}

struct Relay {
    ring: IoUring,
    buffers: BufferRing,
    backend: SocketAddr,
    is_tunnel: bool,
    sockets: Vec<Socket>,
    /// Slots of `sockets` that are not in use.
    free: Vec<u32>,
    /// Backend sockets without an exchange, the last used on top.
    idle: Vec<u32>,
    /// Sockets whose receive ended because no buffer was left; they go on when one has been given back.
    starved: Vec<u32>,
    has_given_back: bool,
}

impl Relay {
    fn run(mut self, listener: RawFd) -> io::Result<()> {
        let mut batch = Vec::new();
        loop {
            ring::wait(&self.ring, None)?;
            ring::drain(&mut self.ring, &mut batch);
            for completion in &batch {
                match completion.token.operation {
                    Operation::Receive => self.received(completion)?,
                    Operation::Send => self.sent(completion)?,
                    Operation::Accept => self.accepted(completion, listener)?,
                }
            }
            if std::mem::take(&mut self.has_given_back) {
                while let Some(slot) = self.starved.pop() {
                    self.start_receive(slot)?;
                }
            }
        }
    }

    #[cold]
    fn accepted(&mut self, completion: &Completion, listener: RawFd) -> io::Result<()> {
        if completion.result >= 0 {
            tcp::set_nodelay(completion.result)?;
            let slot = self.add(completion.result, Side::Client);
            self.start_receive(slot)?;
        }
        if completion.is_armed() { Ok(()) } else { ring::accept(&mut self.ring, listener) }
    }

    fn received(&mut self, completion: &Completion) -> io::Result<()> {
        let slot = completion.token.slot;
        let socket = &mut self.sockets[slot as usize];
        socket.is_receiving = completion.is_armed();
        let Some(buffer) = completion.buffer().filter(|_| completion.result > 0) else {
            if completion.result == -libc::ENOBUFS && !socket.is_closing {
                self.starved.push(slot);
                return Ok(());
            }
            return self.close(slot);
        };
        if socket.is_closing {
            self.give_back(buffer);
            return self.close(slot);
        }
        let is_armed = socket.is_receiving;
        let chunk = Chunk { buffer, length: completion.result as u32 };
        match socket.side {
            Side::Client => self.forward_request(slot, chunk)?,
            Side::Backend => self.forward_response(slot, chunk)?,
        }
        if is_armed { Ok(()) } else { self.start_receive(slot) }
    }

    fn forward_request(&mut self, client: u32, chunk: Chunk) -> io::Result<()> {
        let bytes = self.buffers.bytes(chunk.buffer, chunk.length as usize);
        let mut is_read = || {
            let fed = self.sockets[client as usize].framing.feed(bytes, |_| ());
            fed.is_ok_and(|fed| fed.used == bytes.len())
        };
        if !self.is_tunnel && !is_read() {
            self.give_back(chunk.buffer);
            return self.close(client);
        }
        let mut backend = self.sockets[client as usize].mate;
        if backend == NONE {
            let Some(taken) = self.take_backend()? else {
                self.give_back(chunk.buffer);
                return self.close(client);
            };
            backend = taken;
            self.sockets[client as usize].mate = backend;
            self.sockets[backend as usize].mate = client;
        }
        self.send(backend, chunk)
    }

    fn forward_response(&mut self, backend: u32, chunk: Chunk) -> io::Result<()> {
        let bytes = self.buffers.bytes(chunk.buffer, chunk.length as usize);
        let socket = &mut self.sockets[backend as usize];
        let client = socket.mate;
        if self.is_tunnel && client != NONE {
            return self.send(client, chunk);
        }
        let fed = socket.framing.feed(bytes, |_| ());
        let Some(fed) = fed.ok().filter(|fed| fed.used == bytes.len() && client != NONE) else {
            self.give_back(chunk.buffer);
            return self.close(backend);
        };
        if fed.is_complete {
            socket.mate = NONE;
            self.sockets[client as usize].mate = NONE;
            self.idle.push(backend);
        }
        self.send(client, chunk)
    }

    fn send(&mut self, slot: u32, chunk: Chunk) -> io::Result<()> {
        let socket = &mut self.sockets[slot as usize];
        if socket.is_closing {
            self.give_back(chunk.buffer);
            return Ok(());
        }
        if socket.sending.is_some() {
            socket.waiting.push_back(chunk);
            return Ok(());
        }
        socket.sending = Some(chunk);
        let address = self.buffers.address(chunk.buffer);
        ring::send(&mut self.ring, socket.descriptor, address, chunk.length as usize, 0, slot)
    }

    fn sent(&mut self, completion: &Completion) -> io::Result<()> {
        let slot = completion.token.slot;
        let socket = &mut self.sockets[slot as usize];
        let Some(chunk) = socket.sending.take() else { return Ok(()) };
        if socket.is_closing || completion.result != chunk.length as i32 {
            self.give_back(chunk.buffer);
            return self.close(slot);
        }
        let next = socket.waiting.pop_front();
        self.give_back(chunk.buffer);
        next.map_or(Ok(()), |next| self.send(slot, next))
    }

    #[inline]
    fn give_back(&mut self, buffer: u16) {
        self.buffers.give_back(buffer);
        self.has_given_back = true;
    }

    fn start_receive(&mut self, slot: u32) -> io::Result<()> {
        let socket = &mut self.sockets[slot as usize];
        if socket.is_closing || socket.is_receiving || socket.descriptor < 0 {
            return Ok(());
        }
        socket.is_receiving = true;
        ring::receive(&mut self.ring, socket.descriptor, 0, slot)
    }

    /// An idle backend socket, or a new one. To connect blocks: that is once per connection of the pool.
    fn take_backend(&mut self) -> io::Result<Option<u32>> {
        if let Some(slot) = self.idle.pop() {
            return Ok(Some(slot));
        }
        let Ok(stream) = tcp::connect(self.backend) else { return Ok(None) };
        let slot = self.add(stream.into_raw_fd(), Side::Backend);
        self.start_receive(slot)?;
        Ok(Some(slot))
    }

    fn add(&mut self, descriptor: RawFd, side: Side) -> u32 {
        let socket = Socket {
            descriptor,
            side,
            mate: NONE,
            framing: Framing::default(),
            sending: None,
            waiting: VecDeque::new(),
            is_receiving: false,
            is_closing: false,
        };
        if let Some(slot) = self.free.pop() {
            self.sockets[slot as usize] = socket;
            return slot;
        }
        self.sockets.push(socket);
        (self.sockets.len() - 1) as u32
    }

    /// Ends a socket and its mate. The slot is free again once no operation is in flight.
    #[cold]
    fn close(&mut self, slot: u32) -> io::Result<()> {
        let socket = &mut self.sockets[slot as usize];
        if socket.descriptor < 0 {
            return Ok(());
        }
        let mate = std::mem::replace(&mut socket.mate, NONE);
        if !socket.is_closing {
            socket.is_closing = true;
            tcp::shutdown(socket.descriptor);
            for chunk in std::mem::take(&mut socket.waiting) {
                self.give_back(chunk.buffer);
            }
            self.idle.retain(|idle| *idle != slot);
        }
        let socket = &mut self.sockets[slot as usize];
        if !socket.is_receiving && socket.sending.is_none() {
            // SAFETY: the relay alone owns the descriptor, and it is forgotten in the same breath.
            drop(unsafe { OwnedFd::from_raw_fd(std::mem::replace(&mut socket.descriptor, -1)) });
            self.free.push(slot);
        }
        if mate != NONE {
            self.sockets[mate as usize].mate = NONE;
            return self.close(mate);
        }
        Ok(())
    }
}
