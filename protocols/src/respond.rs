//! The way back: a backend's response, through the plugins, to the client.

use std::time::Instant;

use engine::buffer::{BULK_BUFFER_BYTES, Buffer, Chunk};
use engine::counters::ErrorClass;
use engine::http::{Headers, Known, KnownSet, Method, ResponseHead, Version};
use engine::net::{Pipe, Stint};
use plugins::{Chain, Rejection, WholeResponse};

use crate::content_length::content_length;
use crate::deliver;
use crate::destination::Selected;
use crate::exchange::{
    BackendResponse, BodyLength, ClientGone, Kind, OutgoingResponse, Responder, ResponseSize, ResponseStream, boxed,
};
use crate::failure::{Answer, Failure};
use crate::forward::Forwarding;
use crate::grpc;
use crate::http1::MOVED_BYTES_MIN;
use crate::outgoing::{NOT_RETURNED, connection_named, passed_trailers};
use crate::per_ip::Slot;
use crate::settings::HttpSettings;
use crate::transaction::{Transaction, elapsed_ns};

pub struct Respond<'a, 'c, S> {
    pub forwarding: &'a Forwarding<'a>,
    pub response: S,
    pub head: &'c mut ResponseHead,
    pub method: Method,
    pub started: Instant,
}

impl<S: BackendResponse> Respond<'_, '_, S> {
    /// Waits for the head, then delivers. `Ok(true)`: the backend connection can be used again.
    pub async fn run<R: Responder>(
        mut self,
        transaction: &mut Transaction,
        responder: &mut Option<R>,
        slot: &mut Option<Option<Slot>>,
    ) -> Result<bool, Failure> {
        let settings = &*self.forwarding.worker.settings;
        let head_max = settings.head_bytes_max();
        let length = self
            .response
            .head(self.head, self.method, head_max, &mut transaction.answer_began)
            .await
            .map_err(Failure::backend)?;
        let ttfb_ns = elapsed_ns(self.started);
        transaction.outcome.backend_ttfb_ns = Some(ttfb_ns);
        let now_ms = self.forwarding.worker.core.deadlines.now_ms();
        self.forwarding.destination.note_answer(self.head.status, ttfb_ns, now_ms);
        if self.forwarding.kind.is_grpc() {
            // A stream may go on for as long as it likes, once it has begun (traffic sheet §13.5).
            self.forwarding.deadline.clear();
        }
        // The per-address place is held until the response head is here.
        slot.take();

        let chain = self.forwarding.chain;
        if chain.has_after_proxy()
            && let Some(rejected) = boxed(|| self.answered_by_plugin(transaction, responder)).await
        {
            return rejected.map(|()| false);
        }
        // A plugin may have made it a response that cannot have a body; then the backend's is not delivered.
        let is_dropped = length != BodyLength::None && matches!(self.head.status, 100..=199 | 204 | 304);
        let length = if is_dropped { BodyLength::None } else { length };
        let limit = settings.response_body_bytes_max;
        if let BodyLength::Exact(length) = length
            && limit != 0
            && length > limit
        {
            return Err(Failure::new(ErrorClass::ResponseBodyTooLarge, Answer::ResponseTooLarge));
        }
        let wanting = transaction.wants_response_body;
        let is_wanted_whole = transaction.cx.as_ref().is_some_and(|cx| chain.wants_body_of(cx, self.head, wanting));
        let plan = self.plan(length, is_wanted_whole);
        let delivery = Delivery { respond: self, length, limit };
        let clean = match plan {
            Plan::Rework => boxed(|| delivery.rework(transaction, responder)).await?,
            Plan::Stream => boxed(|| delivery.stream(transaction, responder)).await?,
            Plan::Collect => delivery.collect(transaction, responder).await?,
        };
        Ok(clean && !is_dropped)
    }

    /// Runs the after-proxy phase; `Some` when a plugin has put its own answer in the place of the backend's.
    async fn answered_by_plugin<R: Responder>(
        &mut self,
        transaction: &mut Transaction,
        responder: &mut Option<R>,
    ) -> Option<Result<(), Failure>> {
        let forwarding = self.forwarding;
        let mut rejection = after_proxy(transaction, forwarding.chain, self.head).await?;
        if forwarding.kind.is_grpc() {
            *rejection = grpc::translated(&rejection);
            transaction.note_grpc(&rejection);
        } else {
            let selected = forwarding.destination.selected.as_ref();
            OwnFields::in_place(rejection.status, None, &forwarding.worker.settings, selected).add_to(&mut rejection);
        }
        transaction.outcome.status = rejection.status;
        let (is_head, responder) = (transaction.answers_head(), responder.take()?);
        Some(deliver::rejection(&rejection, is_head, responder).await.map_err(|ClientGone| Failure::client_gone()))
    }

