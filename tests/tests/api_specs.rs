//! API specs in database mode: a document is served as soon as it is there, changes with it, and goes with it.

use serde_json::Value;
use tests::{Backend, Database, Gateway, RawClient, Response, admin_token, eventually};

fn over(database: &Database) -> Gateway {
    Gateway::builder().on_database(database).env("FERRUM_ADMIN_SPEC_MAX_BODY_SIZE_MIB", 1).start()
}

fn ask(gateway: &Gateway, method: &str, path: &str, body: &str) -> Response {
    let mut client = RawClient::connect(gateway.admin_port());
    client.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/yaml\r\nContent-Length: {}\r\n\r\n{body}",
        admin_token("admin"),
        body.len()
    ));
    client.response()
}

fn document(path: &str, port: u16, plugins: &str) -> String {
    format!(
        "openapi: 3.1.0
info: {{title: Orders, version: '1.4'}}
paths: {{}}
x-ferrum-proxy: {{id: orders, listen_path: {path}, backend_scheme: http, backend_host: '', backend_port: 0}}
x-ferrum-upstream: {{id: orders-up, targets: [{{host: 127.0.0.1, port: {port}, weight: 1}}]}}
x-ferrum-plugins: [{plugins}]
"
    )
}

fn serves_a_document(gateway: &Gateway) {
    let (first, second) = (Backend::saying("first"), Backend::saying("second"));
    let made = ask(gateway, "POST", "/api-specs", &document("/orders", first.port(), ""));
    assert_eq!(made.status, 201, "{}", made.text());
    let spec: Value = serde_json::from_str(&made.text()).expect("JSON");
    let path = format!("/api-specs/{}", spec["id"].as_str().expect("an id"));
    eventually("the document is served", || (gateway.get("/orders/1").text() == "first").then_some(()));

    let teapot = "{plugin_name: request_termination, config: {status_code: 418}}";
    let closed = ask(gateway, "PUT", &path, &document("/orders", first.port(), teapot));
    assert_eq!(closed.status, 200, "{}", closed.text());
    eventually("its plugin answers", || (gateway.get("/orders/1").status == 418).then_some(()));

    let moved = ask(gateway, "PUT", &path, &document("/v2", second.port(), ""));
    assert_eq!(moved.status, 200, "{}", moved.text());
    eventually("the changed document is served", || (gateway.get("/v2/1").text() == "second").then_some(()));
    assert_eq!(gateway.get("/orders/1").status, 404, "where it was");

    let refused = ask(gateway, "PUT", &path, &document("/v3", second.port(), "{plugin_name: nothing, config: {}}"));
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert_eq!(gateway.get("/v2/1").text(), "second", "what is refused changes nothing");

    let gone = ask(gateway, "DELETE", &path, "");
    assert_eq!(gone.status, 204, "{}", gone.text());
    eventually("the document is gone", || (gateway.get("/v2/1").status == 404).then_some(()));
}

#[test]
fn a_document_is_served_changed_and_gone() {
    for database in Database::each("specs") {
        serves_a_document(&over(&database));
    }
}

#[test]
fn a_document_past_the_limit_of_the_setting_is_refused() {
    let gateway = over(&Database::sqlite("spec_limit"));
    let announced = |bytes: usize| {
        let mut client = RawClient::connect(gateway.admin_port());
        // Refused by its length alone: nothing of it is sent.
        client.send(format!(
            "POST /api-specs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {bytes}\r\n\r\n",
            admin_token("admin")
        ));
        client.response()
    };
    let refused = announced(1024 * 1024 + 1);
    assert_eq!(refused.status, 413, "{}", refused.text());
    assert!(refused.text().contains("Request body too large (max 1 MiB)"), "{}", refused.text());
    let text = document("/orders", 1, "");
    let padded = format!("{text}#{}", "x".repeat(1024 * 1024 - text.len() - 1));
    assert_eq!(ask(&gateway, "POST", "/api-specs", &padded).status, 201, "at the limit");
}
