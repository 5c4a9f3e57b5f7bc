//! What a plugin is.

use std::rc::Rc;
use std::sync::Arc;

use engine::core::Ticks;
use engine::http::{Headers, ResponseHead};
use engine::logring::LogRing;
use futures_util::future::LocalBoxFuture;

use crate::outbound::Services;
use crate::websocket::{Direction, Message, MessageFlow, WebSocketEnd, WebSocketSession};
use crate::{Codec, Outcome, RequestContext};

/// What a hook says. A hook that does not wait does not allocate.
pub enum Flow<'a> {
    Continue,
    Reject(Box<Rejection>),
    Wait(LocalBoxFuture<'a, Flow<'static>>),
}

impl Flow<'_> {
    pub fn reject(status: u16, json: &str) -> Self {
        Flow::Reject(Box::new(Rejection::json(status, json)))
    }
}

/// An answer made here instead of by the backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Rejection {
    /// `content-type: application/json` is added when it is sent, unless set here.
    pub fn json(status: u16, body: &str) -> Self {
        Self { status, headers: Vec::new(), body: body.as_bytes().to_vec() }
    }

    /// `{"error": text}`. Texts may quote names that the client chose, so they are encoded.
    pub fn error(status: u16, text: &str) -> Self {
        Self::json(status, &serde_json::json!({ "error": text }).to_string())
    }

    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces a header, compared without regard to case.
    pub fn set_header(&mut self, name: &str, value: &str) {
        self.headers.retain(|(present, _)| !present.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    pub fn has_header(&self, name: &str) -> bool {
        self.headers.iter().any(|(present, _)| present.eq_ignore_ascii_case(name))
    }
}

/// The phases a plugin takes part in; the chain is compiled from them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Phases(u32);

impl Phases {
    pub const NONE: Phases = Phases(0);
    pub const RECEIVED: Phases = Phases(1);
    pub const AUTHENTICATE: Phases = Phases(1 << 1);
    pub const AUTHORIZE: Phases = Phases(1 << 2);
    pub const BEFORE_PROXY: Phases = Phases(1 << 3);
    pub const AFTER_PROXY: Phases = Phases(1 << 4);
    /// Rejections made by the gateway or by other plugins pass through `on_rejection`.
    pub const REJECTION: Phases = Phases(1 << 5);
    pub const LOG: Phases = Phases(1 << 6);
    /// Rewrites bodies; asked for a [`Codec`] before each exchange.
    pub const CODEC: Phases = Phases(1 << 7);
    /// Rewrites request bodies that are whole.
    pub const REQUEST_BODY: Phases = Phases(1 << 8);
    /// Judges request bodies that are whole, after all rewriting.
    pub const FINAL_REQUEST_BODY: Phases = Phases(1 << 9);
    /// Asked before each exchange whether it wants the response whole.
    pub const RESPONSE_BUFFERING: Phases = Phases(1 << 10);
    /// Looks at response bodies that are whole, as the backend sent them.
    pub const RESPONSE_BODY: Phases = Phases(1 << 11);
    /// Rewrites them.
    pub const RESPONSE_TRANSFORM: Phases = Phases(1 << 12);
    /// Judges them, after all rewriting.
    pub const FINAL_RESPONSE_BODY: Phases = Phases(1 << 13);
    /// Sees the messages of WebSocket sessions.
    pub const WEBSOCKET_MESSAGE: Phases = Phases(1 << 14);
    /// Hears of the end of WebSocket sessions.
    pub const WEBSOCKET_END: Phases = Phases(1 << 15);

    pub const fn and(self, other: Phases) -> Phases {
        Phases(self.0 | other.0)
    }

    pub const fn has(self, phase: Phases) -> bool {
        self.0 & phase.0 == phase.0
    }
}

/// By when a plugin wants a request's body whole. A later phase is content with an earlier one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Buffering {
    #[default]
    Never,
    /// Before the backend hears of the request.
    BeforeBackend,
    BeforeProxy,
    BeforeAuthenticate,
}

/// A response whose body is there whole.
pub struct WholeResponse<'r> {
    pub head: &'r mut ResponseHead,
    pub body: Vec<u8>,
    /// What came behind the body of a gRPC response, to look at: they are sent as they came.
    pub trailers: Option<&'r Headers>,
}

impl WholeResponse<'_> {
    /// Puts an answer in the place of the backend's (plugins sheet §1.5).
    pub fn replace(&mut self, rejection: Rejection) {
        self.head.status = rejection.status;
        self.head.headers.reset();
        if !rejection.has_header("content-type") {
            self.head.headers.append("content-type", b"application/json");
        }
        for (name, value) in &rejection.headers {
            self.head.headers.append(name, value.as_bytes());
        }
        self.body = rejection.body;
        self.trailers = None;
    }
}

/// What kind of traffic a request is (plugins sheet §1.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Protocol {
    Http,
    Grpc,
    WebSocket,
    Tcp,
    Udp,
}

/// The protocols a plugin supports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Protocols(u8);

impl Protocols {
    pub const HTTP_ONLY: Protocols = Protocols(1);
    pub const HTTP_FAMILY: Protocols = Protocols(0b111);
    pub const ALL: Protocols = Protocols(0b1_1111);

