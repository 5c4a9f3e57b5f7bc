//! A client that writes exactly the bytes it is told.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::wait::PATIENCE;
use crate::wire::{Fault, Framing, Headers, Response, Wire, fault_of, framing_of};

pub struct RawClient {
    wire: Wire,
}

impl RawClient {
    #[track_caller]
    pub fn connect(port: u16) -> Self {
        Self::try_connect(port).unwrap_or_else(|error| panic!("cannot connect to port {port}: {error}"))
    }

    pub fn try_connect(port: u16) -> io::Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        Ok(Self { wire: Wire::new(stream, PATIENCE) })
    }

    /// The port this client's end of the connection has.
    pub fn local_port(&self) -> u16 {
        self.wire.stream.local_addr().expect("a connected socket has an address").port()
    }

    /// From now on a read or write that makes no progress for this long is a [`Fault::TimedOut`].
    pub fn with_patience(self, patience: Duration) -> Self {
        self.set_patience(patience);
        self
    }

    pub(crate) fn set_patience(&self, patience: Duration) {
        self.wire.stream.set_read_timeout(Some(patience)).expect("a read timeout");
        self.wire.stream.set_write_timeout(Some(patience)).expect("a write timeout");
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the gateway still reads");
    }

    /// Fails with [`Fault::Reset`] when the gateway closed and with [`Fault::TimedOut`] when it does not read.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Fault> {
        self.wire.send(bytes.as_ref()).map_err(|error| fault_of(&error))
    }

    /// A GET on this connection, kept alive afterwards.
    pub fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        self.response()
    }

    /// The next response with its whole body.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.try_response().unwrap_or_else(|(fault, so_far)| panic!("no full response ({fault:?}), got {so_far:?}"))
    }

    /// The next response, to a HEAD request: whatever its headers say, no body follows.
    #[track_caller]
    pub fn response_to_head(&mut self) -> Response {
        let head = self.head();
        Response { framing: Framing::None, ..head }
    }

    /// The next response, or what ended it and what of it had come.
    pub fn try_response(&mut self) -> Result<Response, (Fault, Option<Box<Response>>)> {
        let mut response = self.try_head().map_err(|fault| (fault, None))?;
        let mut body = Vec::new();
        let end = self.wire.body(response.framing, &mut |piece| body.extend_from_slice(piece));
        response.body = body;
        match end {
            Ok(trailers) => Ok(Response { trailers, ..response }),
            Err(fault) => Err((fault, Some(Box::new(response)))),
        }
    }

    /// The head of the next final response; its body stays unread.
    #[track_caller]
    pub fn head(&mut self) -> Response {
        self.try_head().unwrap_or_else(|fault| panic!("no response head: {fault:?}"))
    }

    pub fn try_head(&mut self) -> Result<Response, Fault> {
        let mut interim = Vec::new();
        loop {
            let response = self.one_head()?;
            if !(100..200).contains(&response.status) {
                return Ok(Response { interim, ..response });
            }
            interim.push(response.status);
        }
    }

    /// The next 1xx response.
    #[track_caller]
    pub fn interim(&mut self) -> Response {
        let response = self.one_head().unwrap_or_else(|fault| panic!("no interim response: {fault:?}"));
        assert!((100..200).contains(&response.status), "an interim response was due, got {response:?}");
        response
    }

    fn one_head(&mut self) -> Result<Response, Fault> {
        let head = self.wire.head()?;
        let bad = || Fault::Malformed(format!("status line {:?}", head.start));
        let (version, rest) = head.start.split_once(' ').ok_or_else(bad)?;
        let (code, _reason) = rest.split_once(' ').ok_or_else(bad)?;
        if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || code.len() != 3 {
            return Err(bad());
        }
        let status: u16 = code.parse().map_err(|_| bad())?;
        let declared = framing_of(&head.headers, Framing::UntilClose)?;
        let framing = if status < 200 || status == 204 || status == 304 { Framing::None } else { declared };
        let version = version.to_owned();
        let (body, trailers, interim) = (Vec::new(), Headers::default(), Vec::new());
        Ok(Response { version, status, headers: head.headers, framing, body, trailers, interim })
    }

    /// Reads the body of a response whose [`RawClient::head`] came, counting its bytes without keeping them.
    pub fn count_body(&mut self, head: &Response) -> Result<u64, Fault> {
        let mut count = 0;
        self.wire.body(head.framing, &mut |piece| count += piece.len() as u64)?;
        Ok(count)
    }

    /// The next chunk of a chunked body; empty is the last one.
    #[track_caller]
    pub fn chunk(&mut self) -> Vec<u8> {
        let chunk = self.wire.chunk().unwrap_or_else(|fault| panic!("no chunk: {fault:?}"));
        if chunk.is_empty() {
            let trailers = self.wire.trailers().unwrap_or_else(|fault| panic!("no end of the body: {fault:?}"));
            assert_eq!(trailers.names(), Vec::<&str>::new(), "trailers after a plain response");
        }
        chunk
    }

    /// Bytes as they come, at least one; empty when the gateway closed.
    pub fn read_some(&mut self) -> Result<Vec<u8>, Fault> {
        self.wire.read_some()
    }

    /// The gateway closes the connection without another byte.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        match self.wire.read_to_end() {
            Ok(rest) => assert!(rest.is_empty(), "closed, but after {:?}", crate::wire::latin1(&rest)),
            Err(Fault::Reset) => {}
            Err(fault) => panic!("the connection should be closed: {fault:?}"),
        }
    }

    /// Ends the sending side; answers can still be read.
    pub fn finish_sending(&mut self) {
        // Fails only when the gateway closed first, which the next read shows.
        drop(self.wire.stream.shutdown(Shutdown::Write));
    }

    /// Goes away with a RST instead of a FIN.
    pub fn reset(self) {
        socket2::SockRef::from(&self.wire.stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    }
}
