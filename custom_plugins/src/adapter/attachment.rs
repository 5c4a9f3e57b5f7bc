//! What a request keeps for documented plugins: its context as they see it, and how it looked when both were last the same.

use std::cell::RefCell;
use std::fmt::Write;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Once};

use engine::consumers::ConsumerId;
use engine::http::Known;
use native::{RequestContext as Native, RouteOverride};

use super::headers::{OfRequest, Places, Shown, changes, fill};
use super::local::Local;
use super::{clock, query};
use crate::plugins::{RequestContext, TransactionSummary};

/// The key under which plugins find the text of a body. It is theirs only and never logged.
const REQUEST_BODY: &str = "request_body";
/// Tells plugins that what they decorate is a rejection.
pub(super) const REJECTION: &str = "ferrum:rejection_response";

/// What a hook owns while it runs.
pub(super) struct Views {
    pub ctx: RequestContext,
    /// Of the headers in the context.
    places: Places,
    query: query::Copy,
    /// Request headers where they are not those of the context.
    pub outgoing: Shown,
    pub response: Shown,
    /// The address, and how it is written.
    ip: Option<IpAddr>,
    ip_text: String,
}

/// How far a request has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Stage {
    Received,
    Identity,
    BeforeProxy,
    /// The backend has the headers, or will never get any.
    Sent,
}

/// How things were when both contexts were last the same.
#[derive(Default)]
struct Seen {
    /// Of the headers in the context.
    headers: Option<(usize, usize)>,
    /// Of those handed to `before_proxy`.
    outgoing: Option<(usize, usize)>,
    metadata: Option<u32>,
    consumer: Option<ConsumerId>,
    /// Where the consumer in the documented context lies.
    consumer_at: usize,
    io_ns: u64,
    has_query: bool,
    has_body: bool,
    /// The context keeps the client's headers, because a plugin says that it edits them.
    keeps_headers: bool,
    has_overrides: bool,
    /// `before_proxy` has been, from where on the headers in the context stay as they are.
    is_sent: bool,
}

#[derive(Default)]
pub(super) struct Attachment {
    /// Nothing while a hook has them, and after one that was lost with them.
    pub views: Option<Box<Views>>,
    seen: Seen,
    /// Once a plugin has asked for it.
    pub summary: Option<Arc<TransactionSummary>>,
}

/// As it hangs on the native context.
pub(super) type Kept = RefCell<Attachment>;

/// Contexts of requests that have ended, for the next ones: their maps and texts are memory that need not be asked for again.
const FREE_MAX: usize = 256;
/// One that has grown larger than this is not kept.
const KEPT_NAMES_MAX: usize = 64;
const KEPT_TEXT_BYTES_MAX: usize = 4096;

thread_local! {
    #[expect(clippy::vec_box, reason = "they are handed on in their boxes")]
    static FREE: RefCell<Vec<Box<Views>>> = const { RefCell::new(Vec::new()) };
    static FREE_SUMMARIES: RefCell<Vec<Arc<TransactionSummary>>> = const { RefCell::new(Vec::new()) };
}

impl Views {
    /// Of a request that is not there.
    pub(super) fn empty() -> Box<Self> {
        Self::free()
    }

    fn free() -> Box<Self> {
        FREE.with(|free| free.borrow_mut().pop()).unwrap_or_else(|| {
            Box::new(Self {
                ctx: RequestContext::new(String::new(), String::new(), String::new()),
                places: Places::default(),
                query: query::Copy::default(),
                outgoing: Shown::default(),
                response: Shown::default(),
                ip: None,
                ip_text: String::new(),
            })
        })
    }

    fn is_small(&self) -> bool {
        let maps =
            [&self.ctx.headers, &self.ctx.query_params, &self.ctx.metadata, &self.outgoing.map, &self.response.map];
        let texts = || maps.iter().flat_map(|map| map.values());
        maps.iter().all(|map| map.len() <= KEPT_NAMES_MAX)
            && self.query.text_bytes() <= KEPT_TEXT_BYTES_MAX
            && texts().chain([&self.ctx.path]).all(|text| text.capacity() <= KEPT_TEXT_BYTES_MAX)
    }

