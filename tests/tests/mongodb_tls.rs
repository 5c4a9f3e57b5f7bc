//! The way to MongoDB, secured: to a server of its protocol that speaks TLS alone and wants a certificate of its clients.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::json;
use tests::{Authority, Database, Gateway, GatewayBuilder, Identity, PortLease, eventually, peer_program};

struct Server {
    port: PortLease,
    folder: PathBuf,
    child: Child,
}

impl Server {
    fn start(authority: &Authority, identity: &Identity) -> Self {
        let port = PortLease::take();
        let folder = std::env::temp_dir().join(format!("ferrum-edge-mongodb-{}", std::process::id()));
        let mut command = peer_program("secantusd-py");
        command.args(["--host", "127.0.0.1", "--port", &port.number().to_string(), "--log-level", "ERROR"]);
        command.arg("--storage-path").arg(&folder).arg("--tls-require-client-cert");
        command.arg("--tls-cert-file").arg(&identity.certificate).arg("--tls-key-file").arg(&identity.key);
        command.arg("--tls-ca-file").arg(authority.bundle());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the server runs");
        let server = Self { port, folder, child };
        eventually("the server listens", || TcpStream::connect(("127.0.0.1", server.port.number())).ok());
        server
    }

    fn gateway(&self, mode: &str) -> GatewayBuilder {
        let url = format!("mongodb://127.0.0.1:{}/secured?replicaSet=secantus", self.port.number());
        Gateway::builder().on_database(&Database { kind: "mongodb", url }).env("FERRUM_DB_TLS_MODE", mode)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait(), std::fs::remove_dir_all(&self.folder));
    }
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn known_as(gateway: GatewayBuilder, client: &Identity) -> GatewayBuilder {
    gateway
        .env("FERRUM_DB_TLS_CLIENT_CERT_PATH", shown(&client.certificate))
        .env("FERRUM_DB_TLS_CLIENT_KEY_PATH", shown(&client.key))
}

#[test]
fn both_ends_show_certificates_and_the_gateway_checks_the_servers() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let client = authority.issue(&["gateway"]);
    let server = Server::start(&authority, &authority.issue(&["127.0.0.1"]));
    let bundle = |authority: &Authority| authority.bundle().display().to_string();
    for good in [
        known_as(server.gateway("verify-full").env("FERRUM_DB_TLS_CA_CERT_PATH", bundle(&authority)), &client),
        known_as(server.gateway("require"), &client),
    ] {
        let gateway = good.start();
        let upstream = json!({"targets": [{"host": "h", "port": 1}]});
        assert_eq!(gateway.manage("POST", "/upstreams", &upstream).status, 201);
    }
    for (bad, why) in [
        (
            known_as(server.gateway("verify-full").env("FERRUM_DB_TLS_CA_CERT_PATH", bundle(&stranger)), &client),
            "UnknownIssuer",
        ),
        (server.gateway("require"), "Server selection timeout"),
        (server.gateway("disable"), "Server selection timeout"),
        (known_as(server.gateway("require"), &stranger.issue(&["gateway"])), "Server selection timeout"),
    ] {
        let exit = bad.start_failing();
        assert_eq!(exit.code, Some(1), "{exit:?}");
        assert!(exit.stderr.contains(why) || exit.stdout.contains(why), "{why}: {exit:?}");
    }
}
