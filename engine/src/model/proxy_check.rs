//! What is refused about one proxy by itself (resources sheet §4).

use super::host::check_host;
use super::proxy::{Proxy, ResponseBodyMode};
use super::rules;
use crate::router::CompiledRegex;

const DAY_MS: u64 = 86_400_000;
const DAY_SECONDS: u64 = 86_400;
const WINDOW_BYTES: (u32, u32) = (65_535, 134_217_728);
const FRAME_BYTES: (u32, u32) = (16_384, 1_048_576);

impl Proxy {
    /// The field checks, without the host syntax and the regex, which come after normalisation.
    pub fn check_fields(&self) -> Vec<String> {
        let mut errors = Vec::new();
        self.check_identity(&mut errors);
        self.check_listen_path(&mut errors);
        self.check_backend(&mut errors);
        self.check_tls(&mut errors);
        self.check_pool(&mut errors);
        self.check_filters(&mut errors);
        self.check_stream(&mut errors);
        if let Some(circuit_breaker) = &self.circuit_breaker {
            circuit_breaker.check(&mut errors);
        }
        if let Some(retry) = &self.retry {
            retry.check(&mut errors);
        }
        errors
    }

    /// The first fault of each host entry; hosts are expected in lower case.
    pub fn check_hosts(&self) -> Vec<String> {
        self.hosts.iter().filter_map(|host| check_host(host).err()).collect()
    }

    /// Whether a regex `listen_path` compiles. Gives the path and the regex crate's text.
    pub fn check_regex(&self) -> Result<(), (String, String)> {
        let Some(path) = self.listen_path.as_deref().filter(|_| self.is_http()) else {
            return Ok(());
        };
        match path.strip_prefix('~').map(CompiledRegex::new) {
            Some(Err(error)) => Err((path.to_owned(), error.to_string())),
            _ => Ok(()),
        }
    }

    fn check_identity(&self, errors: &mut Vec<String>) {
        rules::optional_text(errors, "name", self.name.as_deref(), 255);
        rules::entries(errors, "hosts", self.hosts.len(), 100);
        for host in &self.hosts {
            if host.len() > 253 {
                let start: String = host.chars().take(40).collect();
                errors.push(format!("host entry '{start}...' must not exceed 253 characters"));
            }
        }
    }

    fn check_listen_path(&self, errors: &mut Vec<String>) {
        let Some(path) = self.listen_path.as_deref() else {
            if self.is_http() && self.hosts.is_empty() {
                errors.push(
                    "HTTP proxy requires at least one of `hosts` or `listen_path` (a proxy with neither would match \
                     every request)"
                        .into(),
                );
            }
            return;
        };
        if !self.is_http() {
            let scheme = self.backend_scheme.map_or("unset", |scheme| scheme.as_str());
            errors.push(format!(
                "Stream proxy '{}' (scheme {scheme}) must not set listen_path (stream proxies route on listen_port)",
                self.id
            ));
            return;
        }
        rules::text(errors, "listen_path", path, 500);
        let form = match path.as_bytes() {
            [] => "listen_path must not be an empty string (omit it for a host-only proxy)",
            b"~" => "regex listen_path '~' has empty pattern",
            [b'/' | b'~', ..] | [b'=', b'/', ..] => return,
            [b'=', ..] => "exact listen_path must start with '=/' (for example '=/healthz')",
            _ => "listen_path must start with '/', '~' (regex), or '=/' (exact)",
        };
        errors.push(form.into());
    }

    fn check_backend(&self, errors: &mut Vec<String>) {
        let has_upstream = self.upstream_id.is_some();
        rules::text(errors, "backend_host", &self.backend_host, 255);
        if self.backend_host.contains("://") {
            errors.push("backend_host must not contain a scheme (set backend_scheme instead)".into());
        }
        if self.backend_host.is_empty() && !has_upstream {
            errors.push("backend_host must be non-empty (or set upstream_id)".into());
        }
        if self.backend_port == 0 && !has_upstream {
            errors.push("backend_port must be greater than 0 (or set upstream_id)".into());
        }
        rules::optional_text(errors, "backend_path", self.backend_path.as_deref(), 2048);
        rules::optional_text(errors, "upstream_subset", self.upstream_subset.as_deref(), 255);
        if self.upstream_subset.is_some() {
            if !has_upstream {
                errors.push("upstream_subset requires upstream_id (a subset is a part of an upstream)".into());
            }
            if self.scheme().is_datagram() {
                errors.push("upstream_subset is not supported for udp/dtls proxies (leave it out)".into());
            }
        }
        rules::optional_text(errors, "dns_override", self.dns_override.as_deref(), 255);
        rules::optional_range(errors, "dns_cache_ttl_seconds", self.dns_cache_ttl_seconds, 1, DAY_SECONDS);
        rules::range(errors, "backend_connect_timeout_ms", self.backend_connect_timeout_ms, 1, DAY_MS);
        rules::range(errors, "backend_read_timeout_ms", self.backend_read_timeout_ms, 0, DAY_MS);
        rules::range(errors, "backend_write_timeout_ms", self.backend_write_timeout_ms, 0, DAY_MS);
    }

