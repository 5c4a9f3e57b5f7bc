//! `FERRUM_MODE=database`: what is written over the admin API is served, kept, and gone once deleted. SQLite always; PostgreSQL and
//! MariaDB where `make test` has started them.

use std::path::PathBuf;

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tests::{Backend, Gateway, RawClient, Response, eventually};

const SECRET: &str = "a secret of the admin API, long enough";

fn token() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    let claims = json!({"iss": "ferrum-edge", "sub": "tests", "role": "admin", "iat": now, "nbf": now, "exp": now + 600, "jti": "1"});
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).expect("a token")
}

/// A database that no other test has.
fn fresh_sqlite(name: &str) -> String {
    let folder: PathBuf = std::env::temp_dir().join(format!("ferrum-edge-database-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(name);
    let _ = std::fs::remove_file(&path);
    format!("sqlite://{}?mode=rwc", path.display())
}

fn on(kind: &str, url: &str) -> tests::GatewayBuilder {
    Gateway::builder()
        .env("FERRUM_MODE", "database")
        .env("FERRUM_DB_TYPE", kind)
        .env("FERRUM_DB_URL", url)
        // So long that only being told of a write explains that it is served.
        .env("FERRUM_DB_POLL_INTERVAL", 600)
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

fn serves_and_keeps(kind: &str, url: &str) {
    let (first, second) = (Backend::saying("first"), Backend::saying("second"));
    let gateway = on(kind, url).start();
    assert_eq!(gateway.get("/a").status, 404, "an empty database");

    let made = ask(&gateway, "POST", "/proxies", &proxy("a", "/a", first.port()));
    assert_eq!(made.status, 201, "{}", made.text());
    eventually("the new proxy is served", || (gateway.get("/a").text() == "first").then_some(()));

    let changed = ask(&gateway, "PUT", "/proxies/a", &proxy("a", "/a", second.port()));
    assert_eq!(changed.status, 200, "{}", changed.text());
    eventually("the changed proxy is served", || (gateway.get("/a").text() == "second").then_some(()));

    let taken = ask(&gateway, "POST", "/proxies", &proxy("b", "/a", first.port()));
    assert!((400..500).contains(&taken.status), "{} {}", taken.status, taken.text());
    assert_eq!(gateway.get("/a").text(), "second", "what is refused changes nothing");

    drop(gateway);
    let gateway = on(kind, url).start();
    assert_eq!(gateway.get("/a").text(), "second", "kept over a restart");
    let gone = ask(&gateway, "DELETE", "/proxies/a", &json!({}));
    assert!((200..300).contains(&gone.status), "{} {}", gone.status, gone.text());
    eventually("the deleted proxy is gone", || (gateway.get("/a").status == 404).then_some(()));
}

#[test]
fn what_is_written_is_served_and_kept() {
    serves_and_keeps("sqlite", &fresh_sqlite("serves.db"));
    for (kind, variable) in [("postgres", "FERRUM_TEST_POSTGRES_URL"), ("mysql", "FERRUM_TEST_MYSQL_URL")] {
        if let Ok(url) = std::env::var(variable) {
            serves_and_keeps(kind, &url);
        }
    }
}

#[test]
fn a_read_only_gateway_refuses_writes() {
    let gateway = on("sqlite", &fresh_sqlite("read-only.db")).env("FERRUM_ADMIN_READ_ONLY", true).start();
    let refused = ask(&gateway, "POST", "/proxies", &proxy("a", "/a", 1));
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(gateway.get("/a").status, 404);
}

#[test]
fn what_is_not_built_yet_ends_the_start_with_what_to_do() {
    let exit = on("mongodb", "mongodb://127.0.0.1:1/x").start_failing();
    assert_eq!(exit.code, Some(1), "{exit:?}");
    let said = "FERRUM_DB_TYPE=mongodb is not built yet in this release; use sqlite, postgres or mysql";
    assert!(exit.stderr.contains(said) || exit.stdout.contains(said), "{exit:?}");
}
