//! An API on a port of its own, with counters and a configuration that a test can change, and a small client.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use engine::counters::Counters;
use engine::overload::Overload;
use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::overload::{EngineGauges, OverloadOptions};

const SECRET: &str = "a secret of the tests with more than 32 characters";

/// A configuration of three proxies in one namespace and one secret of each kind.
struct Config;

impl ResourceReads for Config {
    fn page(&self, kind: ResourceKind, namespace: &str, positions: Range<usize>) -> (usize, Vec<Value>) {
        if namespace != "ferrum" {
            return (0, Vec::new());
        }
        let rows = match kind {
            ResourceKind::Proxy => ["a", "b", "c"].map(|id| json!({ "id": id })).to_vec(),
            ResourceKind::Consumer => vec![json!({"id": "u", "credentials": {"keyauth": [{"key": "k"}]}})],
            ResourceKind::Upstream => Vec::new(),
            ResourceKind::PluginConfig => vec![json!({"id": "p", "config": {"api_key": "k"}})],
        };
        (rows.len(), rows.into_iter().skip(positions.start).take(positions.len()).collect())
    }

    fn get(&self, kind: ResourceKind, id: &str, namespace: &str) -> Option<Value> {
        self.list(kind, namespace).into_iter().find(|row| row["id"] == id)
    }

    fn summary(&self) -> Option<ConfigSummary> {
        let loaded_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        Some(ConfigSummary { loaded_at, proxies: 3, consumers: 1, upstreams: 0, plugin_configs: 1 })
    }

    fn namespaces(&self) -> Vec<String> {
        vec!["ferrum".to_owned(), "team-a".to_owned()]
    }
}

pub(super) struct Rig {
    pub(super) admin: Arc<Admin>,
    pub(super) listener: AdminListener,
    pub(super) counters: Counters,
    pub(super) verdict: Arc<Overload>,
    pub(super) readiness: Arc<Readiness>,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    pub(super) fn error(&self) -> (u16, String) {
        (self.status, self.json()["error"].as_str().unwrap_or_default().to_owned())
    }

    pub(super) fn parse(text: Vec<u8>) -> Self {
        let text = String::from_utf8(text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
        Self { status: head[9..12].parse().unwrap(), head: head.to_owned(), body: body.to_owned() }
    }
}

pub(super) fn rig_with(change: impl FnOnce(&mut AdminOptions, &mut AdminSources)) -> Rig {
    let counters = Counters::new(2);
    let verdict = Arc::new(Overload::default());
    let readiness = Arc::new(Readiness::default());
    let mut options = AdminOptions {
        jwt_secret: Some(SECRET.to_owned()),
        metrics_cache: Duration::ZERO,
        runtime_cache: Duration::ZERO,
        gateway_cache: Duration::ZERO,
        sample_interval: Duration::from_millis(5),
        ..AdminOptions::default()
    };
    let mut sources = AdminSources {
        core_cpus: vec![0, 1],
        overload: Some(crate::overload::Monitor::new(
            OverloadOptions::default(),
            Arc::new(EngineGauges::new(counters.clone())),
            verdict.clone(),
        )),
        resources: Some(Arc::new(Config)),
        plugins: vec!["cors".to_owned(), "key_auth".to_owned()],
        ..AdminSources::new(counters.clone(), readiness.clone())
    };
    change(&mut options, &mut sources);
    let admin = Admin::new(options, sources);
    let listener = admin.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    Rig { admin, listener, counters, verdict, readiness }
}

pub(super) fn rig() -> Rig {
    rig_with(|_, _| {})
}

pub(super) fn token(role: &str) -> String {
    let now = get_current_timestamp();
    let claims =
        json!({"iss": "ferrum-edge", "sub": "t", "role": role, "iat": now, "nbf": now, "exp": now + 60, "jti": "1"});
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

pub(super) async fn exchange(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is an end, too.
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.expect("an end");
    answer
}

impl Rig {
    pub(super) async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        Answer::parse(exchange(self.listener.address(), request.as_bytes()).await)
    }

    pub(super) async fn open(&self, method: &str, path: &str) -> Answer {
        self.send(method, path, "", "").await
    }

    pub(super) async fn call(&self, role: &str, method: &str, path: &str) -> Answer {
        self.send(method, path, &format!("authorization: Bearer {}\r\n", token(role)), "").await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.call("viewer", "GET", path).await
    }
}
