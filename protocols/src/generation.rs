//! One configuration as one core uses it.
//!
//! Built by the core when it first meets a new snapshot; requests in flight keep the generation they started with. What
//! a route needs (its plugin chain, its pool) is made when the route is first used, so that a reload of many proxies
//! costs a core nothing up front.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use engine::balance::{Balancer, BalancerSpec, SharedBalance};
use engine::snapshot::{ProxyFacts, ProxySpec, Snapshot, UpstreamRef};
use plugins::{AuthMode, Chain, CoreEnv, Facts, Plugin, PluginSet, Protocol};
use rustc_hash::FxHashMap;

use crate::destination::{BackendPool, BackendPools, Targets};
use crate::exchange::Kind;
use crate::kind;

/// Instances by the fingerprint of their configuration: equal ones live on over a reload, with their state.
type Instances = RefCell<FxHashMap<u64, Rc<dyn Plugin>>>;

/// By the plugins that run, how authentication ends, and the protocol: proxies with the same ones share a chain.
type Chains = RefCell<FxHashMap<(Arc<[u32]>, bool, Protocol), Rc<Chain>>>;

/// By upstream.
type Balancers = Box<[OnceCell<Rc<Balancer>>]>;

pub struct Generation {
    pub snapshot: Arc<Snapshot<PluginSet>>,
    pub facts: Rc<Facts>,
    routes: Routes,
    chains: Chains,
    instances: Instances,
    balancers: Balancers,
}

/// So many routes get their slots together, when the first of them is used: a core is to spend no time on a new configuration that
/// grows with the number of proxies.
const ROUTES_TOGETHER: usize = 256;

/// By number.
struct Routes(Box<[OnceCell<Slots>]>);

type Slots = Box<[OnceCell<Route>]>;

impl Routes {
    fn new(count: usize) -> Self {
        Self((0..count.div_ceil(ROUTES_TOGETHER)).map(|_| OnceCell::new()).collect())
    }

    fn get(&self, number: usize) -> Option<&Route> {
        self.0[number / ROUTES_TOGETHER].get()?[number % ROUTES_TOGETHER].get()
    }

    fn get_or_init(&self, number: usize, make: impl FnOnce() -> Route) -> &Route {
        let slots = || (0..ROUTES_TOGETHER).map(|_| OnceCell::new()).collect();
        self.0[number / ROUTES_TOGETHER].get_or_init(slots)[number % ROUTES_TOGETHER].get_or_init(make)
    }
}

/// What one core keeps for one proxy. It stands in the table itself, and what proxies have in common is shared: with
/// thousands of routes every line that a request touches for its route alone is a line fetched from far away.
pub struct Route {
    /// For plain requests.
    chain: Rc<Chain>,
    /// Of the proxy's own backend.
    pub pool: BackendPool,
    pub targets: Option<Box<Targets>>,
    others: Box<OtherChains>,
}

/// The chains of what is not a plain request, made when first needed.
#[derive(Default)]
struct OtherChains {
    grpc: OnceCell<Rc<Chain>>,
    websocket: OnceCell<Rc<Chain>>,
}

impl Route {
    /// For one request that goes elsewhere; its chain is chosen already.
    pub fn elsewhere(chain: Rc<Chain>, pool: BackendPool, targets: Option<Targets>) -> Self {
        Self { chain, pool, targets: targets.map(Box::new), others: Box::default() }
    }

    pub fn chain(&self) -> &Rc<Chain> {
        &self.chain
    }
}

impl Generation {
    pub fn new(
        snapshot: Arc<Snapshot<PluginSet>>,
        core: usize,
        redacted_keys: &[String],
        previous: Option<&Generation>,
    ) -> Self {
        let facts = Facts {
            namespace: snapshot.namespace.clone(),
            consumers: snapshot.consumers.clone(),
            proxies: snapshot.proxy_facts.clone(),
            redacted_keys: redacted_keys.to_vec(),
            companion: snapshot.plugins.companion.clone().map(|companion| companion.on_core()),
        };
        let mut instances = FxHashMap::default();
        if let Some(previous) = previous {
            let kept: Vec<u64> = snapshot.plugins.rows.iter().map(|row| row.fingerprint).collect();
            let present = previous.instances.borrow();
            instances.extend(kept.iter().filter_map(|print| Some((*print, present.get(print)?.clone()))));
        }
        let routes = Routes::new(snapshot.proxies.len());
        let balancers = carried_balancers(&snapshot, core, previous);
        let (facts, chains, instances) = (Rc::new(facts), Chains::default(), RefCell::new(instances));
        Self { snapshot, facts, routes, chains, instances, balancers }
    }

