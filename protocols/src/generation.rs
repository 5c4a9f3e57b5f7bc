//! One configuration as one core uses it.
//!
//! Built by the core when it first meets a new snapshot; requests in flight keep the generation they started with. What
//! a route needs (its plugin chain, its pool) is made when the route is first used, so that a reload of many proxies
//! costs a core nothing up front.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use engine::pool::{Pool, Pools};
use engine::snapshot::{ProxySpec, Snapshot};
use plugins::{AuthMode, Chain, CoreEnv, Facts, Plugin, PluginSet, Protocol, ProxyFacts};
use rustc_hash::FxHashMap;

use crate::http1::BackendConnection;

/// Instances by the fingerprint of their configuration: equal ones live on over a reload, with their state.
type Instances = RefCell<FxHashMap<u64, Rc<dyn Plugin>>>;

pub struct Generation {
    pub snapshot: Arc<Snapshot<PluginSet>>,
    pub facts: Rc<Facts>,
    routes: Box<[OnceCell<Rc<Route>>]>,
    instances: Instances,
}

/// What one core keeps for one proxy.
pub struct Route {
    pub chain: Chain,
    pub facts: Rc<ProxyFacts>,
    pub pool: Rc<Pool<BackendConnection>>,
}

impl Generation {
    pub fn new(
        snapshot: Arc<Snapshot<PluginSet>>,
        redacted_keys: &[String],
        previous: Option<&Generation>,
    ) -> Self {
        let facts = Facts {
            namespace: snapshot.namespace.clone(),
            consumers: snapshot.consumers.clone(),
            redacted_keys: redacted_keys.to_vec(),
        };
        let mut instances = FxHashMap::default();
        if let Some(previous) = previous {
            let kept: Vec<u64> = snapshot.plugins.rows.iter().map(|row| row.fingerprint).collect();
            let present = previous.instances.borrow();
            instances.extend(kept.iter().filter_map(|print| Some((*print, present.get(print)?.clone()))));
        }
        let routes = (0..snapshot.proxies.len()).map(|_| OnceCell::new()).collect();
        Self { snapshot, facts: Rc::new(facts), routes, instances: RefCell::new(instances) }
    }

    pub fn proxy(&self, route: u32) -> &ProxySpec {
        &self.snapshot.proxies[route as usize]
    }

    pub fn route(&self, index: u32, env: &CoreEnv, pools: &Pools<BackendConnection>) -> &Rc<Route> {
        self.routes[index as usize].get_or_init(|| Rc::new(self.build_route(index as usize, env, pools)))
    }

    fn build_route(&self, index: usize, env: &CoreEnv, pools: &Pools<BackendConnection>) -> Route {
        let spec = &self.snapshot.proxies[index];
        let auth_mode = if spec.auth_multi { AuthMode::Multi } else { AuthMode::Single };
        let mut instance = |row: u32| {
            let row = &self.snapshot.plugins.rows[row as usize];
            self.instances.borrow_mut().entry(row.fingerprint).or_insert_with(|| row.spec.build(env)).clone()
        };
        let limits = &spec.backend.pool_limits;
        Route {
            chain: Chain::compile(&self.snapshot.plugins, index, Protocol::Http, auth_mode, &mut instance),
            facts: Rc::new(ProxyFacts { id: spec.id.clone(), name: spec.name.clone() }),
            pool: pools.pool(&spec.backend.pool, limits.idle_max, limits.idle_timeout_ms),
        }
    }
}
