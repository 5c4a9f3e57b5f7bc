//! The native plugin around an instance, one on each core.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use engine::core::count_panic;
use engine::http::ResponseHead;
use futures_util::future::BoxFuture;
use native::websocket::{Direction, Message, MessageFlow, WebSocketEnd, WebSocketSession};
use native::{Buffering, Flow, Outcome, Phases, Rejection, RequestContext as Native, WholeResponse};

use super::attachment::{self, Kept, REJECTION, Stage, Views};
use super::headers::{Map, OfRequest, OfResponse, changes};
use super::instance::Instance;
use super::local::Local;
use super::running::{self, Panicked, Polled, Running};
use super::{rejection, summary, watch, websocket};
use crate::plugins::{Plugin, PluginResult, RequestContext};

/// What a hook gives back with its answer.
struct Done<A> {
    views: Box<Views>,
    /// Of hooks that look at one.
    body: Vec<u8>,
    answer: A,
}

/// An instance as one core calls it. Hooks own a reference to it, whose count is this core's alone.
pub(super) struct OnCore {
    core: Arc<Held>,
}

pub(super) struct Held {
    pub instance: Arc<Instance>,
}

impl Held {
    pub(super) fn plugin(&self) -> &dyn Plugin {
        &*self.instance.plugin
    }
}

/// What a status becomes that cannot end an exchange (plugins sheet §1.5).
mod invalid_status {
    pub const ANYWHERE: u16 = 500;
    pub const IN_AUTHENTICATE: u16 = 401;
    pub const IN_AUTHORIZE: u16 = 403;
    pub const OF_REQUEST_BODY: u16 = 400;
    pub const OF_RESPONSE_BODY: u16 = 502;
}

/// Calls a hook that looks at the request, and nothing but the request.
macro_rules! on_request {
    ($self:ident, $cx:ident, $stage:expr, $invalid:expr, |$held:ident, $views:ident| $call:expr) => {{
        let mut $views = $self.views($cx, $stage);
        let $held = $self.core.clone();
        let running = Box::pin(async move {
            let answer = $call.await;
            Done { views: $views, body: Vec::new(), answer }
        });
        $self.run($cx, running, move |cx, done: Done<PluginResult>| {
            give_back(cx, done.views, $stage);
            rejected(done.answer, $invalid)
        })
    }};
}

/// A hook that judges a whole response.
type Judge = for<'h> fn(&'h dyn Plugin, &'h mut RequestContext, u16, &'h Map, &'h [u8]) -> BoxFuture<'h, PluginResult>;

impl OnCore {
    pub(super) fn new(instance: Arc<Instance>) -> Self {
        Self { core: Arc::new(Held { instance }) }
    }

    /// The documented context, up to date. The request has none until it is given back.
    fn views(&self, cx: &mut Native, stage: Stage) -> Box<Views> {
        let mut kept = attachment::of(cx);
        let attachment = kept.get_mut();
        attachment.refresh(cx, stage, self.core.instance.capabilities.wants_body_bytes);
        let views = attachment.views.take();
        cx.attachment = Some(kept);
        views.unwrap_or_else(Views::empty)
    }

    /// Polls the hook, and goes on with its answer now or when it comes.
    fn run<'a, A: Send + 'static, F>(&'a self, cx: &'a mut Native, running: Running<Done<A>>, finish: F) -> Flow<'a>
    where
        F: FnOnce(&mut Native, Done<A>) -> Flow<'static> + 'a,
    {
        match running::start(&self.core.instance, running) {
            Polled::Done(done) => finished(cx, done, finish),
            Polled::Waits(waiting) => Flow::Wait(Box::pin(async move {
                let done = waiting.answer().await;
                finished(cx, done, finish)
            })),
        }
    }