    /// Shows a request that has just come.
    fn begin(&mut self, cx: &Native) {
        let ctx = &mut self.ctx;
        ctx.reset();
        if self.ip != Some(cx.client_ip) {
            self.ip = Some(cx.client_ip);
            self.ip_text.clear();
            let _ = write!(self.ip_text, "{}", cx.client_ip);
        }
        self.ip_text.clone_into(&mut ctx.client_ip);
        overwrite(&mut ctx.method, cx.head.method_text());
        overwrite(&mut ctx.path, cx.head.path());
        ctx.query_params.clear();
        ctx.timestamp_received = clock::utc(cx.received);
        ctx.matched_proxy = Local::of(&cx.facts).and_then(|local| local.proxy(cx.route));
        ctx.is_early_data = cx.head.headers.first(Known::EarlyData) == Some(b"1");
        if let Some(certificate) = &cx.client_certificate {
            ctx.tls_client_cert_der = Some(certificate.leaf.clone());
            ctx.tls_client_cert_chain_der = Some(certificate.chain.clone());
        }
    }
}

pub(super) fn overwrite(text: &mut String, bytes: &[u8]) {
    text.clear();
    match std::str::from_utf8(bytes) {
        Ok(shown) => text.push_str(shown),
        Err(_) => text.push_str(&String::from_utf8_lossy(bytes)),
    }
}

/// Memory for a summary, held by nobody else.
pub(super) fn free_summary() -> Arc<TransactionSummary> {
    FREE_SUMMARIES.with(|free| free.borrow_mut().pop()).unwrap_or_default()
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // One whose log hook waits is not free. And a thread that ends has no free lists any more.
        if let Some(mut summary) = self.summary.take()
            && Arc::get_mut(&mut summary).is_some_and(|free| free.request_path.capacity() <= KEPT_TEXT_BYTES_MAX)
        {
            let _ = FREE_SUMMARIES.try_with(|free| {
                let mut free = free.borrow_mut();
                if free.len() < FREE_MAX {
                    free.push(summary);
                }
            });
        }
        let Some(views) = self.views.take().filter(|views| views.is_small()) else { return };
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < FREE_MAX {
                free.push(views);
            }
        });
    }
}

/// The attachment of a request, made at its first use.
pub(super) fn of(cx: &mut Native) -> Box<Kept> {
    let kept = cx.attachment.take().and_then(|attachment| attachment.downcast().ok());
    kept.unwrap_or_default()
}

impl Attachment {
    /// Brings the documented context up to date before a hook.
    pub(super) fn refresh(&mut self, cx: &Native, stage: Stage, wants_body_bytes: bool) -> &mut Views {
        if self.views.is_none() {
            let mut views = Views::free();
            views.begin(cx);
            self.views = Some(views);
            let keeps_headers = Local::of(&cx.facts).is_some_and(|local| local.world.edits_request_headers(cx.route));
            self.seen = Seen { keeps_headers, ..Seen::default() };
        }
        let Self { views, seen, .. } = self;
        // It has just been made, if there was none.
        let views = views.get_or_insert_with(Views::free);
        seen.is_sent |= stage >= Stage::BeforeProxy;
        seen.refresh_headers(views, cx, stage);
        if stage > Stage::Received && (!seen.has_query || !cx.query_edits.is_empty()) {
            if std::mem::replace(&mut seen.has_query, true) {
                views.ctx.query_params.clear();
            }
            query::fill(&mut views.ctx.query_params, &mut views.query, cx);
        }
        seen.refresh_identity(&mut views.ctx, cx);
        seen.refresh_metadata(&mut views.ctx, cx);
        if views.ip != Some(cx.client_ip) {
            views.ip = Some(cx.client_ip);
            views.ip_text = cx.client_ip.to_string();
            views.ip_text.clone_into(&mut views.ctx.client_ip);
        }
        if let Some(body) = &cx.body {
            seen.show_body(&mut views.ctx, body, stage, wants_body_bytes);
        }
        if stage == Stage::Sent && seen.has_overrides {
            seen.has_overrides = false;
            show_overridden_proxy(&mut views.ctx, cx);
        }
        views
    }

