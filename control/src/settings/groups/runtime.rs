//! How the process uses its host: engine, sizing, overload, metrics, kernel features.

use super::super::check::{settings_group, strict};
use super::super::cpus::CpuList;
use super::super::value::Tri;
use super::super::vocabulary::{AcceptSteering, ReactorChoice};

settings_group! {
    /// The thread-per-core engine.
    EngineSettings "Engine" {
        /// CPUs that each get a core, such as `2-15` or `0,2,4-7`. Unset: `FERRUM_WORKER_THREADS`, then `FERRUM_ACCEPT_THREADS`, then every CPU.
        cores: CpuList = CpuList::default(), "", "proxy", strict().blank_is_unset();
        /// CPUs of the control thread. Unset: wherever the scheduler puts it.
        control_cores: CpuList = CpuList::default(), "", "all", strict().blank_is_unset();
        /// The reactor of a core; `auto` is io_uring where the kernel allows it, else epoll.
        reactor: ReactorChoice = ReactorChoice::Auto, "", "proxy", strict();
        /// How fresh connections find their core: by the kernel's hash, by the receiving CPU, or balanced by load.
        accept_steering: AcceptSteering = AcceptSteering::Hash, "", "proxy", strict().alias("FERRUM_STEERING");
        /// Entries of a core's submission ring.
        ring_entries: u32 = 1024, "", "proxy", strict().clamp(64, 32_768);
        /// How long a core polls its ring before it sleeps; 0 = it sleeps at once.
        busy_poll_us: u32 = 0, "µs", "proxy", strict();
        /// A kernel thread per core submits the ring; saves system calls and costs a CPU.
        sqpoll: bool = false, "", "proxy", strict();
    }
}

settings_group! {
    /// Threads, connections and caches.
    RuntimeSettings "Runtime, connection and cache sizing" {
        /// Event-loop threads; sizes the core set when `FERRUM_CORES` is unset.
        worker_threads: Option<usize> = None, "", "all", strict().at_least(Some(1)).default_text("CPUs");
        /// Bound on helper threads for blocking work.
        blocking_threads: usize = 512, "", "all", strict().at_least(1);
        /// Listening sockets per TCP port; 0 = one per core.
        accept_threads: usize = 0, "", "proxy", strict();
        /// Listen backlog.
        tcp_listen_backlog: u32 = 2048, "", "proxy", strict().at_least(128);
        /// Connections per proxy listener; more are closed at once. 0 = unlimited (injector: 1).
        max_connections: usize = 100_000, "", "proxy, injector", strict();
        /// Requests at once, enforced by the overload monitor; 0 = unlimited.
        max_requests: usize = 0, "", "proxy", strict();
        /// Requests of one client IP at once; more are 429. 0 = off.
        max_concurrent_requests_per_ip: u64 = 0, "", "proxy", strict();
        /// How often idle per-IP counters are swept.
        per_ip_cleanup_interval_seconds: u64 = 60, "s", "proxy", strict().at_least(1);
        /// WebSocket connections; more are 503. 0 = off.
        websocket_max_connections: usize = 20_000, "", "proxy", strict();
        /// Circuit breaker states that are kept.
        circuit_breaker_cache_max_entries: usize = 10_000, "", "proxy", strict();
        /// Accepted for compatibility; nothing is sharded by it.
        pool_shard_amount: usize = 0, "", "proxy", strict();
        /// Distinct status codes that are counted.
        status_counts_max_entries: usize = 200, "", "proxy", strict();
        /// Entries of the route look-up cache; 0 = the larger of 10000 and 3 per proxy.
        router_cache_max_entries: usize = 0, "", "proxy", strict().note("above 0: C[1000..10000000]");
        /// Streams announced to an HTTP/2 client.
        server_http2_max_concurrent_streams: u32 = 1000, "", "proxy, cp", strict().at_least(1);
        /// Streams a client may reset before they are accepted; more ends the connection.
        server_http2_max_pending_accept_reset_streams: usize = 64, "", "proxy, cp", strict().at_least(1);
        /// Streams reset because of a client's errors; more ends the connection.
        server_http2_max_local_error_reset_streams: usize = 256, "", "proxy, cp", strict().at_least(1);
        /// Longest wait for connections and requests at shutdown; 0 = no wait.
        shutdown_drain_seconds: u64 = 30, "s", "proxy", strict();
        /// Window of the rates in the admin status metrics.
        status_metrics_window_seconds: u64 = 30, "s", "proxy", strict().at_least(1);
    }
}

