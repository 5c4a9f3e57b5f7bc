//! One instance of a documented plugin: the only one of its config in the process.

use std::any::Any;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_utils::CachePadded;
use native::{Buffering, CoreEnv, Phases, Protocol, Protocols, Specs};
use tokio::runtime::Handle;

use super::backlog::Backlog;
use super::native_plugin::OnCore;
use super::{local, watch};
use crate::plugins::defaults::{Hook, Overridden};
use crate::plugins::{Plugin, ProxyProtocol};

/// What the plugin answers once and for all.
#[derive(Clone, Copy)]
pub(super) struct Capabilities {
    pub protocols: Protocols,
    pub phases: Phases,
    pub request_buffering: Buffering,
    pub is_auth: bool,
    pub edits_headers: bool,
    pub wants_body_bytes: bool,
}

pub(super) struct Instance {
    pub name: &'static str,
    pub plugin: Arc<dyn Plugin>,
    pub capabilities: Capabilities,
    pub runtime: Handle,
    /// Tells instances apart.
    pub number: u64,
    /// Its hooks run on threads of their own.
    blocks: AtomicBool,
    /// Log hooks that wait. On a line of its own, because cores write it.
    pub backlog: CachePadded<Backlog>,
}

impl Instance {
    pub(super) fn new(plugin: Arc<dyn Plugin>, runtime: Handle) -> Arc<Self> {
        let capabilities = {
            let _entered = runtime.enter();
            capabilities(&*plugin)
        };
        let instance = Arc::new(Self {
            name: interned(plugin.name()),
            capabilities,
            plugin,
            runtime,
            number: watch::next_number(),
            blocks: AtomicBool::new(false),
            backlog: CachePadded::default(),
        });
        watch::add(&instance);
        instance
    }

    /// The instance behind a spec, if there is a documented plugin behind it.
    pub(super) fn of(spec: &dyn Specs) -> Option<&Instance> {
        spec.as_any()?.downcast_ref::<Documented>().map(|documented| &*documented.0)
    }

    pub(super) fn is_blocking(&self) -> bool {
        self.blocks.load(Relaxed)
    }

    /// A hook keeps its core's thread.
    pub(super) fn blocks_its_thread(&self) {
        if !self.blocks.swap(true, Relaxed) {
            tracing::warn!(
                plugin = self.name,
                "a hook of this plugin blocks its thread; from now on its hooks run on threads of their own, which costs more"
            );
        }
    }
}

/// Plugins may end what they began when they are dropped, and need the runtime for it.
impl Drop for Instance {
    fn drop(&mut self) {
        let _entered = self.runtime.enter();
        self.plugin = Arc::new(Gone);
    }
}

/// In the place of a plugin that has been dropped.
struct Gone;

impl Plugin for Gone {
    fn name(&self) -> &str {
        "gone"
    }
}

/// Names live as long as the process, and there are as many as there are plugin files.
fn interned(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name) {
        return known;
    }
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    names.insert(name);
    name
}

fn capabilities(plugin: &dyn Plugin) -> Capabilities {
    let protocols: Vec<Protocol> =
        plugin.supported_protocols().iter().map(|protocol| native_protocol(*protocol)).collect();
    let is_auth = plugin.is_auth_plugin();
    let overridden = Overridden::of(plugin);
    let has = |hook: Hook| overridden.has(hook);
    let all = [
        (has(Hook::Received), Phases::RECEIVED),
        // Whether it overrides the hook or not: what it says is that nobody passes unidentified.
        (is_auth, Phases::AUTHENTICATE),
        (has(Hook::Authorize) && plugin.is_authorize_plugin(), Phases::AUTHORIZE),
        (has(Hook::BeforeProxy), Phases::BEFORE_PROXY),
        (has(Hook::TransformRequest) && plugin.modifies_request_body(), Phases::REQUEST_BODY),
        (has(Hook::FinalRequest), Phases::FINAL_REQUEST_BODY),
        (has(Hook::AfterProxy), Phases::AFTER_PROXY),
        (has(Hook::AfterProxy) && plugin.applies_after_proxy_on_reject(), Phases::REJECTION),
        (plugin.requires_response_body_buffering(), Phases::RESPONSE_BUFFERING),
        (has(Hook::ResponseBody), Phases::RESPONSE_BODY),
        (has(Hook::TransformResponse), Phases::RESPONSE_TRANSFORM),
        (has(Hook::FinalResponse), Phases::FINAL_RESPONSE_BODY),
        (has(Hook::Log), Phases::LOG),
        (plugin.requires_ws_frame_hooks(), Phases::WEBSOCKET_MESSAGE),
        (plugin.requires_ws_disconnect_hooks(), Phases::WEBSOCKET_END),
    ];
    let taken = all.into_iter().filter(|(takes_part, _)| *takes_part);
    let phases = taken.fold(Phases::NONE, |phases, (_, phase)| phases.and(phase));
    let request_buffering = match () {
        () if !plugin.requires_request_body_buffering() => Buffering::Never,
        () if plugin.requires_request_body_before_authenticate() => Buffering::BeforeAuthenticate,
        () if plugin.requires_request_body_before_before_proxy() => Buffering::BeforeProxy,
        () => Buffering::BeforeBackend,
    };
    Capabilities {
        protocols: Protocols::of(&protocols),
        phases,
        request_buffering,
        is_auth,
        edits_headers: plugin.modifies_request_headers(),
        wants_body_bytes: plugin.needs_request_body_bytes(),
    }
}

