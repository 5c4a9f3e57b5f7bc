//! The admin API answers as its own description says, whatever it is asked: schemathesis makes the requests.

use serde_json::json;
use tests::{Backend, Database, Gateway, admin_token, eventually, peer_program};

/// Requests to make up for each operation, besides those at the edges of its schemas.
const EXAMPLES: &str = "15";
/// So that a failure can be repeated.
const SEED: &str = "1";

#[test]
fn made_up_requests_meet_no_error_of_the_server_and_no_answer_that_is_not_described() {
    let gateway = Gateway::builder()
        .on_database(&Database::sqlite("openapi"))
        .env("FERRUM_ADMIN_AUDIT_ENABLED", true)
        // What is made up must not be polled for, nor its names be looked up.
        .env("FERRUM_POOL_WARMUP_ENABLED", false)
        .start();
    let bearer = format!("Authorization: Bearer {}", admin_token("admin"));
    let description = gateway.admin("/openapi.yaml", &[&bearer]);
    assert_eq!(description.status, 200, "{}", description.text());
    assert_eq!(description.headers.get("content-type"), Some("application/yaml"));
    let folder = std::env::temp_dir().join(format!("ferrum-edge-openapi-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("openapi.yaml");
    std::fs::write(&path, &description.body).expect("the description is kept");

    let said = peer_program("schemathesis")
        .current_dir(&folder)
        .arg("run")
        .arg(&path)
        .args(["--url", &format!("http://127.0.0.1:{}", gateway.admin_port()), "--header", &bearer])
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES, "--seed", SEED])
        .args(["--continue-on-failure", "--warnings", "off", "--no-color"])
        .output()
        .expect("schemathesis runs");
    let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "{text}");
    assert!(text.contains("No issues found"), "{text}");

    // And after all that it still does what it is for.
    let backend = Backend::saying("hello");
    let proxy = json!({
        "id": "after", "hosts": ["after.example.com"], "listen_path": "/after", "backend_scheme": "http",
        "backend_host": "127.0.0.1", "backend_port": backend.port(),
    });
    let made = gateway.manage("POST", "/proxies", &proxy);
    assert_eq!(made.status, 201, "{}", made.text());
    eventually("it is served", || {
        let request = "GET /after HTTP/1.1\r\nHost: after.example.com\r\nConnection: close\r\n\r\n";
        (gateway.ask(request).text() == "hello").then_some(())
    });
    drop(std::fs::remove_dir_all(folder));
}
