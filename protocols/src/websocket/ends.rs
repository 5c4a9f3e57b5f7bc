//! The two ends of a direction: where bytes come from, and where they go.

use std::future::Future;
use std::io;

use engine::buffer::{Buffer, Chunk, Unsent};
use engine::core::Deadline;
use engine::counters::ErrorClass;
use engine::net::{Receiver, Sender};

use crate::exchange::{Body, ResponseStream};
use crate::http1::{BackendConnection, class_of};

/// A backend that has agreed.
pub struct Backend<'c> {
    pub receiver: &'c mut Receiver,
    pub sender: &'c mut Sender,
    /// Frames that came with the handshake.
    pub early: Buffer,
}

pub trait Source {
    /// What comes next; the end of it is an error like any other.
    fn receive(&mut self) -> impl Future<Output = Result<Chunk, ErrorClass>>;
}

pub trait Sink {
    /// Sends all of it.
    fn send(&mut self, bytes: Buffer) -> impl Future<Output = Result<(), ErrorClass>>;
    /// Says that no more comes.
    fn finish(&mut self) -> impl Future<Output = ()>;
}

pub struct FromClient<'c, B>(pub &'c mut B);

impl<B: Body> Source for FromClient<'_, B> {
    async fn receive(&mut self) -> Result<Chunk, ErrorClass> {
        match self.0.chunk().await {
            Ok(Some(chunk)) => Ok(chunk),
            Ok(None) | Err(_) => Err(ErrorClass::ClientDisconnect),
        }
    }
}

pub struct FromBackend<'c> {
    pub receiver: &'c mut Receiver,
    pub early: Buffer,
}

impl Source for FromBackend<'_> {
    async fn receive(&mut self) -> Result<Chunk, ErrorClass> {
        let mut next = std::mem::take(&mut self.early);
        if next.is_empty() {
            next = received(self.receiver).await.map_err(|error| class_of(&error))?;
        }
        let length = next.len();
        Ok(Chunk::new(next, 0..length))
    }
}

pub async fn received(receiver: &mut Receiver) -> io::Result<Buffer> {
    if !receiver.is_started() {
        receiver.start_idle();
    }
    match receiver.received().await {
        (Ok(0), _) => Err(io::ErrorKind::UnexpectedEof.into()),
        (Ok(_), buffer) => Ok(buffer),
        (Err(error), _) => Err(error),
    }
}

/// A backend that has been told of the end has this long to end as well.
const LINGER_MS: u64 = 2_000;
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// Takes what the backend still sends, up to its end: a connection that is closed before that is reset, and a reset takes back the
/// Close that the backend has not read yet.
pub async fn linger(mut connection: Box<BackendConnection>, deadline: Deadline) {
    let mut thrown_away = 0;
    let ended = async {
        while let Ok(more) = received(&mut connection.receiver).await {
            thrown_away += more.len();
            if thrown_away > LINGER_BYTES_MAX {
                return;
            }
        }
    };
    deadline.set_ms(LINGER_MS);
    deadline.bound(ended).await;
}

pub struct ToBackend<'c>(pub &'c mut Sender);

impl Sink for ToBackend<'_> {
    async fn send(&mut self, bytes: Buffer) -> Result<(), ErrorClass> {
        self.0.send(Unsent { buffer: bytes, sent: 0 }).await.0.map_err(|error| class_of(&error))
    }

    async fn finish(&mut self) {
        self.0.shutdown_send();
    }
}

/// Nothing once it is finished.
pub struct ToClient<S>(pub Option<S>);

impl<S: ResponseStream> Sink for ToClient<S> {
    async fn send(&mut self, bytes: Buffer) -> Result<(), ErrorClass> {
        let Some(stream) = &mut self.0 else { return Err(ErrorClass::ClientDisconnect) };
        let length = bytes.len();
        let sent = async {
            stream.write(Chunk::new(bytes, 0..length)).await?;
            stream.flush().await
        };
        sent.await.map_err(|_| ErrorClass::ClientDisconnect)
    }

    async fn finish(&mut self) {
        if let Some(stream) = self.0.take() {
            let _ = stream.finish(None).await;
        }
    }
}
