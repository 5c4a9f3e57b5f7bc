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
            return Err(
                "FERRUM_MESH_WAYPOINT_NAME is required when FERRUM_MESH_TOPOLOGY=service_waypoint".to_owned()
            );
        }
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
