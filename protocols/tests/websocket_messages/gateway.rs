//! Cores of this process with plugins that a test scripts.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use engine::consumers::ConsumerIndex;
use engine::core::{CoreParts, Mail, PostBox, foreign, mailbox, start};
use engine::counters::{Counters, ErrorClass};
use engine::dns::DnsTable;
use engine::ledger::Cap;
use engine::logring::log_ring;
use engine::model::TlsFiles;
use engine::net::{ConnectOptions, ListenOptions, Reactor, ReactorOptions, Steering, TrustedNetworks, bind};
use engine::pool::PoolKey;
use engine::publish::Fanout;
use engine::router::{RouteSpec, RouteTable};
use engine::snapshot::{BackendAddress, BackendSpec, PoolLimits, ProxyFacts, ProxySpec, Scheme, Security, Snapshot};
use engine::tls::{
    BackendTls, BackendTlsInputs, ClientAuth, ClientOptions, Identity, Policy, ServerConfig, ServerOptions, Tickets,
    TlsVersion, client_offers, group, roots, server_config, suite,
};
use plugins::outbound::Services;
use plugins::websocket::{Delivered, Direction, IoSide, Message, MessageFlow, WebSocketEnd, WebSocketSession};
use plugins::{CoreEnv, Phases, Plugin, PluginRow, PluginSet, Protocol, Protocols, RequestContext, Specs};
use protocols::{CoreWork, Http2Settings, HttpSettings, PerIp, Shared, WebSocketSettings, run_core};
use tests::Authority;
use tokio::sync::watch;

pub const HOST: &str = "ws.example.com";
pub const HTTP_PORT: u16 = 8000;
pub const HTTPS_PORT: u16 = 8443;

/// What a hook is shown.
pub struct Seen<'m> {
    pub connection_id: u64,
    pub direction: Direction,
    pub message: &'m Message,
}

pub enum Act {
    Pass,
    Replace(Message),
    Close(u16, &'static str),
    /// Waits until the door opens, and passes then.
    Wait(Door),
    Panic,
}

/// Shut until somebody opens it.
#[derive(Clone)]
pub struct Door(Arc<watch::Sender<bool>>);

impl Door {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub fn open(&self) {
        self.0.send_replace(true);
    }
}

pub type Hook = Box<dyn Fn(&Seen<'_>) -> Act + Send + Sync>;

/// How a session ended, as plugins hear it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    pub connection_id: u64,
    pub proxy_id: String,
    pub identity: Option<String>,
    pub note: Option<String>,
    pub target: String,
    pub listen_port: u16,
    pub lasted: Duration,
    pub client_to_backend: Delivered,
    pub backend_to_client: Delivered,
    pub direction: Option<Direction>,
    pub io_side: Option<IoSide>,
    pub class: Option<ErrorClass>,
}

/// A plugin's row: what it looks at, and what it says.
struct Scripted {
    name: &'static str,
    phases: Phases,
    hook: Arc<Hook>,
    ends: Arc<Mutex<Sender<Ended>>>,
}

impl Specs for Scripted {
    fn name(&self) -> &'static str {
        self.name
    }

    fn protocols(&self) -> Protocols {
        Protocols::of(&[Protocol::WebSocket])
    }

    fn build(&self, _: &CoreEnv) -> Rc<dyn Plugin> {
        let (hook, ends) = (self.hook.clone(), self.ends.clone());
        Rc::new(Instance { name: self.name, phases: self.phases, hook, ends, asked: Cell::new(0) })
    }
}

struct Instance {
    name: &'static str,
    phases: Phases,
    hook: Arc<Hook>,
    ends: Arc<Mutex<Sender<Ended>>>,
    asked: Cell<u64>,
}