    pub fn proxy(&self, route: u32) -> &ProxySpec {
        &self.snapshot.proxies[route as usize]
    }

    pub fn proxy_facts(&self, route: u32) -> &ProxyFacts {
        &self.facts.proxies[route as usize]
    }

    pub fn route(&self, index: u32, env: &CoreEnv, pools: &BackendPools) -> &Route {
        self.routes.get_or_init(index as usize, || self.build_route(index as usize, env, pools))
    }

    /// The plugins of a route that is in use, for a kind of request that has been there; none before.
    pub fn chain(&self, route: u32, kind: Kind) -> Option<&Chain> {
        let route = self.routes.get(route as usize)?;
        match kind {
            Kind::Plain => Some(&route.chain),
            Kind::Grpc | Kind::GrpcWeb => route.others.grpc.get().map(|chain| &**chain),
            Kind::WebSocket => route.others.websocket.get().map(|chain| &**chain),
        }
    }

    /// The plugins that take part in a request of this kind.
    pub fn chain_for<'r>(&self, index: u32, route: &'r Route, kind: Kind, env: &CoreEnv) -> &'r Chain {
        let other = match kind {
            Kind::Plain => return &route.chain,
            Kind::Grpc | Kind::GrpcWeb => &route.others.grpc,
            Kind::WebSocket => &route.others.websocket,
        };
        let auth_multi = self.proxy(index).auth_multi;
        other.get_or_init(|| self.chain_of(index as usize, auth_multi, kind::protocol(kind), env))
    }

    fn build_route(&self, index: usize, env: &CoreEnv, pools: &BackendPools) -> Route {
        let spec = &self.snapshot.proxies[index];
        Route {
            chain: self.chain_of(index, spec.auth_multi, Protocol::Http, env),
            pool: pools.pool(&spec.backend.pool),
            targets: spec.upstream.map(|upstream| Box::new(self.targets(upstream, env.core))),
            others: Box::default(),
        }
    }

    fn chain_of(&self, proxy: usize, auth_multi: bool, protocol: Protocol, env: &CoreEnv) -> Rc<Chain> {
        let set = &self.snapshot.plugins;
        let auth_mode = if auth_multi { AuthMode::Multi } else { AuthMode::Single };
        let mut instance = |row: u32| {
            let row = &set.rows[row as usize];
            self.instances.borrow_mut().entry(row.fingerprint).or_insert_with(|| row.spec.build(env)).clone()
        };
        let rows = set.list(proxy);
        let compile = || Rc::new(Chain::compile(set, rows, protocol, auth_mode, &mut instance));
        self.chains.borrow_mut().entry((rows.clone(), auth_multi, protocol)).or_insert_with(compile).clone()
    }

    /// Those of a request's upstream, if it has one.
    pub fn targets_of(&self, upstream: Option<UpstreamRef>, core: usize) -> Option<Targets> {
        upstream.map(|upstream| self.targets(upstream, core))
    }

    fn targets(&self, of: UpstreamRef, core: usize) -> Targets {
        let entry = &self.snapshot.upstreams[of.index as usize];
        let new = || Rc::new(Balancer::new(entry.spec.clone(), entry.shared.clone(), core));
        Targets::new(
            self.balancers[of.index as usize].get_or_init(new).clone(),
            of.subset.map(|subset| subset as usize),
            entry.addresses.clone(),
        )
    }
}

/// Balancers that were in use go on with what this core knows, as long as the upstream's shared part does.
fn carried_balancers(snapshot: &Snapshot<PluginSet>, core: usize, previous: Option<&Generation>) -> Balancers {
    let used: FxHashMap<*const SharedBalance, &Balancer> = previous
        .iter()
        .flat_map(|previous| previous.balancers.iter().filter_map(OnceCell::get))
        .map(|balancer| (Arc::as_ptr(balancer.shared()), &**balancer))
        .collect();
    let carried = |(spec, shared): (&Arc<BalancerSpec>, &Arc<SharedBalance>)| {
        let previous = used.get(&Arc::as_ptr(shared))?;
        Some(Rc::new(Balancer::carried(spec.clone(), shared.clone(), core, Some(previous))))
    };
    let entries = snapshot.upstreams.iter().map(|entry| (&entry.spec, &entry.shared));
    entries.map(|entry| carried(entry).map_or_else(OnceCell::new, OnceCell::from)).collect()
}
