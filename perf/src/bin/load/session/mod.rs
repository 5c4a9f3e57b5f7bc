//! Load on tokio, one thread: TLS, HTTP/2, gRPC and WebSocket, always as a closed loop.
//!
//! Each connection is a task that opens it, keeps as many requests on their way as its protocol has streams, and opens
//! another one after a failure. What the tasks share is the [`Tally`].

mod grpc;
mod held;
mod http1;
mod http2;
mod stream;
mod tally;
mod websocket;

use std::io;
use std::rc::Rc;
use std::time::Duration;

pub(crate) use held::hold;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::clocks::Clocks;
use crate::options::{Handshakes, Options, Protocol};
use crate::outcome::Outcome;
use stream::Connector;
use tally::{Counted, Tally};

/// How long all connections may take to open before the clock starts without the rest.
const OPEN_WAIT: Duration = Duration::from_secs(5);
/// How long after the measured time an answer may still come before it counts as missing.
const LATE_ANSWER: Duration = Duration::from_secs(3);
/// How long one connection may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait after a failure before the next connection.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);

/// Why a connection or a request failed, as it is counted.
type Failure = String;

/// Warms up, measures, lets the last answers come in.
pub(crate) fn run(options: Options) -> io::Result<Outcome> {
    let runtime = runtime()?;
    LocalSet::new().block_on(&runtime, measure(Rc::new(options)))
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn measure(options: Rc<Options>) -> io::Result<Outcome> {
    let tally = Rc::new(Tally::default());
    for _ in 0..options.connections {
        // Each has its own tickets, so that no two resume with the same one.
        let connector = Connector::new(&options);
        spawn_local(keep_busy(Rc::clone(&options), connector, Rc::clone(&tally)));
    }
    // The clock starts when all connections are open; if some never are, their failures are counted.
    let _ = timeout(OPEN_WAIT, tally.wait_for_opened(options.connections)).await;
    sleep(Duration::from_secs_f64(options.warmup)).await;
    tally.begin_window();
    let before = Clocks::read(&options.watch)?;
    sleep(Duration::from_secs_f64(options.duration)).await;
    let after = Clocks::read(&options.watch)?;
    let (requests, received_bytes) = tally.end_window();
    let until = Instant::now() + LATE_ANSWER;
    let is_missing = timeout_at(until, tally.wait_for_pending()).await.is_err();
    let mut outcome = tally.take_outcome();
    if is_missing {
        for _ in 0..tally.pending() {
            outcome.fail("no answer");
        }
    }
    outcome.requests = requests;
    outcome.received_bytes = received_bytes;
    after.note_since(&before, &mut outcome);
    Ok(outcome)
}

/// One connection after another until the run is over.
async fn keep_busy(options: Rc<Options>, connector: Connector, tally: Rc<Tally>) {
    let mut has_opened = false;
    while tally.goes_on() {
        let outcome = match options.handshakes {
            // The first connection fetches the ticket.
            Some(handshakes) => {
                let must_resume = handshakes == Handshakes::Resumed && has_opened;
                tally.exchange(http1::ask_once(&options, &connector, must_resume)).await
            }
            None => match connector.open().await {
                Ok(stream) => keep_asking(&options, stream, &tally, &mut has_opened).await,
                Err(failure) => Err(tally.fail(failure)),
            },
        };
        match outcome {
            Ok(()) if has_opened => {}
            Ok(()) => {
                has_opened = true;
                tally.opened();
            }
            Err(_) => sleep(RECONNECT_PAUSE).await,
        }
    }
}

/// One request after another on a connection that has been opened.
async fn keep_asking(
    options: &Rc<Options>,
    stream: stream::Stream,
    tally: &Rc<Tally>,
    has_opened: &mut bool,
) -> Result<(), Counted> {
    if !std::mem::replace(has_opened, true) {
        tally.opened();
    }
    match options.protocol {
        Protocol::Http1 => http1::keep_asking(options, stream, tally).await,
        Protocol::Http2 => http2::keep_asking(options, stream, tally).await,
        Protocol::Grpc | Protocol::GrpcStream => grpc::keep_calling(options, stream, tally).await,
        Protocol::Websocket => websocket::keep_echoing(options, stream, tally).await,
    }
}
