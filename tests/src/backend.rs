//! Backends that record every request exactly as it came and answer, or misbehave, as the test says.

use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::wait::{PATIENCE, eventually};
use crate::wire::{Fault, Framing, Headers, Wire, fault_of, framing_of};

/// A request as the backend received it.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub version: String,
    pub headers: Headers,
    /// The head byte for byte, with its empty line.
    pub raw_head: Vec<u8>,
    pub framing: Framing,
    pub body: Vec<u8>,
    pub trailers: Headers,
    /// Whether the body came to its end.
    pub complete: bool,
    /// Which of the backend's connections it came on, counted from 0.
    pub connection: usize,
    /// How many requests this connection had carried before.
    pub earlier_on_connection: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    pub fn text(&self) -> String {
        crate::wire::latin1(&self.body)
    }
}

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Request>>,
    malformed: Mutex<Vec<String>>,
    streams: Mutex<Vec<TcpStream>>,
    accepted: AtomicUsize,
    open: AtomicUsize,
    stopped: AtomicBool,
}

pub struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Backend {
    /// A well-behaved backend: reads each request whole, then sends what `reply` makes of it.
    pub fn replying(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::scripted(move |connection| {
            while let Some(request) = connection.read_request() {
                let reply = reply(&request);
                if !request.complete || !connection.reply_to(&request, &reply) || reply.close {
                    return;
                }
            }
        })
    }

    /// Answers everything with 200 and this text.
    pub fn saying(text: &'static str) -> Self {
        Self::replying(move |_| Reply::text(text))
    }

    /// Answers everything with 200 and the body that came.
    pub fn echoing() -> Self {
        Self::replying(|request| Reply::new(200).body(request.body.clone()))
    }

    /// Answers everything with 200 and `<method> <target>`.
    pub fn naming_targets() -> Self {
        Self::replying(|request| Reply::text(&format!("{} {}", request.method, request.target)))
    }

    /// Runs `script` on a thread of its own for each connection; the connection closes when it returns.
    pub fn scripted(script: impl Fn(&mut Connection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port for a backend");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let (state, script) = (shared.clone(), Arc::new(script));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if state.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let id = state.accepted.fetch_add(1, Ordering::SeqCst);
                state.open.fetch_add(1, Ordering::SeqCst);
                state.streams.lock().unwrap().push(stream.try_clone().expect("a second handle"));
                let (state, script) = (state.clone(), script.clone());
                std::thread::spawn(move || {
                    let wire = Wire::new(stream, PATIENCE);
                    let mut connection = Connection { wire, id, carried: 0, reset: false, shared: state };
                    script(&mut connection);
                });
            }
        });
        Self { address, shared }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every request so far, in the order in which they were read to their end.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    #[track_caller]
    pub fn wait_for_requests(&self, count: usize) -> Vec<Request> {
        eventually(&format!("the backend has {count} requests"), || {
            Some(self.requests()).filter(|requests| requests.len() >= count)
        })
    }

    /// The one request the backend has got.
    #[track_caller]
    pub fn only_request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "the backend should have one request: {requests:?}");
        requests.remove(0)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections whose script still runs.
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    #[track_caller]
    pub fn expect_untouched(&self) {
        assert_eq!(self.requests().len(), 0, "the backend should have seen nothing: {:?}", self.requests());
        assert_eq!(self.connections(), 0, "the backend should not even have been dialled");
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
        let malformed = self.shared.malformed.lock().unwrap();
        if !std::thread::panicking() {
            assert!(malformed.is_empty(), "the gateway sent malformed requests: {malformed:?}");
        }
    }
}

/// One connection of a scripted backend.
pub struct Connection {
    wire: Wire,
    id: usize,
    carried: usize,
    reset: bool,
    shared: Arc<Shared>,
}

impl Connection {
    /// Counted from 0 in the order of acceptance.
    pub fn id(&self) -> usize {
        self.id
    }

    /// The next request with its body, recorded; `None` when the gateway closed the connection.
    pub fn read_request(&mut self) -> Option<Request> {
        let mut request = self.next_head()?;
        let mut body = Vec::new();
        let end = self.wire.body(request.framing, &mut |piece| body.extend_from_slice(piece));
        request.body = body;
        match end {
            Ok(trailers) => request.trailers = trailers,
            Err(fault) => {
                self.note(fault);
                request.complete = false;
            }
        }
        self.record(&request);
        Some(request)
    }