    pub const fn of(protocols: &[Protocol]) -> Protocols {
        let mut bits = 0;
        let mut i = 0;
        while i < protocols.len() {
            bits |= 1 << protocols[i] as u8;
            i += 1;
        }
        Protocols(bits)
    }

    pub const fn has(self, protocol: Protocol) -> bool {
        self.0 & (1 << protocol as u8) != 0
    }
}

/// What a core gives to the instances it builds.
#[derive(Clone)]
pub struct CoreEnv {
    pub core: usize,
    /// What all cores and control share.
    pub services: Arc<Services>,
    /// Lines for the process log; see [`LogRing`].
    pub log: Rc<LogRing>,
    /// Lines that were lost on the way to the writer are reported here.
    pub count_log_line: Rc<dyn Fn(u64)>,
    /// For instances that have something to do once a tick.
    pub ticks: Rc<Ticks>,
}

/// One instance of a plugin on one core. Hooks are plain functions; only one that must wait answers with a future.
pub trait Plugin {
    fn name(&self) -> &'static str;

    /// Asked once, when the chain is compiled.
    fn phases(&self) -> Phases;

    /// After routing and the request checks; the query is not parsed yet.
    fn on_request_received<'a>(&'a self, _cx: &'a mut RequestContext) -> Flow<'a> {
        Flow::Continue
    }

    /// Finds out who asks. Finding no credential of its kind is not a rejection.
    fn authenticate<'a>(&'a self, _cx: &'a mut RequestContext) -> Flow<'a> {
        Flow::Continue
    }

    fn authorize<'a>(&'a self, _cx: &'a mut RequestContext) -> Flow<'a> {
        Flow::Continue
    }

    /// The last look at the request; `cx.head.headers` is what the backend will get.
    fn before_proxy<'a>(&'a self, _cx: &'a mut RequestContext) -> Flow<'a> {
        Flow::Continue
    }

    /// What rewrites the bodies of this exchange, if anything is to.
    fn codec(&self, _cx: &RequestContext) -> Option<Box<dyn Codec>> {
        None
    }

    /// By when this plugin may want request bodies whole. Asked once, when the chain is compiled.
    fn request_buffering(&self) -> Buffering {
        Buffering::Never
    }

    /// Whether it wants this one; asked only if it may want any.
    fn wants_request_body(&self, _cx: &mut RequestContext) -> bool {
        true
    }

    /// Rewrites `cx.body`, which is there and not empty.
    fn transform_request_body<'a>(&'a self, _cx: &'a mut RequestContext) -> Flow<'a> {
        Flow::Continue
    }

    /// Judges `cx.body`, which is what the backend will get, and may be empty.
    fn on_final_request_body<'a>(&'a self, _cx: &'a mut RequestContext) -> Flow<'a> {
        Flow::Continue
    }

    /// Whether this plugin wants the response whole; asked once, before the backend is.
    fn wants_response_body(&self, _cx: &mut RequestContext) -> bool {
        true
    }

    /// Whether it still wants the response whole, now that its head is here; asked of those that wanted it. What nobody wants
    /// any more reaches the client as it comes.
    fn wants_body_of(&self, _cx: &RequestContext, _response: &ResponseHead) -> bool {
        true
    }

    /// The body as the backend sent it.
    fn on_response_body<'a>(&'a self, _cx: &'a mut RequestContext, _response: &'a mut WholeResponse<'_>) -> Flow<'a> {
        Flow::Continue
    }

    /// Rewrites the body; its length is set behind the last plugin.
    fn transform_response_body<'a>(
        &'a self,
        _cx: &'a mut RequestContext,
        _response: &'a mut WholeResponse<'_>,
    ) -> Flow<'a> {
        Flow::Continue
    }

    /// The body as the client will get it.
    fn on_final_response_body<'a>(
        &'a self,
        _cx: &'a mut RequestContext,
        _response: &'a mut WholeResponse<'_>,
    ) -> Flow<'a> {
        Flow::Continue
    }

    /// Before anything of the response has been sent.
    fn after_proxy<'a>(&'a self, _cx: &'a mut RequestContext, _response: &'a mut ResponseHead) -> Flow<'a> {
        Flow::Continue
    }

    /// Decorates a rejection on its way out. A rejection of its own is ignored.
    fn on_rejection<'a>(&'a self, _cx: &'a mut RequestContext, _rejection: &'a mut Rejection) -> Flow<'a> {
        Flow::Continue
    }

    /// Once per transaction, when its response has ended.
    fn log(&self, _cx: &RequestContext, _outcome: &Outcome) {}

    /// A message of a WebSocket session, whole, on its way; never a Close. Those of one direction come one after the other.
    fn on_websocket_message<'a>(
        &'a self,
        _session: &'a WebSocketSession<'_>,
        _direction: Direction,
        _message: &'a Message,
    ) -> MessageFlow<'a> {
        MessageFlow::Pass
    }

    /// Once per WebSocket upgrade that was accepted, when its session has ended.
    fn on_websocket_end(&self, _end: &WebSocketEnd<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_text_is_encoded() {
        let rejection = Rejection::error(431, "Request header 'a\"\\\u{1}' is bad");
        assert_eq!(rejection.body, br#"{"error":"Request header 'a\"\\\u0001' is bad"}"#);
    }
}
