//! The plugins of one proxy and protocol, one list per phase.

mod websocket;

pub use websocket::Panicked;

use std::rc::Rc;

use engine::http::ResponseHead;

use self::websocket::WebSocketLists;
use crate::{
    AuthMode, Buffering, Codec, Flow, Outcome, Phases, Plugin, PluginSet, Protocol, Rejection, RequestContext,
    WholeResponse,
};

/// Whether the exchange goes on.
pub type Verdict = Result<(), Box<Rejection>>;

type List = Box<[Rc<dyn Plugin>]>;

/// Compiled once per proxy and protocol on each core. A phase nobody takes part in is an empty slice.
pub struct Chain {
    received: List,
    authenticate: List,
    authorize: List,
    before_proxy: List,
    after_proxy: List,
    rejection: List,
    log: List,
    codec: List,
    /// Nearly always nothing.
    bodies: Option<Box<BodyLists>>,
    /// So is this.
    websocket: Option<Box<WebSocketLists>>,
    auth_mode: AuthMode,
}

/// Who looks at bodies that are whole.
struct BodyLists {
    /// By when the first of them wants the request's.
    request_buffering: Buffering,
    /// Those that may want the request's body.
    request_buffer: List,
    request_transform: List,
    request_final: List,
    response_buffer: List,
    response: List,
    response_transform: List,
    response_final: List,
}

impl BodyLists {
    /// None when no plugin makes a body whole; a judge of bodies that are whole anyway is one.
    fn new(plugins: &[Rc<dyn Plugin>]) -> Option<Box<Self>> {
        let list = |phase: Phases| list(plugins, phase);
        let wants = |plugin: &&Rc<dyn Plugin>| plugin.request_buffering() != Buffering::Never;
        let lists = Self {
            request_buffering: plugins.iter().map(|plugin| plugin.request_buffering()).max().unwrap_or_default(),
            request_buffer: plugins.iter().filter(wants).cloned().collect(),
            request_transform: list(Phases::REQUEST_BODY),
            request_final: list(Phases::FINAL_REQUEST_BODY),
            response_buffer: list(Phases::RESPONSE_BUFFERING),
            response: list(Phases::RESPONSE_BODY),
            response_transform: list(Phases::RESPONSE_TRANSFORM),
            response_final: list(Phases::FINAL_RESPONSE_BODY),
        };
        let is_used = !lists.request_buffer.is_empty()
            || !lists.request_final.is_empty()
            || !lists.response_buffer.is_empty()
            || lists.looks_at_responses();
        is_used.then(|| Box::new(lists))
    }

    fn looks_at_responses(&self) -> bool {
        !(self.response.is_empty() && self.response_transform.is_empty() && self.response_final.is_empty())
    }
}

/// Which plugins of a chain want a response whole, in the order of those that may. The last bit stands for all from the 64th on.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Wanting(u64);

impl Wanting {
    fn bit(number: usize) -> u64 {
        1 << number.min(63)
    }
}

fn list(plugins: &[Rc<dyn Plugin>], phase: Phases) -> List {
    plugins.iter().filter(|plugin| plugin.phases().has(phase)).cloned().collect()
}

/// Runs one phase over its list: straight through while hooks answer at once.
macro_rules! run {
    ($list:expr, $cx:expr, |$plugin:ident, $context:ident| $call:expr) => {{
        for $plugin in $list.iter() {
            let $context = &mut *$cx;
            let mut flow = $call;
            loop {
                match flow {
                    Flow::Continue => break,
                    Flow::Reject(rejection) => return Err(rejection),
                    Flow::Wait(future) => flow = future.await,
                }
            }
        }
        Ok(())
    }};
}

impl Chain {
    /// `plugins` stand in the order in which they run.
    pub fn new(plugins: &[Rc<dyn Plugin>], auth_mode: AuthMode) -> Self {
        let list = |phase: Phases| list(plugins, phase);
        Self {
            received: list(Phases::RECEIVED),
            authenticate: list(Phases::AUTHENTICATE),
            authorize: list(Phases::AUTHORIZE),
            before_proxy: list(Phases::BEFORE_PROXY),
            after_proxy: list(Phases::AFTER_PROXY),
            rejection: list(Phases::REJECTION),
            log: list(Phases::LOG),
            codec: list(Phases::CODEC),
            bodies: BodyLists::new(plugins),
            websocket: WebSocketLists::new(plugins),
            auth_mode,
        }
    }