    /// `after_proxy` over the response in the views, which may be a rejection.
    fn decorate(&self, mut views: Box<Views>, status: u16) -> Running<Done<PluginResult>> {
        let held = self.core.clone();
        Box::pin(async move {
            let Views { ctx, response, .. } = &mut *views;
            let answer = held.plugin().after_proxy(ctx, status, &mut response.map).await;
            Done { views, body: Vec::new(), answer }
        })
    }

    fn judge_whole<'a>(&'a self, cx: &'a mut Native, response: &'a mut WholeResponse<'_>, judge: Judge) -> Flow<'a> {
        let mut views = self.views(cx, Stage::Sent);
        views.response.fill_whole(&response.head.headers, response.trailers);
        let (held, status, body) = (self.core.clone(), response.head.status, std::mem::take(&mut response.body));
        let running = Box::pin(async move {
            let Views { ctx, response, .. } = &mut *views;
            let answer = judge(held.plugin(), ctx, status, &response.map, &body).await;
            Done { views, body, answer }
        });
        self.run(cx, running, move |cx, done| {
            give_back(cx, done.views, Stage::Sent);
            response.body = done.body;
            rejected(done.answer, invalid_status::OF_RESPONSE_BODY)
        })
    }

    /// Asks a question that is answered at once; one that panics is answered with no.
    fn ask(&self, cx: &mut Native, question: impl FnOnce(&dyn Plugin, &RequestContext) -> bool) -> bool {
        let mut kept = attachment::of(cx);
        // Bodies are asked about before they are there, so headers and identity are all there is to know.
        let ctx = &kept.get_mut().refresh_to_ask(cx).ctx;
        let instance = &self.core.instance;
        let asked =
            watch::during(instance.number, || catch_unwind(AssertUnwindSafe(|| question(self.core.plugin(), ctx))));
        cx.attachment = Some(kept);
        asked.unwrap_or_else(|panic| {
            count_panic();
            let text = running::panic_text(&*panic);
            tracing::error!(plugin = instance.name, "a plugin panicked when it was asked: {text}");
            false
        })
    }
}

fn finished<A>(
    cx: &mut Native,
    done: Result<Done<A>, Panicked>,
    finish: impl FnOnce(&mut Native, Done<A>) -> Flow<'static>,
) -> Flow<'static> {
    match done {
        Ok(done) => finish(cx, done),
        Err(Panicked) => Flow::Reject(rejection::of_panic()),
    }
}

/// Puts the documented context back and carries over what was changed in it.
fn give_back(cx: &mut Native, views: Box<Views>, stage: Stage) {
    let mut kept = attachment::of(cx);
    let attachment = kept.get_mut();
    attachment.views = Some(views);
    attachment.carry_back(cx, stage);
    cx.attachment = Some(kept);
}

fn rejected(answer: PluginResult, invalid: u16) -> Flow<'static> {
    rejection::of(answer, invalid).map_or(Flow::Continue, Flow::Reject)
}

/// The request headers for a hook that looks at a body, in `outgoing`; with the path, where that is an RPC's name.
fn show_outgoing(cx: &Native, views: &mut Views) {
    views.outgoing.fill(&OfRequest(&cx.head));
    let is_grpc = views.outgoing.map.get("content-type").is_some_and(|kind| kind.starts_with("application/grpc"));
    if is_grpc {
        views.outgoing.map.insert(":path".to_owned(), String::from_utf8_lossy(cx.head.path()).into_owned());
    }
}

fn content_type(headers: &Map) -> Option<&str> {
    headers.get("content-type").map(String::as_str)
}

