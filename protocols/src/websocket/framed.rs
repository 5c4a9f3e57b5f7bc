//! Messages in both directions: each is put together, shown to the plugins, and laid out anew.
//!
//! A direction has one message at a time. Nothing more is received before it has gone on, so that a slow receiver, or a plugin
//! that waits, holds back the sender of that direction and nobody else.

mod lane;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::task::Poll;

use engine::core::Deadline;
use engine::counters::CoreCounters;
use plugins::Chain;
use plugins::websocket::WebSocketSession;

use self::lane::Lane;
use super::ends::{Backend, FromBackend, FromClient, Sink, Source, ToBackend, ToClient};
use super::frames::Side;
use super::session::{DRAIN_MS, End, Ending, FAREWELL_MS, Traffic};
use crate::exchange::{Body, ResponseStream, boxed};
use crate::settings::WebSocketSettings;

/// What both directions of a session work with.
pub struct Shared<'s> {
    pub settings: &'s WebSocketSettings,
    pub counters: &'s CoreCounters,
    pub chain: &'s Chain,
    pub session: &'s WebSocketSession<'s>,
    pub traffic: &'s Traffic,
    /// Set when a side has said Close.
    pub deadline: &'s Deadline,
    ways: [Way; 2],
    /// A direction that is in the middle of a frame ends it, and then itself.
    stops: Cell<bool>,
}

/// How far one direction has come.
#[derive(Default)]
struct Way {
    /// A Close has gone on.
    closed: Cell<bool>,
    sending: Cell<Sending>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Sending {
    /// Between two frames.
    #[default]
    Idle,
    /// A frame may have gone on in part.
    Busy,
    /// The receiver takes no more.
    Failed,
}

impl<'s> Shared<'s> {
    pub fn new(
        (settings, counters): (&'s WebSocketSettings, &'s CoreCounters),
        chain: &'s Chain,
        session: &'s WebSocketSession<'s>,
        traffic: &'s Traffic,
        deadline: &'s Deadline,
    ) -> Self {
        Self {
            settings,
            counters,
            chain,
            session,
            traffic,
            deadline,
            ways: Default::default(),
            stops: Cell::new(false),
        }
    }

    fn way(&self, from: Side) -> &Way {
        let [client, backend] = &self.ways;
        match from {
            Side::Client => client,
            Side::Backend => backend,
        }
    }

    /// The last of a side, which has its time for it however long the other has taken.
    async fn briefly<T>(&self, last: impl Future<Output = T>) -> Option<T> {
        self.deadline.set_ms(FAREWELL_MS);
        self.deadline.bound(last).await
    }

    fn has_closed(&self, from: Side) -> bool {
        self.way(from).closed.get()
    }
}

/// The direction that ended first, and why; nothing when a Close was not answered in time.
type Ended = Option<(Side, End)>;

/// What both sides are told when it is the gateway that ends the session.
struct Verdict {
    code: Option<u16>,
    reason: String,
}

impl Verdict {
    fn of(ended: &Ended) -> Option<Self> {
        match ended {
            Some((_, End::Violation(violation))) => {
                Some(Self { code: Some(violation.close_code()), reason: String::new() })
            }
            Some((_, End::Policy(Some(close)))) => Some(Self { code: Some(close.code), reason: close.reason.clone() }),
            Some((_, End::Policy(None))) => Some(Self { code: None, reason: String::new() }),
            _ => None,
        }
    }
}

/// Carries messages until either side ends. Answers whether the backend has to be left time to hear of it as well.
pub async fn converse<B: Body, S: ResponseStream>(
    body: &mut B,
    mut stream: S,
    backend: Backend<'_>,
    shared: &Shared<'_>,
) -> (Ending, bool) {
    // The client has its answer at once, whether or not the backend says anything. If it takes none, the first message tells.
    let _ = stream.flush().await;
    let Backend { receiver, sender, early } = backend;
    let mut up = Lane::new(Side::Client, FromClient(body), ToBackend(sender), shared);
    let mut down = Lane::new(Side::Backend, FromBackend { receiver, early }, ToClient(Some(stream)), shared);
    let (ended, verdict) = run(&mut up, &mut down, shared).await;
    bid_farewell(&mut up, &mut down, verdict.as_ref(), shared).await;
    if verdict.is_some() {
        tracing::debug!(connection_id = shared.session.connection_id, "WebSocket session ended: {ended:?}");
    }
    let has_backend_ended = matches!(ended, Some((Side::Backend, End::Source(_)) | (_, End::Closed)));
    (Ending::of(ended.as_ref(), |side| shared.has_closed(side)), !has_backend_ended)
}

/// Tells both sides, if they have not been told.
async fn bid_farewell<A: Source, B: Sink, C: Source, D: Sink>(
    up: &mut Lane<'_, A, B>,
    down: &mut Lane<'_, C, D>,
    verdict: Option<&Verdict>,
    shared: &Shared<'_>,
) {
    shared.briefly(up.farewell(verdict)).await;
    shared.briefly(down.farewell(verdict)).await;
}

/// Both directions at once, until one ends for good. Then the other ends the frame it is in, so that a Close can follow.
async fn run<A: Source, B: Sink, C: Source, D: Sink>(
    up: &mut Lane<'_, A, B>,
    down: &mut Lane<'_, C, D>,
    shared: &Shared<'_>,
) -> (Ended, Option<Verdict>) {
    let deadline = shared.deadline;
    let (mut going_up, mut going_down) = (boxed(|| up.run()), boxed(|| down.run()));
    let mut ended = poll_fn(|cx| {
        if let Poll::Ready(end) = going_up.as_mut().poll(cx) {
            return Poll::Ready(Some((Side::Client, end)));
        }
        if let Poll::Ready(end) = going_down.as_mut().poll(cx) {
            return Poll::Ready(Some((Side::Backend, end)));
        }
        deadline.poll(cx).map(|()| None)
    })
    .await;
    // Whoever said Close and ended is owed the other's last words; nobody else is.
    if let Some((from, End::Source(_))) = ended
        && shared.has_closed(from)
        && !shared.has_closed(from.other())
    {
        deadline.set_ms(DRAIN_MS);
        ended = match from {
            Side::Client => deadline.bound(going_down.as_mut()).await.map(|end| (Side::Backend, end)),
            Side::Backend => deadline.bound(going_up.as_mut()).await.map(|end| (Side::Client, end)),
        };
    }
    let verdict = Verdict::of(&ended);
    let is_busy = |from| shared.way(from).sending.get() == Sending::Busy;
    shared.stops.set(true);
    // The side that can be told at once is, before anything is waited for: a client that has vanished ends all this.
    match &ended {
        Some((Side::Client, _)) => {
            drop(going_up);
            shared.briefly(up.farewell(verdict.as_ref())).await;
            if is_busy(Side::Backend) {
                shared.briefly(going_down).await;
            }
        }
        Some((Side::Backend, _)) => {
            drop(going_down);
            shared.briefly(down.farewell(verdict.as_ref())).await;
            if is_busy(Side::Client) {
                shared.briefly(going_up).await;
            }
        }
        None => {}
    }
    (ended, verdict)
}

#[cfg(test)]
mod tests;
