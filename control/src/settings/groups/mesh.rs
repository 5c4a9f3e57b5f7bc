//! Mesh, Kubernetes, injector and node agent.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::super::addresses::{EVERY_IPV4, socket};
use super::super::check::{Deferred, any, lenient, mode_start, settings_group, strict, warned};
use super::super::identity::{
    CaBackend, CaptureMode, CidrList, FallbackMode, HboneAssertors, Ip6tables, Labels, MeshProtocol, MeshTopology,
    OutboundTrafficPolicy, PortList, Quantity, SpiffeId, TrustDomain, TrustDomains,
};
use super::super::value::{Gate, OptIn};
use super::super::vocabulary::{DnsLabel, NodeAgentProxyMode, Port};

const LOCALHOST: [u8; 4] = [127, 0, 0, 1];
const EVERYWHERE: [u8; 4] = [0, 0, 0, 0];

settings_group! {
    /// The gateway's own SPIFFE identity.
    GatewayIdentitySettings "Gateway SPIFFE identity" {
        /// Leaf-first PEM SVID chain for TLS towards the mesh; a valid replacement is used for new connections. All three paths or none.
        gateway_svid_cert_path: Option<PathBuf> = None, "", "proxy", any().note("loaded at mode start");
        /// Unencrypted PKCS#8 PEM key of the SVID.
        gateway_svid_key_path: Option<PathBuf> = None, "", "proxy", any().note("loaded at mode start");
        /// PEM trust bundle for mesh peers.
        gateway_svid_trust_bundle_path: Option<PathBuf> = None, "", "proxy", any().note("loaded at mode start");
        /// Identity of a leaf that carries no SPIFFE URI.
        gateway_spiffe_id: Deferred<Option<SpiffeId>> = Deferred::Default(None), "", "proxy", mode_start();
        /// After a rotation, old backend connections are closed after this; 0 = they age out.
        mesh_svid_rotation_drain_seconds: u64 = 0, "s", "proxy", strict();
    }
}