settings_group! {
    /// When the gateway protects itself. Each pressure threshold must be below its critical one; a swapped pair is put right with a warning.
    OverloadSettings "Overload" {
        /// How often the load is looked at.
        overload_check_interval_ms: u64 = 1000, "ms", "proxy", strict().at_least(100);
        /// Share of file descriptors at which keep-alive stops.
        overload_fd_pressure_threshold: f64 = 0.80, "ratio", "proxy", strict().clamp(0.0, 1.0);
        /// Share of file descriptors at which new connections are closed.
        overload_fd_critical_threshold: f64 = 0.95, "ratio", "proxy", strict().clamp(0.0, 1.0);
        /// Share of connections at which keep-alive stops.
        overload_conn_pressure_threshold: f64 = 0.85, "ratio", "proxy", strict().clamp(0.0, 1.0);
        /// Share of connections at which new connections are closed.
        overload_conn_critical_threshold: f64 = 0.95, "ratio", "proxy", strict().clamp(0.0, 1.0);
        /// Share of requests at which keep-alive stops.
        overload_req_pressure_threshold: f64 = 0.85, "ratio", "proxy", strict().clamp(0.0, 1.0);
        /// Share of requests at which new requests are 503.
        overload_req_critical_threshold: f64 = 0.95, "ratio", "proxy", strict().clamp(0.0, 1.0);
        /// Delay of a core's loop that is warned about.
        overload_loop_warn_us: u64 = 10_000, "µs", "proxy", strict();
        /// Delay of a core's loop at which new connections are closed.
        overload_loop_critical_us: u64 = 500_000, "µs", "proxy", strict();
    }
}

settings_group! {
    /// What the process measures about itself.
    MetricsSettings "Runtime metrics" {
        /// How often process and system are sampled.
        metrics_system_sample_interval_ms: u64 = 1000, "ms", "proxy", strict().at_least(100);
        /// Short window of `/metrics/runtime`.
        metrics_window_1m_seconds: u64 = 60, "s", "proxy", strict().at_least(1);
        /// Long window of `/metrics/runtime`.
        metrics_window_5m_seconds: u64 = 300, "s", "proxy", strict().at_least(1);
        /// Count log records by level and category.
        metrics_log_counter_enabled: bool = true, "", "proxy", strict();
        /// How long the body of `/metrics/runtime` is reused.
        metrics_runtime_cache_ms: u64 = 1000, "ms", "proxy", strict();
        /// Count opened and closed pool connections.
        metrics_pool_tracking_enabled: bool = true, "", "proxy", strict();
        /// Keep further status windows.
        metrics_status_tracking_enabled: bool = true, "", "proxy", strict();
    }
}

settings_group! {
    /// Kernel features: `auto` probes, `true` forces, `false` disables. A feature the kernel lacks is never fatal.
    KernelSettings "Kernel features and buffers" {
        /// TCP Fast Open on listeners; `auto` follows `net.ipv4.tcp_fastopen`. Backends are dialled without it.
        tcp_fastopen_enabled: Tri = Tri::Auto, "", "proxy", strict();
        /// Queue of Fast Open requests.
        tcp_fastopen_queue_len: u16 = 256, "", "proxy", strict();
        /// Kernel TLS on TCP streams, TLS 1.2 only.
        ktls_enabled: Tri = Tri::Auto, "", "proxy", strict();
        /// Splice TCP streams through io_uring.
        io_uring_splice_enabled: Tri = Tri::Auto, "", "proxy", strict();
        /// Accepted, without effect.
        udp_gro_enabled: Tri = Tri::Auto, "", "proxy", strict();
        /// Batched UDP sends.
        udp_gso_enabled: Tri = Tri::Auto, "", "proxy", strict();
        /// Answer from the address on which a datagram arrived.
        udp_pktinfo_enabled: Tri = Tri::Auto, "", "proxy", strict();
        /// `SO_BUSY_POLL` on UDP sockets; 0 = off.
        so_busy_poll_us: u32 = 0, "µs", "proxy", strict();
        /// Accepted, without effect.
        tls_offload_threads: usize = 0, "", "proxy", strict();
        /// Adapt the copy buffers of TCP streams and tunnels.
        adaptive_buffer_enabled: bool = true, "", "proxy", strict();
        /// Adapt the number of datagrams handled in one turn.
        adaptive_batch_limit_enabled: bool = true, "", "proxy", strict();
        /// Smoothing of the adaptation; 1000 is no smoothing.
        adaptive_buffer_ewma_alpha: u64 = 300, "‰", "proxy", strict().clamp(1, 999);
        /// Smallest copy buffer.
        adaptive_buffer_min_size: usize = 8192, "bytes", "proxy", strict().clamp(1024, 1_048_576);
        /// Largest copy buffer.
        adaptive_buffer_max_size: usize = 262_144, "bytes", "proxy", strict().clamp(1024, 1_048_576);
        /// Copy buffer before traffic has been seen.
        adaptive_buffer_default_size: usize = 65_536, "bytes", "proxy", strict().clamp(1024, 1_048_576);
        /// First number of datagrams handled in one turn.
        adaptive_batch_limit_default: usize = 6000, "", "proxy", strict().at_least(1);
    }
}
