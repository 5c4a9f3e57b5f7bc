//! The trait.
//!
//! It is what `#[async_trait]` would make of it, written out: implementers put the attribute on their `impl` and match these
//! signatures. Written out, a hook that nobody overrides costs nothing: its future has no state, and one without state is
//! not on the heap.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_tungstenite::tungstenite::Message;

use super::defaults::{self, Hook};
use super::{
    HTTP_ONLY_PROTOCOLS, PluginResult, ProxyProtocol, RequestContext, StreamConnectionContext,
    StreamTransactionSummary, TransactionSummary, UdpDatagramContext, UdpDatagramVerdict, WebSocketFrameDirection,
    WsDisconnectContext, priority,
};
use crate::consumer_index::ConsumerIndex;

/// What a hook answers with.
type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
type Map = HashMap<String, String>;

/// What hooks answer that nobody overrides. One per answer, none with any state.
struct Continues;
struct Keeps;
struct Nothing;
struct Forwards;

impl Future for Continues {
    type Output = PluginResult;
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<PluginResult> {
        Poll::Ready(PluginResult::Continue)
    }
}

impl Future for Keeps {
    type Output = Option<Vec<u8>>;
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        Poll::Ready(None)
    }
}

impl Future for Nothing {
    type Output = ();
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

impl Future for Forwards {
    type Output = UdpDatagramVerdict;
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<UdpDatagramVerdict> {
        Poll::Ready(UdpDatagramVerdict::Forward)
    }
}

/// A plugin: hooks that the gateway calls, and what it is asked before.
///
/// There is one instance for each plugin config of the process, whatever the number of cores. Hooks run where a multi-threaded
/// tokio runtime is entered.
pub trait Plugin: Send + Sync {
    /// The name of the file, without `.rs`.
    fn name(&self) -> &str;

    /// Lower ones run first in every phase.
    fn priority(&self) -> u16 {
        priority::DEFAULT
    }

    fn supported_protocols(&self) -> &'static [ProxyProtocol] {
        HTTP_ONLY_PROTOCOLS
    }

    fn is_auth_plugin(&self) -> bool {
        false
    }

    fn is_authorize_plugin(&self) -> bool {
        true
    }