settings_group! {
    /// Mesh proxies.
    MeshSettings "Mesh runtime" {
        /// Protocol of the mesh subscription.
        mesh_config_protocol: Deferred<MeshProtocol> = Deferred::Default(MeshProtocol::Native), "", "mesh", mode_start();
        /// xDS node cluster; the namespace by default.
        mesh_xds_node_cluster: Option<String> = None, "", "mesh", any().blank_is_unset().default_text("`FERRUM_NAMESPACE`");
        /// Time limit for connecting to the xDS server; 0 = none.
        mesh_xds_connect_timeout_seconds: Deferred<u64> = Deferred::Default(10), "s", "mesh", mode_start().blank_is_unset();
        /// Node id.
        mesh_node_id: Option<String> = None, "", "mesh", any().blank_is_unset().default_text("`HOSTNAME`, else `ferrum-mesh-node`");
        /// Which listeners the proxy has.
        mesh_topology: Deferred<MeshTopology> = Deferred::Default(MeshTopology::Sidecar), "", "mesh", mode_start().blank_is_unset();
        /// Name of the waypoint; required by `service_waypoint`.
        mesh_waypoint_name: Option<String> = None, "", "mesh", any().blank_is_unset();
        /// Inbound mTLS of a sidecar.
        mesh_inbound_listen_addr: Deferred<SocketAddr> = Deferred::Default(socket(EVERYWHERE, 15006)), "", "mesh", mode_start();
        /// Capture of outbound traffic.
        mesh_outbound_listen_addr: Deferred<SocketAddr> = Deferred::Default(socket(LOCALHOST, 15001)), "", "mesh", mode_start();
        /// HBONE termination.
        mesh_hbone_listen_addr: Deferred<SocketAddr> = Deferred::Default(socket(EVERYWHERE, 15008)), "", "mesh", mode_start();
        /// SNI passthrough port of an east-west gateway.
        mesh_east_west_listen_port: Deferred<Port> = Deferred::Default(Port(15443)), "port", "mesh", mode_start();
        /// mTLS listener of an egress gateway.
        mesh_egress_listen_addr: Deferred<SocketAddr> = Deferred::Default(socket(EVERYWHERE, 15090)), "", "mesh", mode_start();
        /// Hint about the workload's identity.
        mesh_workload_spiffe_id: Option<String> = None, "", "mesh", any().blank_is_unset();
        /// Labels that policies select workloads by.
        mesh_workload_labels: Deferred<Labels> = Deferred::Default(Labels::default()), "", "mesh", mode_start();
        /// Who issues the workload's certificate.
        mesh_ca_backend: Deferred<CaBackend> = Deferred::Default(CaBackend::None), "", "mesh", mode_start();
        /// Socket of the SPIRE agent's Workload API.
        mesh_spire_agent_socket: PathBuf = PathBuf::from("/run/spire/sockets/agent.sock"), "", "mesh", any();
        /// Life of a requested certificate.
        mesh_cert_ttl_seconds: u64 = 3600, "s", "mesh", strict();
        /// Trust domains that count as the peer's own in HBONE baggage.
        mesh_trust_domain_aliases: Deferred<TrustDomains> = Deferred::Default(TrustDomains::default()), "", "mesh", mode_start();
        /// Peers that may assert `source.principal`: service-account names or SPIFFE ids.
        mesh_trusted_hbone_assertors: Deferred<HboneAssertors> = Deferred::Default(HboneAssertors::default()), "", "mesh", mode_start();
        /// Prefixes of baggage members that are removed on egress.
        mesh_egress_strip_baggage_keys: Vec<String> = Vec::new(), "", "proxy", any();
        /// What happens to traffic for unknown destinations.
        mesh_outbound_traffic_policy: Deferred<OutboundTrafficPolicy> = Deferred::Default(OutboundTrafficPolicy::AllowAny), "", "mesh", mode_start();
        /// HTTP status of refused unknown destinations; 400-599 in mesh mode.
        mesh_outbound_registry_reject_status: u16 = 502, "", "mesh", strict();
        /// Narrow slices by Sidecar egress rules.
        mesh_sidecar_enforced: bool = false, "", "cp, mesh", strict();
        /// Only compute and report what narrowing would remove.
        mesh_sidecar_enforced_dry_run: bool = false, "", "cp, mesh", strict();
        /// Narrow workloads too.
        mesh_sidecar_identity_narrowing: bool = false, "", "cp, mesh", strict();
        /// Inbound mTLS mode and client CA follow slice updates.
        mesh_peer_auth_live_reload_enabled: bool = false, "", "mesh", strict();
        /// How often trust bundles of federated domains are polled; 0 = off.
        mesh_federation_poll_interval_seconds: u64 = 300, "s", "mesh", strict();
        /// Time limit of such a poll.
        mesh_federation_poll_timeout_seconds: u64 = 30, "s", "mesh", strict();
        /// Logged; verification does not change.
        mesh_federation_fail_open: bool = false, "", "mesh", strict();
        /// How often stale pod identities are swept; 0 = off.
        mesh_node_waypoint_cgroup_sweep_interval_secs: u64 = 30, "s", "mesh", strict();
        /// Answer DNS for mesh names.
        mesh_dns_proxy_enabled: OptIn = OptIn(false), "", "mesh", any().note("`true` or `1` = on, else off");
        /// Address of that DNS listener, UDP and TCP.
        mesh_dns_listen_addr: Deferred<SocketAddr> = Deferred::Default(socket(LOCALHOST, 15053)), "", "mesh", mode_start();
        /// Resolver of all other names.
        mesh_dns_upstream_addr: Deferred<SocketAddr> = Deferred::Default(socket([127, 0, 0, 53], 53)), "", "mesh", mode_start();
        /// TTL of mesh answers.
        mesh_dns_ttl_seconds: u32 = 60, "s", "mesh", lenient();
        /// Queries at once; more are answered with SERVFAIL.
        mesh_dns_max_concurrent_queries: usize = 1024, "", "mesh", lenient().only(|count| *count > 0, "above 0");
        /// Cached answers per slice.
        mesh_dns_response_cache_max_entries: usize = 4096, "", "mesh", lenient().only(|count| *count > 0, "above 0");
        /// DNS suffix of the cluster.
        mesh_cluster_domain: String = "cluster.local".to_owned(), "", "mesh", any().blank_is_unset();
        /// How traffic reaches the proxy.
        mesh_capture_mode: Deferred<CaptureMode> = Deferred::Default(CaptureMode::Explicit), "", "mesh, injector, node_agent", mode_start().note("not trimmed");
        /// Forbids the two development gates below.
        mesh_production_mode: Gate = Gate(false), "", "mesh", any().env_only().note("only `true` = on");
        /// Development: allow a self-signed mesh root.
        mesh_ca_bootstrap_dev: Gate = Gate(false), "", "mesh", any().env_only().note("only `true` = on");
        /// Development: allow a static identity.
        mesh_allow_static_id: Gate = Gate(false), "", "mesh", any().env_only().note("only `true` = on");
        /// Root certificate of the CA backend `internal`; accepted, without effect.
        mesh_ca_cert_path: Option<PathBuf> = None, "", "mesh", any();
        /// Root key of the CA backend `internal`; accepted, without effect.
        mesh_ca_key_path: Option<PathBuf> = None, "", "mesh", any();
        /// Socket of a Workload API; accepted, without effect.
        mesh_workload_api_socket: Option<PathBuf> = None, "", "mesh", any();
    }
}

