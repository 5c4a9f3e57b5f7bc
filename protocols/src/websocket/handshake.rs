//! The handshake: the backend is asked first, and the client is answered when it has agreed.

use std::rc::Rc;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use engine::buffer::{Buffer, Unsent};
use engine::counters::ErrorClass;
use engine::http::{KnownSet, RequestHead, ResponseHead, Version};
use plugins::Rejection;

use super::ends::{Backend, linger};
use super::framed::{self, Shared};
use super::relay;
use super::session::{Told, Traffic};
use crate::deliver;
use crate::dial;
use crate::exchange::{Body, BodySize, OutgoingResponse, Responder, ResponseSize, boxed};
use crate::failure::{Answer, Failure};
use crate::forward::{Forwarding, log_failure, outgoing};
use crate::http1::{self, BackendConnection};
use crate::kind;
use crate::per_ip::Slot;
use crate::transaction::Transaction;

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const PROTOCOL: &str = "sec-websocket-protocol";

/// What the gateway says itself, on either side. No extension is ever agreed on: the backend is offered none, so that the frames of
/// both sides are alike.
const OWN_FIELDS: [&[u8]; 4] =
    [b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-accept", b"sec-websocket-extensions"];

/// Connects client and backend, and relays until either ends.
pub async fn exchange<B: Body, R: Responder>(
    forwarding: Forwarding<'_>,
    transaction: &mut Transaction,
    body: &mut B,
    responder: R,
    slot: Option<Slot>,
) {
    if !has_allowed_origin(&forwarding, transaction) {
        return refuse(&forwarding, transaction, responder, 403, "WebSocket Origin not allowed", None).await;
    }
    let worker = forwarding.worker;
    let place = match worker.settings.websocket.connections_max {
        0 => None,
        _ => match worker.shared.websockets.hold(worker.core.index) {
            Some(place) => Some(place),
            None => {
                let phase = Some("websocket_connection_limit");
                let text = "WebSocket connection limit exceeded";
                return refuse(&forwarding, transaction, responder, 503, text, phase).await;
            }
        },
    };
    let mut backend = match boxed(|| connect(&forwarding, transaction)).await {
        Ok(backend) => backend,
        Err(failure) => {
            transaction.outcome.error_class = Some(failure.class);
            log_failure(&forwarding, &failure);
            let text = match failure.answer {
                Answer::NoAddress => "DNS resolution for backend failed",
                _ => "Backend WebSocket connection failed",
            };
            let phase = Some("websocket_backend_error");
            return refuse(&forwarding, transaction, responder, 502, text, phase).await;
        }
    };
    // The per-address place is held until the answer, not for the session.
    drop(slot);
    let Some(stream) = answer(&forwarding, transaction, &backend, responder).await else { return };
    body.open_tunnel();
    transaction.end();
    transaction.record();
    let counters = worker.core.counters();
    counters.websockets_opened.one();
    let _open = Open { worker };
    let settings = &worker.settings.websocket;
    let deadline = worker.core.deadlines.deadline();
    let (chain, traffic) = (forwarding.chain, Rc::<Traffic>::default());
    let upgrade = transaction.cx.as_ref().filter(|_| chain.takes_part_in_websocket());
    let told = upgrade.map(|upgrade| Told::new(&forwarding, upgrade, &traffic));
    let BackendConnection { receiver, sender, .. } = &mut *backend.connection;
    let early = std::mem::replace(&mut backend.early, Buffer::none());
    let ends = Backend { receiver, sender, early };
    let (ending, lingers) = match &told {
        Some(told) if chain.sees_websocket_messages() => {
            let shared = Shared::new((settings, counters), chain, &told.session, &traffic, &deadline);
            boxed(|| framed::converse(body, stream, ends, &shared)).await
        }
        _ => {
            let deadlines = (&deadline, worker.core.deadlines.deadline());
            (boxed(|| relay::relay(body, stream, ends, settings, &traffic, deadlines)).await, false)
        }
    };
    if let Some(told) = &told {
        told.ending.set(Some(ending));
    }
    if lingers {
        worker.core.spawn(boxed(|| linger(backend.connection, worker.core.deadlines.deadline())));
    }
    drop(place);
}

/// Counts a session as open.
struct Open<'w> {
    worker: &'w crate::worker::Worker,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.worker.core.counters().websockets_closed.one();
    }
}

/// A list that is empty allows all; else the whole of `Origin` must be one of its entries.
fn has_allowed_origin(forwarding: &Forwarding<'_>, transaction: &Transaction) -> bool {
    let allowed = &forwarding.proxy.allowed_ws_origins;
    let origin = transaction.cx.as_ref().and_then(|cx| cx.head.headers.get("origin"));
    allowed.is_empty()
        || origin.is_some_and(|origin| allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)))
}

