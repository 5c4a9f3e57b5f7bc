//! What a mode checks when it starts: the settings marked `M`, which other modes never look at.

use super::rules::SECRET_BYTES_MIN;
use super::value::expected;
use super::vocabulary::Mode;
use super::{MeshTopology, Settings};

/// Port of the outbound capture; the HBONE redirect port must be another one.
const OUTBOUND_CAPTURE_PORT: u16 = 15001;

/// Why a mode cannot start with these settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ModeStartError {
    /// The text after `Fatal error: `.
    pub reason: String,
    /// What is behind a reason that does not name the setting.
    pub cause: Option<String>,
}

impl From<String> for ModeStartError {
    fn from(reason: String) -> Self {
        Self { reason, cause: None }
    }
}

impl Settings {
    /// Reads everything that the mode needs. After this, `resolve` of those settings cannot fail.
    pub fn check_mode_start(&self) -> Result<(), ModeStartError> {
        match self.core.mode {
            Mode::Database | Mode::File => self.proxy_starts()?,
            Mode::DataPlane => {
                self.has_data_plane_secret()?;
                self.proxy_starts()?;
            }
            Mode::ControlPlane => {
                self.admin.admin_allowed_cidrs.resolve()?;
                self.tls_words()?;
                self.cp_grpc_listener()?;
            }
            Mode::Mesh => {
                self.proxy_starts()?;
                self.mesh_starts().map_err(|cause| ModeStartError {
                    reason: "invalid mesh runtime configuration".to_owned(),
                    cause: Some(cause),
                })?;
            }
            Mode::Injector => self.injector_starts().map_err(|why| format!("invalid injector configuration: {why}"))?,
            Mode::NodeAgent => self.node_agent_starts()?,
            Mode::Migrate => {}
        }
        Ok(())
    }

    fn tls_words(&self) -> Result<(), String> {
        self.tls.tls_cipher_suites.resolve()?;
        self.tls.tls_curves.resolve()?;
        Ok(())
    }

    fn proxy_starts(&self) -> Result<(), String> {
        self.tls_words()?;
        self.admin.admin_allowed_cidrs.resolve()?;
        let identity = &self.gateway_identity;
        let paths = [
            identity.gateway_svid_cert_path.is_some(),
            identity.gateway_svid_key_path.is_some(),
            identity.gateway_svid_trust_bundle_path.is_some(),
        ];
        if paths.contains(&true) && paths.contains(&false) {
            return Err("FERRUM_GATEWAY_SVID_CERT_PATH, FERRUM_GATEWAY_SVID_KEY_PATH and \
                        FERRUM_GATEWAY_SVID_TRUST_BUNDLE_PATH must all be set or all be unset"
                .to_owned());
        }
        identity.gateway_spiffe_id.resolve().map(drop)
    }

    fn has_data_plane_secret(&self) -> Result<(), String> {
        const CONTEXT: &str = "Failed to create JWT manager: FERRUM_ADMIN_JWT_SECRET";
        match self.admin.admin_jwt_secret.as_ref().map(|secret| secret.expose().len()) {
            None | Some(0) => Err(format!("{CONTEXT} must be set and non-empty")),
            Some(bytes) if bytes < SECRET_BYTES_MIN => {
                Err(format!("{CONTEXT} must be at least {SECRET_BYTES_MIN} characters (got {bytes})"))
            }
            Some(_) => Ok(()),
        }
    }