settings_group! {
    /// The Kubernetes controller of a control plane.
    KubernetesSettings "Kubernetes controller" {
        /// Watch custom resources and merge them into the configuration.
        k8s_controller_enabled: bool = false, "", "cp", strict();
        /// Also watch Pods, Services and EndpointSlices.
        k8s_pod_discovery_enabled: bool = false, "", "cp", strict();
        /// Also watch Nodes, for locality.
        k8s_node_locality_enabled: bool = false, "", "cp", strict();
        /// Namespaces that are watched; empty = all.
        k8s_watch_namespaces: Vec<String> = Vec::new(), "", "cp", any();
        /// Kubeconfig; unset = in-cluster, then the default one.
        k8s_kubeconfig_path: Option<PathBuf> = None, "", "cp", any();
        /// Events within this time are handled together.
        k8s_reconcile_debounce_ms: u64 = 500, "ms", "cp", strict();
        /// How often everything is listed again.
        k8s_full_sync_interval_secs: u64 = 300, "s", "cp", strict();
        /// Watch the Istio groups.
        k8s_watch_istio_crds: bool = true, "", "cp", strict();
        /// Watch the mesh ConfigMap `istio`; only with the Istio groups.
        k8s_watch_mesh_config: bool = true, "", "cp", strict();
        /// Watch the Gateway API group and write its status.
        k8s_watch_gateway_api_crds: bool = true, "", "cp", strict();
        /// Trust domain of derived SPIFFE ids.
        k8s_trust_domain: String = "cluster.local".to_owned(), "", "cp", any();
        /// DNS suffix for matching hosts.
        k8s_cluster_domain: String = "cluster.local".to_owned(), "", "cp", any();
        /// Namespace of mesh-wide resources.
        k8s_istio_root_namespace: DnsLabel = DnsLabel::known("istio-system"), "", "cp", strict();
    }
}

