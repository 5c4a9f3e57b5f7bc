use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream as Peer};
use std::time::{Duration, Instant};

use super::*;
use crate::core::Deadlines;
use crate::net::{ConnectOptions, Reactor, ReactorOptions, Stream, run, sleep};

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs it on a core's reactor.
fn on_ring<F: Future>(main: F) -> F::Output {
    let options = ReactorOptions { reactor: Reactor::IoUring, ring_entries: 256, sqpoll: false, busy_poll: false };
    run(&options, main).unwrap()
}

/// A connection: this end, and the end of whoever is at the other side.
async fn connection() -> (Stream, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connecting = Stream::connect(listener.local_addr().unwrap(), &ConnectOptions { keepalive: None });
    let stream = connecting.await.unwrap();
    let (peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.set_write_timeout(Some(PATIENCE)).unwrap();
    (stream, peer)
}

/// Lets everything pass, and remembers it.
#[derive(Default)]
struct Open {
    passed: Cell<usize>,
    sent: Cell<usize>,
}

impl Watcher for Open {
    fn passes(&self, bytes: &[u8]) -> bool {
        self.passed.set(self.passed.get() + bytes.len());
        true
    }
    fn sent(&self, count: usize) -> bool {
        self.sent.set(self.sent.get() + count);
        false
    }
}

/// A flow with the sockets that it joins, which are open as long.
struct Joined {
    flow: Flow,
    _sockets: [Stream; 2],
}

/// What is sent to the first peer is received by the second.
async fn joined(watcher: Rc<dyn Watcher>) -> (Joined, Peer, Peer) {
    let ((from, source), (to, sink)) = (connection().await, connection().await);
    let flow = Flow::start(from.receiver.flow_source().unwrap(), to.sender.flow_sink().unwrap(), watcher, None);
    (Joined { flow: flow.expect("a kernel with multishot receives"), _sockets: [from, to] }, source, sink)
}

/// Bytes that tell their place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// On a thread of its own, as peers are.
fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    std::thread::spawn(work)
}

async fn result<T>(thread: std::thread::JoinHandle<T>) -> T {
    let began = Instant::now();
    while !thread.is_finished() {
        assert!(began.elapsed() < PATIENCE, "a peer waits for something");
        sleep(Duration::from_millis(1)).await;
    }
    thread.join().unwrap()
}

/// Reads until there is so much.
fn read_exactly(peer: &mut Peer, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    peer.read_exact(&mut bytes).unwrap();
    bytes
}