    /// Carries what a hook has changed into the native context.
    pub(super) fn carry_back(&mut self, cx: &mut Native, stage: Stage) {
        let Self { views: Some(views), seen, .. } = self else { return };
        seen.carry_headers(views, cx, stage);
        seen.carry_identity(&views.ctx, cx);
        seen.carry_metadata(&views.ctx, cx);
        if seen.has_query {
            query::carry_back(&views.ctx.query_params, &mut views.query, cx);
        }
        if views.ctx.client_ip != views.ip_text
            && let Ok(ip) = views.ctx.client_ip.parse()
        {
            cx.client_ip = ip;
            views.ip = Some(ip);
            views.ctx.client_ip.clone_into(&mut views.ip_text);
        }
        if views.ctx.path.as_bytes() != cx.recorded_path() || views.ctx.method.as_bytes() != cx.recorded_method() {
            cx.recorded_as = Some(Box::new((views.ctx.method.clone(), views.ctx.path.clone())));
        }
        if stage < Stage::Sent {
            seen.carry_overrides(&views.ctx, cx);
        }
        self.note_io(cx);
    }

    /// How hooks see this address, if they have seen the request.
    pub(super) fn ip_text(&self, ip: IpAddr) -> Option<&str> {
        self.views.as_ref().filter(|views| views.ip == Some(ip)).map(|views| views.ctx.client_ip.as_str())
    }

    /// Time of tracked calls since it was last looked.
    fn note_io(&mut self, cx: &mut Native) {
        let Some(views) = &self.views else { return };
        let io_ns = views.ctx.plugin_http_call_ns.load(Relaxed);
        cx.plugin_io_ns += io_ns.saturating_sub(self.seen.io_ns);
        self.seen.io_ns = io_ns;
    }

    /// The same for a question about the request, which is asked before the backend gets the headers and behind the query.
    pub(super) fn refresh_to_ask(&mut self, cx: &Native) -> &Views {
        let stage = if self.seen.is_sent { Stage::Sent } else { Stage::Identity };
        self.refresh(cx, stage, false)
    }
}

impl Seen {
    /// In `before_proxy` the map that is handed in is `outgoing`. Unless a plugin of the chain says that it edits headers, that is
    /// the one of the context, which is empty meanwhile.
    fn refresh_headers(&mut self, views: &mut Views, cx: &Native, stage: Stage) {
        let revision = Some(cx.head.headers.revision());
        let is_copied = self.keeps_headers && (stage == Stage::BeforeProxy || self.outgoing.is_some());
        if stage == Stage::Sent {
            // Nobody has looked at this request before: what hangs in the map is of another one.
            if self.headers.is_none() {
                fill(&mut views.ctx.headers, &mut views.places, &OfRequest(&cx.head));
                self.headers = revision;
            }
            return;
        }
        if self.headers != revision && self.outgoing.is_none() {
            fill(&mut views.ctx.headers, &mut views.places, &OfRequest(&cx.head));
            self.headers = revision;
        }
        if stage < Stage::BeforeProxy {
            return;
        }
        if is_copied {
            if self.outgoing != revision {
                views.outgoing.fill(&OfRequest(&cx.head));
                self.outgoing = revision;
            }
        } else {
            views.outgoing.map = std::mem::take(&mut views.ctx.headers);
        }
    }

    fn carry_headers(&mut self, views: &mut Views, cx: &mut Native, stage: Stage) {
        let Views { ctx, outgoing, places, .. } = &mut *views;
        let (carried, places) = match stage {
            Stage::Received | Stage::Identity => (&ctx.headers, places),
            Stage::BeforeProxy if self.keeps_headers => (&outgoing.map, &mut outgoing.places),
            Stage::BeforeProxy => (&outgoing.map, places),
            Stage::Sent => return,
        };
        if let Some(changes) = changes(carried, places, &OfRequest(&cx.head)) {
            changes.apply_to_request(&mut cx.head.headers);
            places.are_outdated();
        }
        let revision = Some(cx.head.headers.revision());
        match stage {
            Stage::BeforeProxy if self.keeps_headers => self.outgoing = revision,
            Stage::BeforeProxy => {
                views.ctx.headers = std::mem::take(&mut views.outgoing.map);
                self.headers = revision;
            }
            _ => self.headers = revision,
        }
    }

    fn refresh_identity(&mut self, ctx: &mut RequestContext, cx: &Native) {
        if self.consumer != cx.consumer {
            self.consumer = cx.consumer;
            ctx.identified_consumer = cx.consumer.and_then(|id| Local::of(&cx.facts)?.consumer(id));
            self.consumer_at = address_of(ctx);
        }
        if ctx.authenticated_identity != cx.external_identity {
            ctx.authenticated_identity.clone_from(&cx.external_identity);
        }
        if ctx.authenticated_identity_header != cx.external_display {
            ctx.authenticated_identity_header.clone_from(&cx.external_display);
        }
        ctx.auth_method = cx.auth_method;
    }

