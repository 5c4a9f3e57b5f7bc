//! The cores: how many, where, listening on what.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::core::{CoreParts, Mail, Mailbox, PostBox, mailbox, start};
use engine::counters::Counters;
use engine::dns::DnsTable;
use engine::ledger::Cap;
use engine::logring::LogRing;
use engine::net::{ListenOptions, Reactor, ReactorOptions, Steering, bind, steer_by_cpu};
use engine::overload::Overload;
use engine::publish::Fanout;
use engine::snapshot::Snapshot;
use engine::tls::ServerConfig;
use plugins::PluginSet;
use plugins::outbound::Services;
use protocols::{CoreWork, PerIp, Shared, run_core};

use super::{Fatal, options};
use crate::settings::{AcceptSteering, Settings, Tri};

/// Cores whose threads do not end on request within this time are left behind; the process ends all the same.
const STOP_MAX: Duration = Duration::from_secs(1);
/// How often is looked whether all cores are alive.
const LOOK: Duration = Duration::from_millis(500);

/// A CPU set of `core_affinity` has this many bits; it panics at a CPU beyond them.
const CPU_SET_BITS: usize = 1024;

/// The CPUs of the cores, one each. The CPUs named for control are checked along with them.
pub(super) fn choose(settings: &Settings) -> Result<Vec<usize>, String> {
    let cpus = settings.core_set(&inherited(), settable)?;
    settings.control_core_set(settable)?;
    if cpus.is_empty() {
        return Err("no CPU is left for a core; check FERRUM_CORES and the CPU affinity of the process".to_owned());
    }
    Ok(cpus)
}

/// The CPUs the calling thread may run on now: at start, those the process was started on.
fn inherited() -> Vec<usize> {
    core_affinity::get_core_ids().map_or_else(|| vec![0], |cores| cores.into_iter().map(|core| core.id).collect())
}

/// Those of these CPUs that a thread can be set onto. They may be more than the inherited ones, and only trying tells.
fn settable(cpus: &[usize]) -> Vec<usize> {
    let inherited = inherited();
    let may_run_on = |cpu: &usize| {
        inherited.contains(cpu)
            || (*cpu < CPU_SET_BITS && core_affinity::set_for_current(core_affinity::CoreId { id: *cpu }))
    };
    // Trying moves the thread that tries, so one does that ends with it.
    std::thread::scope(|scope| {
        let trying = scope.spawn(|| cpus.iter().copied().filter(may_run_on).collect::<Vec<usize>>());
        trying.join().unwrap_or_default()
    })
}

/// Pins control threads where the operator wants them: each to the next named CPU, all of which [`choose`] has checked.
pub(super) fn control_pin(settings: &Settings) -> impl Fn() + Send + Sync + 'static {
    let cpus = settings.engine.control_cores.as_slice().to_vec();
    let next = std::sync::atomic::AtomicUsize::new(0);
    move || {
        if !cpus.is_empty() {
            let turn = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            core_affinity::set_for_current(core_affinity::CoreId { id: cpus[turn % cpus.len()] });
        }
    }
}

pub(super) struct Start<'a> {
    pub settings: &'a Settings,
    pub cpus: &'a [usize],
    pub rings: Vec<LogRing>,
    pub counters: Counters,
    pub overload: Arc<Overload>,
    pub snapshots: &'a Fanout<Snapshot<PluginSet>>,
    pub tables: &'a Fanout<DnsTable>,
    /// What the HTTPS listener offers; nothing = there is none.
    pub tls: Option<&'a Fanout<ServerConfig>>,
    pub reactor: Reactor,
    pub services: Arc<Services>,
}

pub(super) struct Cores {
    threads: Vec<JoinHandle<std::io::Result<()>>>,
    boxes: Vec<PostBox>,
}

impl Cores {
    /// Binds every socket first, so that a port in use is one message and no core has started.
    pub(super) fn start(with: Start<'_>) -> Result<Self, Fatal> {
        let mut sockets = sockets(with.settings, with.cpus, with.tls.is_some())?;
        let cannot = |error: std::io::Error| Fatal::new(format!("cannot start a core: {error}"));
        let boxes: Vec<(PostBox, Mailbox)> =
            with.cpus.iter().map(|_| mailbox()).collect::<Result<_, _>>().map_err(cannot)?;
        let (boxes, mailboxes): (Vec<PostBox>, Vec<Mailbox>) = boxes.into_iter().unzip();
        let shared = shared(&with, boxes.clone());
        let engine = &with.settings.engine;
        let reactor = ReactorOptions {
            reactor: with.reactor,
            ring_entries: engine.ring_entries,
            sqpoll: engine.sqpoll,
            busy_poll: engine.busy_poll_us > 0,
        };
        let mut threads = Vec::new();
        for (index, (log, mailbox)) in with.rings.into_iter().zip(mailboxes).enumerate() {
            let parts = CoreParts {
                index,
                cpu: Some(with.cpus[index]),
                reactor,
                busy_poll: Duration::from_micros(u64::from(engine.busy_poll_us)),
                overload: with.overload.clone(),
                dns: with.tables.view(index),
                log,
                counters: with.counters.clone(),
            };
            let work = CoreWork {
                shared: shared.clone(),
                snapshots: with.snapshots.view(index),
                mailbox,
                http: sockets.http.get_mut(index).map(std::mem::take).unwrap_or_default(),
                https: sockets.https.get_mut(index).map(std::mem::take).unwrap_or_default(),
                tls: with.tls.map(|published| published.view(index)),
            };
            threads.push(start(parts, move |core| run_core(core, work)).map_err(cannot)?);
        }
        Ok(Self { threads, boxes })
    }