    /// Traffic sheet §8.2.
    fn plan(&self, length: BodyLength, is_wanted_whole: bool) -> Plan {
        if is_wanted_whole && length != BodyLength::None {
            return Plan::Rework;
        }
        if length == BodyLength::None || self.forwarding.kind.is_grpc() {
            return Plan::Stream;
        }
        let looks = self.forwarding.chain.looks_at_responses();
        if self.forwarding.spec.buffer_responses {
            return if looks { Plan::Rework } else { Plan::Collect };
        }
        match length {
            BodyLength::Exact(length)
                if length <= self.forwarding.worker.settings.response_buffer_cutoff_bytes
                    && !self.is_event_stream()
                    && !looks =>
            {
                Plan::Collect
            }
            _ => Plan::Stream,
        }
    }

    fn is_event_stream(&self) -> bool {
        let value = self.head.headers.first(Known::ContentType).unwrap_or_default();
        value.len() >= 17 && value[..17].eq_ignore_ascii_case(b"text/event-stream")
    }
}

/// Why a body has broken off.
enum Broken {
    ClientGone,
    Backend(ErrorClass),
}

impl From<ClientGone> for Broken {
    fn from(_: ClientGone) -> Self {
        Broken::ClientGone
    }
}

/// Brings the body to the client piece by piece; the kernel moves what is long.
async fn carry(
    body: &mut impl BackendResponse,
    stream: &mut impl ResponseStream,
    limit: u64,
    carried_bytes: &mut u64,
) -> Result<(), Broken> {
    let mut comes_in_crumbs = false;
    loop {
        if !body.has_early() && !body.is_complete() {
            stream.flush().await?;
        }
        if !comes_in_crumbs
            && stream.takes_pipes()
            && body.fills_pipes()
            && let Some(mut pipe) = Pipe::lend()
        {
            comes_in_crumbs = move_body(body, &mut pipe, stream, carried_bytes).await? < MOVED_BYTES_MIN;
            continue;
        }
        let Some(chunk) = body.chunk().await.map_err(Broken::Backend)? else { return Ok(()) };
        comes_in_crumbs &= chunk.len() < MOVED_BYTES_MIN;
        *carried_bytes += chunk.len() as u64;
        if limit != 0 && *carried_bytes > limit {
            return Err(Broken::Backend(ErrorClass::ResponseBodyTooLarge));
        }
        stream.write(chunk).await?;
    }
}