async fn refuse<R: Responder>(
    forwarding: &Forwarding<'_>,
    transaction: &mut Transaction,
    responder: R,
    status: u16,
    text: &str,
    phase: Option<&'static str>,
) {
    if let Some(phase) = phase {
        transaction.rejected_in(phase);
    }
    forwarding.destination.note_end();
    transaction.outcome.status = status;
    let sent = deliver::rejection(&Rejection::error(status, text), false, responder).await;
    transaction.outcome.client_disconnected = sent.is_err();
    transaction.end();
}

/// A backend that has agreed, and what of its frames came with the agreement.
struct Agreed {
    connection: Box<BackendConnection>,
    head: ResponseHead,
    early: Buffer,
}

/// Connection, TLS and agreement within the connect timeout.
async fn connect(forwarding: &Forwarding<'_>, transaction: &mut Transaction) -> Result<Agreed, Failure> {
    let deadline = forwarding.worker.core.deadlines.deadline();
    deadline.set_ms(forwarding.spec.connect_timeout_ms);
    match deadline.bound(agree(forwarding, transaction)).await {
        Some(agreed) => agreed,
        None => Err(Failure::backend(ErrorClass::ConnectionTimeout)),
    }
}

async fn agree(forwarding: &Forwarding<'_>, transaction: &mut Transaction) -> Result<Agreed, Failure> {
    let mut connection = dial::for_upgrade(forwarding).await?;
    transaction.outcome.backend_ip = Some(connection.peer.ip());
    let Some(cx) = &transaction.cx else { return Err(Failure::client_gone()) };
    let key = STANDARD.encode(forwarding.worker.nonce());
    let mut out = Buffer::head();
    let request = outgoing(forwarding, cx, BodySize::Empty);
    http1::write_upgrade_head(&request, &OWN_FIELDS, &key, out.as_vec_mut());
    let sent = connection.sender.send(Unsent { buffer: out, sent: 0 }).await;
    sent.0.map_err(|error| Failure::backend(http1::class_of(&error)))?;

    let mut head = ResponseHead::new(0);
    let max = forwarding.worker.settings.head_bytes_max();
    let began = &mut transaction.answer_began;
    let head_end =
        http1::read_final_head(&mut connection.receiver, &mut head, max, began).await.map_err(Failure::backend)?;
    let accepts = head.headers.get("sec-websocket-accept") == Some(accept(&key).as_str());
    if head.status != 101 || !accepts {
        let status = head.status;
        tracing::warn!(proxy_id = %forwarding.proxy.id, "the backend did not agree to WebSocket: status {status}");
        return Err(Failure::backend(ErrorClass::RequestError));
    }
    let mut early = Buffer::none();
    if head_end < head.headers.received().len() {
        early = Buffer::with_capacity(head.headers.received().len() - head_end);
        early.extend(&head.headers.received()[head_end..]);
    }
    Ok(Agreed { connection, head, early })
}

/// RFC 6455 §4.2.2.
fn accept(key: &str) -> String {
    let mut text = key.as_bytes().to_vec();
    text.extend_from_slice(GUID);
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text))
}

/// Tells the client that the backend has agreed.
async fn answer<R: Responder>(
    forwarding: &Forwarding<'_>,
    transaction: &mut Transaction,
    backend: &Agreed,
    responder: R,
) -> Option<R::Stream> {
    let head: &RequestHead = &transaction.cx.as_ref()?.head;
    let accept = kind::key(&head.headers).filter(|_| head.version != Version::Http2).map(accept);
    let mut extra: Vec<(&str, &[u8])> = Vec::new();
    if let Some(accept) = &accept {
        extra.push(("sec-websocket-accept", accept.as_bytes()));
    }
    if let Some(protocol) = backend.head.headers.get(PROTOCOL) {
        extra.push((PROTOCOL, protocol.as_bytes()));
    }
    if let Some(cookie) = forwarding.destination.selected.as_ref().and_then(|selected| selected.sticky_cookie) {
        extra.push(("set-cookie", cookie.as_bytes()));
    }
    let status = if head.version == Version::Http2 { 200 } else { 101 };
    let outgoing = OutgoingResponse { status, received: None, skip: KnownSet::empty(), skip_named: &[], extra: &extra };
    transaction.outcome.status = status;
    Some(responder.start(&outgoing, ResponseSize::Tunnel).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_value_is_that_of_the_rfc() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
