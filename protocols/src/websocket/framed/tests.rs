//! One direction without sockets: what is sent when, and how it ends.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::pending;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use engine::buffer::{Buffer, Chunk};
use engine::consumers::ConsumerIndex;
use engine::core::Deadlines;
use engine::counters::{Counters, ErrorClass};
use engine::http::RequestHead;
use engine::net::{Reactor, ReactorOptions, sleep};
use engine::snapshot::ProxyFacts;
use plugins::websocket::{Close, Direction, Message, MessageFlow};
use plugins::{AuthMode, Facts, Phases, Plugin, RequestContext};

use super::*;
use crate::websocket::encode::Encoder;
use crate::websocket::frames::Violation;
use crate::websocket::messages::Assembler;

/// Says "waits" for a while, dislikes some texts, and lets everything else pass.
struct Moody;

impl Plugin for Moody {
    fn name(&self) -> &'static str {
        "moody"
    }

    fn phases(&self) -> Phases {
        Phases::WEBSOCKET_MESSAGE
    }

    fn on_websocket_message<'a>(
        &'a self,
        _: &'a WebSocketSession<'_>,
        _: Direction,
        message: &'a Message,
    ) -> MessageFlow<'a> {
        match message {
            Message::Text(text) if text == "wait" => MessageFlow::Wait(Box::pin(pending())),
            Message::Text(text) if text == "refuse" => MessageFlow::close(4001, "as you like"),
            Message::Text(text) if text == "panic" => panic!("as you like"),
            Message::Close(_) => panic!("nobody sees a Close"),
            _ => MessageFlow::Pass,
        }
    }
}

/// Pieces as they come in; behind them the end, or nothing for ever.
struct Pieces {
    pieces: VecDeque<Vec<u8>>,
    end: Option<ErrorClass>,
}

impl Source for Pieces {
    async fn receive(&mut self) -> Result<Chunk, ErrorClass> {
        match (self.pieces.pop_front(), self.end) {
            (Some(piece), _) => Ok(Chunk::from_slice(&piece)),
            (None, Some(class)) => Err(class),
            (None, None) => pending().await,
        }
    }
}

#[derive(Default)]
struct Outside {
    sends: Vec<Vec<u8>>,
    is_finished: bool,
    /// Takes nothing for now.
    is_stuck: bool,
    is_gone: bool,
}

#[derive(Clone, Default)]
struct Sent(Rc<RefCell<Outside>>);

impl Sink for Sent {
    async fn send(&mut self, bytes: Buffer) -> Result<(), ErrorClass> {
        poll_fn(|_| if self.0.borrow().is_stuck { Poll::Pending } else { Poll::Ready(()) }).await;
        let mut outside = self.0.borrow_mut();
        outside.sends.push(bytes.to_vec());
        if outside.is_gone { Err(ErrorClass::ConnectionReset) } else { Ok(()) }
    }

    async fn finish(&mut self) {
        self.0.borrow_mut().is_finished = true;
    }
}

impl Sent {
    fn sends(&self) -> Vec<usize> {
        self.0.borrow().sends.iter().map(Vec::len).collect()
    }

    /// The messages among all that was sent.
    fn messages(&self) -> Vec<Message> {
        let bytes = self.0.borrow().sends.concat();
        let (mut assembler, mut rest) = (Assembler::new(Side::Client, u64::MAX), &bytes[..]);
        std::iter::from_fn(|| assembler.read(&mut rest).expect("sound frames")).collect()
    }
}

/// What a session stands on.
struct Bench {
    settings: WebSocketSettings,
    counters: Counters,
    chain: Chain,
    upgrade: RequestContext,
    traffic: Traffic,
    deadline: Deadline,
}

impl Bench {
    fn new(write_buffer_bytes: usize) -> Self {
        let facts = Facts {
            namespace: "ferrum".into(),
            consumers: Arc::new(ConsumerIndex::new([])),
            proxies: Arc::from([ProxyFacts::default().into()]),
            redacted_keys: Vec::new(),
            companion: None,
        };
        let (head, ip) = (Box::new(RequestHead::new()), IpAddr::from([127, 0, 0, 1]));
        let plugin: Rc<dyn Plugin> = Rc::new(Moody);
        Self {
            settings: WebSocketSettings {
                connections_max: 0,
                frame_bytes_max: 1 << 20,
                write_buffer_bytes,
                is_tunnel: false,
            },
            counters: Counters::new(1),
            chain: Chain::new(&[plugin], AuthMode::Single),
            upgrade: RequestContext::new(head, Rc::new(facts), 0, ip, Instant::now()),
            traffic: Traffic::default(),
            deadline: Deadlines::new().deadline(),
        }
    }

