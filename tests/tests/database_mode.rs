//! `FERRUM_MODE=database`: what is written over the admin API is served, kept, and gone once deleted. SQLite always; PostgreSQL,
//! MariaDB and a server of MongoDB's protocol where `make test` has started them.

use serde_json::{Value, json};
use tests::{Backend, Database, DeafPort, Gateway, PATIENCE, Signal, eventually};

fn on(database: &Database) -> tests::GatewayBuilder {
    Gateway::builder().on_database(database)
}

fn proxy(id: &str, path: &str, port: u16) -> Value {
    json!({
        "id": id, "listen_path": path, "backend_scheme": "http", "backend_host": "127.0.0.1", "backend_port": port,
    })
}

fn serves_and_keeps(database: &Database) {
    let (first, second) = (Backend::saying("first"), Backend::saying("second"));
    let gateway = on(database).start();
    assert_eq!(gateway.get("/a").status, 404, "an empty database");

    let made = gateway.manage("POST", "/proxies", &proxy("a", "/a", first.port()));
    assert_eq!(made.status, 201, "{}", made.text());
    eventually("the new proxy is served", || (gateway.get("/a").text() == "first").then_some(()));

    let changed = gateway.manage("PUT", "/proxies/a", &proxy("a", "/a", second.port()));
    assert_eq!(changed.status, 200, "{}", changed.text());
    eventually("the changed proxy is served", || (gateway.get("/a").text() == "second").then_some(()));

    let taken = gateway.manage("POST", "/proxies", &proxy("b", "/a", first.port()));
    assert!((400..500).contains(&taken.status), "{} {}", taken.status, taken.text());
    assert_eq!(gateway.get("/a").text(), "second", "what is refused changes nothing");

    drop(gateway);
    let gateway = on(database).start();
    assert_eq!(gateway.get("/a").text(), "second", "kept over a restart");
    let gone = gateway.manage("DELETE", "/proxies/a", &json!({}));
    assert!((200..300).contains(&gone.status), "{} {}", gone.status, gone.text());
    eventually("the deleted proxy is gone", || (gateway.get("/a").status == 404).then_some(()));
}

#[test]
fn what_is_written_is_served_and_kept() {
    Database::each("serves").iter().for_each(serves_and_keeps);
}

#[test]
fn a_plugin_config_that_proxies_list_can_be_deleted() {
    for database in Database::each("listed") {
        let (first, second) = (Backend::saying("first"), Backend::saying("second"));
        let gateway = on(&database).start();
        let group = json!({"id": "g", "plugin_name": "request_termination", "scope": "proxy_group", "config": {}});
        assert_eq!(gateway.manage("POST", "/plugins/config", &group).status, 201);
        let mut listing = proxy("a", "/a", first.port());
        listing["plugins"] = json!([{"plugin_config_id": "g"}]);
        let made = gateway.manage("POST", "/proxies", &listing);
        assert_eq!(made.status, 201, "{}", made.text());
        eventually("the group's plugin runs", || (gateway.get("/a").status == 503).then_some(()));

        assert_eq!(gateway.manage("DELETE", "/plugins/config/g", &Value::Null).status, 204);
        eventually("it runs no more", || (gateway.get("/a").text() == "first").then_some(()));
        let changed = gateway.manage("PUT", "/proxies/a", &proxy("a", "/a", second.port()));
        assert_eq!(changed.status, 200, "{}", changed.text());
        eventually("later writes are served", || (gateway.get("/a").text() == "second").then_some(()));
    }
}

/// Connections to this port that nobody has answered yet (proc_pid_net(5): state 02 is SYN_SENT).
fn dialling(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("a table of sockets");
    let is_dialling = |line: &&str| {
        let mut columns = line.split_whitespace().skip(2);
        let (remote, state) = (columns.next().unwrap_or_default(), columns.next());
        remote.ends_with(&format!(":{port:04X}")) && state == Some("02")
    };
    table.lines().filter(is_dialling).count()
}

#[test]
fn a_start_that_waits_for_its_database_can_be_stopped() {
    let deaf = DeafPort::new();
    let before = dialling(deaf.port());
    let url = format!("postgres://u@127.0.0.1:{}/db", deaf.port());
    let database = Database { kind: "postgres", url };
    let mut gateway = on(&database).env("FERRUM_DB_POOL_CONNECT_TIMEOUT_SECONDS", 0).launch(&["run"]);
    eventually("the gateway waits for its database", || (dialling(deaf.port()) > before).then_some(()));
    gateway.signal(Signal::Terminate);
    assert_eq!(gateway.exit(PATIENCE).code, Some(0));
}

#[test]
fn a_read_only_gateway_refuses_writes() {
    let gateway = on(&Database::sqlite("read_only")).env("FERRUM_ADMIN_READ_ONLY", true).start();
    let refused = gateway.manage("POST", "/proxies", &proxy("a", "/a", 1));
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert_eq!(gateway.get("/a").status, 404);
}