impl native::Plugin for OnCore {
    fn name(&self) -> &'static str {
        self.core.instance.name
    }

    fn phases(&self) -> Phases {
        self.core.instance.capabilities.phases
    }

    fn on_request_received<'a>(&'a self, cx: &'a mut Native) -> Flow<'a> {
        on_request!(self, cx, Stage::Received, invalid_status::ANYWHERE, |held, views| held
            .plugin()
            .on_request_received(&mut views.ctx))
    }

    fn authenticate<'a>(&'a self, cx: &'a mut Native) -> Flow<'a> {
        let Some(index) = Local::of(&cx.facts).map(Local::consumer_index) else {
            return Flow::Continue;
        };
        on_request!(self, cx, Stage::Identity, invalid_status::IN_AUTHENTICATE, |held, views| held
            .plugin()
            .authenticate(&mut views.ctx, &index))
    }

    fn authorize<'a>(&'a self, cx: &'a mut Native) -> Flow<'a> {
        on_request!(self, cx, Stage::Identity, invalid_status::IN_AUTHORIZE, |held, views| held
            .plugin()
            .authorize(&mut views.ctx))
    }

    fn before_proxy<'a>(&'a self, cx: &'a mut Native) -> Flow<'a> {
        on_request!(self, cx, Stage::BeforeProxy, invalid_status::ANYWHERE, |held, views| {
            let Views { ctx, outgoing, .. } = &mut *views;
            held.plugin().before_proxy(ctx, &mut outgoing.map)
        })
    }

    fn request_buffering(&self) -> Buffering {
        self.core.instance.capabilities.request_buffering
    }

    fn wants_request_body(&self, cx: &mut Native) -> bool {
        self.ask(cx, |plugin, ctx| plugin.should_buffer_request_body(ctx))
    }

    fn transform_request_body<'a>(&'a self, cx: &'a mut Native) -> Flow<'a> {
        let mut views = self.views(cx, Stage::Sent);
        show_outgoing(cx, &mut views);
        let (held, body) = (self.core.clone(), cx.body.take().unwrap_or_default());
        let running = Box::pin(async move {
            let headers = &views.outgoing.map;
            let answer = held.plugin().transform_request_body(&body, content_type(headers), headers).await;
            Done { views, body, answer }
        });
        self.run(cx, running, |cx, done| {
            give_back(cx, done.views, Stage::Sent);
            cx.body = Some(done.answer.unwrap_or(done.body));
            Flow::Continue
        })
    }

    fn on_final_request_body<'a>(&'a self, cx: &'a mut Native) -> Flow<'a> {
        let mut views = self.views(cx, Stage::Sent);
        show_outgoing(cx, &mut views);
        let (held, body) = (self.core.clone(), cx.body.take().unwrap_or_default());
        let running = Box::pin(async move {
            let answer = held.plugin().on_final_request_body(&views.outgoing.map, &body).await;
            Done { views, body, answer }
        });
        self.run(cx, running, |cx, done| {
            give_back(cx, done.views, Stage::Sent);
            cx.body = Some(done.body);
            rejected(done.answer, invalid_status::OF_REQUEST_BODY)
        })
    }

    fn wants_response_body(&self, cx: &mut Native) -> bool {
        self.ask(cx, |plugin, ctx| plugin.should_buffer_response_body(ctx))
    }

    fn after_proxy<'a>(&'a self, cx: &'a mut Native, response: &'a mut ResponseHead) -> Flow<'a> {
        let mut views = self.views(cx, Stage::Sent);
        views.response.fill(&OfResponse::new(&response.headers));
        self.run(cx, self.decorate(views, response.status), move |cx, done| {
            let shown = &done.views.response;
            if let Some(changes) = changes(&shown.map, &shown.places, &OfResponse::new(&response.headers)) {
                changes.apply_to_response(&mut response.headers);
            }
            give_back(cx, done.views, Stage::Sent);
            rejected(done.answer, invalid_status::ANYWHERE)
        })
    }

    fn on_rejection<'a>(&'a self, cx: &'a mut Native, answer: &'a mut Rejection) -> Flow<'a> {
        let mut views = self.views(cx, Stage::Sent);
        rejection::show(answer, &mut views.response);
        views.ctx.metadata.insert(REJECTION.to_owned(), "true".to_owned());
        self.run(cx, self.decorate(views, answer.status), move |cx, mut done| {
            done.views.ctx.metadata.remove(REJECTION);
            rejection::carry_back(&done.views.response, answer);
            give_back(cx, done.views, Stage::Sent);
            rejected(done.answer, invalid_status::ANYWHERE)
        })
    }

    fn on_response_body<'a>(&'a self, cx: &'a mut Native, response: &'a mut WholeResponse<'_>) -> Flow<'a> {
        self.judge_whole(cx, response, |plugin, ctx, status, headers, body| {
            plugin.on_response_body(ctx, status, headers, body)
        })
    }

    fn transform_response_body<'a>(&'a self, cx: &'a mut Native, response: &'a mut WholeResponse<'_>) -> Flow<'a> {
        let mut views = self.views(cx, Stage::Sent);
        views.response.fill_whole(&response.head.headers, response.trailers);
        let (held, body) = (self.core.clone(), std::mem::take(&mut response.body));
        let running = Box::pin(async move {
            let headers = &views.response.map;
            let answer = held.plugin().transform_response_body(&body, content_type(headers), headers).await;
            Done { views, body, answer }
        });
        self.run(cx, running, move |cx, done| {
            give_back(cx, done.views, Stage::Sent);
            response.body = done.answer.unwrap_or(done.body);
            Flow::Continue
        })
    }

    fn on_final_response_body<'a>(&'a self, cx: &'a mut Native, response: &'a mut WholeResponse<'_>) -> Flow<'a> {
        self.judge_whole(cx, response, |plugin, ctx, status, headers, body| {
            plugin.on_final_response_body(ctx, status, headers, body)
        })
    }

    /// Begins here and goes on elsewhere if it waits: nobody is held up by it.
    fn log(&self, cx: &Native, outcome: &Outcome) {
        // Dropped behind the hook, so that the summary's memory is free again.
        let own = Kept::default();
        let kept = cx.attachment.as_ref().and_then(|attachment| attachment.downcast_ref::<Kept>()).unwrap_or(&own);
        let summary = summary::of(&mut kept.borrow_mut(), cx, outcome);
        let held = self.core.clone();
        let running = Box::pin(async move { held.plugin().log(&summary).await });
        running::detach(&self.core.instance, running);
    }

    fn on_websocket_message<'a>(
        &'a self,
        session: &'a WebSocketSession<'_>,
        direction: Direction,
        message: &'a Message,
    ) -> MessageFlow<'a> {
        websocket::on_message(&self.core, session, direction, message)
    }

    fn on_websocket_end(&self, end: &WebSocketEnd<'_>) {
        websocket::on_end(&self.core.instance, end);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::super::testing::Rig;
    use super::*;

    /// Wants to see a response only as long as nobody has answered, and notes when it was asked.
    #[derive(Default)]
    struct Wants(Mutex<Vec<bool>>);

    #[async_trait]
    impl Plugin for Wants {
        fn name(&self) -> &str {
            "wants"
        }

        fn requires_response_body_buffering(&self) -> bool {
            true
        }

        fn should_buffer_response_body(&self, ctx: &RequestContext) -> bool {
            let wants = !ctx.metadata.contains_key("answered");
            self.0.lock().unwrap().push(wants);
            wants
        }

        async fn after_proxy(&self, ctx: &mut RequestContext, _status: u16, _headers: &mut Map) -> PluginResult {
            ctx.metadata.insert("answered".to_owned(), "yes".to_owned());
            PluginResult::Continue
        }
    }

    #[tokio::test]
    async fn a_plugin_is_asked_once_whether_it_wants_a_response_whole_before_the_backend_is() {
        let plugin = Arc::new(Wants::default());
        let rig = Rig::new(vec![plugin.clone()]);
        let mut cx = rig.request("/", &[]);
        rig.send(&mut cx).await;
        let wanting = rig.chain.wants_response_body(&mut cx);
        assert!(cx.attachment.is_some(), "the next hook goes on with what was shown");
        let response = rig.answer(&mut cx).await;
        assert!(rig.chain.wants_body_of(&cx, &response, wanting));
        assert_eq!(*plugin.0.lock().unwrap(), [true]);
    }
}