    fn mesh_starts(&self) -> Result<(), String> {
        let mesh = &self.mesh;
        let topology = mesh.mesh_topology.resolve()?;
        if topology == MeshTopology::ServiceWaypoint && mesh.mesh_waypoint_name.is_none() {
            return Err("FERRUM_MESH_WAYPOINT_NAME is required when FERRUM_MESH_TOPOLOGY=service_waypoint".to_owned());
        }
        if topology == MeshTopology::EgressGateway {
            self.egress_gateway_starts()?;
        }
        self.development_gates_are_shut()?;
        mesh.mesh_xds_connect_timeout_seconds.resolve()?;
        let addresses = [
            &mesh.mesh_inbound_listen_addr,
            &mesh.mesh_outbound_listen_addr,
            &mesh.mesh_hbone_listen_addr,
            &mesh.mesh_egress_listen_addr,
            &mesh.mesh_dns_listen_addr,
            &mesh.mesh_dns_upstream_addr,
        ];
        for address in addresses {
            address.resolve()?;
        }
        mesh.mesh_east_west_listen_port.resolve()?;
        mesh.mesh_workload_labels.resolve()?;
        mesh.mesh_trust_domain_aliases.resolve()?;
        mesh.mesh_trusted_hbone_assertors.resolve()?;
        mesh.mesh_outbound_traffic_policy.resolve()?;
        mesh.mesh_capture_mode.resolve()?;
        let status = mesh.mesh_outbound_registry_reject_status;
        if !(400..=599).contains(&status) {
            let key = "FERRUM_MESH_OUTBOUND_REGISTRY_REJECT_STATUS";
            return Err(expected(key, &status.to_string(), "an HTTP status from 400 to 599"));
        }
        Ok(())
    }

    /// An egress gateway is the mesh's border: it always proves itself and always asks for proof.
    fn egress_gateway_starts(&self) -> Result<(), String> {
        let listeners = &self.listeners;
        let needs = [
            ("FERRUM_FRONTEND_TLS_CERT_PATH", listeners.frontend_tls_cert_path.is_some()),
            ("FERRUM_FRONTEND_TLS_KEY_PATH", listeners.frontend_tls_key_path.is_some()),
            ("FERRUM_FRONTEND_TLS_CLIENT_CA_BUNDLE_PATH", listeners.frontend_tls_client_ca_bundle_path.is_some()),
        ];
        if let Some((key, _)) = needs.iter().find(|(_, is_set)| !is_set) {
            return Err(format!("{key} is required when FERRUM_MESH_TOPOLOGY=egress_gateway"));
        }
        if self.tls.tls_no_verify {
            return Err("FERRUM_TLS_NO_VERIFY=true is not allowed when FERRUM_MESH_TOPOLOGY=egress_gateway".to_owned());
        }
        Ok(())
    }

    fn development_gates_are_shut(&self) -> Result<(), String> {
        let mesh = &self.mesh;
        let gates = [
            ("FERRUM_MESH_CA_BOOTSTRAP_DEV", mesh.mesh_ca_bootstrap_dev),
            ("FERRUM_MESH_ALLOW_STATIC_ID", mesh.mesh_allow_static_id),
        ];
        match gates.iter().find(|(_, gate)| gate.0 && mesh.mesh_production_mode.0) {
            Some((key, _)) => Err(format!("{key}=true is not allowed when FERRUM_MESH_PRODUCTION_MODE=true")),
            None => Ok(()),
        }
    }

    fn injector_starts(&self) -> Result<(), String> {
        let injector = &self.injector;
        injector.injector_listen_addr.resolve()?;
        let body_mib = injector.injector_admission_review_max_body_size_mib.resolve()?;
        if !(1..=64).contains(&body_mib) {
            let key = "FERRUM_INJECTOR_ADMISSION_REVIEW_MAX_BODY_SIZE_MIB";
            return Err(expected(key, &body_mib.to_string(), "a size from 1 to 64"));
        }
        injector.injector_trust_domain.resolve()?;
        pair(
            ("FERRUM_INJECTOR_JWT_SECRET_REF_NAME", injector.injector_jwt_secret_ref_name.is_some()),
            ("FERRUM_INJECTOR_JWT_SECRET_REF_KEY", injector.injector_jwt_secret_ref_key.is_some()),
        )?;
        pair(
            ("FERRUM_INJECTOR_TLS_CERT_PATH", injector.injector_tls_cert_path.is_some()),
            ("FERRUM_INJECTOR_TLS_KEY_PATH", injector.injector_tls_key_path.is_some()),
        )?;
        let quantities = [
            &injector.injector_sidecar_cpu_request,
            &injector.injector_sidecar_memory_request,
            &injector.injector_sidecar_cpu_limit,
            &injector.injector_sidecar_memory_limit,
            &injector.injector_init_cpu_request,
            &injector.injector_init_memory_request,
            &injector.injector_init_cpu_limit,
            &injector.injector_init_memory_limit,
        ];
        for quantity in quantities {
            quantity.resolve()?;
        }
        self.capture_starts()?;
        if injector.mesh_proxy_uid.resolve()? == 0 {
            return Err("Invalid FERRUM_MESH_PROXY_UID value '0'. Expected a user id above 0: the proxy does not run \
                        as root"
                .to_owned());
        }
        injector.mesh_exclude_outbound_ports.resolve()?;
        self.tls_words()
    }