    fn check_tls(&self, errors: &mut Vec<String>) {
        for (field, path) in self.tls_paths() {
            rules::text(errors, field, path, 4096);
        }
        rules::certificate_pair(
            errors,
            self.backend_tls_client_cert_path.as_deref(),
            self.backend_tls_client_key_path.as_deref(),
        );
        let scheme = self.scheme();
        if !scheme.is_encrypted() {
            let scheme = scheme.as_str();
            for (field, _) in self.tls_paths() {
                errors.push(format!("{field} cannot be set when backend_scheme is '{scheme}' (a scheme without TLS)"));
            }
            if !self.backend_tls_verify_server_cert {
                errors.push(format!(
                    "backend_tls_verify_server_cert cannot be set to false when backend_scheme is '{scheme}' (a scheme \
                     without TLS)"
                ));
            }
        }
        if self.passthrough {
            for (field, _) in self.tls_paths() {
                errors.push(format!("{field} cannot be set when passthrough is true (the gateway does not end TLS)"));
            }
        }
    }

    fn check_pool(&self, errors: &mut Vec<String>) {
        let mut seconds = |field, value, max| rules::optional_range(errors, field, value, 1, max);
        seconds("pool_idle_timeout_seconds", self.pool_idle_timeout_seconds, 3600);
        seconds("pool_tcp_keepalive_seconds", self.pool_tcp_keepalive_seconds, DAY_SECONDS);
        let interval = self.pool_http2_keep_alive_interval_seconds;
        seconds("pool_http2_keep_alive_interval_seconds", interval, DAY_SECONDS);
        seconds("pool_http2_keep_alive_timeout_seconds", self.pool_http2_keep_alive_timeout_seconds, DAY_SECONDS);
        let mut bytes = |field, value, (min, max)| rules::optional_range(errors, field, value, min, max);
        bytes("pool_http2_initial_stream_window_size", self.pool_http2_initial_stream_window_size, WINDOW_BYTES);
        bytes(
            "pool_http2_initial_connection_window_size",
            self.pool_http2_initial_connection_window_size,
            WINDOW_BYTES,
        );
        bytes("pool_http2_max_frame_size", self.pool_http2_max_frame_size, FRAME_BYTES);
        if self.pool_http2_max_concurrent_streams == Some(0) {
            errors.push("pool_http2_max_concurrent_streams must be at least 1 (got 0)".into());
        }
        let connections = self.pool_http3_connections_per_backend;
        rules::optional_range(errors, "pool_http3_connections_per_backend", connections, 1, 256);
    }

    fn check_filters(&self, errors: &mut Vec<String>) {
        if let Some(methods) = &self.allowed_methods {
            if methods.is_empty() {
                errors.push("allowed_methods must be null (allow all) or a non-empty array".into());
            }
            rules::methods(errors, "allowed_methods", methods);
        }
        for (i, origin) in self.allowed_ws_origins.iter().enumerate() {
            if origin.trim().is_empty() {
                errors.push(format!("allowed_ws_origins[{i}] must not be empty"));
            }
        }
    }

    fn check_stream(&self, errors: &mut Vec<String>) {
        if self.listen_port.is_some() && self.backend_scheme.is_none() {
            errors.push(format!(
                "Stream proxy '{}' must set backend_scheme explicitly (tcp, tcps, udp, dtls) when listen_port is set",
                self.id
            ));
        }
        if !self.is_http() && self.response_body_mode != ResponseBodyMode::Stream {
            errors.push("Stream proxies (TCP/UDP) must use response_body_mode 'stream'".into());
        }
        if self.passthrough && self.is_http() {
            errors.push("passthrough is only supported for stream proxies (tcp, tcps, udp, dtls)".into());
        }
        if self.passthrough && self.frontend_tls {
            errors
                .push("passthrough and frontend_tls are mutually exclusive (TLS is either ended or passed on)".into());
        }
        rules::range(errors, "udp_idle_timeout_seconds", self.udp_idle_timeout_seconds, 1, 3600);
        // a NaN is no positive number either
        if self.udp_max_response_amplification_factor.is_some_and(|factor| factor.is_nan() || factor <= 0.0) {
            errors.push("udp_max_response_amplification_factor must be positive".into());
        }
        rules::optional_range(errors, "tcp_idle_timeout_seconds", self.tcp_idle_timeout_seconds, 0, DAY_SECONDS);
    }
}

#[cfg(test)]
mod tests;