impl Plugin for Instance {
    fn name(&self) -> &'static str {
        self.name
    }

    fn phases(&self) -> Phases {
        self.phases
    }

    /// So that there is something about the upgrade to be remembered.
    fn on_request_received<'a>(&'a self, cx: &'a mut RequestContext) -> plugins::Flow<'a> {
        cx.identify_external("ann".to_owned(), None, "scripted");
        cx.metadata.set("note", "of the upgrade");
        plugins::Flow::Continue
    }

    fn on_websocket_message<'a>(
        &'a self,
        session: &'a WebSocketSession<'_>,
        direction: Direction,
        message: &'a Message,
    ) -> MessageFlow<'a> {
        self.asked.set(self.asked.get() + 1);
        match (self.hook)(&Seen { connection_id: session.connection_id, direction, message }) {
            Act::Pass => MessageFlow::Pass,
            Act::Replace(message) => MessageFlow::Replace(message),
            Act::Close(code, reason) => MessageFlow::close(code, reason),
            Act::Panic => panic!("a plugin of the test panics"),
            Act::Wait(door) => MessageFlow::Wait(Box::pin(async move {
                let mut opened = door.0.subscribe();
                foreign(Box::pin(async move { opened.wait_for(|is_open| *is_open).await.map(|_| ()) })).await.ok();
                MessageFlow::Pass
            })),
        }
    }

    fn on_websocket_end(&self, end: &WebSocketEnd<'_>) {
        let upgrade = end.session.upgrade;
        let ended = Ended {
            connection_id: end.session.connection_id,
            proxy_id: upgrade.proxy().id.clone(),
            identity: upgrade.effective_identity().map(str::to_owned),
            note: upgrade.metadata.get("note").map(str::to_owned),
            target: end.backend_target.to_owned(),
            listen_port: end.listen_port,
            lasted: end.duration,
            client_to_backend: end.client_to_backend,
            backend_to_client: end.backend_to_client,
            direction: end.direction,
            io_side: end.io_side,
            class: end.error_class,
        };
        self.ends.lock().unwrap().send(ended).ok();
    }
}

/// A gateway before it starts: all requests go to one backend.
pub struct Builder {
    rows: Vec<Scripted>,
    backend_port: u16,
    websocket: WebSocketSettings,
    cores: usize,
    tls: Option<(Arc<ServerConfig>, BackendTls)>,
    ends: Arc<Mutex<Sender<Ended>>>,
    ended: Receiver<Ended>,
}