    /// Runs a lane from the client to the backend over what comes, and then `look`.
    fn carry<T>(
        &self,
        pieces: &[Vec<u8>],
        sent: &Sent,
        look: impl FnOnce(Poll<End>, &mut Lane<'_, Pieces, Sent>, &Shared<'_>) -> T,
    ) -> T {
        let session = WebSocketSession::new(0, &self.upgrade);
        let core = self.counters.core(0);
        let shared = Shared::new((&self.settings, core), &self.chain, &session, &self.traffic, &self.deadline);
        let source = Pieces { pieces: pieces.iter().cloned().collect(), end: None };
        let mut lane = Lane::new(Side::Client, source, sent.clone(), &shared);
        let end = polled(Box::pin(lane.run()).as_mut());
        look(end, &mut lane, &shared)
    }
}

fn polled<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[track_caller]
fn ready<F: Future>(future: F) -> F::Output {
    match polled(Box::pin(future).as_mut()) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

fn text(text: &str) -> Message {
    Message::Text(text.to_owned())
}

/// As a client sends them.
fn bytes(messages: &[Message]) -> Vec<u8> {
    let mut encoder = Encoder::new(Side::Backend);
    let mut bytes = Vec::new();
    for message in messages {
        let long = encoder.push(message.clone());
        bytes.extend_from_slice(&encoder.take().0);
        bytes.extend(long.iter().flat_map(|long| long.iter()));
    }
    bytes
}

fn small(count: usize) -> Vec<Message> {
    vec![text(&"x".repeat(98)); count]
}

#[test]
fn messages_at_hand_are_gathered_up_to_the_write_buffer() {
    for (write_buffer_bytes, sends) in
        [(131_072, vec![1040]), (1040, vec![1040]), (300, vec![312, 312, 312, 104]), (0, vec![104; 10])]
    {
        let (bench, sent) = (Bench::new(write_buffer_bytes), Sent::default());
        bench.carry(&[bytes(&small(10))], &sent, |end, _, _| assert_eq!(end, Poll::Pending));
        assert_eq!(sent.sends(), sends, "{write_buffer_bytes}");
        assert_eq!(sent.messages(), small(10));
        assert_eq!(bench.traffic.delivered(Side::Client), plugins::websocket::Delivered { frames: 10, bytes: 1040 });
    }
}

#[test]
fn what_came_apart_is_not_held_back_to_be_gathered() {
    let (bench, sent) = (Bench::new(131_072), Sent::default());
    let (first, second) = (bytes(&small(2)), bytes(&small(1)));
    let pieces = [[&first[..], &second[..50]].concat(), second[50..].to_vec()];
    bench.carry(&pieces, &sent, |end, _, _| assert_eq!(end, Poll::Pending));
    assert_eq!(sent.sends(), [208, 104]);
}

#[test]
fn a_long_payload_goes_behind_what_was_gathered() {
    let (bench, sent) = (Bench::new(131_072), Sent::default());
    let messages = [text("a"), Message::Binary(vec![7; 100_000]), text("b")];
    bench.carry(&[bytes(&messages)], &sent, |end, _, _| assert_eq!(end, Poll::Pending));
    assert_eq!(sent.sends(), [7 + 14, 100_000, 7]);
    assert_eq!(sent.messages(), messages);
}

#[test]
fn a_plugin_that_waits_holds_back_its_message_and_what_follows_but_nothing_before() {
    let (bench, sent) = (Bench::new(131_072), Sent::default());
    let messages = [text("before"), text("wait"), text("behind")];
    bench.carry(&[bytes(&messages)], &sent, |end, _, _| assert_eq!(end, Poll::Pending));
    assert_eq!(sent.messages(), [text("before")]);
}

#[test]
fn a_close_of_a_plugin_ends_the_direction_and_goes_behind_what_was_gathered() {
    let (bench, sent) = (Bench::new(131_072), Sent::default());
    let messages = [text("before"), text("refuse"), text("behind")];
    bench.carry(&[bytes(&messages)], &sent, |end, lane, _| {
        let ended = match end {
            Poll::Ready(end) => Some((Side::Client, end)),
            Poll::Pending => None,
        };
        assert_eq!(ended, Some((Side::Client, End::Policy(Some(Close::new(4001, "as you like"))))));
        assert_eq!(sent.sends(), [0; 0], "nothing has gone yet");
        ready(lane.farewell(Verdict::of(&ended).as_ref()));
        ready(lane.farewell(None));
    });
    let close = Message::Close(Some(Close::new(4001, "as you like")));
    assert_eq!(sent.messages(), [text("before"), close], "once");
    assert!(sent.0.borrow().is_finished);
}

#[test]
fn a_plugin_that_panics_ends_its_session_with_1011() {
    let (bench, sent) = (Bench::new(131_072), Sent::default());
    bench.carry(&[bytes(&[text("panic")])], &sent, |end, _, _| {
        assert_eq!(end, Poll::Ready(End::Policy(Some(Close::new(1011, "")))));
    });
    assert_eq!(bench.counters.core(0).panics.get(), 1);
}

#[test]
fn a_fault_ends_the_direction_and_what_came_before_it_goes_on() {
    let (bench, sent) = (Bench::new(131_072), Sent::default());
    let faulty = [bytes(&[text("before")]), vec![0xc1, 0x80, 0, 0, 0, 0]].concat();
    bench.carry(&[faulty], &sent, |end, lane, _| {
        assert_eq!(end, Poll::Ready(End::Violation(Violation::Reserved)));
        let verdict = Verdict::of(&Some((Side::Client, End::Violation(Violation::Reserved))));
        ready(lane.farewell(verdict.as_ref()));
    });
    assert_eq!(sent.messages(), [text("before"), Message::Close(Some(Close::new(1002, "")))]);
}

#[test]
fn a_close_passes_unseen_and_nothing_is_said_behind_it() {
    let (bench, sent) = (Bench::new(131_072), Sent::default());
    let close = Message::Close(Some(Close::new(4999, "bye")));
    bench.carry(&[bytes(&[text("a"), close.clone()])], &sent, |end, lane, shared| {
        assert_eq!(end, Poll::Pending, "it waits for the other side's");
        assert!(shared.has_closed(Side::Client) && !shared.deadline.is_due());
        ready(lane.farewell(None));
    });
    assert_eq!(sent.messages(), [text("a"), close]);
    assert_eq!(bench.traffic.delivered(Side::Client).frames, 2);
}

#[test]
fn the_second_close_ends_the_session() {
    let (bench, sent) = (Bench::new(131_072), Sent::default());
    let session = WebSocketSession::new(0, &bench.upgrade);
    let counters = bench.counters.core(0);
    let shared = Shared::new((&bench.settings, counters), &bench.chain, &session, &bench.traffic, &bench.deadline);
    shared.way(Side::Backend).closed.set(true);
    let source = Pieces { pieces: [bytes(&[Message::Close(None)])].into(), end: None };
    assert_eq!(ready(Lane::new(Side::Client, source, sent.clone(), &shared).run()), End::Closed);
    assert_eq!(sent.messages(), [Message::Close(None)]);
}

#[test]
fn nothing_is_said_in_the_middle_of_a_frame() {
    let (bench, sent) = (Bench::new(131_072), Sent::default());
    sent.0.borrow_mut().is_stuck = true;
    bench.carry(&[bytes(&[text("long")])], &sent, |end, lane, shared| {
        assert_eq!(end, Poll::Pending);
        assert!(shared.way(Side::Client).sending.get() == Sending::Busy);
        // The lane was given up there.
        sent.0.borrow_mut().is_stuck = false;
        ready(lane.farewell(Some(&Verdict { code: Some(1002), reason: String::new() })));
    });
    assert_eq!(sent.sends(), [0; 0]);
}

#[test]
fn a_direction_that_is_told_to_stop_ends_its_frame_first() {
    let (bench, sent) = (Bench::new(131_072), Sent::default());
    let session = WebSocketSession::new(0, &bench.upgrade);
    let counters = bench.counters.core(0);
    let shared = Shared::new((&bench.settings, counters), &bench.chain, &session, &bench.traffic, &bench.deadline);
    sent.0.borrow_mut().is_stuck = true;
    let pieces = [bytes(&[text("whole")]), bytes(&[text("never")])];
    let mut lane = Lane::new(Side::Client, Pieces { pieces: pieces.into(), end: None }, sent.clone(), &shared);
    let mut running = Box::pin(lane.run());
    assert_eq!(polled(running.as_mut()), Poll::Pending);
    shared.stops.set(true);
    sent.0.borrow_mut().is_stuck = false;
    assert_eq!(polled(running.as_mut()), Poll::Ready(End::Stopped));
    drop(running);
    ready(lane.farewell(Some(&Verdict { code: None, reason: String::new() })));
    assert_eq!(sent.messages(), [text("whole"), Message::Close(None)]);
}

#[test]
fn a_receiver_that_has_gone_ends_the_direction_and_is_told_nothing() {
    let (bench, sent) = (Bench::new(131_072), Sent::default());
    sent.0.borrow_mut().is_gone = true;
    bench.carry(&[bytes(&[text("lost")])], &sent, |end, lane, _| {
        assert_eq!(end, Poll::Ready(End::Sink(ErrorClass::ConnectionReset)));
        ready(lane.farewell(None));
    });
    assert_eq!((sent.sends().len(), bench.traffic.delivered(Side::Client).frames), (1, 0));
    assert!(sent.0.borrow().is_finished);
}

#[test]
fn a_sender_that_has_gone_ends_the_direction_and_its_receiver_hears_a_close_without_a_code() {
    let (bench, sent) = (Bench::new(131_072), Sent::default());
    let session = WebSocketSession::new(0, &bench.upgrade);
    let counters = bench.counters.core(0);
    let shared = Shared::new((&bench.settings, counters), &bench.chain, &session, &bench.traffic, &bench.deadline);
    let last = [&bytes(&[text("last")])[..], &[0x81]].concat();
    let source = Pieces { pieces: [last].into(), end: Some(ErrorClass::ClientDisconnect) };
    let mut lane = Lane::new(Side::Client, source, sent.clone(), &shared);
    assert_eq!(ready(lane.run()), End::Source(ErrorClass::ClientDisconnect));
    ready(lane.farewell(None));
    assert_eq!(sent.messages(), [text("last"), Message::Close(None)]);
}

/// The same piece again and again behind a first one; never has to be waited for.
struct Endless {
    first: Vec<u8>,
    piece: Vec<u8>,
    received: usize,
}

impl Source for Endless {
    async fn receive(&mut self) -> Result<Chunk, ErrorClass> {
        self.received += 1;
        assert!(self.received < 1_000_000, "nobody else gets a turn");
        Ok(Chunk::from_slice(if self.received == 1 { &self.first } else { &self.piece }))
    }
}

/// Takes everything at once.
struct Nowhere;

impl Sink for Nowhere {
    async fn send(&mut self, _: Buffer) -> Result<(), ErrorClass> {
        Ok(())
    }

    async fn finish(&mut self) {}
}

#[test]
fn a_direction_that_never_has_to_wait_lets_the_rest_of_the_core_go_on() {
    // Messages, and empty fragments of one that never ends.
    let ping = bytes(&[Message::Ping(Vec::new())]);
    let fragment = |opcode: u8| vec![opcode, 0x80, 0, 0, 0, 0];
    for (first, piece) in [(ping.clone(), ping), (fragment(2), fragment(0))] {
        let options = ReactorOptions { reactor: Reactor::Epoll, ring_entries: 8, sqpoll: false, busy_poll: false };
        let ran = engine::net::run(&options, async {
            let bench = Bench::new(131_072);
            let session = WebSocketSession::new(0, &bench.upgrade);
            let counters = bench.counters.core(0);
            let shared =
                Shared::new((&bench.settings, counters), &bench.chain, &session, &bench.traffic, &bench.deadline);
            let mut lane = Lane::new(Side::Client, Endless { first, piece, received: 0 }, Nowhere, &shared);
            let (mut running, mut turn) = (Box::pin(lane.run()), Box::pin(sleep(Duration::from_millis(5))));
            poll_fn(|cx| {
                assert!(running.as_mut().poll(cx).is_pending());
                turn.as_mut().poll(cx)
            })
            .await;
        });
        ran.unwrap();
    }
}

/// Takes what it gets when it is asked again.
struct Hesitant(Sent);

impl Sink for Hesitant {
    async fn send(&mut self, bytes: Buffer) -> Result<(), ErrorClass> {
        let mut is_asked = false;
        poll_fn(|_| if std::mem::replace(&mut is_asked, true) { Poll::Ready(()) } else { Poll::Pending }).await;
        self.0.send(bytes).await
    }

    async fn finish(&mut self) {}
}

#[test]
fn a_side_that_takes_nothing_costs_the_other_no_farewell() {
    let (deadlines, stuck, sent) = (Deadlines::new(), Sent::default(), Sent::default());
    stuck.0.borrow_mut().is_stuck = true;
    let bench = Bench { deadline: deadlines.deadline(), ..Bench::new(131_072) };
    let session = WebSocketSession::new(0, &bench.upgrade);
    let counters = bench.counters.core(0);
    let shared = Shared::new((&bench.settings, counters), &bench.chain, &session, &bench.traffic, &bench.deadline);
    let silent = || Pieces { pieces: VecDeque::new(), end: None };
    let mut up = Lane::new(Side::Client, silent(), stuck.clone(), &shared);
    let mut down = Lane::new(Side::Backend, silent(), Hesitant(sent.clone()), &shared);
    let verdict = Verdict { code: Some(1008), reason: String::new() };
    let mut telling = Box::pin(bid_farewell(&mut up, &mut down, Some(&verdict), &shared));
    let began = Instant::now();
    while polled(telling.as_mut()).is_pending() {
        assert!(began.elapsed() < Duration::from_secs(10));
        // The core's tick.
        std::thread::sleep(Duration::from_millis(5));
        deadlines.tick();
    }
    assert_eq!((stuck.sends().len(), sent.sends().len()), (0, 1));
}
