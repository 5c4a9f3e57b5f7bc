//! Connections to backends: reused while they are good, never when they are not.

use serde_json::json;
use tests::{Backend, Document, Gate, Gateway, GatewayBuilder, Proxy, Reply, eventually};

/// One core, so that which pool a connection is in does not depend on the kernel's choice of a core.
fn one_core(document: &Document) -> GatewayBuilder {
    Gateway::builder().document(document).env("FERRUM_CORES", 0)
}

#[test]
fn requests_one_after_another_share_one_connection() {
    let backend = Backend::saying("ok");
    let gateway = one_core(&Document::all_to(backend.port())).start();
    let mut client = gateway.raw();
    for _ in 0..10 {
        assert_eq!(client.get("/").status, 200);
        assert_eq!(gateway.get("/").status, 200);
    }
    assert_eq!(backend.connections(), 1);
    assert_eq!(backend.requests()[19].earlier_on_connection, 19);
}

#[test]
fn requests_with_bodies_share_the_connection_too() {
    let backend = Backend::replying(|request| {
        let reply = Reply::new(200).body(request.body.clone());
        if request.target == "/chunked" { reply.chunked(3) } else { reply }
    });
    let gateway = one_core(&Document::all_to(backend.port())).start();
    for path in ["/length", "/chunked", "/length"] {
        gateway.ask(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"));
        gateway
            .ask(format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"));
        gateway.get(path);
    }
    assert_eq!((backend.requests().len(), backend.connections()), (9, 1));
}

#[test]
fn requests_at_the_same_time_have_connections_of_their_own() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::replying(move |_| {
        held.wait();
        Reply::text("ok")
    });
    let gateway = one_core(&Document::all_to(backend.port())).start();
    let mut clients: Vec<_> = (0..10).map(|_| gateway.raw()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    backend.wait_for_requests(10);
    gate.open();
    assert!(clients.iter_mut().all(|client| client.response().status == 200));
    assert_eq!(backend.connections(), 10);
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(backend.connections(), 10, "all of them were kept");
}

#[test]
fn proxies_to_one_backend_share_its_connections() {
    let backend = Backend::saying("ok");
    let proxy = |id: &str| Proxy::new(id).path(&format!("/{id}")).to(backend.port());
    let other = proxy("other").set("backend_read_timeout_ms", 1234);
    let gateway = one_core(&Document::new().proxy(proxy("one")).proxy(other)).start();
    assert_eq!((gateway.get("/one").status, gateway.get("/other").status), (200, 200));
    assert_eq!(backend.connections(), 1);
}

#[test]
fn keep_alive_can_be_switched_off_for_all_or_for_one_proxy() {
    let backend = Backend::saying("ok");
    let gateway =
        one_core(&Document::all_to(backend.port())).env("FERRUM_POOL_ENABLE_HTTP_KEEP_ALIVE", "false").start();
    assert_eq!((gateway.get("/").status, gateway.get("/").status), (200, 200));
    assert_eq!(backend.connections(), 2);

    let backend = Backend::saying("ok");
    let proxy = Proxy::new("app").path("/").set("pool_enable_http_keep_alive", false).to(backend.port());
    let gateway = one_core(&Document::new().proxy(proxy)).start();
    assert_eq!((gateway.get("/").status, gateway.get("/").status), (200, 200));
    assert_eq!(backend.connections(), 2);
}

#[test]
fn a_connection_the_backend_closes_is_not_reused() {
    let backend = Backend::replying(|_| Reply::text("ok").close());
    let gateway = one_core(&Document::all_to(backend.port())).start();
    for _ in 0..10 {
        assert_eq!(gateway.get("/").status, 200);
    }
    assert_eq!(backend.connections(), 10);
}

#[test]
fn a_connection_that_the_backend_closed_unannounced_is_no_error() {
    // Each connection answers once and closes without having said so.
    let backend = Backend::scripted(|connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let gateway = one_core(&Document::all_to(backend.port())).start();
    let mut client = gateway.raw();
    for number in 1..=20 {
        assert_eq!(client.get("/").status, 200, "request {number}");
        eventually("the backend closed its side", || (backend.open_connections() == 0).then_some(()));
    }
    assert_eq!(backend.connections(), 20);
}

#[test]
fn a_connection_that_was_reset_while_idle_is_no_error() {
    let (answered, wait) = std::sync::mpsc::channel();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::scripted(move |connection| {
        connection.read_request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        wait.lock().unwrap().recv_timeout(tests::PATIENCE).expect("the client has its answer");
        connection.reset();
    });
    let gateway = one_core(&Document::all_to(backend.port())).start();
    let mut client = gateway.raw();
    for number in 1..=10 {
        assert_eq!(client.get("/").status, 200, "request {number}");
        answered.send(()).expect("the backend listens");
        eventually("the backend reset its side", || (backend.open_connections() == 0).then_some(()));
    }
}

#[test]
fn an_idle_connection_is_closed_after_its_time() {
    let backend = Backend::saying("ok");
    let proxy = Proxy::new("app").path("/").set("pool_idle_timeout_seconds", 1).to(backend.port());
    let document = Document::new().proxy(proxy);
    let gateway = one_core(&document).env("FERRUM_POOL_CLEANUP_INTERVAL_SECONDS", 1).start();
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(backend.open_connections(), 1, "it is kept at first");
    eventually("the idle connection is closed", || (backend.open_connections() == 0).then_some(()));
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(backend.connections(), 2);
}

#[test]
fn a_reload_that_changes_the_idle_time_holds_for_the_connections_that_are_there() {
    let backend = Backend::saying("ok");
    let document = |seconds: u64| {
        Document::new().proxy(Proxy::new("app").path("/").set("pool_idle_timeout_seconds", seconds).to(backend.port()))
    };
    let gateway = one_core(&document(3600)).env("FERRUM_POOL_CLEANUP_INTERVAL_SECONDS", 1).start();
    assert_eq!(gateway.get("/").status, 200);
    gateway.reload(&document(1));
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!(backend.connections(), 1, "the reload kept it");
    eventually("the idle connection is closed", || (backend.open_connections() == 0).then_some(()));
}

#[test]
fn proxies_that_share_a_pool_keep_connections_for_the_time_of_each() {
    let backend = Backend::saying("ok");
    let proxy = |id: &str, seconds: u64| {
        Proxy::new(id).path(&format!("/{id}")).set("pool_idle_timeout_seconds", seconds).to(backend.port())
    };
    let gateway = one_core(&Document::new().proxy(proxy("long", 3600)).proxy(proxy("short", 1)))
        .env("FERRUM_POOL_CLEANUP_INTERVAL_SECONDS", 1)
        .start();
    assert_eq!((gateway.get("/long").status, gateway.get("/short").status), (200, 200));
    assert_eq!(backend.connections(), 1);
    eventually("the idle connection is closed", || (backend.open_connections() == 0).then_some(()));
}

#[test]
fn a_connection_with_half_an_answer_on_it_is_not_reused() {
    let backend = Backend::scripted(|connection| {
        let first = connection.id() == 0;
        while connection.read_request().is_some() {
            connection.send(if first {
                format!("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(70_000))
            } else {
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned()
            });
        }
    });
    let gateway = one_core(&Document::all_to(backend.port())).start();
    let mut client = gateway.raw();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status, 200);
    client.reset();
    eventually("the cancelled connection is closed", || (backend.open_connections() == 0).then_some(()));
    assert_eq!(gateway.get("/").text(), "ok");
}

#[test]
fn the_backend_is_not_told_to_close_by_a_client_that_closes() {
    let backend = Backend::saying("ok");
    let gateway = one_core(&Document::all_to(backend.port())).start();
    for _ in 0..3 {
        gateway.ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        gateway.ask("GET / HTTP/1.0\r\n\r\n");
    }
    assert_eq!(backend.connections(), 1);
    assert!(backend.requests().iter().all(|request| !request.headers.lists("connection", "close")));
}

#[test]
fn warm_up_opens_a_connection_with_head_before_the_first_client() {
    let backend = Backend::saying("ok");
    let gateway = one_core(&Document::all_to(backend.port())).env("FERRUM_POOL_WARMUP_ENABLED", "true").start();
    let warm_up = backend.only_request();
    assert_eq!((warm_up.method.as_str(), warm_up.target.as_str()), ("HEAD", "/"));
    assert_eq!(gateway.get("/first").status, 200);
    assert_eq!(backend.requests().len(), 2);
}

#[test]
fn targets_of_an_upstream_take_turns() {
    let backends = [Backend::saying("one"), Backend::saying("two"), Backend::saying("three")];
    let targets: Vec<_> = backends.iter().map(|b| json!({"host": "127.0.0.1", "port": b.port()})).collect();
    let proxy = Proxy::new("app").path("/").set("backend_host", "").set("backend_port", 0).set("upstream_id", "pool");
    let document = Document::new().proxy(proxy).upstream(json!({"id": "pool", "targets": targets}));
    let gateway = Gateway::builder().document(&document).env("FERRUM_CORES", "0,1").start();
    for _ in 0..30 {
        assert_eq!(gateway.get("/").status, 200);
    }
    let shares: Vec<usize> = backends.iter().map(|backend| backend.requests().len()).collect();
    assert_eq!(shares, [10, 10, 10]);
}

#[test]
fn a_request_whose_answer_has_begun_is_not_repeated() {
    for begun in ["H", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"] {
        let backend = Backend::scripted(move |connection| {
            connection.read_request();
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            connection.read_request();
            connection.send(begun);
        });
        let gateway = one_core(&Document::all_to(backend.port())).start();
        assert_eq!(gateway.get("/first").text(), "ok");
        assert_eq!(gateway.get("/second").status, 502, "{begun}");
        let targets: Vec<String> = backend.requests().into_iter().map(|request| request.target).collect();
        assert_eq!(targets, ["/first", "/second"]);
    }
}

#[test]
fn every_keep_alive_time_that_is_allowed_works() {
    let backend = Backend::saying("ok");
    let proxy = Proxy::new("app").path("/").set("pool_tcp_keepalive_seconds", 86_400).to(backend.port());
    assert_eq!(one_core(&Document::new().proxy(proxy)).start().get("/").status, 200);
    for seconds in [0, 1, 32_767, 32_768] {
        let builder = one_core(&Document::all_to(backend.port()));
        let gateway = builder.env("FERRUM_POOL_TCP_KEEPALIVE_SECONDS", seconds).start();
        assert_eq!(gateway.get("/").status, 200, "{seconds} s");
    }
}
