//! Frames in both directions, as they came.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;

use engine::buffer::{Buffer, Chunk, Unsent};
use engine::core::Deadline;
use engine::counters::ErrorClass;
use engine::net::{Receiver, Sender};

use super::ends::{Backend, received};
use super::frames::{Side, Violation, close};
use super::meter::Meter;
use super::session::{DRAIN_MS, End, Ending, FAREWELL_MS, Traffic};
use crate::exchange::{Body, ResponseStream};
use crate::http1::class_of;
use crate::settings::WebSocketSettings;

/// What is known of the frames of each direction; nothing when nobody looks.
struct Meters<'s> {
    from_client: Option<RefCell<Meter>>,
    from_backend: Option<RefCell<Meter>>,
    traffic: &'s Traffic,
}

impl<'s> Meters<'s> {
    fn new(settings: &WebSocketSettings, traffic: &'s Traffic) -> Self {
        let meter = |from| (!settings.is_tunnel).then(|| RefCell::new(Meter::new(from, settings.frame_bytes_max)));
        Self { from_client: meter(Side::Client), from_backend: meter(Side::Backend), traffic }
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

    /// What was noted has gone on.
    fn note_sent(&self, from: Side, bytes: usize) {
        self.traffic.set(from, self.of(from).map_or(0, |meter| meter.borrow().frames), bytes);
    }

    /// What a stream's end amounts to. Where nobody looks for a Close, the end itself is one in order.
    fn end_of(&self, class: ErrorClass) -> End {
        if self.from_client.is_none() { End::Closed } else { End::Source(class) }
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

pub async fn relay<B: Body, S: ResponseStream>(
    body: &mut B,
    mut stream: S,
    backend: Backend<'_>,
    settings: &WebSocketSettings,
    traffic: &Traffic,
    deadline: &Deadline,
) -> Ending {
    let meters = Meters::new(settings, traffic);
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
        match first {
            Some((from, End::Source(_))) if meters.has_closed(from) && !meters.have_both_closed() => {
                deadline.set_ms(DRAIN_MS);
                match from {
                    Side::Client => deadline.bound(down).await.map(|end| (Side::Backend, end)),
                    Side::Backend => deadline.bound(up).await.map(|end| (Side::Client, end)),
                }
            }
            first => first,
        }
    };
    deadline.set_ms(FAREWELL_MS);
    deadline.bound(farewell(ended.as_ref(), stream, sender, &meters)).await;
    Ending::of(ended.as_ref(), |side| meters.has_closed(side))
}

/// Tells whoever is left.
async fn farewell<S: ResponseStream>(
    ended: Option<&(Side, End)>,
    mut stream: S,
    sender: &mut Sender,
    meters: &Meters<'_>,
) {
    let code = match ended {
        Some((_, End::Violation(violation))) => {
            tracing::debug!("WebSocket session ended: {violation}");
            Some(violation.close_code())
        }
        _ => None,
    };
    // Frames go where the other direction has just ended one.
    if meters.takes_close(Side::Client) {
        let _ = sender.send(Unsent { buffer: close(Side::Backend, code, ""), sent: 0 }).await;
    }
    sender.shutdown_send();
    if meters.takes_close(Side::Backend) {
        let _ = stream.write(Chunk::from_slice(&close(Side::Client, code, ""))).await;
    }
    let _ = stream.finish(None).await;
}

async fn up<B: Body>(body: &mut B, sender: &mut Sender, meters: &Meters<'_>, deadline: &Deadline) -> End {
    loop {
        let chunk = match body.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return meters.end_of(ErrorClass::ClientDisconnect),
            Err(_) => return End::Source(ErrorClass::ClientDisconnect),
        };
        let length = chunk.len();
        if let Err(violation) = meters.note(Side::Client, &chunk) {
            return End::Violation(violation);
        }
        if let Err(error) = sender.send(chunk.into_unsent()).await.0 {
            return End::Sink(class_of(&error));
        }
        meters.note_sent(Side::Client, length);
        if meters.has_closed(Side::Client) {
            meters.traffic.note_close();
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
    meters: &Meters<'_>,
    deadline: &Deadline,
) -> End {
    // The client has its answer at once, whether or not the backend says anything.
    if stream.flush().await.is_err() {
        return End::Sink(ErrorClass::ClientDisconnect);
    }
    let mut next = early;
    loop {
        if next.is_empty() {
            next = match received(receiver).await {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return meters.end_of(class_of(&error)),
                Err(error) => return End::Source(class_of(&error)),
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
            return End::Sink(ErrorClass::ClientDisconnect);
        }
        meters.note_sent(Side::Backend, length);
        if meters.has_closed(Side::Backend) {
            meters.traffic.note_close();
            if meters.have_both_closed() {
                return End::Closed;
            }
            deadline.set_ms(DRAIN_MS);
        }
    }
}
