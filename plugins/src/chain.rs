//! The plugins of one proxy and protocol, one list per phase.

use std::rc::Rc;

use crate::{AuthMode, Codec, Flow, Outcome, Phases, Plugin, PluginSet, Protocol, Rejection, RequestContext};
use engine::http::ResponseHead;

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
    auth_mode: AuthMode,
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
        let list = |phase: Phases| plugins.iter().filter(|plugin| plugin.phases().has(phase)).cloned().collect();
        Self {
            received: list(Phases::RECEIVED),
            authenticate: list(Phases::AUTHENTICATE),
            authorize: list(Phases::AUTHORIZE),
            before_proxy: list(Phases::BEFORE_PROXY),
            after_proxy: list(Phases::AFTER_PROXY),
            rejection: list(Phases::REJECTION),
            log: list(Phases::LOG),
            codec: list(Phases::CODEC),
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

    pub fn on_rejection(&self, cx: &RequestContext, rejection: &mut Rejection) {
        for plugin in &self.rejection {
            plugin.on_rejection(cx, rejection);
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
