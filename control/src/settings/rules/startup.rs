//! What is worth saying when the gateway starts, and which ports it keeps for itself.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::super::Settings;
use super::super::vocabulary::Mode;

/// Port of the control plane's gRPC listener when no address is set.
const CP_GRPC_PORT: u16 = 50051;

impl Settings {
    /// Combinations that work, but that an operator may not have meant. Not errors; `validate` does not print them.
    pub fn startup_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        self.warn_about_listeners(&mut warnings);
        self.warn_about_trust(&mut warnings);
        let kubernetes = &self.kubernetes;
        if self.core.mode == Mode::ControlPlane {
            if kubernetes.k8s_pod_discovery_enabled && !kubernetes.k8s_controller_enabled {
                warnings.push(
                    "FERRUM_K8S_POD_DISCOVERY_ENABLED has no effect without FERRUM_K8S_CONTROLLER_ENABLED=true".into(),
                );
            }
            if kubernetes.k8s_node_locality_enabled && !kubernetes.k8s_pod_discovery_enabled {
                warnings.push(
                    "FERRUM_K8S_NODE_LOCALITY_ENABLED has no effect without FERRUM_K8S_POD_DISCOVERY_ENABLED=true"
                        .into(),
                );
            }
        }
        warnings
    }

    fn warn_about_listeners(&self, warnings: &mut Vec<String>) {
        let mode = self.core.mode;
        let listeners = &self.listeners;
        let has_proxy_ports = matches!(mode, Mode::Database | Mode::File | Mode::DataPlane);
        let has_tls = listeners.frontend_tls_cert_path.is_some() && listeners.frontend_tls_key_path.is_some();
        if has_proxy_ports && listeners.proxy_http_port == 0 && !has_tls {
            warnings.push(
                "No HTTP or HTTPS proxy listeners are active: FERRUM_PROXY_HTTP_PORT=0 and no frontend TLS \
                 certificate and key are set"
                    .into(),
            );
        }
        let has_admin_https = self.admin.admin_tls_cert_path.is_some() && self.admin.admin_tls_key_path.is_some();
        if (has_proxy_ports || mode == Mode::ControlPlane) && self.admin.admin_http_port == 0 && !has_admin_https {
            warnings.push(
                "No admin listeners are active: FERRUM_ADMIN_HTTP_PORT=0 and no admin TLS certificate and key are set"
                    .into(),
            );
        }
        let has_admin = has_proxy_ports
            || matches!(mode, Mode::ControlPlane | Mode::Mesh)
            || (mode == Mode::NodeAgent && self.node_agent.node_agent_admin_enabled);
        let is_open = self.admin.admin_allowed_cidrs.resolve().is_ok_and(|allowed| allowed.0.is_empty());
        if has_admin && is_open && may_be_public(self.admin.admin_bind_address) {
            warnings.push(format!(
                "The admin API binds {}, which may be publicly reachable, and FERRUM_ADMIN_ALLOWED_CIDRS is empty; \
                 set it, or set FERRUM_ADMIN_BIND_ADDRESS to an internal address",
                self.admin.admin_bind_address
            ));
        }
    }

    fn warn_about_trust(&self, warnings: &mut Vec<String>) {
        let control_plane = &self.control_plane;
        if self.tls.tls_no_verify {
            warnings.push("FERRUM_TLS_NO_VERIFY=true: no outbound TLS peer is verified, and clients are not asked for certificates".into());
        }
        if self.admin.admin_tls_no_verify {
            warnings.push("FERRUM_ADMIN_TLS_NO_VERIFY=true: admin clients are not asked for certificates".into());
        }
        if control_plane.dp_grpc_tls_no_verify && matches!(self.core.mode, Mode::DataPlane | Mode::Mesh) {
            warnings.push("FERRUM_DP_GRPC_TLS_NO_VERIFY=true: the control plane's certificate is not verified".into());
        }
        let grpc_has_tls =
            control_plane.cp_grpc_tls_cert_path.is_some() && control_plane.cp_grpc_tls_key_path.is_some();
        let wants_clients = control_plane.cp_grpc_tls_client_ca_path.is_some();
        if self.core.mode == Mode::ControlPlane && wants_clients && !grpc_has_tls {
            warnings.push(
                "FERRUM_CP_GRPC_TLS_CLIENT_CA_PATH is ignored: FERRUM_CP_GRPC_TLS_CERT_PATH and \
                 FERRUM_CP_GRPC_TLS_KEY_PATH are not both set"
                    .into(),
            );
        }
    }

    /// Where the control plane's gRPC listens; `None` when there is none.
    pub fn cp_grpc_listener(&self) -> Result<Option<SocketAddr>, String> {
        let address = match &self.control_plane.cp_grpc_listen_addr {
            Some(given) => given.resolve()?,
            None if self.core.mode == Mode::ControlPlane => {
                SocketAddr::new(self.admin.admin_bind_address, CP_GRPC_PORT)
            }
            None => return Ok(None),
        };
        Ok(Some(address).filter(|address| address.port() != 0))
    }

    /// Ports that a stream proxy may not listen on, whether or not their TLS is configured.
    pub fn reserved_ports(&self) -> Vec<u16> {
        let grpc_port = self.cp_grpc_listener().ok().flatten().map_or(0, |address| address.port());
        let ports = [
            self.listeners.proxy_http_port,
            self.listeners.proxy_https_port,
            self.admin.admin_http_port,
            self.admin.admin_https_port,
            grpc_port,
        ];
        ports.into_iter().filter(|port| *port != 0).collect()
    }
}

