//! Frames in both directions, as they came.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;

use engine::buffer::{Buffer, Chunk};
use engine::core::Deadline;
use engine::net::{Receiver, Sender};

use super::frames::{Meter, Side, Violation, close};
use crate::exchange::{Body, ResponseStream};
use crate::settings::WebSocketSettings;

/// After a Close, or the end of one side, the other has this long to say its own (traffic sheet §14.3).
const DRAIN_MS: u64 = 30_000;
/// How long it may take to tell the other side that one has vanished.
const FAREWELL_MS: u64 = 100;

pub struct Backend<'c> {
    pub receiver: &'c mut Receiver,
    pub sender: &'c mut Sender,
    /// Frames that came with the handshake.
    pub early: Buffer,
}

/// What is known of the frames of each direction; nothing when nobody looks.
struct Meters {
    from_client: Option<RefCell<Meter>>,
    from_backend: Option<RefCell<Meter>>,
}

impl Meters {
    fn new(settings: &WebSocketSettings) -> Self {
        let meter = |from| (!settings.is_tunnel).then(|| RefCell::new(Meter::new(from, settings.frame_bytes_max)));
        Self { from_client: meter(Side::Client), from_backend: meter(Side::Backend) }
    }

    fn of(&self, from: Side) -> Option<&RefCell<Meter>> {
        match from {
            Side::Client => self.from_client.as_ref(),
            Side::Backend => self.from_backend.as_ref(),
        }
    }

    fn note(&self, from: Side, bytes: &[u8]) -> Result<(), Violation> {
        self.of(from).map_or(Ok(()), |meter| meter.borrow_mut().note(bytes))
    }

    fn have_both_closed(&self) -> bool {
        self.has_closed(Side::Client) && self.has_closed(Side::Backend)
    }

    fn has_closed(&self, from: Side) -> bool {
        self.of(from).is_some_and(|meter| meter.borrow().is_closed())
    }

    /// Whether a frame can still be put in front of what comes from that side.
    fn takes_close(&self, from: Side) -> bool {
        self.of(from).is_some_and(|meter| meter.borrow().takes_close())
    }
}

/// Why a direction has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The sender sends no more, or has vanished.
    Source,
    /// The receiver takes no more.
    Sink,
    /// Both sides have said Close.
    Closed,
    Violation(Violation),
}

pub async fn relay<B: Body, S: ResponseStream>(
    body: &mut B,
    mut stream: S,
    backend: Backend<'_>,
    settings: &WebSocketSettings,
    deadline: &Deadline,
) {
    let meters = Meters::new(settings);
    let Backend { receiver, sender, early } = backend;
    let ended = {
        let mut up = pin!(up(body, sender, &meters, deadline));
        let mut down = pin!(down(receiver, early, &mut stream, &meters, deadline));
        let first = poll_fn(|cx| {
            if let Poll::Ready(end) = up.as_mut().poll(cx) {
                return Poll::Ready(Some((Side::Client, end)));
            }
            if let Poll::Ready(end) = down.as_mut().poll(cx) {
                return Poll::Ready(Some((Side::Backend, end)));
            }
            // Set when a side has said Close.
            deadline.poll(cx).map(|()| None)
        })
        .await;
        // Whoever said Close and ended is owed the other's last words; nobody else is.
        if let Some((from, End::Source)) = first
            && meters.has_closed(from)
            && !meters.have_both_closed()
        {
            deadline.set_ms(DRAIN_MS);
            match from {
                Side::Client => drop(deadline.bound(down).await),
                Side::Backend => drop(deadline.bound(up).await),
            }
        }
        first
    };
    deadline.set_ms(FAREWELL_MS);
    deadline.bound(farewell(ended, stream, sender, &meters)).await;
}

/// Tells whoever is left.
async fn farewell<S: ResponseStream>(ended: Option<(Side, End)>, mut stream: S, sender: &mut Sender, meters: &Meters) {
    let code = match ended {
        Some((_, End::Violation(violation))) => {
            tracing::debug!("WebSocket session ended: {violation}");
            Some(violation.close_code())
        }
        _ => None,
    };
    // Frames go where the other direction has just ended one.
    if meters.takes_close(Side::Client) {
        let frame = close(Side::Backend, code);
        let mut buffer = Buffer::with_capacity(frame.len());
        buffer.extend(&frame);
        let _ = sender.send(engine::buffer::Unsent { buffer, sent: 0 }).await;
    }
    sender.shutdown_send();
    if meters.takes_close(Side::Backend) {
        let _ = stream.write(Chunk::from_slice(&close(Side::Client, code))).await;
    }
    let _ = stream.finish(None).await;
}

async fn up<B: Body>(body: &mut B, sender: &mut Sender, meters: &Meters, deadline: &Deadline) -> End {
    loop {
        let chunk = match body.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) | Err(_) => return End::Source,
        };
        if let Err(violation) = meters.note(Side::Client, &chunk) {
            return End::Violation(violation);
        }
        if sender.send(chunk.into_unsent()).await.0.is_err() {
            return End::Sink;
        }
        if meters.has_closed(Side::Client) {
            if meters.have_both_closed() {
                return End::Closed;
            }
            deadline.set_ms(DRAIN_MS);
        }
    }
}

async fn down<S: ResponseStream>(
    receiver: &mut Receiver,
    early: Buffer,
    stream: &mut S,
    meters: &Meters,
    deadline: &Deadline,
) -> End {
    // The client has its answer at once, whether or not the backend says anything.
    if stream.flush().await.is_err() {
        return End::Sink;
    }
    let mut next = early;
    loop {
        if next.is_empty() {
            next = match received(receiver).await {
                Ok(buffer) => buffer,
                Err(_) => return End::Source,
            };
        }
        let length = next.len();
        let chunk = Chunk::new(std::mem::take(&mut next), 0..length);
        if let Err(violation) = meters.note(Side::Backend, &chunk) {
            return End::Violation(violation);
        }
        let sent = async {
            stream.write(chunk).await?;
            stream.flush().await
        };
        if sent.await.is_err() {
            return End::Sink;
        }
        if meters.has_closed(Side::Backend) {
            if meters.have_both_closed() {
                return End::Closed;
            }
            deadline.set_ms(DRAIN_MS);
        }
    }
}

async fn received(receiver: &mut Receiver) -> io::Result<Buffer> {
    if !receiver.is_started() {
        receiver.start_idle();
    }
    match receiver.received().await {
        (Ok(0), _) => Err(io::ErrorKind::UnexpectedEof.into()),
        (Ok(_), buffer) => Ok(buffer),
        (Err(error), _) => Err(error),
    }
}