/// Sends until nothing has been taken for a while, and says how much was.
fn send_until_full(peer: &Peer, bytes: &[u8]) -> usize {
    peer.set_nonblocking(true).unwrap();
    let (mut sent, mut last) = (0, Instant::now());
    while sent < bytes.len() && last.elapsed() < Duration::from_millis(300) {
        match (&mut &*peer).write(&bytes[sent..]) {
            Ok(count) => (sent, last) = (sent + count, Instant::now()),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    peer.set_nonblocking(false).unwrap();
    sent
}

#[test]
fn everything_goes_on_in_order_up_to_the_end() {
    on_ring(async {
        let watcher = Rc::new(Open::default());
        let (mut joined, mut source, mut sink) = joined(watcher.clone()).await;
        let bytes = pattern(8 << 20);
        let length = bytes.len();
        let sender = aside(move || {
            source.write_all(&bytes).unwrap();
            source.shutdown(Shutdown::Write).unwrap();
            (source, bytes)
        });
        let receiver = aside(move || (read_exactly(&mut sink, length), sink));
        assert!(matches!(joined.flow.next().await, Event::SourceEnded(Ok(()))));
        let ((_source, bytes), (received, _sink)) = (result(sender).await, result(receiver).await);
        assert!(received == bytes);
        assert_eq!((watcher.passed.get(), watcher.sent.get()), (length, length));
    });
}

#[test]
fn both_directions_of_a_tunnel_go_at_once() {
    on_ring(async {
        let ((one, mut left), (other, mut right)) = (connection().await, connection().await);
        let start = |from: &Stream, to: &Stream| {
            let ends = (from.receiver.flow_source().unwrap(), to.sender.flow_sink().unwrap());
            Flow::start(ends.0, ends.1, Rc::new(Open::default()), None).unwrap()
        };
        let (_there, _back) = (start(&one, &other), start(&other, &one));
        let echo = aside(move || {
            for _ in 0..1000 {
                let message = read_exactly(&mut right, 64);
                right.write_all(&message).unwrap();
            }
        });
        let asking = aside(move || {
            for number in 0..1000u32 {
                let message = [number as u8; 64];
                left.write_all(&message).unwrap();
                assert_eq!(read_exactly(&mut left, 64), message);
            }
        });
        result(asking).await;
        result(echo).await;
    });
}

#[test]
fn a_slow_sink_holds_back_its_source_and_loses_nothing() {
    on_ring(async {
        let watcher = Rc::new(Open::default());
        let (joined, source, mut sink) = joined(watcher.clone()).await;
        let bytes = pattern(64 << 20);
        let (source, bytes, sent) = result(aside(move || {
            let sent = send_until_full(&source, &bytes);
            (source, bytes, sent)
        }))
        .await;
        assert!(sent < bytes.len(), "somebody has taken 64 MiB that nobody reads");
        let held = watcher.passed.get() - watcher.sent.get();
        assert!(held <= 2 << 20, "{held} bytes are held for a sink that takes none");
        let received = result(aside(move || read_exactly(&mut sink, sent))).await;
        assert!(received == bytes[..sent]);
        drop((joined, source));
    });
}

#[test]
fn a_sink_that_stops_in_the_middle_of_a_long_transfer_is_owed_two_buffers_at_most() {
    on_ring(async {
        let watcher = Rc::new(Open::default());
        let (joined, source, mut sink) = joined(watcher.clone()).await;
        let sending = aside(move || (send_until_full(&source, &pattern(64 << 20)), source));
        let (sink, read) = result(aside(move || {
            let read = read_exactly(&mut sink, 8 << 20);
            (sink, read)
        }))
        .await;
        assert!(read == pattern(8 << 20));
        result(sending).await;
        let held = watcher.passed.get() - watcher.sent.get();
        assert!(held <= 32 << 10, "{held} bytes are held for a sink that takes none");
        drop((joined, sink));
    });
}

#[test]
fn many_slow_sinks_take_no_buffers_from_others() {
    on_ring(async {
        let mut slow = Vec::new();
        for _ in 0..150 {
            let (joined, source, sink) = joined(Rc::new(Open::default())).await;
            slow.push((joined, source, sink));
        }
        let sources: Vec<Peer> = slow.iter().map(|(_, source, _)| source.try_clone().unwrap()).collect();
        // Each until its sink takes no more.
        result(aside(move || {
            let bytes = vec![7; 1 << 20];
            for source in &sources {
                source.set_nonblocking(true).unwrap();
            }
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(1) {
                sources.iter().for_each(|source| drop((&mut &*source).write(&bytes)));
            }
        }))
        .await;
        let (_joined, mut source, mut sink) = joined(Rc::new(Open::default())).await;
        let echo = aside(move || {
            for number in 0..100u8 {
                source.write_all(&[number; 64]).unwrap();
                assert_eq!(read_exactly(&mut sink, 64), [number; 64]);
            }
        });
        result(echo).await;
    });
}

#[test]
fn what_the_watcher_does_not_let_pass_is_not_sent_and_what_was_before_is() {
    struct Until(u8);
    impl Watcher for Until {
        fn passes(&self, bytes: &[u8]) -> bool {
            !bytes.contains(&self.0)
        }
        fn sent(&self, _: usize) -> bool {
            false
        }
    }
    on_ring(async {
        let (mut joined, mut source, mut sink) = joined(Rc::new(Until(9))).await;
        source.write_all(&[1; 1000]).unwrap();
        let (sink, first) = result(aside(move || {
            let first = read_exactly(&mut sink, 1000);
            (sink, first)
        }))
        .await;
        source.write_all(&[9; 10]).unwrap();
        assert!(matches!(joined.flow.next().await, Event::Stopped));
        source.write_all(&[1; 10]).unwrap();
        drop(joined);
        let rest = result(aside(move || {
            let mut rest = Vec::new();
            let _ = { sink }.read_to_end(&mut rest);
            rest
        }))
        .await;
        assert_eq!((first, rest), (vec![1; 1000], vec![]));
    });
}

#[test]
fn an_owner_that_wants_to_know_is_told_and_the_flow_goes_on() {
    struct Asks(RefCell<Vec<u8>>);
    impl Watcher for Asks {
        fn passes(&self, bytes: &[u8]) -> bool {
            self.0.borrow_mut().extend(bytes);
            true
        }
        fn sent(&self, _: usize) -> bool {
            true
        }
    }
    on_ring(async {
        let watcher = Rc::new(Asks(RefCell::default()));
        let (mut joined, mut source, mut sink) = joined(watcher.clone()).await;
        for number in 1..=3u8 {
            source.write_all(&[number]).unwrap();
            assert!(matches!(joined.flow.next().await, Event::Noted));
        }
        assert_eq!(*watcher.0.borrow(), [1, 2, 3]);
        assert_eq!(result(aside(move || read_exactly(&mut sink, 3))).await, [1, 2, 3]);
    });
}

#[test]
fn a_watcher_that_panics_ends_its_own_flow_only() {
    struct Panics;
    impl Watcher for Panics {
        fn passes(&self, _: &[u8]) -> bool {
            panic!("as the test wants")
        }
        fn sent(&self, _: usize) -> bool {
            false
        }
    }
    on_ring(async {
        let (mut broken, mut first, _first_sink) = joined(Rc::new(Panics)).await;
        let (_whole, mut second, mut second_sink) = joined(Rc::new(Open::default())).await;
        first.write_all(b"x").unwrap();
        assert!(matches!(broken.flow.next().await, Event::Stopped));
        second.write_all(b"y").unwrap();
        assert_eq!(result(aside(move || read_exactly(&mut second_sink, 1))).await, b"y");
    });
}

#[test]
fn a_sink_that_is_reset_is_said_so() {
    on_ring(async {
        let (mut joined, mut source, sink) = joined(Rc::new(Open::default())).await;
        // Closing it with something unread in it resets it.
        source.write_all(&[1; 100]).unwrap();
        result(aside(move || assert_eq!(sink.peek(&mut [0; 1]).unwrap(), 1))).await;
        let writer = aside(move || while source.write_all(&[1; 1000]).is_ok() {});
        assert!(matches!(joined.flow.next().await, Event::SinkFailed(_)));
        drop(joined);
        result(writer).await;
    });
}

#[test]
fn a_sink_that_takes_nothing_for_too_long_has_failed() {
    on_ring(async {
        let deadlines = Deadlines::new();
        let ((from, source), (to, _sink)) = (connection().await, connection().await);
        let stall = Stall { deadline: deadlines.deadline(), limit_ms: 200 };
        let ends = (from.receiver.flow_source().unwrap(), to.sender.flow_sink().unwrap());
        let mut flow = Flow::start(ends.0, ends.1, Rc::new(Open::default()), Some(stall)).unwrap();
        let ticks = deadlines.clone();
        crate::net::spawn(
            async move {
                loop {
                    sleep(Duration::from_millis(10)).await;
                    ticks.tick();
                }
            },
            |_| (),
        );
        let writer = aside(move || (send_until_full(&source, &vec![7; 64 << 20]), source));
        let Event::SinkFailed(error) = flow.next().await else { panic!("the sink takes nothing") };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        result(writer).await;
    });
}

#[test]
fn a_dropped_flow_lets_its_sockets_go_and_its_place_be_used_again() {
    on_ring(async {
        for _ in 0..20 {
            let (joined, mut source, mut sink) = joined(Rc::new(Open::default())).await;
            source.write_all(b"x").unwrap();
            let (mut sink, read) = result(aside(move || {
                let read = read_exactly(&mut sink, 1);
                (sink, read)
            }))
            .await;
            assert_eq!(read, b"x");
            drop(joined);
            // Ends when the gateway's end is closed.
            assert_eq!(result(aside(move || sink.read(&mut [0; 1]).unwrap())).await, 0);
        }
        assert!(hub::places() <= 2, "{} places for one flow at a time", hub::places());
    });
}

#[test]
fn without_a_ring_there_are_no_flows() {
    let options = ReactorOptions { reactor: Reactor::Epoll, ring_entries: 256, sqpoll: false, busy_poll: false };
    run(&options, async {
        let (from, _peer) = connection().await;
        assert!(from.receiver.flow_source().is_none());
    })
    .unwrap();
}
