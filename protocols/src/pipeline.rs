//! The only place where the order of things is written down.

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use engine::core::Deadline;
use engine::counters::ErrorClass;
use engine::http::{Method, RequestHead};
use engine::router::{HostBuffer, RouteMatch, normalize_host, write_backend_path};
use engine::snapshot::ProxySpec;
use plugins::{Buffering, Chain, ClientCertificate, Rejection, RequestContext};

use crate::destination::Destination;
use crate::elsewhere::Elsewhere;
use crate::exchange::{Body, Kind, Peer, Responder, boxed};
use crate::failure::Failure;
use crate::generation::{Generation, Route};
use crate::outgoing::{NOT_FORWARDED, connection_named};
use crate::per_ip::Slot;
use crate::refusal::{self, Refusal};
use crate::transaction::{Transaction, elapsed_ns};
use crate::whole::{self, WholeBody};
use crate::worker::Worker;
use crate::{client_ip, deliver, forward, grpc, kind, websocket};

/// What the frontend has found out about a request before anything else happens to it.
pub struct Exchange<'p, B, R> {
    pub head: Box<RequestHead>,
    pub body: B,
    pub responder: R,
    pub peer: &'p Peer,
    /// Free for the exchange to use.
    pub deadline: &'p Deadline,
    pub received: Instant,
}

