//! One connection's TLS, without a socket: ciphertext in, plaintext out, and back.
//!
//! rustls decides on every message. The buffers are those of the core: a connection that only waits has none here.

use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus, WriteTraffic,
};
use rustls::{ClientConfig, CommonState, Error, ServerConfig};
use rustls_pki_types::ServerName;

use crate::buffer::Buffer;

/// The most that one record holds (RFC 8446 §5.1), and what it may grow by on the wire.
const RECORD_BYTES: usize = 16 * 1024;
const RECORD_OVERHEAD_BYTES: usize = 64;

enum Role {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

pub struct Session {
    role: Role,
    /// Ciphertext that rustls has seen and not used up. It refers to it by place, and must find it at every call.
    received: Buffer,
    /// Decrypted, and more than its taker had room for; at most one record.
    rest: Vec<u8>,
    /// Handshake messages and alerts that go out before anything else.
    outgoing: Vec<u8>,
    /// The peer has said that it sends no more.
    is_closed: bool,
    /// We have.
    has_said_end: bool,
    /// Why nothing works any more. rustls must not be asked again after an error.
    failure: Option<Error>,
}

/// How far a handshake has come. What is to be sent now is in [`Session::take_outgoing`], whichever it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Handshake {
    NeedsMore,
    Done,
}

/// What received bytes held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opened {
    /// So many bytes of plaintext, at least one.
    Data(usize),
    NeedsMore,
    /// The peer sends no more, and has said so.
    Closed,
}

/// What is to be done when the connection can carry data.
enum Work<'a> {
    Shake,
    Open(&'a mut Buffer),
    Seal(&'a [u8], &'a mut Vec<u8>),
    Close(&'a mut Vec<u8>),
}

/// What a look at the connection led to.
#[derive(PartialEq, Eq)]
enum Step {
    /// A record came; so much of it was taken.
    Data,
    /// Nothing is left to do until more comes.
    Waits,
    /// The work is done.
    Done,
    PeerClosed,
    Again,
}

impl Session {
    /// # Errors
    /// The configuration is not fit for this kind of connection.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self::new(Role::Server(UnbufferedServerConnection::new(config)?)))
    }

    /// # Errors
    /// As [`Session::server`].
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, Error> {
        Ok(Self::new(Role::Client(UnbufferedClientConnection::new(config, name)?)))
    }

    fn new(role: Role) -> Self {
        Self {
            role,
            received: Buffer::none(),
            rest: Vec::new(),
            outgoing: Vec::new(),
            is_closed: false,
            has_said_end: false,
            failure: None,
        }
    }

    /// What was negotiated, and who the peer is.
    pub fn common(&self) -> &CommonState {
        match &self.role {
            Role::Server(connection) => connection,
            Role::Client(connection) => connection,
        }
    }

    /// What was received and is not used up: mostly a part of a record.
    pub fn received(&self) -> &Buffer {
        &self.received
    }

    /// Takes the received bytes out, so that more can be received behind them. Nothing else may be asked for until
    /// they are back.
    pub fn take_received(&mut self) -> Buffer {
        std::mem::take(&mut self.received)
    }

    /// `received`, and behind it what has come since.
    pub fn set_received(&mut self, received: Buffer) {
        self.received = received;
    }

    /// Goes on with the handshake as far as what was received allows.
    ///
    /// # Errors
    /// The peer's fault, or one of ours; the alert for the peer is in [`Session::take_outgoing`].
    pub fn shake(&mut self) -> Result<Handshake, Error> {
        loop {
            match self.step(&mut Work::Shake)? {
                Step::Again => {}
                Step::PeerClosed => return Err(Error::General("closed during the handshake".to_owned())),
                _ if self.common().is_handshaking() => return Ok(Handshake::NeedsMore),
                _ => return Ok(Handshake::Done),
            }
        }
    }

    /// What must be sent now, if anything.
    pub fn take_outgoing(&mut self) -> Option<Buffer> {
        if self.outgoing.is_empty() {
            return None;
        }
        let mut buffer = Buffer::with_capacity(self.outgoing.len());
        buffer.extend(&self.outgoing);
        self.outgoing = Vec::new();
        Some(buffer)
    }

    /// Whether plaintext is at hand that no new bytes are needed for.
    pub fn has_rest(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Whether the peer has said that it sends no more.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Decrypts behind what `plain` holds, which must have room.
    ///
    /// # Errors
    /// As [`Session::shake`].
    pub fn open(&mut self, plain: &mut Buffer) -> Result<Opened, Error> {
        debug_assert!(plain.spare() > 0, "no room looks like nothing to read");
        let before = plain.len();
        take(&mut self.rest, plain);
        // A whole record fits, or it is the first one, whose rest can wait.
        while self.rest.is_empty() && (plain.len() == before || plain.spare() >= RECORD_BYTES) && !self.is_closed {
            if self.step(&mut Work::Open(plain))? == Step::Waits {
                break;
            }
        }
        Ok(match plain.len() - before {
            0 if self.is_closed => Opened::Closed,
            0 => Opened::NeedsMore,
            count => Opened::Data(count),
        })
    }

    /// Encrypts behind what `out` holds.
    ///
    /// # Errors
    /// The connection has failed, or its keys are used up.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        self.send(Work::Seal(plain, out))
    }

    /// Says that nothing more will be sent, behind what `out` holds; once.
    ///
    /// # Errors
    /// As [`Session::seal`].
    pub fn close(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        if std::mem::replace(&mut self.has_said_end, true) { Ok(()) } else { self.send(Work::Close(out)) }
    }

    fn send(&mut self, mut work: Work<'_>) -> Result<(), Error> {
        loop {
            // What is waiting to be sent comes out before the connection offers to encrypt.
            let step = self.step(&mut work)?;
            if let Work::Seal(_, out) | Work::Close(out) = &mut work
                && !self.outgoing.is_empty()
            {
                out.append(&mut self.outgoing);
            }
            match step {
                Step::Done => return Ok(()),
                Step::Waits => return Err(Error::HandshakeNotComplete),
                _ => {}
            }
        }
    }

    fn step(&mut self, work: &mut Work<'_>) -> Result<Step, Error> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let stepped = self.settled(work);
        match &stepped {
            Ok(Step::PeerClosed) => self.is_closed = true,
            Err(error) => {
                self.failure = Some(error.clone());
                // What was to be sent, with the alert for the peer at its end, comes out before anything is looked at.
                while self.common().wants_write() && self.settled(&mut Work::Shake).is_ok() {}
            }
            _ => {}
        }
        stepped
    }

    fn settled(&mut self, work: &mut Work<'_>) -> Result<Step, Error> {
        let Self { role, received, rest, outgoing, .. } = self;
        let (discard, stepped) = match role {
            Role::Server(connection) => settle(connection.process_tls_records(received), rest, outgoing, work),
            Role::Client(connection) => settle(connection.process_tls_records(received), rest, outgoing, work),
        };
        received.consume(discard);
        if received.is_empty() {
            // Kept memory would be an idle connection's.
            *received = Buffer::none();
        }
        stepped
    }
}