    /// Waits until a core's thread has ended, which none does before it is told to; says which.
    pub(super) async fn ended(&self) -> usize {
        loop {
            if let Some(core) = self.threads.iter().position(JoinHandle::is_finished) {
                return core;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(super) fn post_boxes(&self) -> Vec<PostBox> {
        self.boxes.clone()
    }

    pub(super) fn tell(&self, mail: impl Fn() -> Mail) {
        for post_box in &self.boxes {
            post_box.post(mail());
        }
    }

    /// Ends the threads; connections still open are closed with them.
    pub(super) fn stop(self) {
        self.tell(|| Mail::Stop);
        let deadline = Instant::now() + STOP_MAX;
        for thread in self.threads {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
    }
}

fn shared(with: &Start<'_>, boxes: Vec<PostBox>) -> Shared {
    Shared {
        settings: Arc::new(options::http(with.settings)),
        per_ip: Arc::new(PerIp::default()),
        steering: steering(with.settings),
        cores: boxes,
        connections: Arc::new(Cap::new(with.settings.runtime.max_connections as u64, with.cpus.len())),
        websockets: Arc::new(Cap::new(with.settings.runtime.websocket_max_connections as u64, with.cpus.len())),
        tls_connections: Arc::new(Cap::new(with.settings.runtime.max_connections as u64, with.cpus.len())),
        counters: with.counters.clone(),
        services: with.services.clone(),
    }
}

fn steering(settings: &Settings) -> Steering {
    match settings.engine.accept_steering {
        AcceptSteering::Hash => Steering::Hash,
        AcceptSteering::Cpu => Steering::Cpu,
        AcceptSteering::Balance => Steering::Balance,
    }
}

/// One socket per core and listener, in core order, which is the order steering counts in.
type CoreSockets = Vec<Vec<std::net::TcpListener>>;

struct Sockets {
    http: CoreSockets,
    https: CoreSockets,
}

fn sockets(settings: &Settings, cpus: &[usize], has_tls: bool) -> Result<Sockets, Fatal> {
    let listeners = &settings.listeners;
    let mut sockets = Sockets { http: Vec::new(), https: Vec::new() };
    if listeners.proxy_http_port != 0 {
        sockets.http = listener_sockets(settings, cpus, ("HTTP", listeners.proxy_http_port, "FERRUM_PROXY_HTTP_PORT"))?;
    } else {
        tracing::info!("The plain HTTP listener is off (FERRUM_PROXY_HTTP_PORT=0)");
    }
    if has_tls {
        sockets.https =
            listener_sockets(settings, cpus, ("HTTPS", listeners.proxy_https_port, "FERRUM_PROXY_HTTPS_PORT"))?;
    } else if listeners.proxy_http_port == 0 {
        tracing::warn!("No HTTP or HTTPS proxy listeners are active: FERRUM_PROXY_HTTP_PORT=0 and no TLS listener");
    }
    Ok(sockets)
}

fn listener_sockets(
    settings: &Settings,
    cpus: &[usize],
    (name, port, setting): (&str, u16, &str),
) -> Result<CoreSockets, Fatal> {
    let mut options = ListenOptions {
        address: SocketAddr::new(settings.listeners.proxy_bind_address, port),
        backlog: settings.runtime.tcp_listen_backlog,
        reuse_port: cpus.len() > 1,
        fast_open_queue: options::fast_open(settings).then_some(settings.kernel.tcp_fastopen_queue_len),
    };
    let mut sockets = Vec::new();
    for _ in cpus {
        let address = options.address;
        let bound = bind(&options).and_then(|socket| {
            // Port 0 lets the system choose, once for all cores.
            options.address = socket.local_addr()?;
            Ok(socket)
        });
        match bound {
            Ok(socket) => sockets.push(vec![socket]),
            Err(error) => {
                tracing::error!(
                    "Port {} is already in use or not available on {}: {error}; \
                     {setting} and FERRUM_PROXY_BIND_ADDRESS choose {address}",
                    address.port(),
                    address.ip()
                );
                return Err(Fatal::new(format!("{name} proxy listener exited before completing startup")));
            }
        }
    }
    if steering(settings) == Steering::Cpu
        && let Some(Err(error)) = sockets[0].first().map(|socket| steer_by_cpu(socket, cpus))
    {
        tracing::warn!("FERRUM_ACCEPT_STEERING=cpu is not possible here, the kernel's hash is used: {error}");
    }
    tracing::info!("{name} proxy listener on {} with {} core(s)", options.address, cpus.len());
    Ok(sockets)
}

/// Whether `auto` finds both halves of fast open switched on (settings sheet §8.22).
pub(super) fn kernel_fast_open(setting: Tri) -> bool {
    match setting {
        Tri::On => true,
        Tri::Off => false,
        Tri::Auto => std::fs::read_to_string("/proc/sys/net/ipv4/tcp_fastopen")
            .ok()
            .and_then(|text| text.trim().parse::<u32>().ok())
            .is_some_and(|bits| bits & 3 == 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_set_onto_cpus_it_did_not_inherit() {
        // On a thread of its own, because it is confined to one CPU, as `isolcpus=` confines a process.
        let confined = std::thread::spawn(|| {
            let host = inherited();
            assert!(core_affinity::set_for_current(core_affinity::CoreId { id: host[0] }));
            assert_eq!(inherited(), [host[0]]);
            assert_eq!(settable(&host), host);
            assert_eq!(inherited(), [host[0]], "the thread that asks stays where it was");
        });
        confined.join().unwrap();
    }

    #[test]
    fn no_thread_can_be_set_onto_a_cpu_the_host_does_not_have() {
        assert!(settable(&[CPU_SET_BITS - 1, CPU_SET_BITS, usize::MAX]).is_empty());
    }
}