/// A request that has a route.
struct Routed<'g, 'p> {
    route: &'g Route,
    index: u32,
    matched_len: usize,
    client: (IpAddr, Cow<'p, str>),
    slot: Option<Slot>,
    certificate: Option<Rc<ClientCertificate>>,
    path_parameters: Vec<(String, Vec<u8>)>,
}

/// Serves one request whose head passed the checks: route, plugins, backend, plugins, response, log.
/// Gives the head back, so that its memory serves the next request.
pub async fn serve<B: Body, R: Responder>(worker: &Rc<Worker>, exchange: Exchange<'_, B, R>) -> Box<RequestHead> {
    let Exchange { head, mut body, responder, peer, deadline, received } = exchange;
    let generation = worker.generation();
    let kind = kind::of(&head);
    let routed = match route(worker, &generation, &head, peer, kind) {
        Ok(routed) => routed,
        Err(refusal) => {
            worker.core.counters().requests_unrouted.one();
            boxed(|| refuse(worker, &head, responder, refusal)).await;
            return head;
        }
    };
    let mut transaction = begin(worker, &generation, &routed, head, received, kind);
    let spec = generation.proxy(routed.index);
    let chain = generation.chain_for(routed.index, routed.route, kind, &worker.env);

    if chain.has_log() {
        note_target(spec, &routed, &Destination::own(spec, routed.route), &mut transaction);
    }

    if !chain.is_silent_before_backend()
        && let Err(refused) = before_backend(chain, &mut transaction, &mut body, kind).await
    {
        boxed(|| answer_refused(&mut transaction, chain, kind, refused, responder)).await;
        return transaction.finish();
    }

    let elsewhere = match transaction.cx.as_mut().and_then(|cx| cx.route_override.take()) {
        Some(wanted) => boxed(|| Elsewhere::find(worker, &generation, spec, routed.route.chain(), &wanted)).await,
        None => None,
    };
    let (spec, route) = elsewhere.as_ref().map_or((spec, routed.route), |found| (&found.spec, &found.route));
    let named = transaction.cx.as_ref().map(|cx| connection_named(&cx.head.headers, NOT_FORWARDED)).unwrap_or_default();
    let client_ip = &routed.client.1;
    let is_held = transaction.cx.as_ref().is_some_and(|cx| cx.body.is_some());
    let destination = Destination::choose(worker, spec, route, transaction.cx.as_ref(), client_ip);
    if (destination.selected.is_some() || elsewhere.is_some()) && chain.has_log() {
        note_target(spec, &routed, &destination, &mut transaction);
    }
    let forwarding = forward::Forwarding {
        worker,
        spec,
        proxy: generation.proxy_facts(routed.index),
        chain,
        kind,
        peer,
        client_ip,
        destination,
        matched_len: routed.matched_len,
        connection_named: &named,
        deadline,
        body_bytes_max: if is_held { 0 } else { worker.settings.request_bytes_max(kind) },
    };
    if kind == Kind::WebSocket {
        boxed(|| websocket::exchange(forwarding, &mut transaction, &mut body, responder, routed.slot)).await;
    } else if let Some(bytes) = transaction.cx.as_mut().and_then(|cx| cx.body.take()) {
        let mut whole = WholeBody::new(&mut body, bytes);
        boxed(|| forward::exchange(forwarding, &mut transaction, &mut whole, responder, routed.slot)).await;
    } else {
        forward::exchange(forwarding, &mut transaction, &mut body, responder, routed.slot).await;
    }
    transaction.finish()
}

/// Checks 11-16 of the traffic sheet §5.
fn route<'g, 'p>(
    worker: &Worker,
    generation: &'g Generation,
    head: &RequestHead,
    peer: &'p Peer,
    kind: Kind,
) -> Result<Routed<'g, 'p>, Refusal> {
    let settings = &*worker.settings;
    let client = client_ip::resolve(head, peer, settings);
    let slot = match settings.requests_per_ip_max {
        0 => None,
        max => Some(worker.shared.per_ip.enter(client.0, max).ok_or_else(|| {
            tracing::warn!(client_ip = %client.1, "more than {max} concurrent requests from this IP");
            Refusal::new(429, "Too many concurrent requests from this IP")
        })?),
    };
    let mut buffer = HostBuffer::new();
    let host = match head.host() {
        Some(raw) => Some(
            normalize_host(raw, &mut buffer)
                .map_err(|_| Refusal::new(400, "Request contains malformed Host or authority"))?,
        ),
        None => None,
    };
    let found =
        generation.snapshot.routes.find(host, head.path()).ok_or_else(|| refusal::not_found().in_words_of(kind))?;
    let spec = generation.proxy(found.route);
    if let Some(filter) = &spec.allowed_methods
        && !filter.allows(head.method_text())
    {
        let refusal = Refusal::new(405, "Method Not Allowed").with_header("allow", &filter.allow);
        return Err(refusal.in_words_of(kind));
    }
    if kind.is_grpc() && head.method != Method::Post {
        return Err(Refusal::new(400, "gRPC requires POST method").in_words_of(kind));
    }
    Ok(Routed {
        route: generation.route(found.route, &worker.env, &worker.pools),
        index: found.route,
        matched_len: found.matched_len,
        client,
        slot,
        certificate: peer.certificate.clone(),
        path_parameters: path_parameters(&found, head.path()),
    })
}

/// Only regex routes have any.
fn path_parameters(found: &RouteMatch<'_>, path: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut parameters = Vec::new();
    found.for_each_parameter(path, |name, value| parameters.push((name.to_owned(), value.to_vec())));
    parameters
}

fn begin(
    worker: &Rc<Worker>,
    generation: &Rc<Generation>,
    routed: &Routed<'_, '_>,
    head: Box<RequestHead>,
    received: Instant,
    kind: Kind,
) -> Transaction {
    let mut cx = RequestContext::new(head, generation.facts.clone(), routed.index, routed.client.0, received);
    cx.client_certificate = routed.certificate.clone();
    for (name, value) in &routed.path_parameters {
        cx.head.headers.set(&format!("x-path-param-{name}"), value);
        cx.metadata.set(format!("path_param.{name}"), String::from_utf8_lossy(value));
    }
    Transaction::new(worker.clone(), generation.clone(), cx, kind)
}

/// What the record shows as the target, whether or not the backend is ever asked.
fn note_target(
    spec: &ProxySpec,
    routed: &Routed<'_, '_>,
    destination: &Destination<'_>,
    transaction: &mut Transaction,
) {
    let Some(cx) = &transaction.cx else { return };
    transaction.outcome.backend_target = Some(target(spec, cx, routed.matched_len, destination));
}

/// `scheme://host:port/path`, without the query.
pub fn target(spec: &ProxySpec, cx: &RequestContext, matched_len: usize, destination: &Destination<'_>) -> String {
    let mut target = format!("{}://{}:{}", spec.backend.scheme.name(), destination.host, destination.port).into_bytes();
    write_backend_path(&mut target, cx.head.path(), matched_len, spec.strip_listen_path, destination.path);
    String::from_utf8_lossy(&target).into_owned()
}

/// Why a request does not reach its backend.
enum Refused {
    /// A plugin rejected it in that phase.
    Rejected(&'static str, Box<Rejection>),
    /// A plugin rejected the body that the backend would have got.
    Body(Box<Rejection>),
    /// A body that a plugin wanted whole did not come.
    Failed(Box<Failure>, u64),
}

/// The plugin phases before the backend.
async fn before_backend<B: Body>(
    chain: &Chain,
    transaction: &mut Transaction,
    body: &mut B,
    kind: Kind,
) -> Result<(), Refused> {
    let started = Instant::now();
    let verdict = if chain.request_buffering() == Buffering::Never || kind == Kind::WebSocket {
        run_phases(chain, transaction).await
    } else {
        boxed(|| run_phases_with_body(chain, transaction, body, kind)).await
    };
    transaction.outcome.plugin_ns += elapsed_ns(started).saturating_sub(transaction.waited_ns);
    transaction.outcome.plugin_io_ns = transaction.cx.as_ref().map_or(0, |cx| cx.plugin_io_ns);
    verdict
}

async fn run_phases(chain: &Chain, transaction: &mut Transaction) -> Result<(), Refused> {
    let Some(cx) = &mut transaction.cx else { return Ok(()) };
    let at = |phase| move |rejection| Refused::Rejected(phase, rejection);
    chain.on_request_received(cx).await.map_err(at("on_request_received"))?;
    chain.authenticate(cx).await.map_err(at("authenticate"))?;
    chain.authorize(cx).await.map_err(at("authorize"))?;
    chain.before_proxy(cx).await.map_err(at("before_proxy"))
}

/// The same, and the body is read when the first plugin wants it.
async fn run_phases_with_body<B: Body>(
    chain: &Chain,
    transaction: &mut Transaction,
    body: &mut B,
    kind: Kind,
) -> Result<(), Refused> {
    let max = transaction.worker.settings.request_bytes_max(kind);
    let failed = |failure| Refused::Failed(Box::new(failure), max);
    let at = |phase| move |rejection| Refused::Rejected(phase, rejection);
    macro_rules! cx {
        () => {
            match &mut transaction.cx {
                Some(cx) => cx,
                None => return Ok(()),
            }
        };
    }
    chain.on_request_received(cx!()).await.map_err(at("on_request_received"))?;
    whole::collect(chain, transaction, body, Buffering::BeforeAuthenticate, kind).await.map_err(failed)?;
    chain.authenticate(cx!()).await.map_err(at("authenticate"))?;
    chain.authorize(cx!()).await.map_err(at("authorize"))?;
    whole::collect(chain, transaction, body, Buffering::BeforeProxy, kind).await.map_err(failed)?;
    chain.before_proxy(cx!()).await.map_err(at("before_proxy"))?;
    whole::collect(chain, transaction, body, Buffering::BeforeBackend, kind).await.map_err(failed)?;
    let cx = cx!();
    if cx.body.is_none() {
        return Ok(());
    }
    chain.request_body(cx).await.map_err(Refused::Body)
}

/// Answers a request that does not reach its backend.
async fn answer_refused<R: Responder>(
    transaction: &mut Transaction,
    chain: &Chain,
    kind: Kind,
    refused: Refused,
    mut responder: R,
) {
    match refused {
        Refused::Rejected(phase, rejection) => {
            transaction.rejected_in(phase);
            answer_rejection(transaction, chain, kind, rejection, responder).await;
        }
        Refused::Body(rejection) => whole::answer_for_backend(transaction, chain, kind, rejection, responder).await,
        Refused::Failed(failure, bytes_max) => {
            transaction.outcome.error_class = Some(failure.class);
            transaction.outcome.status = 499;
            // Its 413 passes no plugin, not even those that log (plugins sheet §1.10).
            transaction.is_unlogged = failure.class == ErrorClass::RequestBodyTooLarge && !kind.is_grpc();
            if let Some((rejection, close)) = failure.answer_to(kind, bytes_max) {
                transaction.outcome.status = rejection.status;
                if close {
                    responder.close_after();
                }
                if kind.is_grpc() {
                    transaction.note_grpc(&rejection);
                }
                let sent = deliver::rejection(&rejection, transaction.answers_head(), responder).await;
                transaction.outcome.client_disconnected = sent.is_err();
            } else {
                transaction.outcome.client_disconnected = true;
            }
            transaction.end();
        }
    }
}

/// Answers a request that a plugin rejected; what the decorators add goes with it.
async fn answer_rejection<R: Responder>(
    transaction: &mut Transaction,
    chain: &Chain,
    kind: Kind,
    rejection: Box<Rejection>,
    responder: R,
) {
    let mut rejection = *rejection;
    if let Some(cx) = &mut transaction.cx {
        // The API of custom plugins shows them that the response is a rejection by this (plugins sheet §1.5).
        chain.on_rejection(cx, &mut rejection).await;
    }
    if kind.is_grpc() {
        rejection = grpc::translated(&rejection);
        transaction.note_grpc(&rejection);
    }
    transaction.outcome.status = rejection.status;
    let sent = deliver::rejection(&rejection, transaction.answers_head(), responder).await;
    transaction.outcome.client_disconnected = sent.is_err();
    transaction.end();
}

/// Answers a request that has no route, or none it may take: no plugins, no record, but counted.
pub async fn refuse<R: Responder>(worker: &Worker, head: &RequestHead, mut responder: R, refusal: Refusal) {
    worker.core.counters().status(refusal.rejection.status);
    if refusal.close {
        responder.close_after();
    }
    let is_head = head.method == Method::Head;
    let _ = deliver::rejection(&refusal.rejection, is_head, responder).await;
}
