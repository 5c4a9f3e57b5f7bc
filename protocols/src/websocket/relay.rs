//! Frames in both directions, as they came.
//!
//! Between two bare sockets a direction becomes a flow of the engine's as soon as nothing of it is on its way any other: then no
//! task is woken for its bytes. Everything else, and what comes before that, goes through the traits.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use engine::buffer::{Buffer, Chunk, Unsent};
use engine::core::Deadline;
use engine::counters::ErrorClass;
use engine::net::{Flow, FlowEvent, FlowSink, FlowSource, Receiver, Sender, Stall, Watcher};

use super::ends::{Backend, received};
use super::frames::{Side, Violation, close};
use super::meter::Meter;
use super::session::{DRAIN_MS, End, Ending, FAREWELL_MS, Traffic};
use crate::exchange::{Body, ResponseStream};
use crate::http1::{CLIENT_STALL_MS, class_of};
use crate::settings::WebSocketSettings;

/// What is known of the frames of each direction; nothing when nobody looks.
struct Meters {
    from_client: Way,
    from_backend: Way,
    traffic: Rc<Traffic>,
}

#[derive(Default)]
struct Way {
    meter: Option<RefCell<Meter>>,
    /// What was noted and has not gone on yet.
    unsent: Cell<usize>,
}

impl Meters {
    fn new(settings: &WebSocketSettings, traffic: Rc<Traffic>) -> Self {
        let meter = |from| (!settings.is_tunnel).then(|| RefCell::new(Meter::new(from, settings.frame_bytes_max)));
        let way = |from| Way { meter: meter(from), unsent: Cell::new(0) };
        Self { from_client: way(Side::Client), from_backend: way(Side::Backend), traffic }
    }

    fn way(&self, from: Side) -> &Way {
        match from {
            Side::Client => &self.from_client,
            Side::Backend => &self.from_backend,
        }
    }

    fn of(&self, from: Side) -> Option<&RefCell<Meter>> {
        self.way(from).meter.as_ref()
    }

    fn note(&self, from: Side, bytes: &[u8]) -> Result<(), Violation> {
        let way = self.way(from);
        if let Some(meter) = &way.meter {
            meter.borrow_mut().note(bytes)?;
        }
        way.unsent.set(way.unsent.get() + bytes.len());
        Ok(())
    }

    /// What was noted has gone on.
    fn note_sent(&self, from: Side, bytes: usize) {
        let way = self.way(from);
        way.unsent.set(way.unsent.get().saturating_sub(bytes));
        self.traffic.set(from, way.meter.as_ref().map_or(0, |meter| meter.borrow().frames), bytes);
    }

    /// What a stream's end amounts to. Where nobody looks for a Close, the end itself is one in order.
    fn end_of(&self, class: ErrorClass) -> End {
        if self.from_client.meter.is_none() { End::Closed } else { End::Source(class) }
    }

    fn have_both_closed(&self) -> bool {
        self.has_closed(Side::Client) && self.has_closed(Side::Backend)
    }

    fn has_closed(&self, from: Side) -> bool {
        self.of(from).is_some_and(|meter| meter.borrow().is_closed())
    }

    /// Whether a frame can still be put in front of what comes from that side.
    fn takes_close(&self, from: Side) -> bool {
        let way = self.way(from);
        way.unsent.get() == 0 && way.meter.as_ref().is_some_and(|meter| meter.borrow().takes_close())
    }

    /// Looks for a Close in what has gone on: the end, if both sides have said it.
    fn closed(&self, from: Side, deadline: &Deadline) -> Option<End> {
        if !self.has_closed(from) {
            return None;
        }
        self.traffic.note_close();
        if self.have_both_closed() {
            return Some(End::Closed);
        }
        deadline.set_ms(DRAIN_MS);
        None
    }
}

/// Looks at what a flow carries.
struct Watch {
    meters: Rc<Meters>,
    from: Side,
    violation: Cell<Option<Violation>>,
}