    /// After routing, before anybody is identified; the query is not parsed yet.
    fn on_request_received<'life0, 'life1, 'async_trait>(
        &'life0 self,
        _ctx: &'life1 mut RequestContext,
    ) -> Answer<'async_trait, PluginResult>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        defaults::note(self, Hook::Received);
        Box::pin(Continues)
    }

    /// Only of plugins that are auth plugins. Leaves an identity in the context, or rejects, or leaves it to others.
    fn authenticate<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        _ctx: &'life1 mut RequestContext,
        _consumer_index: &'life2 ConsumerIndex,
    ) -> Answer<'async_trait, PluginResult>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        defaults::note(self, Hook::Authenticate);
        Box::pin(Continues)
    }

    fn authorize<'life0, 'life1, 'async_trait>(
        &'life0 self,
        _ctx: &'life1 mut RequestContext,
    ) -> Answer<'async_trait, PluginResult>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        defaults::note(self, Hook::Authorize);
        Box::pin(Continues)
    }

    /// The last look at the request. What is written into `headers` is what the backend gets.
    fn before_proxy<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        _ctx: &'life1 mut RequestContext,
        _headers: &'life2 mut Map,
    ) -> Answer<'async_trait, PluginResult>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        defaults::note(self, Hook::BeforeProxy);
        Box::pin(Continues)
    }

    /// Only of plugins that modify request bodies. Some = the new body.
    fn transform_request_body<'life0, 'life1, 'life2, 'life3, 'async_trait>(
        &'life0 self,
        _body: &'life1 [u8],
        _content_type: Option<&'life2 str>,
        _request_headers: &'life3 Map,
    ) -> Answer<'async_trait, Option<Vec<u8>>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        'life3: 'async_trait,
        Self: 'async_trait,
    {
        defaults::note(self, Hook::TransformRequest);
        Box::pin(Keeps)
    }

    /// The body as the backend will get it, when it is buffered.
    fn on_final_request_body<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        _headers: &'life1 Map,
        _body: &'life2 [u8],
    ) -> Answer<'async_trait, PluginResult>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        defaults::note(self, Hook::FinalRequest);
        Box::pin(Continues)
    }

    /// Before anything of the response has been sent.
    fn after_proxy<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        _ctx: &'life1 mut RequestContext,
        _response_status: u16,
        _response_headers: &'life2 mut Map,
    ) -> Answer<'async_trait, PluginResult>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        defaults::note(self, Hook::AfterProxy);
        Box::pin(Continues)
    }

    /// The body as the backend sent it, when it is buffered.
    fn on_response_body<'life0, 'life1, 'life2, 'life3, 'async_trait>(
        &'life0 self,
        _ctx: &'life1 mut RequestContext,
        _response_status: u16,
        _response_headers: &'life2 Map,
        _body: &'life3 [u8],
    ) -> Answer<'async_trait, PluginResult>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        'life3: 'async_trait,
        Self: 'async_trait,
    {
        defaults::note(self, Hook::ResponseBody);
        Box::pin(Continues)
    }

    /// Some = the new body.
    fn transform_response_body<'life0, 'life1, 'life2, 'life3, 'async_trait>(
        &'life0 self,
        _body: &'life1 [u8],
        _content_type: Option<&'life2 str>,
        _response_headers: &'life3 Map,
    ) -> Answer<'async_trait, Option<Vec<u8>>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        'life3: 'async_trait,
        Self: 'async_trait,
    {
        defaults::note(self, Hook::TransformResponse);
        Box::pin(Keeps)
    }

    /// The body as the client will get it, when it is buffered.
    fn on_final_response_body<'life0, 'life1, 'life2, 'life3, 'async_trait>(
        &'life0 self,
        _ctx: &'life1 mut RequestContext,
        _response_status: u16,
        _response_headers: &'life2 Map,
        _body: &'life3 [u8],
    ) -> Answer<'async_trait, PluginResult>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        'life3: 'async_trait,
        Self: 'async_trait,
    {
        defaults::note(self, Hook::FinalResponse);
        Box::pin(Continues)
    }

    /// Once per transaction, when it has ended. Nobody waits for it.
    fn log<'life0, 'life1, 'async_trait>(&'life0 self, _summary: &'life1 TransactionSummary) -> Answer<'async_trait, ()>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        defaults::note(self, Hook::Log);
        Box::pin(Nothing)
    }

    /// Whether [`before_proxy`](Self::before_proxy) writes headers. What it writes counts in any case.
    fn modifies_request_headers(&self) -> bool {
        false
    }

    fn modifies_request_body(&self) -> bool {
        false
    }

    fn requires_request_body_before_before_proxy(&self) -> bool {
        false
    }

    fn requires_request_body_before_authenticate(&self) -> bool {
        false
    }

    /// Whether `request_body_bytes` of the context is wanted before the backend is asked, and not only the text.
    fn needs_request_body_bytes(&self) -> bool {
        false
    }

    /// Whether request bodies may have to be buffered for this plugin at all.
    fn requires_request_body_buffering(&self) -> bool {
        self.modifies_request_body()
            || self.requires_request_body_before_before_proxy()
            || self.requires_request_body_before_authenticate()
    }

    /// Whether this one has to.
    fn should_buffer_request_body(&self, _ctx: &RequestContext) -> bool {
        self.requires_request_body_buffering()
    }

    fn requires_response_body_buffering(&self) -> bool {
        false
    }

    /// Asked before the backend is.
    fn should_buffer_response_body(&self, _ctx: &RequestContext) -> bool {
        self.requires_response_body_buffering()
    }

    /// Whether [`after_proxy`](Self::after_proxy) also runs on what the gateway or a plugin answers in the place of the backend.
    fn applies_after_proxy_on_reject(&self) -> bool {
        false
    }

    fn requires_decoded_query_params(&self) -> bool {
        false
    }

    /// Each text, binary, ping and pong message. Some = the message in its place; a close message ends the session.
    fn on_ws_frame<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        _proxy_id: &'life1 str,
        _connection_id: u64,
        _direction: WebSocketFrameDirection,
        _message: &'life2 Message,
    ) -> Answer<'async_trait, Option<Message>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(std::future::ready(None))
    }

    fn requires_ws_frame_hooks(&self) -> bool {
        false
    }

    fn on_ws_disconnect<'life0, 'life1, 'async_trait>(
        &'life0 self,
        _ctx: &'life1 WsDisconnectContext,
    ) -> Answer<'async_trait, ()>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(Nothing)
    }

    fn requires_ws_disconnect_hooks(&self) -> bool {
        false
    }

    /// A connection of a stream proxy, before its backend is dialled. A rejection closes it.
    fn on_stream_connect<'life0, 'life1, 'async_trait>(
        &'life0 self,
        _ctx: &'life1 mut StreamConnectionContext,
    ) -> Answer<'async_trait, PluginResult>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(Continues)
    }

    fn on_stream_disconnect<'life0, 'life1, 'async_trait>(
        &'life0 self,
        _summary: &'life1 StreamTransactionSummary,
    ) -> Answer<'async_trait, ()>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(Nothing)
    }

    fn on_udp_datagram<'life0, 'life1, 'async_trait>(
        &'life0 self,
        _ctx: &'life1 UdpDatagramContext,
    ) -> Answer<'async_trait, UdpDatagramVerdict>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(Forwards)
    }

    fn requires_udp_datagram_hooks(&self) -> bool {
        false
    }

    /// Hosts that this plugin will call, resolved before traffic flows.
    fn warmup_hostnames(&self) -> Vec<String> {
        Vec::new()
    }

    /// Keys this plugin keeps state for, for the metrics of the admin API.
    fn tracked_keys_count(&self) -> Option<usize> {
        None
    }

    fn active_jwks_uris(&self) -> Vec<String> {
        Vec::new()
    }
}