/// One state of the connection, and the bytes at the front that it has used.
fn settle<D>(
    status: UnbufferedStatus<'_, '_, D>,
    rest: &mut Vec<u8>,
    outgoing: &mut Vec<u8>,
    work: &mut Work<'_>,
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { discard, state } = status;
    let step = state.and_then(|state| match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                keep(record?.payload, rest, work);
            }
            Ok(Step::Data)
        }
        ConnectionState::EncodeTlsData(mut message) => {
            append(outgoing, RECORD_OVERHEAD_BYTES, |room| message.encode(room).map_err(of_encode))?;
            Ok(Step::Again)
        }
        // What was encoded is the caller's to send, before anything that is encrypted later.
        ConnectionState::TransmitTlsData(message) => {
            message.done();
            Ok(Step::Again)
        }
        ConnectionState::WriteTraffic(traffic) => write(traffic, work),
        ConnectionState::PeerClosed => Ok(Step::PeerClosed),
        ConnectionState::BlockedHandshake | ConnectionState::Closed => Ok(Step::Waits),
        // Never accepted, so never there.
        _ => Err(Error::General("early data was not offered".to_owned())),
    });
    (discard, step)
}

fn write<D>(mut traffic: WriteTraffic<'_, D>, work: &mut Work<'_>) -> Result<Step, Error> {
    match work {
        Work::Shake | Work::Open(_) => return Ok(Step::Waits),
        Work::Seal(plain, out) => {
            let records = plain.len() / RECORD_BYTES + 1;
            let room = plain.len() + records * RECORD_OVERHEAD_BYTES;
            append(out, room, |room| traffic.encrypt(plain, room).map_err(of_encrypt))?;
        }
        Work::Close(out) => {
            append(out, RECORD_OVERHEAD_BYTES, |room| traffic.queue_close_notify(room).map_err(of_encrypt))?;
        }
    }
    Ok(Step::Done)
}

/// Gives a record to whoever reads, and keeps what there is no room for.
fn keep(payload: &[u8], rest: &mut Vec<u8>, work: &mut Work<'_>) {
    let mut taken = 0;
    if let Work::Open(plain) = work
        && rest.is_empty()
    {
        taken = payload.len().min(plain.spare());
        plain.extend(&payload[..taken]);
    }
    rest.extend_from_slice(&payload[taken..]);
}

fn take(rest: &mut Vec<u8>, plain: &mut Buffer) {
    if rest.is_empty() {
        return;
    }
    let count = rest.len().min(plain.spare());
    plain.extend(&rest[..count]);
    if count == rest.len() {
        // Kept memory would be an idle connection's.
        *rest = Vec::new();
    } else {
        rest.drain(..count);
    }
}

enum Full {
    Needs(usize),
    Failed(Error),
}

fn of_encode(error: EncodeError) -> Full {
    match error {
        EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => Full::Needs(required_size),
        EncodeError::AlreadyEncoded => Full::Failed(Error::General(error.to_string())),
    }
}

fn of_encrypt(error: EncryptError) -> Full {
    match error {
        EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => Full::Needs(required_size),
        EncryptError::EncryptExhausted => Full::Failed(Error::EncryptError),
    }
}

/// Lets `fill` write behind what `out` holds, with as much room as it asks for.
fn append(out: &mut Vec<u8>, room: usize, mut fill: impl FnMut(&mut [u8]) -> Result<usize, Full>) -> Result<(), Error> {
    let start = out.len();
    let mut room = room;
    loop {
        out.resize(start + room, 0);
        match fill(&mut out[start..]) {
            Ok(count) => {
                out.truncate(start + count);
                return Ok(());
            }
            Err(Full::Needs(more)) if more > room => room = more,
            Err(Full::Needs(_)) => return Err(Error::General("more room than was asked for is not enough".to_owned())),
            Err(Full::Failed(error)) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
