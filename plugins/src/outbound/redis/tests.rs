//! Against a peer that says what a test tells it to.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::num::NonZeroU64;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use engine::net::{self, Reactor, ReactorOptions, sleep};
use futures_util::future::{BoxFuture, join_all};

use super::*;
use crate::limits::{Caller, Counting, Limit, Limits, Rule};
use crate::outbound::{Names, Options, Services};
use crate::testing;

const REACTOR: ReactorOptions =
    ReactorOptions { reactor: Reactor::Epoll, ring_entries: 64, sqpoll: false, busy_poll: false };

/// Everything is here.
struct Here;

impl Names for Here {
    fn resolve(&self, _: String) -> BoxFuture<'static, Result<Vec<IpAddr>, String>> {
        Box::pin(async { Ok(vec![IpAddr::from([127, 0, 0, 1])]) })
    }
}

fn env(cores: usize) -> CoreEnv {
    let runtime = testing::core().0.services.runtime.clone();
    CoreEnv {
        services: Services::new(runtime, cores, Options::default(), Arc::new(Here)).unwrap(),
        ..testing::core().0
    }
}

/// A core whose ticks come. It has no mailbox, so its tasks do not hear what another thread has done, and look at every tick.
fn ticking() -> CoreEnv {
    let env = env(1);
    let ticks = env.ticks.clone();
    let tick = async move {
        loop {
            sleep(Duration::from_millis(10)).await;
            ticks.run();
            let open =
                OPEN.with(|open| open.borrow().iter().filter_map(|(_, redis)| redis.upgrade()).collect::<Vec<_>>());
            open.iter().flat_map(|redis| &redis.links).for_each(Link::nudge);
        }
    };
    net::spawn(tick, |text| panic!("{text}"));
    env
}

fn endpoint(port: u16) -> Endpoint {
    Endpoint {
        pool_size: 1,
        connect_timeout: Duration::from_secs(5),
        health_interval: Duration::from_secs(5),
        ..Endpoint::of_url(&format!("redis://cache.int:{port}")).unwrap()
    }
}

fn on_core<F: Future>(work: F) -> F::Output {
    net::run(&REACTOR, work).unwrap()
}

/// Accepts connections, and lets `serve` at each, with its number, on a thread of its own.
fn peer(serve: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let serve = serve.clone();
            thread::spawn(move || serve(number, stream));
        }
    });
    port
}

/// Reads until `text` has come.
fn expect(stream: &mut TcpStream, text: &str) -> bool {
    let (mut seen, mut piece) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&seen).contains(text) {
        match stream.read(&mut piece) {
            Ok(count) if count > 0 => seen.extend_from_slice(&piece[..count]),
            _ => return false,
        }
    }
    true
}

const PING: &str = "*1\r\n$4\r\nPING\r\n";
const INCREMENTED: &[u8] = b"+OK\r\n+QUEUED\r\n*1\r\n:7\r\n";

fn increment() -> Transaction {
    Transaction::new().increment("k")
}

#[test]
fn a_transaction_is_answered_however_the_reply_is_cut() {
    let port = peer(|_, mut stream| {
        expect(&mut stream, PING);
        stream.write_all(b"+PONG\r\n").unwrap();
        expect(&mut stream, "EXEC\r\n");
        for byte in INCREMENTED {
            stream.write_all(&[*byte]).unwrap();
            stream.flush().unwrap();
            thread::sleep(Duration::from_millis(1));
        }
        expect(&mut stream, "never");
    });
    on_core(async {
        let redis = Redis::of(&Arc::new(endpoint(port)), &ticking());
        assert_eq!(redis.run(increment()).await, Ok(vec![Value::Integer(7)]));
    });
}