#[test]
fn what_mongodb_cannot_do_ends_the_start_with_what_to_do() {
    let mongodb = |url: &str| on(&Database { kind: "mongodb", url: url.to_owned() });
    let nobody = "mongodb://u:secret@127.0.0.1:1/x";
    for (gateway, said) in [
        (mongodb(nobody), "Server selection timeout"),
        (mongodb("mongodb://127.0.0.1:1/a.b"), "FERRUM_MONGO_DATABASE 'a.b' is no name of a MongoDB database"),
        (
            mongodb(nobody).env("FERRUM_MONGO_AUTH_MECHANISM", "NTLM"),
            "FERRUM_MONGO_AUTH_MECHANISM 'NTLM' cannot be used",
        ),
    ] {
        let exit = gateway.start_failing();
        assert_eq!(exit.code, Some(1), "{exit:?}");
        assert!(exit.stderr.contains(said) || exit.stdout.contains(said), "{exit:?}");
        assert!(!exit.stderr.contains("secret") && !exit.stdout.contains("secret"), "{exit:?}");
    }
}

#[test]
fn a_plugin_that_would_call_a_forbidden_address_is_not_written() {
    let gateway = on(&Database::sqlite("egress")).env("FERRUM_BACKEND_ALLOW_IPS", "public").start();
    let plugin = |url: &str| json!({"plugin_name": "http_logging", "scope": "global", "config": {"endpoint_url": url}});
    let refused = gateway.manage("POST", "/plugins/config", &plugin("http://[::1]:9/"));
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.text().contains("IP ::1 denied by FERRUM_BACKEND_ALLOW_IPS=public policy"), "{}", refused.text());
    assert_eq!(gateway.manage("POST", "/plugins/config", &plugin("http://8.8.8.8:9/")).status, 201);
}

#[test]
fn a_plugin_that_is_left_out_is_named_even_in_the_quietest_log() {
    let (database, backend) = (Database::sqlite("left_out"), Backend::saying("served"));
    let gateway = on(&database).start();
    let endpoint = json!({"endpoint_url": "http://8.8.8.8:9/"});
    let plugin = json!({"id": "log", "plugin_name": "http_logging", "scope": "global", "config": endpoint});
    assert_eq!(gateway.manage("POST", "/plugins/config", &plugin).status, 201);
    assert_eq!(gateway.manage("POST", "/proxies", &proxy("a", "/a", backend.port())).status, 201);
    drop(gateway);

    let strict = on(&database).env("FERRUM_BACKEND_ALLOW_IPS", "private").env("FERRUM_LOG_LEVEL", "error").start();
    let said = strict.wait_for_log(|line| line.starts_with("Plugin 'http_logging' (id=log) is left out: "));
    assert!(said.contains("FERRUM_BACKEND_ALLOW_IPS=private"), "{said}");
    assert_eq!(strict.get("/a").text(), "served");
}

/// Each is served at once whatever it refers to: the gateway that a proxy is written to has not looked at what another one has written.
#[test]
fn a_proxy_is_served_at_once_although_another_gateway_wrote_what_it_refers_to() {
    for database in Database::each("two") {
        let (one, two) = (on(&database).start(), on(&database).env("FERRUM_DB_POLL_INTERVAL", "3600").start());
        let group = json!({"id": "g", "plugin_name": "request_termination", "scope": "proxy_group", "config": {}});
        assert_eq!(one.manage("POST", "/plugins/config", &group).status, 201);
        let mut listing = proxy("a", "/a", 1);
        listing["plugins"] = json!([{"plugin_config_id": "g"}]);
        let made = two.manage("POST", "/proxies", &listing);
        assert_eq!(made.status, 201, "{}", made.text());
        eventually("the other's plugin runs", || (two.get("/a").status == 503).then_some(()));
    }
}

/// Consumers, upstreams and proxies, one after the other, none of which another look at the database would bring.
#[test]
fn rows_of_each_kind_are_served_as_soon_as_they_are_written() {
    for database in Database::each("rows") {
        let (first, second) = (Backend::saying("first"), Backend::saying("second"));
        let gateway = on(&database).env("FERRUM_DB_POLL_INTERVAL", "3600").start();
        let to = |port: u16| json!({"id": "u", "targets": [{"host": "127.0.0.1", "port": port}]});
        assert_eq!(gateway.manage("POST", "/upstreams", &to(first.port())).status, 201);
        let key = json!({"id": "k", "plugin_name": "key_auth", "scope": "global", "config": {}});
        assert_eq!(gateway.manage("POST", "/plugins/config", &key).status, 201);
        let mut row = proxy("a", "/a", 1);
        row["upstream_id"] = json!("u");
        assert_eq!(gateway.manage("POST", "/proxies", &row).status, 201);
        eventually("it is guarded", || (gateway.get("/a").status == 401).then_some(()));
        let ann = json!({"id": "c", "username": "ann", "credentials": {"keyauth": [{"key": "secret"}]}});
        assert_eq!(gateway.manage("POST", "/consumers", &ann).status, 201);
        let ask = || gateway.ask("GET /a HTTP/1.1\r\nHost: x\r\nX-API-Key: secret\r\nConnection: close\r\n\r\n");
        eventually("the consumer is known", || (ask().text() == "first").then_some(()));
        assert_eq!(gateway.manage("PUT", "/upstreams/u", &to(second.port())).status, 200);
        eventually("the upstream is another", || (ask().text() == "second").then_some(()));
        assert_eq!(gateway.manage("DELETE", "/consumers/c", &Value::Null).status, 204);
        eventually("the consumer is gone", || (ask().status == 401).then_some(()));
    }
}