    /// What the injector and the node agent plan captures with.
    fn capture_starts(&self) -> Result<(), String> {
        let injector = &self.injector;
        self.mesh.mesh_capture_mode.resolve()?;
        injector.mesh_proxy_uid.resolve()?;
        injector.mesh_capture_include_cidrs.resolve()?;
        injector.mesh_capture_exclude_cidrs.resolve()?;
        injector.mesh_capture_exclude_inbound_ports.resolve()?;
        injector.mesh_ip6tables_enabled.resolve()?;
        Ok(())
    }

    fn node_agent_starts(&self) -> Result<(), String> {
        let agent = &self.node_agent;
        if agent.node_agent_node_name.is_none() {
            return Err("FERRUM_NODE_AGENT_NODE_NAME is required in node_agent mode".to_owned());
        }
        let port = agent.node_agent_hbone_redirect_port;
        if port == 0 || port == OUTBOUND_CAPTURE_PORT {
            return Err(format!(
                "Invalid FERRUM_NODE_AGENT_HBONE_REDIRECT_PORT value '{port}'. Expected a port from 1 to 65535 other \
                 than the outbound capture port {OUTBOUND_CAPTURE_PORT}"
            ));
        }
        agent.node_agent_fallback_mode.resolve()?;
        self.injector.mesh_capture_exclude_ports.resolve()?;
        self.capture_starts()?;
        self.admin.admin_allowed_cidrs.resolve().map(drop)
    }
}

