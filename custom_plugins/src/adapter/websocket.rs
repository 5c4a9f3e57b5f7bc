//! WebSocket messages and ends of sessions, as documented plugins know them.

use std::sync::Arc;

use native::websocket::{
    Close, Direction as NativeDirection, IoSide, Message, MessageFlow, WebSocketEnd, WebSocketSession,
};
use tokio_tungstenite::tungstenite::Message as Documented;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::instance::Instance;
use super::native_plugin::Held;
use super::running::{self, Panicked, Polled};
use crate::plugins::{Direction, WebSocketFrameDirection, WsDisconnectContext};
use crate::proxy::tcp_proxy::StreamIoSide;

/// RFC 6455 §7.4.1: the server met a condition it did not expect.
const INTERNAL_ERROR: u16 = 1011;

/// Asks the plugin about one message.
pub(super) fn on_message<'a>(
    held: &Arc<Held>,
    session: &WebSocketSession<'_>,
    direction: NativeDirection,
    message: &Message,
) -> MessageFlow<'a> {
    let (asked, connection_id) = (held.clone(), session.connection_id);
    let (proxy_id, message) = (session.upgrade.proxy().id.clone(), documented(message));
    let direction = match direction {
        NativeDirection::ClientToBackend => WebSocketFrameDirection::ClientToBackend,
        NativeDirection::BackendToClient => WebSocketFrameDirection::BackendToClient,
    };
    let running =
        Box::pin(async move { asked.plugin().on_ws_frame(&proxy_id, connection_id, direction, &message).await });
    match running::start(&held.instance, running) {
        Polled::Done(done) => said(done),
        Polled::Waits(waiting) => MessageFlow::Wait(Box::pin(async move { said(waiting.answer().await) })),
    }
}

fn said(done: Result<Option<Documented>, Panicked>) -> MessageFlow<'static> {
    match done {
        Ok(None | Some(Documented::Frame(_))) => MessageFlow::Pass,
        Ok(Some(Documented::Text(text))) => MessageFlow::Replace(Message::Text(text.as_str().to_owned())),
        Ok(Some(Documented::Binary(bytes))) => MessageFlow::Replace(Message::Binary(bytes.into())),
        Ok(Some(Documented::Ping(bytes))) => MessageFlow::Replace(Message::Ping(bytes.into())),
        Ok(Some(Documented::Pong(bytes))) => MessageFlow::Replace(Message::Pong(bytes.into())),
        Ok(Some(Documented::Close(frame))) => MessageFlow::Replace(Message::Close(frame.and_then(close))),
        Err(Panicked) => MessageFlow::close(INTERNAL_ERROR, "Internal server error"),
    }
}

/// A code that no Close may have is none.
fn close(frame: CloseFrame) -> Option<Close> {
    let code = u16::from(frame.code);
    Close::is_code(code).then(|| Close::new(code, frame.reason.as_str()))
}

fn documented(message: &Message) -> Documented {
    match message {
        Message::Text(text) => Documented::text(text.as_str()),
        Message::Binary(bytes) => Documented::binary(bytes.clone()),
        Message::Ping(bytes) => Documented::Ping(bytes.clone().into()),
        Message::Pong(bytes) => Documented::Pong(bytes.clone().into()),
        Message::Close(close) => Documented::Close(
            close.as_ref().map(|close| CloseFrame { code: close.code.into(), reason: close.reason.as_str().into() }),
        ),
    }
}

/// Tells the plugin how a session has ended. Nobody waits for it.
pub(super) fn on_end(instance: &Arc<Instance>, end: &WebSocketEnd<'_>) {
    let (told, ended) = (instance.clone(), ended(end));
    running::detach(instance, Box::pin(async move { told.plugin.on_ws_disconnect(&ended).await }));
}

fn ended(end: &WebSocketEnd<'_>) -> WsDisconnectContext {
    let upgrade = end.session.upgrade;
    let metadata = upgrade.metadata.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    WsDisconnectContext {
        namespace: upgrade.facts.namespace.clone(),
        proxy_id: upgrade.proxy().id.clone(),
        proxy_name: upgrade.proxy().name.clone(),
        client_ip: upgrade.client_ip.to_string(),
        backend_target: end.backend_target.to_owned(),
        listen_port: end.listen_port,
        duration_ms: end.duration.as_millis() as f64,
        frames_client_to_backend: end.client_to_backend.frames,
        frames_backend_to_client: end.backend_to_client.frames,
        direction: end.direction.map(|direction| match direction {
            NativeDirection::ClientToBackend => Direction::ClientToBackend,
            NativeDirection::BackendToClient => Direction::BackendToClient,
        }),
        io_side: end.io_side.map(|side| match side {
            IoSide::Read => StreamIoSide::Read,
            IoSide::Write => StreamIoSide::Write,
        }),
        error_class: end.error_class.map(Into::into),
        consumer_username: upgrade.effective_identity().map(str::to_owned),
        auth_method: upgrade.auth_method,
        metadata: metadata.filter(|(key, _)| key != "request_body").collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(message: Documented) -> Option<Message> {
        match said(Ok(Some(message))) {
            MessageFlow::Replace(message) => Some(message),
            MessageFlow::Pass | MessageFlow::Wait(_) => None,
        }
    }

    #[test]
    fn messages_come_back_as_they_went() {
        let close = Message::Close(Some(Close::new(4000, "bye")));
        let messages = [
            Message::Text("ü".into()),
            Message::Binary(vec![0, 255]),
            Message::Ping(vec![1]),
            Message::Pong(vec![]),
            close,
            Message::Close(None),
        ];
        for message in messages {
            assert_eq!(replaced(documented(&message)), Some(message));
        }
    }

    #[test]
    fn a_code_that_may_not_be_sent_is_left_out_and_a_panic_ends_the_session() {
        let frame = CloseFrame { code: 1005.into(), reason: "no".into() };
        assert_eq!(replaced(Documented::Close(Some(frame))), Some(Message::Close(None)));
        assert!(matches!(said(Ok(None)), MessageFlow::Pass));
        let MessageFlow::Replace(Message::Close(Some(close))) = said(Err(Panicked)) else { panic!("it ends") };
        assert_eq!(close.code, 1011);
    }
}