/// Lets the kernel move the body to the client, until what is left of it is short or comes in crumbs. Answers how large the
/// last piece was.
async fn move_body(
    body: &mut impl BackendResponse,
    pipe: &mut Pipe,
    stream: &mut impl ResponseStream,
    moved_bytes: &mut u64,
) -> Result<usize, Broken> {
    let mut stint = Stint::default();
    loop {
        let count = body.fill(pipe).await.map_err(Broken::Backend)?;
        *moved_bytes += count as u64;
        stream.write_from(pipe).await?;
        if count < MOVED_BYTES_MIN || !body.fills_pipes() {
            return Ok(count);
        }
        stint.note(count).await;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Plan {
    Stream,
    /// Read fully, then send in one piece.
    Collect,
    /// Read fully, let plugins at it, then send in one piece.
    Rework,
}

/// Runs the phase; `Some` when a plugin rejects the response, with what the decorators made of that.
pub async fn after_proxy(
    transaction: &mut Transaction,
    chain: &Chain,
    head: &mut ResponseHead,
) -> Option<Box<Rejection>> {
    let began = Instant::now();
    let cx = transaction.cx.as_mut()?;
    let mut rejection = chain.after_proxy(cx, head).await.err();
    if let Some(rejection) = &mut rejection {
        chain.on_rejection(cx, rejection).await;
        transaction.rejected_in("after_proxy");
    }
    transaction.outcome.plugin_ns += elapsed_ns(began);
    rejection
}

/// Runs the phases that see a response's body; says whether a plugin has put another response in its place.
pub async fn response_body(transaction: &mut Transaction, chain: &Chain, response: &mut WholeResponse<'_>) -> bool {
    let Some(cx) = &mut transaction.cx else { return false };
    let began = Instant::now();
    let was_replaced = chain.response_body(cx, response).await;
    transaction.outcome.plugin_ns += elapsed_ns(began);
    was_replaced
}

struct Delivery<'a, 'c, S> {
    respond: Respond<'a, 'c, S>,
    length: BodyLength,
    limit: u64,
}

impl<'a, 'c, S: BackendResponse> Delivery<'a, 'c, S> {
    /// Sends the head as soon as it is here and the body as it comes.
    async fn stream<R: Responder>(
        self,
        transaction: &mut Transaction,
        responder: &mut Option<R>,
    ) -> Result<bool, Failure> {
        let size = self.streamed_size();
        let version = self.respond.head.version;
        let Some(mut stream) = self.start(transaction, responder, version, size).await else { return Ok(false) };
        let (limit, destination) = (self.limit, &self.respond.forwarding.destination);
        let has_body = self.length != BodyLength::None;
        let mut body = self.body();
        let outcome = &mut transaction.outcome;
        outcome.response_streamed = has_body && !body.is_complete();
        if has_body {
            match carry(&mut body, &mut stream, limit, &mut outcome.bytes_received).await {
                Ok(()) => {}
                Err(Broken::ClientGone) => return Err(Failure::client_gone()),
                Err(Broken::Backend(class)) => {
                    stream.abort().await;
                    return Err(Failure::backend(class));
                }
            }
        }
        destination.note_end();
        let trailers = body.take_trailers().and_then(passed_trailers);
        stream.finish(trailers).await.map_err(|ClientGone| Failure::client_gone())?;
        outcome.body_completed = outcome.response_streamed;
        Ok(body.leaves_connection_clean())
    }

    /// Reads all of the body before the first byte is sent, so that a failure can still be answered as one.
    async fn collect<R: Responder>(
        self,
        transaction: &mut Transaction,
        responder: &mut Option<R>,
    ) -> Result<bool, Failure> {
        let received = self.respond.head.headers.received();
        let held = self.respond.response.head_end().map_or(0, |from| received.len() - from) as u64;
        if self.length == BodyLength::Exact(held) {
            return self.send_whole(transaction, responder, held).await;
        }
        let (collected, forwarding, head) = self.read_whole(transaction).await?;
        let length = collected.body.len() as u64;
        let size = match collected.trailers {
            Some(_) => ResponseSize::Trailed(length),
            None => ResponseSize::Exact(length),
        };
        let stream = start(forwarding, (head, COLLECTED, NOT_RETURNED), transaction, responder, size).await;
        collected.send(stream, size).await
    }

    /// The same, and lets plugins look at the body and rewrite it in between.
    async fn rework<R: Responder>(
        self,
        transaction: &mut Transaction,
        responder: &mut Option<R>,
    ) -> Result<bool, Failure> {
        let (mut collected, forwarding, head) = self.read_whole(transaction).await?;
        let (body, trailers) = (std::mem::take(collected.body.as_vec_mut()), collected.trailers.take());
        let shown = trailers.as_ref().filter(|_| forwarding.kind.is_grpc());
        let mut response = WholeResponse { head: &mut *head, body, trailers: shown };
        let was_replaced = response_body(transaction, forwarding.chain, &mut response).await;
        collected.body = response.body.into();
        collected.trailers = trailers.filter(|_| !was_replaced);
        // What a plugin answers with is nobody's but the gateway's to frame.
        let skip = if was_replaced { KnownSet::FRAMING } else { NOT_RETURNED };
        // It may have another status by now.
        let size = match ResponseSize::of_whole(head.status, collected.body.len() as u64, false) {
            ResponseSize::Exact(length) if collected.trailers.is_some() => ResponseSize::Trailed(length),
            size => size,
        };
        let stream = start(forwarding, (head, COLLECTED, skip), transaction, responder, size).await;
        collected.send(stream, size).await
    }

    async fn read_whole(
        self,
        transaction: &mut Transaction,
    ) -> Result<(Collected, &'a Forwarding<'a>, &'c mut ResponseHead), Failure> {
        let limit = self.limit;
        let Respond { forwarding, response: mut body, head, started, .. } = self.respond;
        if let Some(from) = body.head_end() {
            // The fields are still needed, so the body's first bytes are copied away from behind them.
            body.set_early(copy_of(&head.headers.received()[from..]), 0);
        }
        let mut whole = Buffer::bulk();
        let read_failed = |class| Failure::new(class, Answer::ResponseReadFailed);
        while let Some(chunk) = body.chunk().await.map_err(read_failed)? {
            if limit != 0 && (whole.len() + chunk.len()) as u64 > limit {
                return Err(Failure::new(ErrorClass::ResponseBodyTooLarge, Answer::ResponseTooLarge));
            }
            whole.extend(&chunk);
        }
        transaction.outcome.backend_total_ns = Some(elapsed_ns(started));
        transaction.outcome.bytes_received = whole.len() as u64;
        forwarding.destination.note_end();
        // The backend has done its part; a slow client is not its fault.
        forwarding.deadline.clear();
        let leaves_connection_clean = body.leaves_connection_clean();
        let trailers = body.take_trailers().and_then(passed_trailers);
        Ok((Collected { body: whole, trailers, leaves_connection_clean }, forwarding, head))
    }

    /// The usual small response: head and body came in one piece and leave in one.
    async fn send_whole<R: Responder>(
        self,
        transaction: &mut Transaction,
        responder: &mut Option<R>,
        length: u64,
    ) -> Result<bool, Failure> {
        let outcome = &mut transaction.outcome;
        outcome.backend_total_ns = outcome.backend_ttfb_ns;
        outcome.bytes_received = length;
        self.respond.forwarding.destination.note_end();
        let size = ResponseSize::Exact(length);
        let Some(mut stream) = self.start(transaction, responder, COLLECTED, size).await else { return Ok(false) };
        let Respond { mut response, head, .. } = self.respond;
        let buffer = head.headers.take_received();
        let whole = response.head_end().unwrap_or(buffer.len())..buffer.len();
        response.note_whole();
        let sent = async {
            stream.write(Chunk::new(buffer, whole)).await?;
            stream.finish(None).await
        };
        sent.await.map_err(|ClientGone| Failure::client_gone())?;
        Ok(response.leaves_connection_clean())
    }

    fn streamed_size(&self) -> ResponseSize {
        let headers = &self.respond.head.headers;
        match self.length {
            BodyLength::Exact(length) => ResponseSize::Exact(length),
            BodyLength::Unknown => ResponseSize::Unknown,
            BodyLength::None if self.respond.head.status == 204 => ResponseSize::None,
            BodyLength::None => ResponseSize::HeadOnly(content_length(headers).ok().flatten()),
        }
    }

    async fn start<R: Responder>(
        &self,
        transaction: &mut Transaction,
        responder: &mut Option<R>,
        version: Version,
        size: ResponseSize,
    ) -> Option<R::Stream> {
        start(self.respond.forwarding, (self.respond.head, version, NOT_RETURNED), transaction, responder, size).await
    }

    /// The rest of the response, once the head has been laid out and its fields are not needed any more.
    fn body(self) -> S {
        let Respond { mut response, head, .. } = self.respond;
        if let Some(from) = response.head_end() {
            response.set_early(head.headers.take_received(), from);
        }
        response
    }
}

/// A response that is here with all of its body.
struct Collected {
    body: Buffer,
    trailers: Option<Headers>,
    leaves_connection_clean: bool,
}

impl Collected {
    /// Sends it behind its head. Without a stream somebody has answered already.
    async fn send(self, stream: Option<impl ResponseStream>, size: ResponseSize) -> Result<bool, Failure> {
        let Some(mut stream) = stream else { return Ok(false) };
        let sent = async {
            if size.has_body() {
                stream.write(self.body.into()).await?;
            }
            stream.finish(self.trailers).await
        };
        sent.await.map_err(|ClientGone| Failure::client_gone())?;
        Ok(self.leaves_connection_clean)
    }
}

/// What the gateway adds to the response of a backend, and to one that stands in for it.
#[derive(Default)]
pub struct OwnFields<'f> {
    fields: [(&'static str, &'f [u8]); 4],
    count: usize,
}

const GATEWAY_ERROR: &str = "x-gateway-error";

/// What `via` says of an answer that was collected, or that is whole because a plugin gave it (traffic sheet §6.5).
const COLLECTED: Version = Version::Http11;

impl<'f> OwnFields<'f> {
    /// Of a backend's answer.
    fn of(status: u16, version: Version, settings: &'f HttpSettings, selected: Option<&'f Selected<'_>>) -> Self {
        let mut own = Self::default();
        own.add_error(status, None);
        own.add_selected(selected);
        own.add_via(version, settings);
        own
    }

    /// Of what a plugin answers in its place; `failed` is why the backend did not, if it did not.
    pub fn in_place(
        status: u16,
        failed: Option<ErrorClass>,
        settings: &'f HttpSettings,
        selected: Option<&'f Selected<'_>>,
    ) -> Self {
        let mut own = Self::default();
        own.add_error(status, failed);
        own.add_selected(selected);
        own.add_via(COLLECTED, settings);
        own
    }

    /// Of what the gateway itself answers when an exchange has failed.
    pub fn of_failure(status: u16, failure: &Failure, selected: Option<&'f Selected<'_>>) -> Self {
        let mut own = Self::default();
        if failure.is_backend_s() {
            own.add_error(status, Some(failure.class));
        }
        own.add_status(selected);
        own
    }

    /// Traffic sheet §6.6.
    fn add_error(&mut self, status: u16, failed: Option<ErrorClass>) {
        match status {
            _ if failed.is_some_and(ErrorClass::is_pre_wire) => self.add(GATEWAY_ERROR, b"connection_failure"),
            504 => self.add(GATEWAY_ERROR, b"backend_timeout"),
            500.. => self.add(GATEWAY_ERROR, b"backend_error"),
            _ => {}
        }
    }

    fn add_selected(&mut self, selected: Option<&'f Selected<'_>>) {
        self.add_status(selected);
        if let Some(cookie) = selected.and_then(|selected| selected.sticky_cookie) {
            self.add("set-cookie", cookie.as_bytes());
        }
    }

    fn add_status(&mut self, selected: Option<&Selected<'_>>) {
        if selected.is_some_and(|selected| selected.degraded) {
            self.add("x-gateway-upstream-status", b"degraded");
        }
    }

    fn add_via(&mut self, version: Version, settings: &'f HttpSettings) {
        if let Some(via) = &settings.via {
            self.add("via", via.value(version).as_bytes());
        }
    }

    fn add(&mut self, name: &'static str, value: &'f [u8]) {
        self.fields[self.count] = (name, value);
        self.count += 1;
    }

    fn all(&self) -> &[(&'static str, &'f [u8])] {
        &self.fields[..self.count]
    }

    pub fn add_to(&self, answer: &mut Rejection) {
        for (name, value) in self.all() {
            let value = String::from_utf8_lossy(value).into_owned();
            match *name {
                GATEWAY_ERROR => answer.set_header(name, &value),
                name => answer.headers.push((name.to_owned(), value)),
            }
        }
    }
}

/// Lays out the response head: what the backend sent without what is skipped, and the gateway's own fields. The version is the one
/// that the answer counts as.
async fn start<R: Responder>(
    forwarding: &Forwarding<'_>,
    (head, version, mut skip): (&ResponseHead, Version, KnownSet),
    transaction: &mut Transaction,
    responder: &mut Option<R>,
    size: ResponseSize,
) -> Option<R::Stream> {
    let named = connection_named(&head.headers, NOT_RETURNED);
    let selected = forwarding.destination.selected.as_ref();
    // gRPC has its own words for all of it (traffic sheet §6.6).
    let own = match forwarding.kind {
        Kind::Plain => OwnFields::of(head.status, version, &forwarding.worker.settings, selected),
        Kind::Grpc | Kind::GrpcWeb | Kind::WebSocket => OwnFields::default(),
    };
    if head.status >= 500 && forwarding.kind == Kind::Plain {
        skip.insert(Known::XGatewayError);
    }
    let outgoing = OutgoingResponse {
        status: head.status,
        received: Some(&head.headers),
        skip,
        skip_named: &named,
        extra: own.all(),
    };
    transaction.outcome.status = head.status;
    Some(responder.take()?.start(&outgoing, size).await)
}

fn copy_of(bytes: &[u8]) -> Buffer {
    let mut copy = if bytes.len() <= BULK_BUFFER_BYTES { Buffer::with_capacity(bytes.len()) } else { Buffer::bulk() };
    copy.extend(bytes);
    copy
}