#[test]
fn many_requests_share_one_connection_and_get_their_own_replies() {
    let (told, connections) = mpsc::channel();
    let port = peer(move |number, mut stream| {
        told.send(number).unwrap();
        expect(&mut stream, PING);
        stream.write_all(b"+PONG\r\n").unwrap();
        expect(&mut stream, "$1\r\n9\r\n*1\r\n$4\r\nEXEC\r\n");
        let replies: String = (0..10).map(|i| format!("+OK\r\n+QUEUED\r\n*1\r\n:{i}\r\n")).collect();
        stream.write_all(replies.as_bytes()).unwrap();
        expect(&mut stream, "never");
    });
    on_core(async {
        let redis = Redis::of(&Arc::new(endpoint(port)), &ticking());
        let all = (0..10).map(|i| redis.run(Transaction::new().get(&i.to_string())));
        let expected: Vec<_> = (0..10).map(|i| Ok(vec![Value::Integer(i)])).collect();
        assert_eq!(join_all(all).await, expected);
        let same = Redis::of(&Arc::new(endpoint(port)), &ticking());
        assert!(Rc::ptr_eq(&redis, &same), "who asks for the same endpoint shares its connections");
        let other = Endpoint { database: 1, ..endpoint(port) };
        assert!(!Rc::ptr_eq(&redis, &Redis::of(&Arc::new(other), &ticking())));
    });
    assert_eq!(connections.try_iter().count(), 1);
}

#[test]
fn connections_are_spread_over_the_cores_and_each_core_has_one() {
    for (pool_size, cores, expected) in [(1, 8, 1), (4, 2, 2), (4, 8, 1), (9, 2, 4), (1_000_000, 1, 64)] {
        let redis = Redis::new(&Arc::new(Endpoint { pool_size, ..endpoint(1) }), &env(cores));
        assert_eq!(redis.links.len(), expected, "{pool_size} over {cores}");
    }
}

#[test]
fn who_gets_in_by_name_and_password_chooses_the_database_then() {
    let (told, introduced) = mpsc::channel();
    let port = peer(move |_, mut stream| {
        let expected =
            "*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$6\r\nsecret\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*1\r\n$4\r\nPING\r\n";
        told.send(expect(&mut stream, expected)).unwrap();
        stream.write_all(b"+OK\r\n+OK\r\n+PONG\r\n").unwrap();
        expect(&mut stream, "EXEC\r\n");
        stream.write_all(INCREMENTED).unwrap();
        expect(&mut stream, "never");
    });
    let (username, password) = (Some("me".to_owned()), Some("secret".to_owned()));
    let endpoint = Endpoint { username, password, database: 3, ..endpoint(port) };
    on_core(async {
        let redis = Redis::of(&Arc::new(endpoint), &ticking());
        assert_eq!(redis.run(increment()).await, Ok(vec![Value::Integer(7)]));
    });
    assert_eq!(introduced.recv(), Ok(true));
}

/// What a first and a second request get from a peer that answers the PING and then what `says`.
fn refused(says: &'static [u8]) {
    let port = peer(move |_, mut stream| {
        expect(&mut stream, PING);
        stream.write_all(b"+PONG\r\n").unwrap();
        expect(&mut stream, "EXEC\r\n");
        stream.write_all(says).unwrap();
        expect(&mut stream, "never");
    });
    on_core(async {
        let redis = Redis::of(&Arc::new(endpoint(port)), &ticking());
        let text = String::from_utf8_lossy(says);
        assert_eq!(redis.run(increment()).await, Err(Away), "{text}");
        let began = Instant::now();
        assert_eq!(redis.run(increment()).await, Err(Away), "{text}");
        assert!(began.elapsed() < Duration::from_millis(20), "nobody waits for one who is away");
    });
}

#[test]
fn whatever_goes_wrong_sends_this_and_the_following_requests_elsewhere() {
    refused(b"-NOAUTH Authentication required.\r\n");
    refused(b"+OK\r\n-ERR unknown command\r\n-EXECABORT\r\n");
    refused(b"+OK\r\n+QUEUED\r\n*1\r\n-WRONGTYPE Operation against a key\r\n");
    refused(b"+OK\r\n+QUEUED\r\n*-1\r\n");
    refused(b"+OK\r\n+QUEUED\r\n*2\r\n:1\r\n:2\r\n");
    refused(b"+OK\r\n+QUEUED\r\n:1\r\n");
    refused(b"HTTP/1.1 400 Bad Request\r\n\r\n");
}