    fn carry_identity(&mut self, ctx: &RequestContext, cx: &mut Native) {
        if address_of(ctx) != self.consumer_at {
            self.consumer_at = address_of(ctx);
            (cx.consumer, cx.guest) = (None, None);
            if let Some(consumer) = &ctx.identified_consumer {
                let place = Local::of(&cx.facts).and_then(|local| local.world.place(consumer));
                cx.consumer = place.and_then(|place| cx.facts.consumers.at(place));
                cx.guest = cx.consumer.is_none().then(|| Rc::new(native_consumer(consumer)));
            }
            self.consumer = cx.consumer;
        }
        if cx.external_identity != ctx.authenticated_identity {
            cx.external_identity.clone_from(&ctx.authenticated_identity);
        }
        if cx.external_display != ctx.authenticated_identity_header {
            cx.external_display.clone_from(&ctx.authenticated_identity_header);
        }
        cx.auth_method = ctx.auth_method;
    }

    /// What counts is what is left when all hooks before the backend are done.
    fn carry_overrides(&mut self, ctx: &RequestContext, cx: &mut Native) {
        let had_overrides = std::mem::replace(&mut self.has_overrides, ctx.has_route_overrides());
        if self.has_overrides {
            warn_of_unserved(ctx);
            cx.route_override = Some(Box::new(RouteOverride {
                upstream_id: ctx.route_override_upstream_id.clone(),
                backend_host: ctx.route_override_backend_host.clone(),
                backend_port: ctx.route_override_backend_port,
                read_timeout_ms: ctx.route_override_backend_read_timeout_ms,
            }));
        } else if had_overrides {
            cx.route_override = None;
        }
    }

    fn refresh_metadata(&mut self, ctx: &mut RequestContext, cx: &Native) {
        if self.metadata == Some(cx.metadata.revision()) {
            return;
        }
        let is_first = self.metadata.replace(cx.metadata.revision()).is_none();
        ctx.metadata.retain(|key, value| match cx.metadata.get(key) {
            Some(present) => {
                if value != present {
                    present.clone_into(value);
                }
                true
            }
            None => key == REQUEST_BODY && !is_first,
        });
        for (key, value) in cx.metadata.iter() {
            if !ctx.metadata.contains_key(key) {
                ctx.metadata.insert(key.to_owned(), value.to_owned());
            }
        }
    }

    fn carry_metadata(&mut self, ctx: &RequestContext, cx: &mut Native) {
        let is_carried = |key: &&String| *key != REQUEST_BODY && *key != REJECTION;
        let mut same = 0;
        for (key, value) in ctx.metadata.iter().filter(|(key, _)| is_carried(key)) {
            if cx.metadata.get(key) != Some(value) {
                cx.metadata.set(key.clone(), value.clone());
            }
            same += 1;
        }
        if same != cx.metadata.len() {
            let gone = cx.metadata.iter().map(|(key, _)| key).filter(|key| !ctx.metadata.contains_key(*key));
            let gone: Vec<String> = gone.map(str::to_owned).collect();
            gone.iter().for_each(|key| cx.metadata.remove(key));
        }
        self.metadata = Some(cx.metadata.revision());
    }

    /// Only of bodies that were buffered before `before_proxy`.
    fn show_body(&mut self, ctx: &mut RequestContext, body: &[u8], stage: Stage, wants_bytes: bool) {
        if !matches!(stage, Stage::Identity | Stage::BeforeProxy) {
            return;
        }
        if !std::mem::replace(&mut self.has_body, true)
            && let Ok(text) = std::str::from_utf8(body)
        {
            ctx.metadata.insert(REQUEST_BODY.to_owned(), text.to_owned());
        }
        if ctx.request_body_bytes.is_none() && (wants_bytes || stage == Stage::Identity) {
            ctx.request_body_bytes = Some(bytes::Bytes::copy_from_slice(body));
        }
    }
}

/// What the pipeline of this release does not act on is said, once.
fn warn_of_unserved(ctx: &RequestContext) {
    static WARNED: Once = Once::new();
    if ctx.route_override_resolved_tls.is_some() || ctx.route_override_retry.is_some() {
        WARNED.call_once(|| {
            tracing::warn!(
                "a plugin overrides the TLS or the retries of a request, which this release does not act on"
            );
        });
    }
}

