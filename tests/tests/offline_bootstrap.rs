//! Starting without the database: the start-up backup is served until the database can be, and writes wait for it. And the read
//! replica, which is read instead of the primary.

use std::path::{Path, PathBuf};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tests::{Backend, Gateway, GatewayBuilder, RawClient, Response, eventually};

const SECRET: &str = "a secret of the admin API, long enough";
const AWAY: &str = "Database is currently unavailable — admin API is temporarily read-only";

fn token() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    let claims = json!({"iss": "ferrum-edge", "sub": "tests", "role": "admin", "iat": now, "nbf": now, "exp": now + 600, "jti": "1"});
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("a token")
}

/// A folder that is there, and empty.
fn fresh_folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("ferrum-edge-bootstrap-{name}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn url(path: &Path) -> String {
    format!("sqlite://{}?mode=rwc", path.display())
}

fn on(database: &Path) -> GatewayBuilder {
    Gateway::builder()
        .env("FERRUM_MODE", "database")
        .env("FERRUM_DB_TYPE", "sqlite")
        .env("FERRUM_DB_URL", url(database))
        .env("FERRUM_DB_POLL_INTERVAL", 1)
        .env("FERRUM_ADMIN_JWT_SECRET", SECRET)
}

fn ask(gateway: &Gateway, method: &str, path: &str, body: &Value) -> Response {
    let body = body.to_string();
    let mut client = RawClient::connect(gateway.admin_port());
    client.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        token(),
        body.len()
    ));
    client.response()
}

fn proxy(id: &str, path: &str, port: u16) -> Value {
    json!({
        "id": id, "listen_path": path, "backend_scheme": "http", "backend_host": "127.0.0.1", "backend_port": port,
    })
}

fn backup(folder: &Path, proxies: &[Value]) -> PathBuf {
    let document = json!({"version": "1", "proxies": proxies, "consumers": [], "plugin_configs": []});
    let path = folder.join("backup.json");
    std::fs::write(&path, document.to_string()).expect("a backup");
    path
}

fn health(gateway: &Gateway) -> Value {
    serde_json::from_str(&gateway.admin("/health", &[]).text()).expect("JSON")
}

#[test]
fn the_backup_is_served_until_the_database_is_there_and_writes_wait_for_it() {
    let folder = fresh_folder("serves");
    let (kept, stored) = (Backend::saying("of the backup"), Backend::saying("of the database"));
    let path = folder.join("config.db");
    std::fs::create_dir(&path).expect("what no database can be made of");
    let backup = backup(&folder, &[proxy("kept", "/kept", kept.port())]);
    let before = std::fs::read(&backup).expect("the backup");
    let gateway = on(&path).env("FERRUM_DB_CONFIG_BACKUP_PATH", backup.display()).start();

    assert_eq!(gateway.get("/kept").text(), "of the backup");
    let refused = ask(&gateway, "POST", "/proxies", &proxy("new", "/new", stored.port()));
    assert_eq!((refused.status, refused.json()["error"].as_str()), (503, Some(AWAY)));
    let listed = ask(&gateway, "GET", "/proxies", &json!({}));
    assert_eq!(listed.header("x-data-source"), Some("cached"));
    assert_eq!(listed.json()["data"][0]["id"], "kept");
    let health_now = health(&gateway);
    assert_eq!(
        (&health_now["status"], &health_now["admin_writes_enabled"], &health_now["database"]["status"]),
        (&json!("degraded"), &json!(false), &json!("disconnected"))
    );

    std::fs::remove_dir(&path).expect("the way is free");
    eventually("the database's configuration, which is empty, is in service", || {
        (gateway.get("/kept").status == 404).then_some(())
    });
    eventually("writes are taken, so the schema is there", || {
        let made = ask(&gateway, "POST", "/proxies", &proxy("new", "/new", stored.port()));
        (made.status == 201).then_some(())
    });
    eventually("what was written is served", || (gateway.get("/new").text() == "of the database").then_some(()));
    assert_eq!(health(&gateway)["admin_writes_enabled"], true);
    assert_eq!(std::fs::read(&backup).expect("the backup"), before, "the gateway never writes it");
}

