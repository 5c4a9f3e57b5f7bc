//! Which hooks an instance overrides.
//!
//! Nobody can ask a trait object whether it overrides a method. But the body of a default can say that it has run, and on which
//! object; and as an overriding hook (`#[async_trait]`) runs nothing of its own before it is polled, a default that says so in
//! the moment of the call was the hook itself. So each hook of a new instance is called once, and what it answers with is
//! dropped unpolled. What an instance does not override is in no list of any chain.

use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Plugin, RequestContext, TransactionSummary};
use crate::consumer_index::ConsumerIndex;

/// Hooks that are called for every request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Hook {
    Received = 1,
    Authenticate = 1 << 1,
    Authorize = 1 << 2,
    BeforeProxy = 1 << 3,
    TransformRequest = 1 << 4,
    FinalRequest = 1 << 5,
    AfterProxy = 1 << 6,
    ResponseBody = 1 << 7,
    TransformResponse = 1 << 8,
    FinalResponse = 1 << 9,
    Log = 1 << 10,
}

thread_local! {
    /// The object and the hook of the default that has run last.
    static LAST: Cell<Option<(usize, Hook)>> = const { Cell::new(None) };
}

fn address<T: ?Sized>(of: &T) -> usize {
    std::ptr::from_ref(of).cast::<()>() as usize
}

/// What the body of each default does.
pub(crate) fn note<T: ?Sized>(on: &T, hook: Hook) {
    LAST.set(Some((address(on), hook)));
}

/// The hooks that one instance overrides.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Overridden(u32);

impl Overridden {
    /// Looks where plugins run: a runtime has to be entered.
    pub(crate) fn of(plugin: &dyn Plugin) -> Self {
        let mut cx = RequestContext::new(String::new(), String::new(), String::new());
        let (index, summary) = (ConsumerIndex::new(&[]), TransactionSummary::default());
        let (map, mut edited) = (HashMap::new(), HashMap::new());
        let mut found = Self::default();
        let mut look = |hook: Hook, call: &mut dyn FnMut(&mut RequestContext)| {
            LAST.set(None);
            let called = catch_unwind(AssertUnwindSafe(|| call(&mut cx)));
            // A default does not panic.
            if called.is_err() || LAST.get() != Some((address(plugin), hook)) {
                found.0 |= hook as u32;
            }
        };
        look(Hook::Received, &mut |cx| drop(plugin.on_request_received(cx)));
        look(Hook::Authenticate, &mut |cx| drop(plugin.authenticate(cx, &index)));
        look(Hook::Authorize, &mut |cx| drop(plugin.authorize(cx)));
        look(Hook::BeforeProxy, &mut |cx| drop(plugin.before_proxy(cx, &mut edited)));
        look(Hook::TransformRequest, &mut |_| drop(plugin.transform_request_body(&[], None, &map)));
        look(Hook::FinalRequest, &mut |_| drop(plugin.on_final_request_body(&map, &[])));
        look(Hook::AfterProxy, &mut |cx| drop(plugin.after_proxy(cx, 200, &mut edited)));
        look(Hook::ResponseBody, &mut |cx| drop(plugin.on_response_body(cx, 200, &map, &[])));
        look(Hook::TransformResponse, &mut |_| drop(plugin.transform_response_body(&[], None, &map)));
        look(Hook::FinalResponse, &mut |cx| drop(plugin.on_final_response_body(cx, 200, &map, &[])));
        look(Hook::Log, &mut |_| drop(plugin.log(&summary)));
        found
    }

    pub(crate) fn has(self, hook: Hook) -> bool {
        self.0 & hook as u32 != 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use async_trait::async_trait;

    use super::*;
    use crate::plugins::PluginResult;

    /// Counts how often its one hook has run.
    #[derive(Default)]
    struct Logs(AtomicUsize);

    #[async_trait]
    impl Plugin for Logs {
        fn name(&self) -> &str {
            "logs"
        }

        async fn log(&self, _summary: &TransactionSummary) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// Overrides a hook by handing it to another plugin.
    struct Wraps(Arc<dyn Plugin>);

    #[async_trait]
    impl Plugin for Wraps {
        fn name(&self) -> &str {
            "wraps"
        }

        async fn on_request_received(&self, ctx: &mut RequestContext) -> PluginResult {
            self.0.on_request_received(ctx).await
        }
    }

    #[test]
    fn what_is_overridden_is_known_without_running_it() {
        let logs = Logs::default();
        assert_eq!(Overridden::of(&logs), Overridden(Hook::Log as u32));
        assert_eq!(logs.0.into_inner(), 0);
    }

    #[test]
    fn a_hook_that_hands_on_to_a_default_is_no_default() {
        let wraps = Wraps(Arc::new(Logs::default()));
        assert_eq!(Overridden::of(&wraps), Overridden(Hook::Received as u32));
    }
}
