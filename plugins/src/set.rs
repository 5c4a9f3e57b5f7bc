//! Which plugins run on which proxy: the control thread's result, shared by all cores.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use crate::outbound::Services;
use crate::{CoreEnv, Plugin, Protocols};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AuthMode {
    #[default]
    Single,
    Multi,
}

/// A checked configuration of one plugin, from which each core builds its instance.
pub trait Specs: Send + Sync {
    fn name(&self) -> &'static str;
    fn protocols(&self) -> Protocols;
    fn build(&self, env: &CoreEnv) -> Rc<dyn Plugin>;

    /// Hosts of configured endpoints: names are resolved before traffic flows, and addresses are held against what the settings
    /// allow, because no resolver is ever asked about them.
    fn hosts(&self) -> Vec<String> {
        Vec::new()
    }

    /// Control is about to publish the configuration: what works in the background can begin. Asked again for a row that did
    /// not change.
    fn start(&self, _services: &Arc<Services>) {}

    /// What it is behind this trait, for the room that made it.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }
}

/// One enabled plugin config.
#[derive(Clone)]
pub struct PluginRow {
    pub id: Arc<str>,
    pub spec: Arc<dyn Specs>,
    pub priority: u16,
    /// Equal rows of two generations may keep their instance.
    pub fingerprint: u64,
}

/// Rows that run together, in the order in which they run.
pub type RowList = Arc<[u32]>;

/// The list of a proxy that attaches none.
pub const UNATTACHED: u32 = 0;

/// All rows, and for each proxy those that run on it.
#[derive(Clone, Default)]
pub struct PluginSet {
    pub rows: Vec<PluginRow>,
    /// Each once; the first is [`UNATTACHED`].
    pub lists: Vec<RowList>,
    /// By the number of the proxy: the number of its list.
    pub by_proxy: Vec<u32>,
    pub companion: Option<Arc<dyn Companion>>,
}

impl PluginSet {
    /// What runs on a proxy.
    pub fn list(&self, proxy: usize) -> &RowList {
        &self.lists[self.by_proxy[proxy] as usize]
    }
}

/// What another plugin API keeps about a configuration.
pub trait Companion: Send + Sync {
    /// Its part for one core, which lives as long as the core has requests of this configuration.
    fn on_core(self: Arc<Self>) -> Rc<dyn Any>;
}