#[test]
fn a_database_that_cannot_be_served_is_as_good_as_none_until_it_can() {
    let folder = fresh_folder("unsound");
    let path = folder.join("config.db");
    let (kept, stored) = (Backend::saying("of the backup"), Backend::saying("of the database"));
    let first = on(&path).start();
    assert_eq!(ask(&first, "POST", "/proxies", &proxy("p", "/p", stored.port())).status, 201);
    drop(first);
    let spoil = |path: &str| format!("UPDATE proxies SET listen_path = '{path}'");
    execute(&path, &spoil("~("));

    let without = on(&path).start_failing();
    assert_eq!(without.code, Some(1), "{without:?}");
    let backup = backup(&folder, &[proxy("p", "/kept", kept.port())]);
    let gateway = on(&path).env("FERRUM_DB_CONFIG_BACKUP_PATH", backup.display()).start();
    assert_eq!(gateway.get("/kept").text(), "of the backup");
    assert_eq!(ask(&gateway, "DELETE", "/proxies/p", &json!({})).status, 503);
    gateway.wait_for_log(|text| text.contains("keeping previous config"));
    assert_eq!(ask(&gateway, "DELETE", "/proxies/p", &json!({})).status, 503, "not sound yet");
    execute(&path, &spoil("/p"));
    eventually("the mended configuration is in service", || {
        (gateway.get("/p").text() == "of the database").then_some(())
    });
    eventually("writes are taken", || (ask(&gateway, "DELETE", "/proxies/p", &json!({})).status < 300).then_some(()));
}

#[test]
fn a_backup_that_is_of_no_use_ends_the_start() {
    let folder = fresh_folder("useless");
    let path = folder.join("config.db");
    std::fs::create_dir(&path).expect("what no database can be made of");
    let file = folder.join("backup.json");
    let said = format!("Database load failed and no usable backup at {}: ", file.display());
    let start = || on(&path).env("FERRUM_DB_CONFIG_BACKUP_PATH", file.display()).start_failing();
    let missing = start();
    assert!(missing.code == Some(1) && missing.stderr.contains(&said), "{missing:?}");
    std::fs::write(&file, r#"{"version": "1", "proxies": [], "consumers": [], "plugin_configs": [], "counts": {}}"#)
        .expect("a file");
    let foreign = start();
    assert!(foreign.code == Some(1) && foreign.stderr.contains(&said), "{foreign:?}");
    assert!(foreign.stderr.contains("counts"), "{foreign:?}");
}

#[test]
fn the_databases_that_failed_are_named_together() {
    let folder = fresh_folder("all-failed");
    let path = folder.join("config.db");
    std::fs::create_dir(&path).expect("what no database can be made of");
    let exit = on(&path).env("FERRUM_DB_FAILOVER_URLS", url(&path)).start_failing();
    assert!(exit.stderr.contains("Fatal error: All database URLs failed. Primary: "), "{exit:?}");
}

#[test]
fn lists_and_polls_read_the_replica_and_single_rows_the_primary() {
    let folder = fresh_folder("replica");
    let (primary, replica) = (folder.join("primary.db"), folder.join("replica.db"));
    let backend = Backend::saying("served");
    let of_replica = on(&replica).start();
    assert_eq!(ask(&of_replica, "POST", "/proxies", &proxy("r", "/r", backend.port())).status, 201);
    drop(of_replica);
    let gateway = on(&primary).env("FERRUM_DB_READ_REPLICA_URL", url(&replica)).start();
    assert_eq!(gateway.get("/r").text(), "served", "a full load");
    assert_eq!(ask(&gateway, "POST", "/proxies", &proxy("p", "/p", backend.port())).status, 201);
    assert_eq!(ask(&gateway, "GET", "/proxies/p", &json!({})).status, 200);
    assert_eq!(ask(&gateway, "GET", "/proxies/r", &json!({})).status, 404);
    let listed = ask(&gateway, "GET", "/proxies", &json!({})).json();
    assert_eq!((&listed["pagination"]["total"], &listed["data"][0]["id"]), (&json!(1), &json!("r")));
    assert_eq!(gateway.get("/p").status, 404, "polls read the replica");
    assert!(health(&gateway)["database"]["pool"]["read_replica"]["size"].is_u64());
}

#[test]
fn a_replica_that_is_away_is_done_without() {
    let folder = fresh_folder("no-replica");
    let backend = Backend::saying("served");
    let gateway =
        on(&folder.join("primary.db")).env("FERRUM_DB_READ_REPLICA_URL", "sqlite:///nowhere/at/all.db").start();
    assert_eq!(ask(&gateway, "POST", "/proxies", &proxy("p", "/p", backend.port())).status, 201);
    eventually("the primary is polled", || (gateway.get("/p").text() == "served").then_some(()));
    gateway.wait_for_log(|text| text.starts_with("The read replica sqlite:///nowhere/at/all.db does not answer"));
}

/// What somebody does to a database behind the gateway's back.
fn execute(path: &Path, statement: &str) {
    let script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()";
    let done = std::process::Command::new("python3").args(["-c", script]).arg(path).arg(statement).status();
    assert!(done.expect("python3 runs").success(), "{statement}");
}
