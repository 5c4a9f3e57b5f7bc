//! The life of a gateway that is run by API, the same on every database: create, proxy, change, restart, outage, restore.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use tests::{Backend, Cable, Database, Finally, Gateway, Response, eventually};

const NOTHING: Value = Value::Null;

fn made(response: &Response) -> Value {
    assert_eq!(response.status, 201, "{}", response.text());
    response.json()
}

fn upstream(port: u16) -> Value {
    json!({"id": "orders-backends", "targets": [{"host": "127.0.0.1", "port": port}]})
}

fn create(gateway: &Gateway, backend: &Backend) {
    made(&gateway.manage("POST", "/upstreams", &upstream(backend.port())));
    let mut proxy = json!({
        "id": "orders", "listen_path": "/orders", "backend_scheme": "http", "backend_host": "127.0.0.1",
        "backend_port": backend.port(), "upstream_id": "orders-backends",
    });
    made(&gateway.manage("POST", "/proxies", &proxy));
    let consumer = json!({"id": "ada", "username": "ada", "credentials": {"keyauth": [{"key": "ada-has-a-key"}]}});
    made(&gateway.manage("POST", "/consumers", &consumer));
    for name in ["key_auth", "access_control"] {
        let config = json!({"allowed_consumers": ["ada"]});
        let config = if name == "access_control" { config } else { json!({}) };
        let plugin = json!({"id": name, "plugin_name": name, "scope": "proxy", "proxy_id": "orders", "config": config});
        made(&gateway.manage("POST", "/plugins/config", &plugin));
    }
    proxy["plugins"] = json!([{"plugin_config_id": "key_auth"}, {"plugin_config_id": "access_control"}]);
    let listed = gateway.manage("PUT", "/proxies/orders", &proxy);
    assert_eq!(listed.status, 200, "{}", listed.text());
}

fn asked_by(gateway: &Gateway, key: &str) -> Response {
    gateway.ask(format!("GET /orders HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\nConnection: close\r\n\r\n"))
}

fn serves(gateway: &Gateway, text: &str) {
    eventually(&format!("{text} is served to who has a key, and to no other"), || {
        let (stranger, ada) = (asked_by(gateway, "another"), asked_by(gateway, "ada-has-a-key"));
        (stranger.status == 401 && ada.text() == text).then_some(())
    });
}

/// What keeps a database from its gateway.
enum Outage {
    Cable(Cable),
    /// SQLite has no way that could be cut: somebody else is writing all the time.
    Writer {
        path: String,
        holder: Option<Child>,
    },
}

impl Outage {
    fn of(database: &Database) -> (Database, Self) {
        match database.over_cable() {
            Some((database, cable)) => (database, Self::Cable(cable)),
            None => {
                let path = database.url.trim_start_matches("sqlite://").split('?').next().expect("a path").to_owned();
                (database.clone(), Self::Writer { path, holder: None })
            }
        }
    }

    fn begin(&mut self) {
        match self {
            Self::Cable(cable) => cable.cut(),
            Self::Writer { path, holder } => {
                let hold = "import sqlite3, sys\n\
                    held = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)\n\
                    held.execute('BEGIN IMMEDIATE')\nprint('held', flush=True)\nsys.stdin.read()";
                let mut child = Command::new("python3")
                    .args(["-c", hold, path])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .expect("python runs");
                let mut line = String::new();
                let stdout = child.stdout.take().expect("a pipe");
                BufReader::new(stdout).read_line(&mut line).expect("a line");
                assert_eq!(line.trim(), "held");
                *holder = Some(child);
            }
        }
    }

    fn end(&mut self) {
        match self {
            Self::Cable(cable) => cable.mend(),
            Self::Writer { holder, .. } => {
                let mut child = holder.take().expect("it has begun");
                let _ = child.stdin.take().expect("a pipe").flush();
                child.wait().expect("python ends");
            }
        }
    }
}

/// Traffic that must not notice, while `work` goes on.
fn under_traffic(gateway: &Gateway, work: impl FnOnce()) {
    let (is_over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let _over = Finally(|| is_over.store(true, Ordering::SeqCst));
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                assert_eq!(asked_by(gateway, "ada-has-a-key").status, 200, "a request of an outage");
                served.fetch_add(1, Ordering::SeqCst);
            }
        });
        work();
    });
    assert!(served.into_inner() > 0);
}

fn goes_through_an_outage(gateway: &Gateway, outage: &mut Outage) {
    under_traffic(gateway, || {
        outage.begin();
        if let Outage::Cable(_) = outage {
            eventually("the outage is known", || {
                gateway.admin("/health", &[]).text().contains("degraded").then_some(())
            });
        }
        let refused =
            gateway.manage("POST", "/upstreams", &json!({"id": "late", "targets": [{"host": "h", "port": 1}]}));
        assert!(matches!(refused.status, 500 | 503), "{} {}", refused.status, refused.text());
        let listed = gateway.manage("GET", "/proxies", &NOTHING);
        assert_eq!((listed.status, &listed.json()["data"][0]["id"]), (200, &json!("orders")), "{}", listed.text());
        outage.end();
        eventually("writes are taken again", || {
            let written = gateway.manage("PUT", "/upstreams/late", &json!({"targets": [{"host": "h", "port": 1}]}));
            let made =
                || gateway.manage("POST", "/upstreams", &json!({"id": "late", "targets": [{"host": "h", "port": 1}]}));
            (written.status == 200 || made().status == 201).then_some(())
        });
    });
}

fn lives(database: &Database) {
    let (database, mut outage) = Outage::of(database);
    let start = || Gateway::builder().on_database(&database).env("FERRUM_DB_POLL_INTERVAL", 1).start();
    let (first, second) = (Backend::saying("first"), Backend::saying("second"));
    let gateway = start();
    create(&gateway, &first);
    serves(&gateway, "first");

    let changed = gateway.manage("PUT", "/upstreams/orders-backends", &upstream(second.port()));
    assert_eq!(changed.status, 200, "{}", changed.text());
    serves(&gateway, "second");

    drop(gateway);
    let gateway = start();
    serves(&gateway, "second");
    goes_through_an_outage(&gateway, &mut outage);

    let backup = gateway.manage("GET", "/backup", &NOTHING);
    assert_eq!(backup.status, 200, "{}", backup.text());
    for gone in ["/proxies/orders", "/consumers/ada"] {
        assert_eq!(gateway.manage("DELETE", gone, &NOTHING).status, 204, "{gone}");
    }
    eventually("the proxy is gone", || (asked_by(&gateway, "ada-has-a-key").status == 404).then_some(()));
    let restored = gateway.manage("POST", "/restore?confirm=true", &backup.json());
    assert_eq!(restored.status, 200, "{}", restored.text());
    serves(&gateway, "second");
}

#[test]
fn create_proxy_change_restart_outage_and_restore() {
    for database in Database::each("scenario") {
        eprintln!("on {}", database.kind);
        lives(&database);
    }
}