fn native_protocol(protocol: ProxyProtocol) -> Protocol {
    match protocol {
        ProxyProtocol::Http => Protocol::Http,
        ProxyProtocol::Grpc => Protocol::Grpc,
        ProxyProtocol::WebSocket => Protocol::WebSocket,
        ProxyProtocol::Tcp => Protocol::Tcp,
        ProxyProtocol::Udp => Protocol::Udp,
    }
}

/// A checked config of a documented plugin: the instance itself.
pub(super) struct Documented(pub Arc<Instance>);

impl Specs for Documented {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn protocols(&self) -> Protocols {
        self.0.capabilities.protocols
    }

    fn build(&self, env: &CoreEnv) -> Rc<dyn native::Plugin> {
        local::enter(&env.services.runtime);
        Rc::new(OnCore::new(self.0.clone()))
    }

    fn hosts(&self) -> Vec<String> {
        let _entered = self.0.runtime.enter();
        self.0.plugin.warmup_hostnames()
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_plugin_is_dropped_where_it_can_spawn() {
        struct Ends(Option<tokio::sync::oneshot::Sender<()>>);
        impl Plugin for Ends {
            fn name(&self) -> &str {
                "ends"
            }
        }
        impl Drop for Ends {
            fn drop(&mut self) {
                let told = self.0.take();
                tokio::spawn(async move { told.map(|told| told.send(())) });
            }
        }
        let (sender, told) = tokio::sync::oneshot::channel();
        let instance = Instance::new(Arc::new(Ends(Some(sender))), Handle::current());
        std::thread::spawn(move || drop(instance)).join().unwrap();
        told.await.unwrap();
    }

    #[tokio::test]
    async fn a_plugin_takes_part_in_the_phases_whose_hooks_it_overrides() {
        struct Decorates {
            on_reject: bool,
            is_auth: bool,
        }
        #[async_trait::async_trait]
        impl Plugin for Decorates {
            fn name(&self) -> &str {
                "decorates"
            }

            fn is_auth_plugin(&self) -> bool {
                self.is_auth
            }

            fn applies_after_proxy_on_reject(&self) -> bool {
                self.on_reject
            }

            async fn after_proxy(
                &self,
                _ctx: &mut crate::plugins::RequestContext,
                _response_status: u16,
                _response_headers: &mut std::collections::HashMap<String, String>,
            ) -> crate::plugins::PluginResult {
                crate::plugins::PluginResult::Continue
            }
        }
        let phases = |on_reject, is_auth| {
            let instance = Instance::new(Arc::new(Decorates { on_reject, is_auth }), Handle::current());
            instance.capabilities.phases
        };
        assert_eq!(phases(false, false), Phases::AFTER_PROXY);
        assert_eq!(phases(true, false), Phases::AFTER_PROXY.and(Phases::REJECTION));
        assert_eq!(phases(false, true), Phases::AFTER_PROXY.and(Phases::AUTHENTICATE), "nobody passes unidentified");
    }

    #[test]
    fn a_name_is_kept_once() {
        assert!(std::ptr::eq(interned("some_plugin"), interned(&["some", "plugin"].join("_"))));
    }
}