fn pair(first: (&str, bool), second: (&str, bool)) -> Result<(), String> {
    if first.1 == second.1 {
        return Ok(());
    }
    Err(format!("{} and {} must both be set or both be unset", first.0, second.0))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{SECRET, load, parse_file_mode};

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    const MESH: Pairs<'_> =
        &[("FERRUM_MODE", "mesh"), ("FERRUM_CP_DP_GRPC_JWT_SECRET", SECRET), ("FERRUM_DP_CP_GRPC_URLS", "http://cp:1")];
    const INJECTOR: Pairs<'_> = &[("FERRUM_MODE", "injector")];
    const NODE_AGENT: Pairs<'_> = &[("FERRUM_MODE", "node_agent"), ("FERRUM_NODE_AGENT_NODE_NAME", "n1")];
    const FILE: Pairs<'_> = &[("FERRUM_MODE", "file"), ("FERRUM_FILE_CONFIG_PATH", "s.yaml")];

    /// The start-up error of a mode with one more setting; the cause where the reason does not name it.
    fn refused(base: Pairs<'_>, key: &str, value: &str) -> Option<String> {
        let (settings, _) = load(&[base, &[(key, value)]].concat()).unwrap();
        settings.check_mode_start().err().map(|error| error.cause.unwrap_or(error.reason))
    }

    fn accepts(base: Pairs<'_>, key: &str, values: &[&str]) {
        for value in values {
            assert_eq!(refused(base, key, value), None, "{key}={value}");
        }
    }

    fn refuses(base: Pairs<'_>, key: &str, values: &[&str], words: &str) {
        for value in values {
            let text = refused(base, key, value).unwrap_or_else(|| panic!("{key}={value} was accepted"));
            assert!(text.contains(words), "{key}={value}: {text}");
            // Other modes do not look.
            assert!(parse_file_mode(&[(key, value)]).core.mode.is_proxy());
        }
    }

    #[test]
    fn a_default_configuration_of_every_mode_starts() {
        for base in [MESH, INJECTOR, NODE_AGENT, FILE] {
            assert_eq!(load(base).unwrap().0.check_mode_start(), Ok(()));
        }
    }

    #[test]
    fn ciphers_and_curves_are_known_words() {
        accepts(FILE, "FERRUM_TLS_CIPHER_SUITES", &["TLS_AES_128_GCM_SHA256, ECDHE-RSA-AES256-GCM-SHA384"]);
        refuses(
            FILE,
            "FERRUM_TLS_CIPHER_SUITES",
            &["tls_aes_128_gcm_sha256"],
            "Unknown cipher suite 'tls_aes_128_gcm_sha256'. ",
        );
        refuses(FILE, "FERRUM_TLS_CIPHER_SUITES", &["", " , "], "No cipher suites specified");
        accepts(FILE, "FERRUM_TLS_CURVES", &["x25519", "P-256,p384", "SECP256R1,secp384r1,P256,P-384"]);
        refuses(FILE, "FERRUM_TLS_CURVES", &["x448"], "Unknown curve/group 'x448'. ");
        refuses(FILE, "FERRUM_TLS_CURVES", &[""], "No curves/groups specified");
    }

    #[test]
    fn the_admin_allow_list_has_no_bad_entry() {
        accepts(FILE, "FERRUM_ADMIN_ALLOWED_CIDRS", &["", "10.0.0.0/8, ::1"]);
        let text = refused(FILE, "FERRUM_ADMIN_ALLOWED_CIDRS", "10.0.0.0/8, x, 1.2.3.4/40").unwrap();
        assert!(text.starts_with("FERRUM_ADMIN_ALLOWED_CIDRS: Invalid CIDR/IP entries: x, 1.2.3.4/40. "), "{text}");
    }

    #[test]
    fn a_gateway_identity_is_whole_or_absent() {
        let text = refused(FILE, "FERRUM_GATEWAY_SVID_CERT_PATH", "c.pem").unwrap();
        for key in
            ["FERRUM_GATEWAY_SVID_CERT_PATH", "FERRUM_GATEWAY_SVID_KEY_PATH", "FERRUM_GATEWAY_SVID_TRUST_BUNDLE_PATH"]
        {
            assert!(text.contains(key), "{text}");
        }
        accepts(FILE, "FERRUM_GATEWAY_SPIFFE_ID", &["spiffe://td/x"]);
        refuses(FILE, "FERRUM_GATEWAY_SPIFFE_ID", &["td/x"], "FERRUM_GATEWAY_SPIFFE_ID");
    }

    #[test]
    fn a_data_plane_needs_an_admin_secret() {
        let dp = [MESH, &[("FERRUM_MODE", "dp")]].concat();
        let (settings, _) = load(&dp).unwrap();
        assert_eq!(
            settings.check_mode_start().unwrap_err().reason,
            "Failed to create JWT manager: FERRUM_ADMIN_JWT_SECRET must be set and non-empty"
        );
        assert!(
            refused(&dp, "FERRUM_ADMIN_JWT_SECRET", &SECRET[..31]).unwrap().contains("at least 32 characters (got 31)")
        );
        assert_eq!(refused(&dp, "FERRUM_ADMIN_JWT_SECRET", SECRET), None);
    }

    #[test]
    fn a_mesh_error_keeps_its_cause_behind_the_outermost_reason() {
        let (settings, _) = load(&[MESH, &[("FERRUM_MESH_TOPOLOGY", "star")]].concat()).unwrap();
        let error = settings.check_mode_start().unwrap_err();
        assert_eq!(error.reason, "invalid mesh runtime configuration");
        assert!(error.cause.unwrap().starts_with("Invalid FERRUM_MESH_TOPOLOGY 'star'"));
    }

    #[test]
    fn mesh_settings_are_read_in_mesh_mode() {
        for key in [
            "FERRUM_MESH_INBOUND_LISTEN_ADDR",
            "FERRUM_MESH_OUTBOUND_LISTEN_ADDR",
            "FERRUM_MESH_HBONE_LISTEN_ADDR",
            "FERRUM_MESH_EGRESS_LISTEN_ADDR",
            "FERRUM_MESH_DNS_LISTEN_ADDR",
            "FERRUM_MESH_DNS_UPSTREAM_ADDR",
        ] {
            accepts(MESH, key, &["127.0.0.1:1", "[::1]:2"]);
            let text = refused(MESH, key, "localhost:1").unwrap();
            assert!(text.starts_with(&format!("{key} must be a socket address (got 'localhost:1'): ")), "{text}");
            refuses(MESH, key, &["", "127.0.0.1"], "must be a socket address");
        }
        accepts(MESH, "FERRUM_MESH_EAST_WEST_LISTEN_PORT", &["1", "65535"]);
        refuses(MESH, "FERRUM_MESH_EAST_WEST_LISTEN_PORT", &["0", "65536", "x"], "a port from 1 to 65535");
        accepts(MESH, "FERRUM_MESH_XDS_CONNECT_TIMEOUT_SECONDS", &["0", " "]);
        refuses(MESH, "FERRUM_MESH_XDS_CONNECT_TIMEOUT_SECONDS", &["x"], "a valid u64 integer");
        accepts(MESH, "FERRUM_MESH_OUTBOUND_REGISTRY_REJECT_STATUS", &["400", "599"]);
        refuses(MESH, "FERRUM_MESH_OUTBOUND_REGISTRY_REJECT_STATUS", &["399", "600"], "from 400 to 599");
        refuses(MESH, "FERRUM_MESH_WORKLOAD_LABELS", &["a=1,a=2"], "duplicate key");
        refuses(MESH, "FERRUM_MESH_TRUST_DOMAIN_ALIASES", &["A"], "FERRUM_MESH_TRUST_DOMAIN_ALIASES: ");
        refuses(MESH, "FERRUM_MESH_TRUSTED_HBONE_ASSERTORS", &["http://x"], "FERRUM_MESH_TRUSTED_HBONE_ASSERTORS");
        refuses(MESH, "FERRUM_MESH_OUTBOUND_TRAFFIC_POLICY", &["deny"], "FERRUM_MESH_OUTBOUND_TRAFFIC_POLICY");
        refuses(MESH, "FERRUM_MESH_CAPTURE_MODE", &["magic"], "Invalid FERRUM_MESH_CAPTURE_MODE");
        let text = refused(MESH, "FERRUM_MESH_TOPOLOGY", "service-waypoint").unwrap();
        assert!(text.contains("FERRUM_MESH_WAYPOINT_NAME") && text.contains("FERRUM_MESH_TOPOLOGY"));
        let named = [MESH, &[("FERRUM_MESH_WAYPOINT_NAME", "w")]].concat();
        assert_eq!(refused(&named, "FERRUM_MESH_TOPOLOGY", "service_waypoint"), None);
    }

    #[test]
    fn an_egress_gateway_needs_its_whole_tls_and_verifies() {
        let mut pairs = [MESH, &[("FERRUM_MESH_TOPOLOGY", "egress-gateway")]].concat();
        for key in [
            "FERRUM_FRONTEND_TLS_CERT_PATH",
            "FERRUM_FRONTEND_TLS_KEY_PATH",
            "FERRUM_FRONTEND_TLS_CLIENT_CA_BUNDLE_PATH",
        ] {
            let cause = load(&pairs).unwrap().0.check_mode_start().unwrap_err().cause.unwrap();
            assert_eq!(cause, format!("{key} is required when FERRUM_MESH_TOPOLOGY=egress_gateway"));
            pairs.push((key, "x.pem"));
        }
        assert_eq!(refused(&pairs, "FERRUM_TLS_NO_VERIFY", "false"), None);
        assert!(refused(&pairs, "FERRUM_TLS_NO_VERIFY", "true").unwrap().contains("FERRUM_TLS_NO_VERIFY=true"));
    }

    #[test]
    fn production_mode_shuts_the_development_gates() {
        let production = [MESH, &[("FERRUM_MESH_PRODUCTION_MODE", "true")]].concat();
        for gate in ["FERRUM_MESH_CA_BOOTSTRAP_DEV", "FERRUM_MESH_ALLOW_STATIC_ID"] {
            assert!(refused(&production, gate, "true").unwrap().starts_with(gate));
            assert_eq!(refused(&production, gate, "1"), None);
            assert_eq!(refused(MESH, gate, "true"), None);
        }
    }

    #[test]
    fn injector_settings_are_read_in_injector_mode() {
        let body = "FERRUM_INJECTOR_ADMISSION_REVIEW_MAX_BODY_SIZE_MIB";
        accepts(INJECTOR, body, &["1", "64", ""]);
        refuses(INJECTOR, body, &["0", "65"], "a size from 1 to 64");
        refuses(INJECTOR, body, &["x"], "a valid usize integer");
        refuses(INJECTOR, "FERRUM_INJECTOR_LISTEN_ADDR", &["9443"], "must be a socket address");
        accepts(INJECTOR, "FERRUM_INJECTOR_TRUST_DOMAIN", &[" ", "td"]);
        refuses(INJECTOR, "FERRUM_INJECTOR_TRUST_DOMAIN", &["T D"], "FERRUM_INJECTOR_TRUST_DOMAIN");
        for (one, other) in [("JWT_SECRET_REF_NAME", "JWT_SECRET_REF_KEY"), ("TLS_CERT_PATH", "TLS_KEY_PATH")] {
            for alone in [one, other] {
                let text = refused(INJECTOR, &format!("FERRUM_INJECTOR_{alone}"), "x").unwrap();
                assert!(text.starts_with("invalid injector configuration: "), "{text}");
                assert!(text.contains(one) && text.contains(other), "{text}");
            }
        }
        for container in ["SIDECAR", "INIT"] {
            for resource in ["CPU_REQUEST", "MEMORY_REQUEST", "CPU_LIMIT", "MEMORY_LIMIT"] {
                let key = format!("FERRUM_INJECTOR_{container}_{resource}");
                accepts(INJECTOR, &key, &["1", ""]);
                refuses(INJECTOR, &key, &["lots"], &key);
            }
        }
        accepts(INJECTOR, "FERRUM_MESH_PROXY_UID", &["1", "", "4294967295"]);
        refuses(INJECTOR, "FERRUM_MESH_PROXY_UID", &["0", "root", "4294967296"], "FERRUM_MESH_PROXY_UID");
        refuses(INJECTOR, "FERRUM_MESH_EXCLUDE_OUTBOUND_PORTS", &["0", "x"], "is not a port");
    }

    #[test]
    fn capture_settings_are_read_by_injector_and_node_agent() {
        for base in [INJECTOR, NODE_AGENT] {
            refuses(base, "FERRUM_MESH_CAPTURE_INCLUDE_CIDRS", &["10.0.0.1"], "is not a CIDR");
            refuses(base, "FERRUM_MESH_CAPTURE_EXCLUDE_CIDRS", &["10.0.0.0/33"], "is not a CIDR");
            refuses(base, "FERRUM_MESH_CAPTURE_EXCLUDE_INBOUND_PORTS", &["65536"], "is not a port");
            refuses(base, "FERRUM_MESH_IP6TABLES_ENABLED", &["maybe"], "FERRUM_MESH_IP6TABLES_ENABLED");
        }
        accepts(NODE_AGENT, "FERRUM_MESH_PROXY_UID", &["0"]);
        refuses(NODE_AGENT, "FERRUM_MESH_CAPTURE_EXCLUDE_PORTS", &["0"], "is not a port");
    }

    #[test]
    fn node_agent_settings_are_read_in_node_agent_mode() {
        for missing in ["", " "] {
            let text = refused(NODE_AGENT, "FERRUM_NODE_AGENT_NODE_NAME", missing).unwrap();
            assert!(text.contains("FERRUM_NODE_AGENT_NODE_NAME") && text.contains("node_agent mode"), "{text}");
        }
        accepts(NODE_AGENT, "FERRUM_NODE_AGENT_HBONE_REDIRECT_PORT", &["1", "15000", "15002", "65535"]);
        refuses(
            NODE_AGENT,
            "FERRUM_NODE_AGENT_HBONE_REDIRECT_PORT",
            &["0", "15001"],
            "FERRUM_NODE_AGENT_HBONE_REDIRECT_PORT",
        );
        refuses(NODE_AGENT, "FERRUM_NODE_AGENT_FALLBACK_MODE", &["none", " fail"], "FERRUM_NODE_AGENT_FALLBACK_MODE");
    }
}
