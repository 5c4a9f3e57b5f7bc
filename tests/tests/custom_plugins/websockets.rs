//! WebSocket messages that plugins look at.

use serde_json::{Value, json};
use tests::{Backend, BackendWebSocket, Document, Frame, Gateway, RawWebSocket};

/// Answers every message with the same, and says Close when it hears it.
fn echo() -> Backend {
    Backend::scripted(|connection| {
        let Some(mut socket) = BackendWebSocket::accept(connection, "") else { return };
        while let Some(frame) = socket.frame() {
            let is_close = frame.kind() == 8;
            if !socket.send(&Frame::new(frame.kind(), frame.said().into_bytes())) || is_close {
                return;
            }
        }
    })
}

fn filtered(backend: &Backend, plugin: &str, config: Value) -> Gateway {
    Gateway::running(&Document::all_to(backend.port()).proxy_plugin("app", plugin, config))
}

#[test]
fn words_are_masked_on_their_way_and_the_session_goes_on() {
    let backend = echo();
    let gateway =
        filtered(&backend, "websocket_word_filter", json!({"words": ["darn"], "direction": "client_to_backend"}));
    let mut socket = RawWebSocket::open(gateway.port(), "/", "");
    for (said, heard) in [("well, Darn it", "well, *** it"), ("darning is fine", "darning is fine"), ("hello", "hello")]
    {
        socket.send(Frame::text(said));
        assert_eq!(socket.frame().expect("an answer").said(), heard);
    }
}

#[test]
fn a_refused_word_closes_the_session_with_the_code_that_is_set() {
    let backend = echo();
    let config = json!({"words": ["darn"], "action": "close", "close_code": 4001});
    let gateway = filtered(&backend, "websocket_word_filter", config);
    let mut socket = RawWebSocket::open(gateway.port(), "/", "");
    socket.send(Frame::text("darn"));
    let close = socket.frame().expect("a close");
    assert_eq!((close.kind(), close.bytes().ends_with(b"message refused")), (8, true), "{close:?}");
}

#[test]
fn a_plugin_passes_replaces_and_closes_and_each_session_has_its_own_id() {
    let backend = echo();
    let gateway = filtered(&backend, "probe", json!({"flags": ["requires_ws_frame_hooks"]}));
    let ids: Vec<String> = (0..2)
        .map(|_| {
            let mut socket = RawWebSocket::open(gateway.port(), "/", "");
            socket.send(Frame::text("as it is"));
            assert_eq!(socket.frame().expect("an answer").said(), "as it is");
            // A message may not become a ping; the original goes on.
            socket.send(Frame::text("flip"));
            assert_eq!(socket.frame().expect("an answer").said(), "flip");
            socket.send(Frame::text("id"));
            let id = socket.frame().expect("an answer").said();
            socket.send(Frame::text("bye"));
            assert_eq!(socket.frame().expect("a close").kind(), 8);
            id
        })
        .collect();
    assert!(ids.iter().all(|id| id.starts_with("app ") && id.ends_with(" ClientToBackend")), "{ids:?}");
    assert_ne!(ids[0], ids[1]);
}