impl Builder {
    /// In this order; each takes part in what it is said to.
    pub fn plugin(
        mut self,
        name: &'static str,
        phases: Phases,
        hook: impl Fn(&Seen<'_>) -> Act + Send + Sync + 'static,
    ) -> Self {
        let hook: Hook = Box::new(hook);
        self.rows.push(Scripted { name, phases, hook: Arc::new(hook), ends: self.ends.clone() });
        self
    }

    /// Looks at messages.
    pub fn sees(self, hook: impl Fn(&Seen<'_>) -> Act + Send + Sync + 'static) -> Self {
        self.plugin("scripted", Phases::WEBSOCKET_MESSAGE, hook)
    }

    /// Hears of ends.
    pub fn hears(self) -> Self {
        self.plugin("hearing", Phases::WEBSOCKET_END.and(Phases::RECEIVED), |_| Act::Pass)
    }

    pub fn frame_bytes_max(mut self, bytes: u64) -> Self {
        self.websocket.frame_bytes_max = bytes;
        self
    }

    pub fn tunnel(mut self) -> Self {
        self.websocket.is_tunnel = true;
        self
    }

    pub fn cores(mut self, count: usize) -> Self {
        self.cores = count;
        self
    }

    /// A listener under TLS, and TLS to the backend.
    pub fn tls(mut self, authority: &Authority) -> Self {
        let suites = ["TLS_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"].map(|name| suite(name).unwrap());
        let versions = (TlsVersion::Tls12, TlsVersion::Tls13);
        let policy = Policy::new(versions, suites.to_vec(), vec![group("X25519").unwrap()], true);
        let mut files = TlsFiles::new(time::OffsetDateTime::now_utc(), 0);
        let own = authority.issue(&[HOST]);
        let own = Identity::load(&policy, &mut files, ("cert_path", &own.certificate), ("key_path", &own.key)).unwrap();
        let options = ServerOptions {
            policy: &policy,
            identities: vec![own],
            client_auth: ClientAuth::Off,
            revoked: Vec::new(),
            alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            tickets: &Tickets::new(16).unwrap(),
        };
        let inputs = BackendTlsInputs {
            ca_path: None,
            client_paths: None,
            verifies: true,
            sni: None,
            san_allow_list: Vec::new(),
        };
        let offers = client_offers(&ClientOptions {
            policy: &policy,
            roots: roots(&mut files, "ca_path", &authority.bundle()).unwrap(),
            identity: None,
            revoked: &[],
            sessions_max: 16,
            inputs: &inputs,
        });
        let backend = BackendTls { inputs: Arc::new(inputs), offers: offers.unwrap() };
        self.tls = Some((server_config(options).unwrap(), backend));
        self
    }

    pub fn start(self) -> Gateway {
        let Self { rows, backend_port, websocket, cores, tls, ended, .. } = self;
        let (server, backend) = tls.unzip();
        let snapshots = Fanout::new(cores, Arc::new(snapshot(rows, backend_port, backend)));
        let tables = Fanout::new(cores, Arc::new(DnsTable::default()));
        let server = server.map(|config| Fanout::new(cores, config));
        let counters = Counters::new(cores);
        let (boxes, mailboxes): (Vec<_>, Vec<_>) = (0..cores).map(|_| mailbox().unwrap()).unzip();
        let shared = Shared {
            settings: Arc::new(settings(websocket)),
            per_ip: Arc::new(PerIp::default()),
            steering: Steering::Hash,
            cores: boxes.clone(),
            connections: Arc::new(Cap::new(1000, cores)),
            tls_connections: Arc::new(Cap::new(1000, cores)),
            websockets: Arc::new(Cap::new(1000, cores)),
            counters: counters.clone(),
            services: Services::of_tests(),
        };
        let (http, http_sockets) = sockets(cores);
        let (https, https_sockets) = sockets(cores);
        let mut threads = Vec::new();
        let listeners = http_sockets.into_iter().zip(https_sockets);
        for (index, (mailbox, (http, https))) in mailboxes.into_iter().zip(listeners).enumerate() {
            let parts = CoreParts {
                index,
                cpu: None,
                reactor: ReactorOptions { reactor: Reactor::Epoll, ring_entries: 256, sqpoll: false, busy_poll: false },
                busy_poll: Duration::ZERO,
                overload: Arc::default(),
                dns: tables.view(index),
                log: log_ring(4).0,
                counters: counters.clone(),
            };
            let work = CoreWork {
                shared: shared.clone(),
                snapshots: snapshots.view(index),
                mailbox,
                http: vec![http],
                https: if server.is_some() { vec![https] } else { Vec::new() },
                tls: server.as_ref().map(|server| server.view(index)),
            };
            threads.push(start(parts, move |core| run_core(core, work)).unwrap());
        }
        Gateway { http, https, counters, ended, boxes, threads, _published: (snapshots, tables, server) }
    }
}

type Published = (Fanout<Snapshot<PluginSet>>, Fanout<DnsTable>, Option<Fanout<ServerConfig>>);

pub struct Gateway {
    pub http: u16,
    pub https: u16,
    pub counters: Counters,
    ended: Receiver<Ended>,
    boxes: Vec<PostBox>,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
    _published: Published,
}

impl Gateway {
    pub fn before(backend_port: u16) -> Builder {
        let (sender, ended) = mpsc::channel();
        let websocket = WebSocketSettings {
            connections_max: 100,
            frame_bytes_max: 16 << 20,
            write_buffer_bytes: 131_072,
            is_tunnel: false,
        };
        let ends = Arc::new(Mutex::new(sender));
        Builder { rows: Vec::new(), backend_port, websocket, cores: 1, tls: None, ends, ended }
    }

    /// The next session that ends, soon.
    #[track_caller]
    pub fn ended(&self) -> Ended {
        self.ended.recv_timeout(tests::PATIENCE).expect("a session ends")
    }

    pub fn panics(&self) -> u64 {
        self.counters.sum(|core| core.panics.get())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.boxes.iter().for_each(|post_box| post_box.post(Mail::Stop));
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

/// One socket for each core on a port that is free.
fn sockets(cores: usize) -> (u16, Vec<std::net::TcpListener>) {
    let mut options = ListenOptions {
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        backlog: 128,
        reuse_port: true,
        fast_open_queue: None,
    };
    let mut sockets = Vec::new();
    for _ in 0..cores {
        let socket = bind(&options).unwrap();
        options.address = socket.local_addr().unwrap();
        sockets.push(socket);
    }
    (options.address.port(), sockets)
}

fn snapshot(rows: Vec<Scripted>, backend_port: u16, tls: Option<BackendTls>) -> Snapshot<PluginSet> {
    let host = "127.0.0.1".to_owned();
    let scheme = if tls.is_some() { Scheme::Https } else { Scheme::Http };
    let pool = PoolKey {
        scheme: scheme.name(),
        host: host.clone(),
        port: backend_port,
        dns_override: None,
        upstream: None,
        tls: tls.as_ref().map(|tls| tls.inputs.clone()),
    };
    let backend = BackendSpec {
        scheme,
        address: BackendAddress::Literal(host.parse().unwrap()),
        host,
        port: backend_port,
        path: "/base".to_owned(),
        security: tls.map_or(Security::Plain, Security::Tls),
        direct_security: None,
        pool,
        pool_limits: PoolLimits::of_tests(),
    };
    let proxy = ProxySpec {
        auth_multi: false,
        strip_listen_path: false,
        preserve_host_header: false,
        allowed_methods: None,
        connect_timeout_ms: 10_000,
        read_timeout_ms: 10_000,
        buffer_responses: false,
        upstream: None,
        backend: Arc::new(backend),
    };
    let numbers: Vec<u32> = (0..).take(rows.len()).collect();
    let rows = rows.into_iter().zip(1..).map(|(spec, number)| PluginRow {
        id: format!("row-{number}").into(),
        spec: Arc::new(spec),
        priority: number,
        fingerprint: u64::from(number),
    });
    Snapshot {
        generation: 1,
        namespace: "ferrum".to_owned(),
        routes: RouteTable::build(&[RouteSpec { hosts: Vec::new(), path: Some("/".to_owned()) }]).unwrap(),
        proxies: vec![proxy],
        proxy_facts: Arc::from([ProxyFacts { id: "app".to_owned(), ..ProxyFacts::default() }.into()]),
        upstreams: Vec::new(),
        places: vec![0],
        upstream_numbers: Default::default(),
        consumers: Arc::new(ConsumerIndex::new([])),
        plugins: PluginSet {
            rows: rows.collect(),
            lists: vec![Arc::from(numbers)],
            by_proxy: vec![0],
            ..PluginSet::default()
        },
    }
}

fn settings(websocket: WebSocketSettings) -> HttpSettings {
    HttpSettings {
        http_port: HTTP_PORT,
        https_port: HTTPS_PORT,
        header_bytes_max: 32 << 10,
        single_header_bytes_max: 16 << 10,
        header_count_max: 100,
        url_bytes_max: 8 << 10,
        query_parameters_max: 100,
        request_body_bytes_max: 10 << 20,
        response_body_bytes_max: 10 << 20,
        response_buffer_cutoff_bytes: 64 << 10,
        tls_handshake_timeout_ms: 10_000,
        header_read_timeout_ms: 10_000,
        requests_per_ip_max: 0,
        via: None,
        add_forwarded: false,
        trusted_proxies: TrustedNetworks::default(),
        real_ip_header: None,
        early_data_methods: Vec::new(),
        redacted_metadata_keys: Vec::new(),
        http2: Http2Settings {
            streams_max: 100,
            frame_bytes_max: 16_384,
            stream_window_bytes: 65_535,
            connection_window_bytes: 1 << 20,
            adaptive_window: false,
            pending_reset_streams_max: 20,
            error_reset_streams_max: 20,
        },
        grpc_request_bytes_max: 4 << 20,
        websocket,
        connect: ConnectOptions { keepalive: None },
        pool_sweep_interval_ms: 30_000,
        connections_max: 0,
    }
}