    /// The chain of these rows for requests of one protocol. `instances` answers with this core's instance of a row.
    pub fn compile(
        set: &PluginSet,
        rows: &[u32],
        protocol: Protocol,
        auth_mode: AuthMode,
        instances: &mut dyn FnMut(u32) -> Rc<dyn Plugin>,
    ) -> Self {
        let supports = |row: &u32| set.rows[*row as usize].spec.protocols().has(protocol);
        let plugins: Vec<_> = rows.iter().copied().filter(supports).map(instances).collect();
        Self::new(&plugins, auth_mode)
    }

    /// Whether no plugin looks at requests before they are sent.
    pub fn is_silent_before_backend(&self) -> bool {
        self.received.is_empty()
            && self.authenticate.is_empty()
            && self.authorize.is_empty()
            && self.before_proxy.is_empty()
            && self.request_buffering() == Buffering::Never
    }

    pub fn has_after_proxy(&self) -> bool {
        !self.after_proxy.is_empty()
    }

    pub fn has_log(&self) -> bool {
        !self.log.is_empty()
    }

    /// What rewrites the bodies of this exchange; nearly always nothing.
    pub fn codecs(&self, cx: &RequestContext) -> Vec<Box<dyn Codec>> {
        self.codec.iter().filter_map(|plugin| plugin.codec(cx)).collect()
    }

    pub async fn on_request_received(&self, cx: &mut RequestContext) -> Verdict {
        run!(self.received, cx, |plugin, cx| plugin.on_request_received(cx))
    }