settings_group! {
    /// The sidecar injector, and which traffic is captured.
    InjectorSettings "Injector and capture planning" {
        /// Address of the webhook.
        injector_listen_addr: Deferred<SocketAddr> = Deferred::Default(SocketAddr::new(EVERY_IPV4, 9443)), "", "injector", mode_start();
        /// Body limit of an admission review.
        injector_admission_review_max_body_size_mib: Deferred<usize> = Deferred::Default(4), "MiB", "injector", mode_start().blank_is_unset().note("1-64");
        /// Image of both injected containers.
        injector_sidecar_image: String = "ferrum-edge:latest".to_owned(), "", "injector", any();
        /// Inject only pods that ask for it; exactly `false` = all but those that refuse.
        injector_require_annotation: bool = true, "", "injector", lenient();
        /// Trust domain of injected SPIFFE ids.
        injector_trust_domain: Deferred<TrustDomain> = Deferred::Default(TrustDomain::known("cluster.local")), "", "injector", mode_start().blank_is_unset();
        /// Name of the Secret with the sidecar's control plane secret; both or neither.
        injector_jwt_secret_ref_name: Option<String> = None, "", "injector", any().note("pair checked at mode start");
        /// Key in that Secret.
        injector_jwt_secret_ref_key: Option<String> = None, "", "injector", any().note("pair checked at mode start");
        /// PEM chain of the webhook; both or neither.
        injector_tls_cert_path: Option<PathBuf> = None, "", "injector", any().note("pair checked at mode start");
        /// PEM private key of the webhook.
        injector_tls_key_path: Option<PathBuf> = None, "", "injector", any().note("pair checked at mode start");
        /// CPU request of the sidecar.
        injector_sidecar_cpu_request: Deferred<Quantity> = Deferred::Default(Quantity::known("25m")), "", "injector", mode_start().blank_is_unset();
        /// Memory request of the sidecar.
        injector_sidecar_memory_request: Deferred<Quantity> = Deferred::Default(Quantity::known("64Mi")), "", "injector", mode_start().blank_is_unset();
        /// CPU limit of the sidecar.
        injector_sidecar_cpu_limit: Deferred<Quantity> = Deferred::Default(Quantity::known("250m")), "", "injector", mode_start().blank_is_unset();
        /// Memory limit of the sidecar.
        injector_sidecar_memory_limit: Deferred<Quantity> = Deferred::Default(Quantity::known("256Mi")), "", "injector", mode_start().blank_is_unset();
        /// CPU request of the init container.
        injector_init_cpu_request: Deferred<Quantity> = Deferred::Default(Quantity::known("10m")), "", "injector", mode_start().blank_is_unset();
        /// Memory request of the init container.
        injector_init_memory_request: Deferred<Quantity> = Deferred::Default(Quantity::known("32Mi")), "", "injector", mode_start().blank_is_unset();
        /// CPU limit of the init container.
        injector_init_cpu_limit: Deferred<Quantity> = Deferred::Default(Quantity::known("100m")), "", "injector", mode_start().blank_is_unset();
        /// Memory limit of the init container.
        injector_init_memory_limit: Deferred<Quantity> = Deferred::Default(Quantity::known("128Mi")), "", "injector", mode_start().blank_is_unset();
        /// User id of the proxy, whose own traffic is not captured; the injector refuses 0.
        mesh_proxy_uid: Deferred<u32> = Deferred::Default(1337), "", "injector, node_agent", mode_start().blank_is_unset();
        /// Outbound ports that are not captured.
        mesh_exclude_outbound_ports: Deferred<PortList> = Deferred::Default(PortList::default()), "", "injector", mode_start();
        /// Outbound networks that are captured; the prefix length is mandatory.
        mesh_capture_include_cidrs: Deferred<CidrList> = Deferred::Default(CidrList(vec![(EVERY_IPV4, 0)])), "", "injector, node_agent", mode_start();
        /// Outbound networks that are never captured.
        mesh_capture_exclude_cidrs: Deferred<CidrList> = Deferred::Default(CidrList::default()), "", "injector, node_agent", mode_start();
        /// Outbound ports that the node agent does not capture; the HBONE redirect port is always added.
        mesh_capture_exclude_ports: Deferred<PortList> = Deferred::Default(PortList(vec![15001, 15006, 15008, 15020])), "", "node_agent", mode_start();
        /// Inbound ports that are not captured.
        mesh_capture_exclude_inbound_ports: Deferred<PortList> = Deferred::Default(PortList::default()), "", "injector, node_agent", mode_start();
        /// IPv6 capture rules: probe, demand or never.
        mesh_ip6tables_enabled: Deferred<Ip6tables> = Deferred::Default(Ip6tables::Auto), "", "injector, node_agent", mode_start().note("not trimmed");
    }
}

/// The ring buffer's size is a power of two of pages, as the kernel demands.
fn is_ring_buffer(bytes: &u32) -> bool {
    bytes.is_power_of_two() && (4096..=268_435_456).contains(bytes)
}

settings_group! {
    /// The node agent.
    NodeAgentSettings "Node agent" {
        /// Name of the Kubernetes node; required.
        node_agent_node_name: Option<String> = None, "", "node_agent", any().blank_is_unset().default_text("none, required");
        /// Mount of cgroup v2.
        node_agent_cgroup_root: PathBuf = PathBuf::from("/sys/fs/cgroup"), "", "node_agent", any();
        /// Mount of bpffs.
        node_agent_bpf_fs_path: PathBuf = PathBuf::from("/sys/fs/bpf"), "", "node_agent", any();
        /// The eBPF object to load.
        node_agent_bpf_elf_path: Option<PathBuf> = None, "", "node_agent", any().default_text("beside the build").note("loaded at mode start");
        /// Event ring buffer.
        bpf_sock_ops_ringbuf_bytes: u32 = 4_194_304, "bytes", "node_agent", warned().only(is_ring_buffer, "a power of two from 4096 to 268435456");
        /// The capture contract.
        node_agent_proxy_mode: NodeAgentProxyMode = NodeAgentProxyMode::LocalPod, "", "node_agent", strict();
        /// Open the read-only admin API.
        node_agent_admin_enabled: bool = false, "", "node_agent", strict();
        /// HBONE port of the capture contract; not 0 and not the outbound capture port.
        node_agent_hbone_redirect_port: u16 = 15008, "port", "node_agent", strict();
        /// What happens on a host without eBPF.
        node_agent_fallback_mode: Deferred<FallbackMode> = Deferred::Default(FallbackMode::Iptables), "", "node_agent", mode_start().note("not trimmed");
        /// Namespaces that are left alone besides the three of Kubernetes itself.
        node_agent_excluded_namespaces: Vec<String> = Vec::new(), "", "node_agent", any();
    }
}
