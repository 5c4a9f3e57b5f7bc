//! What the request pipeline of one core works with.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use engine::core::{Core, PostBox};
use engine::counters::Counters;
use engine::ledger::Cap;
use engine::net::{Steering, sleep};
use engine::publish::View;
use engine::snapshot::Snapshot;
use engine::tls::ServerConfig;
use plugins::outbound::Services;
use plugins::{CoreEnv, PluginSet};

use crate::destination::BackendPools;
use crate::generation::Generation;
use crate::per_ip::PerIp;
use crate::settings::HttpSettings;

/// What all cores share; given to each when it starts.
#[derive(Clone)]
pub struct Shared {
    pub settings: Arc<HttpSettings>,
    pub per_ip: Arc<PerIp>,
    pub steering: Steering,
    /// The cores' mailboxes, in core order; for handing connections over.
    pub cores: Vec<PostBox>,
    /// Connections of the HTTP listener, over all cores.
    pub connections: Arc<Cap>,
    /// Those of the HTTPS listener.
    pub tls_connections: Arc<Cap>,
    /// Sessions of WebSocket.
    pub websockets: Arc<Cap>,
    pub counters: Counters,
    /// What plugins reach outside of the gateway.
    pub services: Arc<Services>,
}

/// One core's side of everything. `!Send`, reached through `Rc`.
pub struct Worker {
    pub core: Rc<Core>,
    pub shared: Shared,
    pub settings: Arc<HttpSettings>,
    pub pools: BackendPools,
    pub env: CoreEnv,
    snapshots: RefCell<View<Snapshot<PluginSet>>>,
    tls: Option<RefCell<View<ServerConfig>>>,
    generation: RefCell<Rc<Generation>>,
    date: DateText,
    random: Cell<u64>,
}

impl Worker {
    pub fn new(
        core: Rc<Core>,
        shared: Shared,
        mut snapshots: View<Snapshot<PluginSet>>,
        tls: Option<View<ServerConfig>>,
    ) -> Rc<Self> {
        let counting = core.clone();
        let env = CoreEnv {
            core: core.index,
            services: shared.services.clone(),
            log: core.log.clone(),
            ticks: core.ticks.clone(),
            count_log_line: Rc::new(move |lost| {
                counting.counters().log_lines.one();
                counting.counters().log_lines_lost.add(lost);
            }),
        };
        let settings = shared.settings.clone();
        let first = snapshots.look().0.clone();
        let generation = Rc::new(Generation::new(first, core.index, &settings.redacted_metadata_keys, None));
        Rc::new(Self {
            random: Cell::new(0x9E37_79B9_7F4A_7C15 ^ (core.index as u64 + 1)),
            core,
            shared,
            settings,
            pools: BackendPools::default(),
            env,
            snapshots: RefCell::new(snapshots),
            tls: tls.map(RefCell::new),
            generation: RefCell::new(generation),
            date: DateText::default(),
        })
    }

    /// The newest configuration. One compare when it is the one of the last request.
    pub fn generation(&self) -> Rc<Generation> {
        let mut snapshots = self.snapshots.borrow_mut();
        let (snapshot, changed) = snapshots.look();
        if changed {
            let keys = &self.settings.redacted_metadata_keys;
            let next = Generation::new(snapshot.clone(), self.core.index, keys, Some(&self.generation.borrow()));
            *self.generation.borrow_mut() = Rc::new(next);
        }
        self.generation.borrow().clone()
    }

    /// What the HTTPS listener offers now; nothing if there is none.
    pub fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.as_ref().map(|view| view.borrow_mut().look().0.clone())
    }

    /// Looks for a new configuration even without requests, so that an idle core lets go of the old one.
    pub async fn follow_snapshots(self: Rc<Self>) {
        loop {
            sleep(Duration::from_secs(1)).await;
            self.generation();
        }
    }

    /// Closes backend connections that have been idle too long.
    pub async fn sweep_pools(self: Rc<Self>) {
        loop {
            sleep(Duration::from_millis(self.settings.pool_sweep_interval_ms)).await;
            let closed = self.pools.sweep(self.core.deadlines.now_ms());
            self.core.counters().backend_evictions.add(closed as u64);
            self.core.counters().backend_connections_idle.set(self.pools.idle() as u64);
        }
    }

    /// Whether this response is to be the last on its connection, because of overload or drain.
    pub fn closes_connection(&self) -> bool {
        let overload = &self.core.overload;
        overload.disables_keepalive() || {
            let probability = overload.close_probability();
            probability > 0 && (self.draw() & 1023) < u64::from(probability)
        }
    }

    /// xorshift64*: spreads well, and nobody gains from guessing it.
    fn draw(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
    }

    /// Sixteen bytes that do not come again. They protect nothing (RFC 6455 §10.3), so they need not be unguessable.
    pub fn nonce(&self) -> [u8; 16] {
        let mut nonce = [0; 16];
        for piece in nonce.chunks_mut(4) {
            piece.copy_from_slice(&(self.draw() as u32).to_be_bytes());
        }
        nonce
    }

    /// The value of `date`, remade when the second has passed.
    pub fn append_date(&self, out: &mut Vec<u8>) {
        self.date.append(self.core.deadlines.now_ms(), out);
    }
}

#[derive(Default)]
struct DateText {
    made_ms: Cell<Option<u64>>,
    text: RefCell<String>,
}

impl DateText {
    fn append(&self, now_ms: u64, out: &mut Vec<u8>) {
        // A tick within the same half second shows the same second or the one before, which RFC 9110 §6.6.1 allows.
        if self.made_ms.get().is_none_or(|made| now_ms >= made + 500) {
            self.made_ms.set(Some(now_ms));
            *self.text.borrow_mut() = httpdate::fmt_http_date(SystemTime::now());
        }
        out.extend_from_slice(self.text.borrow().as_bytes());
    }
}