    /// Plugins sheet §1.6.
    pub async fn authenticate(&self, cx: &mut RequestContext) -> Verdict {
        if self.authenticate.is_empty() {
            return Ok(());
        }
        match self.auth_mode {
            AuthMode::Single => self.authenticate_all(cx).await?,
            AuthMode::Multi => self.authenticate_any(cx).await?,
        }
        if cx.effective_identity().is_some() {
            return Ok(());
        }
        let nobody = Rejection::json(401, r#"{"error":"Authentication required"}"#);
        Err(Box::new(nobody.with_header("www-authenticate", "ferrum-edge")))
    }

    async fn authenticate_all(&self, cx: &mut RequestContext) -> Verdict {
        run!(self.authenticate, cx, |plugin, cx| plugin.authenticate(cx))
    }

    /// The first identity ends the search; without one, the last rejection is the answer.
    async fn authenticate_any(&self, cx: &mut RequestContext) -> Verdict {
        let mut last = Ok(());
        for plugin in &self.authenticate {
            let one = std::slice::from_ref(plugin);
            let verdict: Verdict = async { run!(one, cx, |plugin, cx| plugin.authenticate(cx)) }.await;
            if cx.effective_identity().is_some() {
                return Ok(());
            }
            if verdict.is_err() {
                last = verdict;
            }
        }
        last
    }

    pub async fn authorize(&self, cx: &mut RequestContext) -> Verdict {
        run!(self.authorize, cx, |plugin, cx| plugin.authorize(cx))
    }

    pub async fn before_proxy(&self, cx: &mut RequestContext) -> Verdict {
        run!(self.before_proxy, cx, |plugin, cx| plugin.before_proxy(cx))
    }

    pub async fn after_proxy(&self, cx: &mut RequestContext, response: &mut ResponseHead) -> Verdict {
        run!(self.after_proxy, cx, |plugin, cx| plugin.after_proxy(cx, &mut *response))
    }

    /// By when a plugin of this chain may want the request's body whole.
    pub fn request_buffering(&self) -> Buffering {
        self.bodies.as_ref().map_or(Buffering::Never, |bodies| bodies.request_buffering)
    }

    /// Whether a plugin wants the body of this request whole by that phase.
    pub fn wants_request_body(&self, cx: &mut RequestContext, by: Buffering) -> bool {
        let plugins = self.bodies.iter().flat_map(|bodies| &bodies.request_buffer);
        plugins.filter(|plugin| plugin.request_buffering() >= by).any(|plugin| plugin.wants_request_body(cx))
    }

    /// Rewrites and judges the body in the context.
    pub async fn request_body(&self, cx: &mut RequestContext) -> Verdict {
        let Some(bodies) = &self.bodies else { return Ok(()) };
        for plugin in &bodies.request_transform {
            if cx.body.as_ref().is_none_or(Vec::is_empty) {
                break;
            }
            let one = std::slice::from_ref(plugin);
            let verdict: Verdict = async { run!(one, cx, |plugin, cx| plugin.transform_request_body(cx)) }.await;
            verdict?;
        }
        run!(bodies.request_final, cx, |plugin, cx| plugin.on_final_request_body(cx))
    }

    /// Which plugins want the response whole.
    pub fn wants_response_body(&self, cx: &mut RequestContext) -> Wanting {
        let plugins = self.bodies.iter().flat_map(|bodies| &bodies.response_buffer);
        let wanting = plugins.enumerate().filter(|(_, plugin)| plugin.wants_response_body(cx));
        Wanting(wanting.fold(0, |wanting, (number, _)| wanting | Wanting::bit(number)))
    }

    /// Whether a plugin that wanted the response whole still does when it sees the head.
    pub fn wants_body_of(&self, cx: &RequestContext, response: &ResponseHead, wanting: Wanting) -> bool {
        if wanting == Wanting::default() {
            return false;
        }
        let plugins = self.bodies.iter().flat_map(|bodies| &bodies.response_buffer);
        let mut wanting = plugins.enumerate().filter(|(number, _)| wanting.0 & Wanting::bit(*number) != 0);
        wanting.any(|(_, plugin)| plugin.wants_body_of(cx, response))
    }

    /// Whether a plugin looks at responses that are whole for whatever reason.
    pub fn looks_at_responses(&self) -> bool {
        self.bodies.as_ref().is_some_and(|bodies| bodies.looks_at_responses())
    }

    /// Lets plugins look at a response that is whole, rewrite it, and judge what came of it. A rejection takes the place of
    /// what there was and goes on through the phases behind (plugins sheet §1.5); an answer tells that there was one.
    pub async fn response_body(&self, cx: &mut RequestContext, response: &mut WholeResponse<'_>) -> bool {
        let Some(bodies) = &self.bodies else { return false };
        let mut was_replaced = false;
        let verdict: Verdict =
            async { run!(bodies.response, cx, |plugin, cx| plugin.on_response_body(cx, &mut *response)) }.await;
        if let Err(rejection) = verdict {
            response.replace(*rejection);
            was_replaced = true;
        }
        let verdict: Verdict = async {
            run!(bodies.response_transform, cx, |plugin, cx| plugin.transform_response_body(cx, &mut *response))
        }
        .await;
        if let Err(rejection) = verdict {
            response.replace(*rejection);
            was_replaced = true;
        }
        let verdict: Verdict =
            async { run!(bodies.response_final, cx, |plugin, cx| plugin.on_final_response_body(cx, &mut *response)) }
                .await;
        if let Err(rejection) = verdict {
            response.replace(*rejection);
            was_replaced = true;
        }
        was_replaced
    }

    /// Lets the decorators at a rejection. One of their own is ignored.
    pub async fn on_rejection(&self, cx: &mut RequestContext, rejection: &mut Rejection) {
        for plugin in &self.rejection {
            let one = std::slice::from_ref(plugin);
            let verdict: Verdict = async { run!(one, cx, |plugin, cx| plugin.on_rejection(cx, &mut *rejection)) }.await;
            if verdict.is_err() {
                tracing::warn!(plugin = plugin.name(), "a plugin rejected a rejection, which is ignored");
            }
        }
    }

    pub fn log(&self, cx: &RequestContext, outcome: &Outcome) {
        for plugin in &self.log {
            plugin.log(cx, outcome);
        }
    }
}

#[cfg(test)]
mod tests;
