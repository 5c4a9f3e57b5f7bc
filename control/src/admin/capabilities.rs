//! What backends speak (admin sheet §29).

use hyper::StatusCode;
use serde_json::{Value, json};

use super::Admin;
use super::reply::{self, Reply};
use crate::capabilities::{Entry, Support};

impl Admin {
    pub(super) fn capabilities(&self) -> Reply {
        let Some(capabilities) = &self.sources.capabilities else { return no_proxy() };
        let entries: Vec<Value> = capabilities.all().iter().map(entry).collect();
        reply::json(StatusCode::OK, &json!({ "entries": entries }))
    }

    pub(super) async fn refresh_capabilities(&self) -> Reply {
        let Some(capabilities) = &self.sources.capabilities else { return no_proxy() };
        capabilities.refresh().await;
        reply::json(StatusCode::OK, &json!({ "status": "refreshed" }))
    }
}

fn entry(entry: &Entry) -> Value {
    let found = &entry.findings;
    json!({
        "key": entry.target.key,
        "plain_http": { "h1": found.h1.name(), "h2_tls": found.h2_tls.name(), "h3": found.h3.name() },
        "grpc_transport": { "h2_tls": found.h2_tls.name(), "h2c": found.h2c.name() },
        // This release opens no HBONE tunnels, and asks for none.
        "hbone": Support::Unknown.name(),
        "last_probe_at_unix_secs": entry.probed_at_unix_secs,
        "last_probe_error": found.error,
    })
}

fn no_proxy() -> Reply {
    reply::error(StatusCode::SERVICE_UNAVAILABLE, "proxy_state unavailable in this mode")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use engine::dns::DnsTable;
    use engine::publish::Fanout;
    use engine::snapshot::{BackendAddress, Security};
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::super::test_rig::{Rig, rig, rig_with};
    use crate::capabilities::{Capabilities, CapabilityOptions, Target};
    use crate::dns::{Dns, DnsOptions};

    /// An API that knows two backends under TLS, which cannot be asked, around one in the clear.
    fn rig_of(port: u16) -> Rig {
        let fanout = Arc::new(Fanout::new(1, Arc::new(DnsTable::default())));
        let dns = Dns::start(DnsOptions::default(), fanout).expect("a resolver");
        let capabilities = Capabilities::new(dns, CapabilityOptions { probes_max: 2, is_probing: true });
        let target = |key: &str, security| Target {
            key: key.to_owned(),
            host: "127.0.0.1".to_owned(),
            port,
            address: BackendAddress::Literal([127, 0, 0, 1].into()),
            security,
            connect_timeout_ms: 5_000,
            uses_http1: false,
        };
        let broken = || Security::Broken("ca.pem: gone".to_owned());
        capabilities.adopt(vec![target("c", broken()), target("b", Security::Plain), target("a", broken())]);
        rig_with(|_, sources| sources.capabilities = Some(capabilities))
    }

    #[tokio::test]
    async fn backends_are_listed_by_key_with_what_they_speak() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let rig = rig_of(listener.local_addr().expect("an address").port());
        let before = rig.get("/backend-capabilities").await;
        assert_eq!((before.status, before.header("cache-control")), (200, Some("no-store")));
        let body = before.json();
        let keys: Vec<_> = body["entries"].as_array().unwrap().iter().map(|entry| entry["key"].clone()).collect();
        assert_eq!(keys, ["a", "b", "c"]);
        let plain = r#"{"key":"b","plain_http":{"h1":"supported","h2_tls":"unknown","h3":"unsupported"},"grpc_transport":{"h2_tls":"unknown","h2c":"unknown"},"hbone":"unknown","last_probe_at_unix_secs":null,"last_probe_error":null}"#;
        assert!(before.body.contains(plain), "{}", before.body);

        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a probe");
            stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await.expect("SETTINGS are sent");
        });
        let answer = rig.call("operator", "POST", "/backend-capabilities/refresh").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"status":"refreshed"}"#));
        let after = rig.get("/backend-capabilities").await.json();
        assert_eq!(after["entries"][1]["grpc_transport"]["h2c"], "supported");
        assert!(after["entries"][1]["last_probe_at_unix_secs"].as_u64().is_some_and(|at| at > 1_767_225_600));
        assert_eq!(after["entries"][0]["last_probe_error"], "ca.pem: gone");
        assert_eq!(after["entries"][0]["plain_http"]["h1"], "unknown");
    }

    #[tokio::test]
    async fn a_refresh_needs_an_operator_and_no_writes() {
        let rig = rig_of(1);
        let refused = rig.call("viewer", "POST", "/backend-capabilities/refresh").await;
        let text = "Admin role 'viewer' cannot access this endpoint; required role is 'operator'";
        assert_eq!(refused.error(), (403, text.to_owned()));
        assert_eq!(rig.open("GET", "/backend-capabilities").await.status, 401);
    }

    #[tokio::test]
    async fn without_a_proxy_there_is_nothing_to_ask() {
        let rig = rig();
        let expected = (503, "proxy_state unavailable in this mode".to_owned());
        assert_eq!(rig.get("/backend-capabilities").await.error(), expected);
        assert_eq!(rig.call("operator", "POST", "/backend-capabilities/refresh").await.error(), expected);
    }
}
