//! Accepting connections on one core.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use engine::core::Mail;
use engine::ledger::Held;
use engine::net::{Accepted, Listener, Opening, Steering, sleep};

use crate::exchange::Peer;
use crate::http1;
use crate::tls;
use crate::worker::Worker;

/// A core that has at least this many connections more than another one hands new ones over.
const IMBALANCE: u64 = 4;
/// After a failed accept (descriptors exhausted) the next try waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Tells the accept loops of a core to stop.
#[derive(Default)]
pub struct Gate {
    closed: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Gate {
    pub fn close(&self) {
        self.closed.set(true);
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// Runs `work` until the gate closes.
    async fn until_closed<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if self.closed.get() {
                return Poll::Ready(None);
            }
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

/// Accepts until the gate closes, then closes the listening socket.
pub async fn accept_loop(worker: Rc<Worker>, listener: Listener, gate: Rc<Gate>) {
    while let Some(accepted) = gate.until_closed(listener.accept()).await {
        match accepted {
            Ok(accepted) => admit(&worker, accepted),
            Err(error) => {
                tracing::error!(core = worker.core.index, "accepting a connection failed: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves the connection here, hands it to a core with less to do, or closes it at once.
fn admit(worker: &Rc<Worker>, accepted: Accepted) {
    let counters = worker.core.counters();
    if worker.core.overload.rejects_connections() {
        counters.connections_refused.one();
        return;
    }
    match less_busy(worker) {
        Some(other) => worker.shared.cores[other].post(Mail::Connection(accepted)),
        None => serve(worker, accepted),
    }
}

/// Another core to hand a new connection to, when steering asks for balance.
fn less_busy(worker: &Worker) -> Option<usize> {
    if worker.shared.steering != Steering::Balance {
        return None;
    }
    let connections = |core: usize| worker.shared.counters.core(core).connections_active();
    let mine = connections(worker.core.index);
    let least = (0..worker.shared.cores.len()).min_by_key(|core| connections(*core))?;
    (mine >= connections(least) + IMBALANCE).then_some(least)
}

/// Starts a connection's task on this core.
pub fn serve(worker: &Rc<Worker>, accepted: Accepted) {
    let counters = worker.core.counters();
    let opening = accepted.opening();
    let connections = match opening {
        Opening::Plain => &worker.shared.connections,
        Opening::Tls => &worker.shared.tls_connections,
    };
    let place = match worker.settings.connections_max {
        0 => None,
        _ => match connections.hold(worker.core.index) {
            Some(place) => Some(place),
            None => {
                counters.connections_refused.one();
                return;
            }
        },
    };
    let Ok(stream) = accepted.into_stream() else { return };
    let open = OpenConnection::new(worker.clone(), place);
    let worker = worker.clone();
    open.worker.core.clone().spawn(async move {
        match opening {
            Opening::Plain => {
                let peer = Peer::new(stream.peer().ip(), false);
                http1::serve_connection(worker, stream, peer).await;
            }
            Opening::Tls => tls::serve_connection(worker, stream).await,
        }
        drop(open);
    });
}

/// Counts a connection as open until it is dropped, however its task ends.
struct OpenConnection {
    worker: Rc<Worker>,
    _place: Option<Held>,
}

impl OpenConnection {
    fn new(worker: Rc<Worker>, place: Option<Held>) -> Self {
        worker.core.counters().connections_accepted.one();
        Self { worker, _place: place }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.worker.core.counters().connections_closed.one();
    }
}