    /// The next request's head, recorded; its body stays on the connection.
    pub fn read_head(&mut self) -> Option<Request> {
        let mut request = self.next_head()?;
        request.complete = request.framing == Framing::None;
        self.record(&request);
        Some(request)
    }

    /// Reads on through the body of a request whose head came, counting its bytes; the fault says how it ended early.
    pub fn count_body(&mut self, head: &Request) -> (u64, Option<Fault>) {
        let mut count = 0;
        let end = self.wire.body(head.framing, &mut |piece| count += piece.len() as u64);
        (count, end.err())
    }

    /// Some bytes of what comes next, as they are on the wire; empty when the gateway closed.
    pub fn read_some(&mut self) -> Vec<u8> {
        self.wire.read_some().unwrap_or_default()
    }

    /// Writes these bytes exactly; false when the gateway is gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.send(bytes.as_ref()).is_ok()
    }

    /// Writes as much of an endless body as the gateway takes and gives the bytes it took before it made no progress
    /// for `patience` or closed.
    pub fn flood(&mut self, patience: Duration) -> (u64, Fault) {
        self.wire.stream.set_write_timeout(Some(patience)).expect("a write timeout");
        let block = [b'x'; 65536];
        let mut count = 0;
        loop {
            match self.wire.stream.write(&block) {
                Ok(written) => count += written as u64,
                Err(error) => return (count, fault_of(&error)),
            }
        }
    }

    pub fn reply_to(&mut self, request: &Request, reply: &Reply) -> bool {
        let bytes = reply.bytes(request.method == "HEAD");
        self.send(bytes)
    }

    /// Waits until the gateway closes, reading and dropping what it still sends; false if it did not in time.
    pub fn wait_closed(&mut self) -> bool {
        !matches!(self.wire.read_to_end(), Err(Fault::TimedOut))
    }

    /// The connection ends with a RST when the script returns.
    pub fn reset(&mut self) {
        self.reset = true;
    }

    fn next_head(&mut self) -> Option<Request> {
        let head = match self.wire.head() {
            Ok(head) => head,
            Err(fault) => {
                self.note(fault);
                return None;
            }
        };
        let parts: Vec<&str> = head.start.split(' ').collect();
        let framing = framing_of(&head.headers, Framing::None);
        let ([method, target, version], Ok(framing)) = (parts.as_slice(), &framing) else {
            self.note(Fault::Malformed(format!("{} ({framing:?})", head.start)));
            return None;
        };
        let earlier_on_connection = self.carried;
        self.carried += 1;
        Some(Request {
            method: (*method).to_owned(),
            target: (*target).to_owned(),
            version: (*version).to_owned(),
            headers: head.headers,
            raw_head: head.raw,
            framing: *framing,
            body: Vec::new(),
            trailers: Headers::default(),
            complete: true,
            connection: self.id,
            earlier_on_connection,
        })
    }

    fn record(&self, request: &Request) {
        self.shared.requests.lock().unwrap().push(request.clone());
    }

    fn note(&self, fault: Fault) {
        if let Fault::Malformed(what) = fault {
            self.shared.malformed.lock().unwrap().push(what);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The backend keeps a second handle to wake scripts at its end, so closing this one would not close the socket.
        if self.reset {
            reset_now(&self.wire.stream);
        }
        drop(self.wire.stream.shutdown(Shutdown::Both));
        self.shared.streams.lock().unwrap().retain(|s| s.peer_addr().ok() != self.wire.stream.peer_addr().ok());
        self.shared.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Sends a RST at once although other handles of the socket exist: connecting to AF_UNSPEC aborts a TCP connection.
fn reset_now(stream: &TcpStream) {
    use std::os::fd::AsRawFd;
    // SAFETY: all zeroes is a valid `sockaddr`, whose family then is AF_UNSPEC.
    #[allow(unsafe_code)]
    let unspecified: libc::sockaddr = unsafe { std::mem::zeroed() };
    let size = libc::socklen_t::try_from(size_of::<libc::sockaddr>()).expect("a small struct");
    // SAFETY: the descriptor is open for the length of the call and the address is a live `sockaddr` of that size.
    #[allow(unsafe_code)]
    let result = unsafe { libc::connect(stream.as_raw_fd(), &raw const unspecified, size) };
    assert_eq!(result, 0, "the connection could not be aborted");
}

/// What a well-behaved backend answers.
#[derive(Debug, Clone)]
pub struct Reply {
    status: u16,
    version: &'static str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    framing: ReplyFraming,
    close: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum ReplyFraming {
    Length,
    Chunked { size: usize, trailers: Vec<(String, String)> },
    UntilClose,
    Unframed,
}

impl Reply {
    pub fn new(status: u16) -> Self {
        let (headers, body, framing) = (Vec::new(), Vec::new(), ReplyFraming::Length);
        Self { status, version: "HTTP/1.1", headers, body, framing, close: false }
    }

    pub fn text(text: &str) -> Self {
        Self::new(200).header("Content-Type", "text/plain").body(text)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends the body in chunks of this many bytes.
    pub fn chunked(mut self, size: usize) -> Self {
        self.framing = ReplyFraming::Chunked { size, trailers: Vec::new() };
        self
    }

    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        let ReplyFraming::Chunked { trailers, .. } = &mut self.framing else { panic!("trailers need chunks") };
        trailers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Ends the body by closing the connection.
    pub fn until_close(mut self) -> Self {
        (self.framing, self.close) = (ReplyFraming::UntilClose, true);
        self
    }

    /// No Content-Length and no body, as 204 and 304 have it.
    pub fn without_body(mut self) -> Self {
        self.framing = ReplyFraming::Unframed;
        self
    }

    /// Announces and performs a close after the response.
    pub fn close(mut self) -> Self {
        self.close = true;
        self.header("Connection", "close")
    }

    pub fn http_1_0(mut self) -> Self {
        self.version = "HTTP/1.0";
        self
    }

    fn bytes(&self, to_head: bool) -> Vec<u8> {
        let mut out = format!("{} {} Reason\r\n", self.version, self.status).into_bytes();
        for (name, value) in &self.headers {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        match &self.framing {
            ReplyFraming::Length => {
                out.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
            }
            ReplyFraming::Chunked { .. } => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            ReplyFraming::UntilClose | ReplyFraming::Unframed => {}
        }
        out.extend_from_slice(b"\r\n");
        if to_head {
            return out;
        }
        match &self.framing {
            ReplyFraming::Length | ReplyFraming::UntilClose => out.extend_from_slice(&self.body),
            ReplyFraming::Unframed => {}
            ReplyFraming::Chunked { size, trailers } => {
                for chunk in self.body.chunks(*size) {
                    out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    out.extend_from_slice(chunk);
                    out.extend_from_slice(b"\r\n");
                }
                out.extend_from_slice(b"0\r\n");
                for (name, value) in trailers {
                    out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
                }
                out.extend_from_slice(b"\r\n");
            }
        }
        out
    }
}

/// A port that refuses every connection for as long as this lives: bound, so nobody else gets it, but not listening.
pub struct RefusingPort(Socket);

impl RefusingPort {
    pub fn new() -> Self {
        Self(bound_socket())
    }

    pub fn port(&self) -> u16 {
        port_of(&self.0)
    }

    /// From now on it accepts. Nobody else can have the port in between.
    pub fn open(self) -> TcpListener {
        self.0.listen(16).expect("a listening socket");
        self.0.into()
    }
}

impl Default for RefusingPort {
    fn default() -> Self {
        Self::new()
    }
}

/// A port whose accept queue is full: a connection attempt hangs until its own timeout.
pub struct DeafPort {
    listener: Socket,
    _queue: Vec<Socket>,
}

impl DeafPort {
    pub fn new() -> Self {
        let listener = bound_socket();
        listener.listen(0).expect("a listening socket");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port_of(&listener))).into();
        // A backlog of 0 holds one connection; the attempts after it stay in SYN-SENT for as long as these live.
        let dial = |_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.set_nonblocking(true).expect("non-blocking");
            drop(socket.connect(&address));
            socket
        };
        let queue = (0..4).map(dial).collect();
        Self { listener, _queue: queue }
    }

    pub fn port(&self) -> u16 {
        port_of(&self.listener)
    }
}

impl Default for DeafPort {
    fn default() -> Self {
        Self::new()
    }
}

fn bound_socket() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
    socket
}

fn port_of(socket: &Socket) -> u16 {
    socket.local_addr().ok().and_then(|a| a.as_socket()).expect("a bound socket has an address").port()
}