/// Everything but loopback, private, link-local, shared (RFC 6598) and unique local addresses. The unspecified address
/// covers whatever the host has.
fn may_be_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            let is_shared = first == 100 && (64..128).contains(&second);
            !(v4.is_loopback() || v4.is_private() || v4.is_link_local() || is_shared)
        }
        IpAddr::V6(v6) => !(v6 == Ipv6Addr::LOCALHOST || v6.is_unicast_link_local() || v6.is_unique_local()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{SECRET, load, parse_file_mode};

    fn warnings(pairs: &[(&str, &str)]) -> Vec<String> {
        parse_file_mode(pairs).startup_warnings()
    }

    fn has(warnings: &[String], words: &str) -> bool {
        warnings.iter().any(|warning| warning.contains(words))
    }

    #[test]
    fn an_admin_api_that_the_world_may_reach_is_warned_about() {
        for public in ["0.0.0.0", "::", "8.8.8.8", "2001:db8::1", "100.128.0.1", "172.32.0.1"] {
            assert!(has(&warnings(&[("FERRUM_ADMIN_BIND_ADDRESS", public)]), "publicly reachable"), "{public}");
        }
        for internal in [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.0.1",
            "100.64.0.1",
            "::1",
            "fe80::1",
            "fd00::1",
        ] {
            assert!(!has(&warnings(&[("FERRUM_ADMIN_BIND_ADDRESS", internal)]), "publicly reachable"), "{internal}");
        }
        assert!(has(&warnings(&[("FERRUM_ADMIN_ALLOWED_CIDRS", " ")]), "publicly reachable"));
        assert!(!has(&warnings(&[("FERRUM_ADMIN_ALLOWED_CIDRS", "10.0.0.0/8")]), "publicly reachable"));
    }

    #[test]
    fn a_gateway_without_listeners_says_so() {
        let off = [("FERRUM_PROXY_HTTP_PORT", "0"), ("FERRUM_ADMIN_HTTP_PORT", "0")];
        let said = warnings(&off);
        assert!(has(&said, "No HTTP or HTTPS proxy listeners are active") && has(&said, "FERRUM_PROXY_HTTP_PORT=0"));
        assert!(has(&said, "No admin listeners are active"));
        let said = warnings(&[
            off[0],
            off[1],
            ("FERRUM_FRONTEND_TLS_CERT_PATH", "c"),
            ("FERRUM_FRONTEND_TLS_KEY_PATH", "k"),
            ("FERRUM_ADMIN_TLS_CERT_PATH", "c"),
            ("FERRUM_ADMIN_TLS_KEY_PATH", "k"),
        ]);
        assert!(!has(&said, "listeners are active"));
    }

    #[test]
    fn switched_off_verification_is_warned_about() {
        let said = warnings(&[("FERRUM_TLS_NO_VERIFY", "true"), ("FERRUM_ADMIN_TLS_NO_VERIFY", "1")]);
        assert!(has(&said, "FERRUM_TLS_NO_VERIFY") && has(&said, "FERRUM_ADMIN_TLS_NO_VERIFY"));
        assert!(!has(&warnings(&[]), "NO_VERIFY"));
    }

    fn control_plane<'a>(more: &[(&'a str, &'a str)]) -> crate::settings::Settings {
        let mut pairs = vec![
            ("FERRUM_MODE", "cp"),
            ("FERRUM_ADMIN_JWT_SECRET", SECRET),
            ("FERRUM_DB_TYPE", "sqlite"),
            ("FERRUM_DB_URL", "sqlite::memory:"),
            ("FERRUM_CP_DP_GRPC_JWT_SECRET", SECRET),
        ];
        pairs.extend(more);
        load(&pairs).unwrap().0
    }

    #[test]
    fn a_control_plane_warns_about_settings_without_effect() {
        let said =
            control_plane(&[("FERRUM_CP_GRPC_TLS_CLIENT_CA_PATH", "ca"), ("FERRUM_K8S_POD_DISCOVERY_ENABLED", "true")])
                .startup_warnings();
        assert!(has(&said, "FERRUM_CP_GRPC_TLS_CLIENT_CA_PATH is ignored"));
        assert!(has(&said, "FERRUM_K8S_POD_DISCOVERY_ENABLED has no effect"));
        assert!(has(&control_plane(&[("FERRUM_K8S_NODE_LOCALITY_ENABLED", "1")]).startup_warnings(), "NODE_LOCALITY"));
    }

    #[test]
    fn the_grpc_listener_follows_the_admin_address_and_port_0_is_none() {
        let listener = |more: &[(&str, &str)]| control_plane(more).cp_grpc_listener().unwrap();
        assert_eq!(listener(&[]).unwrap().to_string(), "0.0.0.0:50051");
        assert_eq!(listener(&[("FERRUM_ADMIN_BIND_ADDRESS", "::")]).unwrap().to_string(), "[::]:50051");
        assert_eq!(listener(&[("FERRUM_CP_GRPC_LISTEN_ADDR", "127.0.0.1:0")]), None);
        assert!(control_plane(&[("FERRUM_CP_GRPC_LISTEN_ADDR", "host:1")]).cp_grpc_listener().is_err());
        assert_eq!(parse_file_mode(&[]).cp_grpc_listener(), Ok(None));
    }

    #[test]
    fn reserved_ports_are_those_that_are_not_zero() {
        assert_eq!(parse_file_mode(&[]).reserved_ports(), [8000, 8443, 9000, 9443]);
        let some = parse_file_mode(&[("FERRUM_PROXY_HTTP_PORT", "0"), ("FERRUM_CP_GRPC_LISTEN_ADDR", "0.0.0.0:7000")]);
        assert_eq!(some.reserved_ports(), [8443, 9000, 9443, 7000]);
    }
}
