//! One exchange from admission to its record. However it ends (answered, refused, client gone, panic), dropping the
//! transaction counts it and runs the log plugins exactly once.

use std::rc::Rc;
use std::time::Instant;

use engine::counters::ErrorClass;
use engine::http::{Method, RequestHead};
use plugins::{Outcome, Rejection, RequestContext, Wanting};

use crate::exchange::Kind;
use crate::generation::Generation;
use crate::worker::Worker;

pub struct Transaction {
    pub worker: Rc<Worker>,
    /// The configuration the request began with.
    pub generation: Rc<Generation>,
    /// Present until the head is given back to the frontend.
    pub cx: Option<RequestContext>,
    pub outcome: Outcome,
    kind: Kind,
    /// The backend has sent something. The request has been worked on then, and is not repeated.
    pub answer_began: bool,
    /// The client was waited for while plugins had nothing to do.
    pub waited_ns: u64,
    /// Who wants the response whole.
    pub wants_response_body: Wanting,
    /// It is counted, and no log plugin hears of it.
    pub is_unlogged: bool,
    ended: bool,
    recorded: bool,
}

impl Transaction {
    pub fn new(worker: Rc<Worker>, generation: Rc<Generation>, cx: RequestContext, kind: Kind) -> Self {
        Self {
            worker,
            generation,
            cx: Some(cx),
            outcome: Outcome::default(),
            kind,
            answer_began: false,
            waited_ns: 0,
            wants_response_body: Wanting::default(),
            is_unlogged: false,
            ended: false,
            recorded: false,
        }
    }

    /// The response has been sent, or its failure is known.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether the request was HEAD, whose answers have no body.
    pub fn answers_head(&self) -> bool {
        self.cx.as_ref().is_some_and(|cx| cx.head.method == Method::Head)
    }

    /// Names the phase for the record.
    pub fn rejected_in(&mut self, phase: &'static str) {
        if let Some(cx) = &mut self.cx {
            cx.metadata.set("rejection_phase", phase);
        }
    }

    /// Writes the record and gives the head back, so that its memory serves the next request.
    pub fn finish(mut self) -> Box<RequestHead> {
        self.record();
        self.cx.take().map(|cx| cx.head).unwrap_or_default()
    }

    /// What the record shows of a refusal in the words of gRPC.
    pub fn note_grpc(&mut self, refusal: &Rejection) {
        let Some(cx) = &mut self.cx else { return };
        for (name, key) in [("grpc-status", "grpc_status"), ("grpc-message", "grpc_message")] {
            if let Some((_, value)) = refusal.headers.iter().find(|(present, _)| present == name) {
                cx.metadata.set(key, value.clone());
            }
        }
    }

    /// Counts the exchange and writes its record, once. A session that goes on is recorded when it begins.
    pub fn record(&mut self) {
        // Set first: a log plugin that panics is not asked again while the task unwinds.
        if std::mem::replace(&mut self.recorded, true) {
            return;
        }
        let Some(cx) = &self.cx else { return };
        let counters = self.worker.core.counters();
        let outcome = &mut self.outcome;
        outcome.total_ns = elapsed_ns(cx.received);
        outcome.plugin_io_ns = cx.plugin_io_ns;
        counters.request_duration.record_ns(outcome.total_ns);
        if let Some(ttfb_ns) = outcome.backend_ttfb_ns {
            counters.backend_duration.record_ns(ttfb_ns);
        }
        counters.status(outcome.status);
        counters.bytes_from_clients.add(outcome.bytes_sent);
        counters.bytes_to_clients.add(outcome.bytes_received);
        if let Some(class) = outcome.error_class {
            counters.error(class);
        }
        if let Some(class) = outcome.body_error_class {
            counters.body_error(class);
        }
        if outcome.client_disconnected {
            counters.client_disconnects.one();
        }
        if !self.is_unlogged
            && let Some(chain) = self.generation.chain(cx.route, self.kind)
            && chain.has_log()
        {
            chain.log(cx, outcome);
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.ended {
            // Dropped on the way: nobody waits for the answer any more, or the task panicked.
            if std::thread::panicking() {
                self.outcome.status = 500;
                self.outcome.error_class = Some(ErrorClass::RequestError);
            } else {
                self.outcome.client_disconnected = true;
                if self.outcome.status == 0 {
                    self.outcome.status = 499;
                    self.outcome.error_class = Some(ErrorClass::ClientDisconnect);
                } else {
                    self.outcome.body_error_class = Some(ErrorClass::ClientDisconnect);
                }
            }
        }
        self.record();
    }
}

pub fn elapsed_ns(since: Instant) -> u64 {
    since.elapsed().as_nanos() as u64
}