#[test]
fn a_peer_that_says_something_unasked_is_left() {
    let port = peer(|_, mut stream| {
        expect(&mut stream, PING);
        stream.write_all(b"+PONG\r\n").unwrap();
        expect(&mut stream, "EXEC\r\n");
        stream.write_all(&[INCREMENTED, b"+MORE\r\n"].concat()).unwrap();
        expect(&mut stream, "never");
    });
    on_core(async {
        let redis = Redis::of(&Arc::new(endpoint(port)), &ticking());
        assert_eq!(redis.run(increment()).await, Ok(vec![Value::Integer(7)]));
        while !redis.links[0].is_away() {
            sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn a_login_that_is_refused_is_no_connection() {
    let port = peer(|_, mut stream| {
        expect(&mut stream, PING);
        stream.write_all(b"-WRONGPASS invalid\r\n-NOAUTH\r\n").unwrap();
        expect(&mut stream, "never");
    });
    on_core(async {
        let endpoint = Endpoint { password: Some("wrong".into()), ..endpoint(port) };
        assert_eq!(Redis::of(&Arc::new(endpoint), &ticking()).run(increment()).await, Err(Away));
    });
}

#[test]
fn a_request_waits_for_no_longer_than_a_second() {
    // One peer says nothing at all, the other nothing after it has said that it is there.
    for pongs in [false, true] {
        let port = peer(move |_, mut stream| {
            expect(&mut stream, PING);
            if pongs {
                stream.write_all(b"+PONG\r\n").unwrap();
            }
            expect(&mut stream, "never");
        });
        on_core(async {
            let redis = Redis::of(&Arc::new(endpoint(port)), &ticking());
            let began = Instant::now();
            assert_eq!(redis.run(increment()).await, Err(Away));
            let waited = began.elapsed();
            assert!(waited >= WAIT_MAX && waited < WAIT_MAX * 2, "{waited:?}");
            assert_eq!(redis.run(increment()).await, Err(Away));
            assert!(began.elapsed() - waited < Duration::from_millis(20));
        });
    }
}

#[test]
fn the_connect_timeout_ends_an_attempt() {
    let (told, connections) = mpsc::channel();
    let port = peer(move |number, mut stream| {
        told.send(number).unwrap();
        expect(&mut stream, "never");
        told.send(100 + number).unwrap();
    });
    on_core(async {
        let (connect_timeout, health_interval) = (Duration::from_millis(200), Duration::from_millis(100));
        let endpoint = Endpoint { connect_timeout, health_interval, ..endpoint(port) };
        let redis = Redis::of(&Arc::new(endpoint), &ticking());
        let began = Instant::now();
        assert_eq!(redis.run(increment()).await, Err(Away));
        assert!(began.elapsed() >= connect_timeout && began.elapsed() < WAIT_MAX);
        while connections.try_iter().all(|number| number != 101) {
            sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn who_was_away_is_asked_again_and_used_when_it_answers() {
    let port = peer(|number, mut stream| {
        expect(&mut stream, PING);
        // The first connection fails in the middle of a request, the second at its PING.
        match number {
            0 => {
                stream.write_all(b"+PONG\r\n").unwrap();
                expect(&mut stream, "EXEC\r\n");
            }
            1 => stream.write_all(b"-LOADING\r\n").unwrap(),
            _ => {
                stream.write_all(b"+PONG\r\n").unwrap();
                expect(&mut stream, "EXEC\r\n");
                stream.write_all(INCREMENTED).unwrap();
                expect(&mut stream, "never");
            }
        }
    });
    on_core(async {
        let endpoint = Endpoint { health_interval: Duration::from_millis(150), ..endpoint(port) };
        let redis = Redis::of(&Arc::new(endpoint), &ticking());
        let began = Instant::now();
        assert_eq!(redis.run(increment()).await, Err(Away));
        while redis.run(increment()).await.is_err() {
            sleep(Duration::from_millis(5)).await;
            assert!(began.elapsed() < Duration::from_secs(10));
        }
        assert!(began.elapsed() >= Duration::from_millis(300), "two attempts, an interval before each");
    });
}

#[test]
fn a_connection_that_is_up_is_asked_every_interval() {
    let (told, pings) = mpsc::channel();
    let port = peer(move |number, mut stream| {
        for answer in ["+PONG\r\n", "+OK\r\n+QUEUED\r\n*1\r\n:7\r\n", "+PONG\r\n"] {
            let awaited = if answer.contains("QUEUED") { "EXEC\r\n" } else { PING };
            if !expect(&mut stream, awaited) {
                return;
            }
            told.send(number).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
        expect(&mut stream, PING);
        told.send(1_000).unwrap();
    });
    on_core(async {
        let endpoint = Endpoint { health_interval: Duration::from_millis(100), ..endpoint(port) };
        let redis = Redis::of(&Arc::new(endpoint), &ticking());
        assert_eq!(redis.run(increment()).await, Ok(vec![Value::Integer(7)]));
        let mut seen = Vec::new();
        while !seen.contains(&1_000) {
            sleep(Duration::from_millis(5)).await;
            seen.extend(pings.try_iter());
        }
        assert_eq!(seen, [0, 0, 0, 1_000]);
    });
}

#[test]
fn the_one_past_the_bound_does_not_wait() {
    let port = peer(|_, mut stream| {
        expect(&mut stream, "never");
    });
    on_core(async {
        let redis = Redis::of(&Arc::new(endpoint(port)), &ticking());
        let began = Instant::now();
        let waiting = join_all((0..4096).map(|_| redis.run(increment())));
        let past = async {
            sleep(Duration::from_millis(50)).await;
            let past = redis.run(increment()).await;
            (past, began.elapsed())
        };
        let (all, (past, waited)) = futures_util::future::join(waiting, past).await;
        assert!(past == Err(Away) && waited < WAIT_MAX, "{waited:?}");
        assert!(all.iter().all(|one| *one == Err(Away)) && began.elapsed() >= WAIT_MAX);
    });
}

#[test]
fn a_connection_closes_with_the_last_who_uses_it() {
    let (told, closed) = mpsc::channel();
    let port = peer(move |_, mut stream| {
        expect(&mut stream, PING);
        stream.write_all(b"+PONG\r\n").unwrap();
        expect(&mut stream, "EXEC\r\n");
        stream.write_all(INCREMENTED).unwrap();
        told.send(expect(&mut stream, "never")).unwrap();
    });
    on_core(async {
        let redis = Redis::of(&Arc::new(endpoint(port)), &ticking());
        assert!(redis.run(increment()).await.is_ok());
        drop(redis);
        while closed.try_recv().is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn a_request_with_several_limits_waits_for_no_longer_than_a_second_in_all() {
    let port = peer(|_, mut stream| {
        expect(&mut stream, PING);
        stream.write_all(b"+PONG\r\n").unwrap();
        while expect(&mut stream, "EXEC\r\n") {
            thread::sleep(Duration::from_millis(600));
            stream.write_all(b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n$-1\r\n:1\r\n:1\r\n").unwrap();
        }
    });
    on_core(async {
        let limit = |seconds: u64| Limit {
            requests: NonZeroU64::new(5).unwrap(),
            seconds: NonZeroU64::new(seconds).unwrap(),
            counting: Counting::TokenBucket,
        };
        let rule = |seconds: &[u64]| Rule { limits: seconds.iter().copied().map(limit).collect(), name: None };
        let synchronised = Synchronised { endpoint: Arc::new(endpoint(port)), key_prefix: None };
        let limits = Limits::new(vec![rule(&[60]), rule(&[1, 60, 3600])], Some(synchronised));
        let env = ticking();
        let limiter = limits.on_core("p", &env);
        let fallbacks = || env.services.metrics.core(0).rate_limit_local_fallback.get();
        limiter.judge_shared(0, Caller::Consumer("alice")).await;
        assert_eq!(fallbacks(), 0);
        let began = Instant::now();
        limiter.judge_shared(1, Caller::Consumer("alice")).await;
        let waited = began.elapsed();
        assert!(waited >= WAIT_MAX && waited < WAIT_MAX + Duration::from_millis(150), "{waited:?}");
        assert_eq!(fallbacks(), 1);
    });
}