impl Watcher for Watch {
    fn passes(&self, bytes: &[u8]) -> bool {
        match self.meters.note(self.from, bytes) {
            Ok(()) => true,
            Err(violation) => {
                self.violation.set(Some(violation));
                false
            }
        }
    }

    fn sent(&self, count: usize) -> bool {
        self.meters.note_sent(self.from, count);
        self.meters.has_closed(self.from)
    }
}

/// One direction as a flow, to its end. None: there can be none.
async fn flow(
    (source, sink): (FlowSource, FlowSink),
    stall: Option<Stall>,
    from: Side,
    meters: &Rc<Meters>,
    deadline: &Deadline,
) -> Option<End> {
    let watch = Rc::new(Watch { meters: meters.clone(), from, violation: Cell::new(None) });
    let mut flow = Flow::start(source, sink, watch.clone(), stall)?;
    loop {
        return Some(match flow.next().await {
            FlowEvent::Noted => match meters.closed(from, deadline) {
                Some(end) => end,
                None => continue,
            },
            FlowEvent::Stopped => match watch.violation.take() {
                Some(violation) => End::Violation(violation),
                None => End::Source(ErrorClass::RequestError),
            },
            FlowEvent::SourceEnded(Ok(())) => meters.end_of(source_class(from, &io::ErrorKind::UnexpectedEof.into())),
            FlowEvent::SourceEnded(Err(error)) => End::Source(source_class(from, &error)),
            FlowEvent::SinkFailed(error) => End::Sink(match from {
                Side::Client => class_of(&error),
                Side::Backend => ErrorClass::ClientDisconnect,
            }),
        });
    }
}

fn source_class(from: Side, error: &io::Error) -> ErrorClass {
    match from {
        Side::Client => ErrorClass::ClientDisconnect,
        Side::Backend => class_of(error),
    }
}

pub async fn relay<B: Body, S: ResponseStream>(
    body: &mut B,
    mut stream: S,
    backend: Backend<'_>,
    settings: &WebSocketSettings,
    traffic: &Rc<Traffic>,
    (deadline, stall): (&Deadline, Deadline),
) -> Ending {
    let meters = Rc::new(Meters::new(settings, traffic.clone()));
    let Backend { receiver, sender, early } = backend;
    let ended = {
        let mut up = pin!(up(body, sender, &meters, deadline));
        let mut down = pin!(down(receiver, early, &mut stream, &meters, (deadline, stall)));
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
async fn farewell<S: ResponseStream>(ended: Option<&(Side, End)>, mut stream: S, sender: &mut Sender, meters: &Meters) {
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

async fn up<B: Body>(body: &mut B, sender: &mut Sender, meters: &Rc<Meters>, deadline: &Deadline) -> End {
    loop {
        if let Some(source) = body.flow_source()
            && let Some(sink) = sender.flow_sink()
            && let Some(end) = flow((source, sink), None, Side::Client, meters, deadline).await
        {
            return end;
        }
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
        if let Some(end) = meters.closed(Side::Client, deadline) {
            return end;
        }
    }
}

async fn down<S: ResponseStream>(
    receiver: &mut Receiver,
    early: Buffer,
    stream: &mut S,
    meters: &Rc<Meters>,
    (deadline, stall): (&Deadline, Deadline),
) -> End {
    // The client has its answer at once, whether or not the backend says anything.
    if stream.flush().await.is_err() {
        return End::Sink(ErrorClass::ClientDisconnect);
    }
    let mut next = early;
    let mut stall = Some(Stall { deadline: stall, limit_ms: CLIENT_STALL_MS });
    loop {
        if next.is_empty() {
            if let Some(source) = receiver.flow_source()
                && let Some(sink) = stream.flow_sink()
                && let Some(end) = flow((source, sink), stall.take(), Side::Backend, meters, deadline).await
            {
                return end;
            }
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
        if let Some(end) = meters.closed(Side::Backend, deadline) {
            return end;
        }
    }
}
