//! Request bodies that plugins want whole (plugins sheet §1.10).

use std::time::Instant;

use engine::buffer::Chunk;
use engine::counters::ErrorClass;
use engine::http::{Headers, ResponseHead};
use plugins::{Buffering, Chain, Rejection, WholeResponse};

use crate::deliver;
use crate::exchange::{Body, BodyError, BodySize, Kind, Responder};
use crate::failure::{Answer, Failure};
use crate::outgoing::passed_trailers;
use crate::respond::{self, OwnFields};
use crate::transaction::{Transaction, elapsed_ns};

/// For the log, and for plugins that want no more than the length.
const BODY_SIZE: &str = "request_body_size_bytes";

/// Reads the body into the context if a plugin wants it by that phase and it is not there yet.
///
/// # Errors
/// The body is too large, not a body, or does not come.
pub async fn collect<B: Body>(
    chain: &Chain,
    transaction: &mut Transaction,
    body: &mut B,
    by: Buffering,
    kind: Kind,
) -> Result<(), Failure> {
    let Some(cx) = &mut transaction.cx else { return Ok(()) };
    if cx.body.is_some() || body.size() == BodySize::Empty || !chain.wants_request_body(cx, by) {
        return Ok(());
    }
    let began = Instant::now();
    let whole = read(body, transaction.worker.settings.request_bytes_max(kind)).await;
    transaction.waited_ns += elapsed_ns(began);
    let whole = whole?;
    if let Some(cx) = &mut transaction.cx {
        // Plugin API sheet §4.7.
        if by > Buffering::BeforeBackend || kind.is_grpc() {
            cx.metadata.set(BODY_SIZE, whole.len().to_string());
        }
        cx.body = Some(whole);
    }
    Ok(())
}

async fn read<B: Body>(body: &mut B, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let is_over = |length: u64| bytes_max != 0 && length > bytes_max;
    let too_large = |answer| Err(Failure::new(ErrorClass::RequestBodyTooLarge, answer));
    let mut whole = match body.size() {
        BodySize::Exact(length) if is_over(length) => return too_large(Answer::RequestTooLarge),
        // What is announced is not believed further than this.
        BodySize::Exact(length) => Vec::with_capacity(length.min(1 << 20) as usize),
        BodySize::Empty | BodySize::Unknown => Vec::new(),
    };
    loop {
        match body.chunk().await {
            Ok(Some(chunk)) if is_over((whole.len() + chunk.len()) as u64) => {
                return too_large(Answer::RequestGrewTooLarge);
            }
            Ok(Some(chunk)) => whole.extend_from_slice(&chunk),
            Ok(None) => return Ok(whole),
            Err(error) => return Err(Failure::of_body(error)),
        }
    }
}

/// A body that was read whole, on its way to the backend.
pub struct WholeBody<'b, B> {
    /// Where it came from.
    source: &'b mut B,
    bytes: Option<Vec<u8>>,
    size: BodySize,
    trailers: Option<Headers>,
}

impl<'b, B: Body> WholeBody<'b, B> {
    pub fn new(source: &'b mut B, bytes: Vec<u8>) -> Self {
        let trailers = source.take_trailers().and_then(passed_trailers);
        let size = match bytes.len() as u64 {
            0 => BodySize::Empty,
            // Not every wire has room for trailers behind a length.
            _ if trailers.is_some() => BodySize::Unknown,
            length => BodySize::Exact(length),
        };
        Self { source, bytes: Some(bytes).filter(|bytes| !bytes.is_empty()), size, trailers }
    }
}

impl<B: Body> Body for WholeBody<'_, B> {
    fn size(&self) -> BodySize {
        self.size
    }

    async fn chunk(&mut self) -> Result<Option<Chunk>, BodyError> {
        Ok(self.bytes.take().map(Chunk::from))
    }

    fn is_complete(&self) -> bool {
        self.bytes.is_none()
    }

    fn take_trailers(&mut self) -> Option<Headers> {
        self.trailers.take()
    }

    fn open_tunnel(&mut self) {
        self.source.open_tunnel();
    }
}

/// Answers in the place of a backend that was not asked, because a plugin has rejected the final body: the answer passes what a
/// backend's would (plugins sheet §1.5).
pub async fn answer_for_backend<R: Responder>(
    transaction: &mut Transaction,
    chain: &Chain,
    kind: Kind,
    rejection: Box<Rejection>,
    responder: R,
) {
    if rejection.status == 413 {
        transaction.outcome.error_class = Some(ErrorClass::RequestBodyTooLarge);
    }
    let mut answer = *rejection;
    if kind.is_grpc() {
        answer = crate::grpc::translated(&answer);
        transaction.note_grpc(&answer);
    } else {
        let passed = through_after_proxy(transaction, chain, answer, true).await;
        answer = passed.unwrap_or_else(|rejection| *rejection);
        // No target has been asked.
        OwnFields::in_place(answer.status, None, &transaction.worker.settings, None).add_to(&mut answer);
    }
    transaction.outcome.status = answer.status;
    let sent = deliver::rejection(&answer, transaction.answers_head(), responder).await;
    transaction.outcome.client_disconnected = sent.is_err();
    transaction.end();
}

/// Lets plugins at an answer that the gateway gives because the backend gave none (plugin API sheet §4.4), and `with_body` at its
/// body as well.
///
/// # Errors
/// A plugin has rejected it; what it says instead.
pub async fn through_after_proxy(
    transaction: &mut Transaction,
    chain: &Chain,
    answer: Rejection,
    with_body: bool,
) -> Result<Rejection, Box<Rejection>> {
    let mut head = ResponseHead::new(answer.status);
    let mut response = WholeResponse { head: &mut head, body: Vec::new(), trailers: None };
    response.replace(answer);
    if let Some(rejection) = respond::after_proxy(transaction, chain, response.head).await {
        return Err(rejection);
    }
    if with_body {
        respond::response_body(transaction, chain, &mut response).await;
    }
    let body = response.body;
    Ok(rejection_of(&head, body))
}

fn rejection_of(head: &ResponseHead, body: Vec<u8>) -> Rejection {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = head.headers.iter().map(|field| (text(field.name), text(field.value))).collect();
    Rejection { status: head.status, headers, body }
}