fn address_of(ctx: &RequestContext) -> usize {
    ctx.identified_consumer.as_ref().map_or(0, |consumer| Arc::as_ptr(consumer).addr())
}

fn native_consumer(consumer: &crate::config::types::Consumer) -> engine::consumers::Consumer {
    engine::consumers::Consumer {
        id: consumer.id.clone(),
        username: consumer.username.clone(),
        custom_id: consumer.custom_id.clone(),
        acl_groups: consumer.acl_groups.clone(),
        credentials: consumer.credentials.iter().map(|(kind, value)| (kind.clone(), value.clone())).collect(),
    }
}

/// Behind `before_proxy` plugins see the proxy as this request did.
fn show_overridden_proxy(ctx: &mut RequestContext, cx: &Native) {
    let Some(proxy) = ctx.matched_proxy.take() else { return };
    let upstream = ctx.route_override_upstream_id.as_deref().and_then(|id| Local::of(&cx.facts)?.world.upstream(id));
    let upstreams = upstream.into_iter().map(|upstream| (upstream.id.clone(), upstream)).collect();
    ctx.matched_proxy = Some(ctx.apply_route_overrides_with_upstreams(proxy, &upstreams));
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::super::headers::Map;
    use super::super::testing::Rig;
    use super::*;
    use crate::plugins::{Plugin, PluginResult};

    /// Shows the header map of the request's context to whoever gets the response.
    struct ShowsLate;

    #[async_trait]
    impl Plugin for ShowsLate {
        fn name(&self) -> &str {
            "shows_late"
        }

        async fn after_proxy(&self, ctx: &mut RequestContext, _status: u16, headers: &mut Map) -> PluginResult {
            headers.insert("x-shown".to_owned(), format!("{:?}", ctx.headers.get("x-a")));
            PluginResult::Continue
        }
    }

    #[tokio::test]
    async fn a_plugin_that_looks_behind_the_backend_only_sees_its_own_request() {
        let rig = Rig::new(vec![Arc::new(ShowsLate)]);
        let requests: [(&[(&str, &str)], &str); 4] = [
            (&[("X-A", "secret of one")], r#"Some("secret of one")"#),
            (&[("X-A", "of another")], r#"Some("of another")"#),
            (&[], "None"),
            (&[("X-A", "again")], r#"Some("again")"#),
        ];
        for (headers, shown) in requests {
            let mut cx = rig.request("/", headers);
            rig.send(&mut cx).await;
            assert_eq!(rig.answer(&mut cx).await.headers.get("x-shown"), Some(shown));
        }
    }

    /// Says in each hook where the request shall go.
    struct Routes {
        early: Option<&'static str>,
        late: Option<&'static str>,
        seen: Mutex<Vec<String>>,
    }

    #[async_trait]
    impl Plugin for Routes {
        fn name(&self) -> &str {
            "routes"
        }

        async fn authorize(&self, ctx: &mut RequestContext) -> PluginResult {
            ctx.route_override_backend_host = self.early.map(str::to_owned);
            PluginResult::Continue
        }

        async fn before_proxy(&self, ctx: &mut RequestContext, _headers: &mut Map) -> PluginResult {
            ctx.route_override_backend_host = self.late.map(str::to_owned);
            PluginResult::Continue
        }

        async fn after_proxy(&self, ctx: &mut RequestContext, _status: u16, _headers: &mut Map) -> PluginResult {
            let proxy = ctx.matched_proxy.as_ref().unwrap();
            self.seen.lock().unwrap().push(proxy.backend_host.clone());
            PluginResult::Continue
        }
    }

    #[tokio::test]
    async fn an_override_counts_as_it_is_when_the_last_hook_before_the_backend_is_done() {
        let ways = [(Some("a"), None, "10.9.0.4"), (Some("a"), Some("b"), "b"), (None, Some("b"), "b")];
        for (early, late, goes_to) in ways {
            let plugin = Arc::new(Routes { early, late, seen: Mutex::default() });
            let rig = Rig::new(vec![plugin.clone()]);
            let mut cx = rig.request("/", &[]);
            rig.send(&mut cx).await;
            let host = cx.route_override.as_ref().and_then(|route| route.backend_host.as_deref());
            assert_eq!(host, late);
            rig.answer(&mut cx).await;
            assert_eq!(*plugin.seen.lock().unwrap(), [goes_to]);
        }
    }
}
