//! Which route a request takes, and what of its path the backend sees.

use tests::{Backend, Document, Gateway, Proxy};

/// The documented example: six routes, each marked by the first segment the backend sees.
fn example(backend: &Backend, with_catch_all: bool) -> Document {
    let proxy = |id: &str| {
        let base = format!("/{id}");
        Proxy::new(id).set("backend_path", base).set("strip_listen_path", false).to(backend.port())
    };
    let mut document = Document::new()
        .proxy(proxy("A").hosts(&["api.example.com"]).path("/api/v1"))
        .proxy(proxy("B").hosts(&["*.example.com"]).path("/api"));
    if with_catch_all {
        document = document.proxy(proxy("C").path("/"));
    }
    document
        .proxy(proxy("D").path("~/users/(?P<user_id>[^/]+)/orders"))
        .proxy(proxy("E").hosts(&["only.example.com"]))
        .proxy(proxy("F").path("=/healthz"))
}

/// The route that answers curl's request to this host and path, or the status when none does.
fn route_of(gateway: &Gateway, host: &str, path: &str) -> String {
    let answer = gateway.curl(path, &["--header", &format!("Host: {host}")]);
    match answer.status {
        200 => answer.text().split('/').nth(1).expect("a marked path").to_owned(),
        status => status.to_string(),
    }
}

#[test]
fn host_beats_path_and_exact_beats_prefix_beats_pattern() {
    let backend = Backend::naming_targets();
    let gateway = Gateway::running(&example(&backend, true));
    for (host, path, route) in [
        ("api.example.com", "/api/v1/users", "A"),
        ("API.Example.com.:8080", "/api/v1", "A"),
        ("api.example.com", "/api/health", "B"),
        ("api.example.com", "/api/v10", "B"),
        ("other.example.com", "/api/x", "B"),
        ("example.com", "/api/x", "C"),
        ("a.b.example.com", "/api/x", "C"),
        ("only.example.com", "/api/x", "E"),
        ("other.org", "/users/4/orders", "C"),
        ("other.org", "/healthz", "F"),
        ("other.org", "/healthz/", "C"),
        ("other.org", "/healthz?x=1", "F"),
        ("[2001:db8::1]:80", "/x", "C"),
        ("2001:db8::1", "/x", "400"),
        ("example.com:", "/x", "400"),
    ] {
        assert_eq!(route_of(&gateway, host, path), route, "{host} {path}");
        assert_eq!(route_of(&gateway, host, path), route, "{host} {path}, asked again");
    }
    assert_eq!(gateway.ask("GET /x HTTP/1.0\r\n\r\n").text(), "GET /C/x", "no host, HTTP/1.0");
}

#[test]
fn without_a_catch_all_patterns_are_reached_and_the_rest_is_404() {
    let backend = Backend::naming_targets();
    let gateway = Gateway::running(&example(&backend, false));
    assert_eq!(route_of(&gateway, "other.org", "/users/4/orders"), "D");
    assert_eq!(backend.only_request().header("x-path-param-user_id"), Some("4"));
    for path in ["/users/4/orders/p", "/users/4/orders/", "/anything", "/"] {
        let answer = gateway.curl(path, &["--header", "Host: other.org"]);
        assert_eq!((answer.status, answer.text().as_str()), (404, r#"{"error":"Not Found"}"#), "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
}

#[test]
fn a_path_parameter_is_the_raw_text_and_cannot_be_forged() {
    let backend = Backend::saying("ok");
    let gateway = Gateway::running(&example(&backend, false));
    gateway.ask("GET /users/a%20b/orders HTTP/1.1\r\nHost: x\r\nX-Path-Param-User_Id: forged\r\n\r\n");
    assert_eq!(backend.only_request().headers.all("x-path-param-user_id"), ["a%20b"]);
}

#[test]
fn a_prefix_matches_whole_segments_only() {
    let backend = Backend::saying("ok");
    let proxy = |id: &str, path: &str| Proxy::new(id).path(path).to(backend.port());
    let gateway = Gateway::running(&Document::new().proxy(proxy("api", "/api")).proxy(proxy("slash", "/deep/")));
    for (path, status) in [
        ("/api", 200),
        ("/api/", 200),
        ("/api/x", 200),
        ("/api//x", 200),
        ("/api?x", 200),
        ("/apix", 404),
        ("/api.json", 404),
        ("/my-api", 404),
        ("/API", 404),
        ("/api%2Fx", 404),
        ("/deep/", 200),
        ("/deep/x", 200),
        ("/deep", 404),
    ] {
        assert_eq!(gateway.curl(path, &[]).status, status, "{path}");
    }
}

#[test]
fn the_longest_prefix_wins_whatever_the_order() {
    let backend = Backend::naming_targets();
    let proxy = |path: &str| {
        let name = path.replace('/', "_");
        Proxy::new(&format!("p{name}")).path(path).set("backend_path", format!("/{name}")).to(backend.port())
    };
    let paths = ["/a", "/a/b/c", "/a/b", "/"];
    let document = paths.iter().fold(Document::new(), |document, path| document.proxy(proxy(path)));
    let gateway = Gateway::running(&document);
    for (path, seen) in
        [("/a/b/c/d", "/_a_b_c/d"), ("/a/b/x", "/_a_b/x"), ("/a/x", "/_a/x"), ("/x", "/_x"), ("/a/bc", "/_a/bc")]
    {
        assert_eq!(gateway.get(path).text(), format!("GET {seen}"), "{path}");
    }
}

#[test]
fn patterns_are_anchored_at_both_ends_and_the_first_in_the_document_wins() {
    let backend = Backend::naming_targets();
    for (pattern, one, two) in
        [("~/v[0-9]+/[^/]+", 200, 404), ("~/v[0-9]+/.*", 200, 200), ("~^/v1", 404, 404), ("~/v1/a$", 200, 404)]
    {
        let gateway = Gateway::running(&Document::new().proxy(Proxy::new("p").path(pattern).to(backend.port())));
        assert_eq!((gateway.get("/v1/a").status, gateway.get("/v1/a/b").status), (one, two), "{pattern}");
    }
    let proxy =
        |id: &str, pattern: &str| Proxy::new(id).path(pattern).set("backend_path", format!("/{id}")).to(backend.port());
    let document = Document::new().proxy(proxy("first", "~/x/.*")).proxy(proxy("second", "~/x/y"));
    assert_eq!(Gateway::running(&document).get("/x/y").text(), "GET /first");
}

#[test]
fn the_path_the_backend_sees_is_base_and_rest() {
    let backend = Backend::naming_targets();
    for (listen_path, strip, base, request, seen) in [
        (Some("/api/v1"), true, "", "/api/v1/users/1", "/users/1"),
        (Some("/api/v1"), true, "", "/api/v1", "/"),
        (Some("/api/v1"), true, "", "/api/v1/", "/"),
        (Some("/api/v1"), false, "", "/api/v1/x", "/api/v1/x"),
        (Some("/api"), true, "/v2", "/api/v1/u", "/v2/v1/u"),
        (Some("/api"), true, "/v2", "/api", "/v2"),
        (Some("/api"), false, "/v2", "/api/x", "/v2/api/x"),
        (Some("/api/"), true, "", "/api/x", "/x"),
        (Some("/"), true, "", "/users", "/users"),
        (Some("/api/"), true, "/v2/", "/api/x", "/v2/x"),
        (Some("/api"), true, "/v2/", "/api/x", "/v2//x"),
        (Some("=/healthz"), true, "", "/healthz", "/"),
        (Some("=/healthz"), false, "", "/healthz?x=1", "/healthz?x=1"),
        (Some("~/users/[^/]+/orders"), true, "/internal", "/users/4/orders", "/internal"),
        (Some("~/users/[^/]+/orders(/.*)?"), true, "", "/users/4/orders/p", "/"),
        (None, true, "/b", "/x/y", "/b/x/y"),
        (Some("/api"), true, "", "/api/users?x=1&y=%20", "/users?x=1&y=%20"),
        (Some("/api"), true, "", "/api?x=1", "/?x=1"),
    ] {
        let mut proxy = Proxy::new("p").set("strip_listen_path", strip).to(backend.port());
        proxy = match listen_path {
            Some(path) => proxy.path(path),
            None => proxy.hosts(&["127.0.0.1"]),
        };
        if !base.is_empty() {
            proxy = proxy.set("backend_path", base);
        }
        let gateway = Gateway::running(&Document::new().proxy(proxy));
        assert_eq!(gateway.curl(request, &[]).text(), format!("GET {seen}"), "{listen_path:?} {strip} {base:?}");
    }
}

#[test]
fn a_method_that_is_not_allowed_gets_405_with_the_allowed_ones() {
    let backend = Backend::naming_targets();
    let methods = vec!["GET", "post", "OPTIONS"];
    let proxy = Proxy::new("p").path("/").set("allowed_methods", methods).to(backend.port());
    let gateway = Gateway::running(&Document::new().proxy(proxy));
    for method in ["GET", "POST", "OPTIONS"] {
        assert_eq!(gateway.curl("/", &["--request", method]).status, 200, "{method}");
    }
    for method in ["PUT", "DELETE", "BREW"] {
        let refused = gateway.curl("/", &["--request", method]);
        assert_eq!((refused.status, refused.text().as_str()), (405, r#"{"error":"Method Not Allowed"}"#));
        assert_eq!(refused.header("allow"), Some("GET, post, OPTIONS"));
    }
    let mut client = gateway.raw();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response_to_head().status, 405, "GET does not imply HEAD");
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn routes_of_another_namespace_do_not_exist() {
    let backend = Backend::saying("ok");
    let proxy = |id: &str| Proxy::new(id).path(&format!("/{id}")).to(backend.port());
    let document = Document::new().proxy(proxy("ours")).proxy(proxy("theirs").set("namespace", "other"));
    let gateway = Gateway::running(&document);
    assert_eq!((gateway.get("/ours").status, gateway.get("/theirs").status), (200, 404));
    let gateway = Gateway::builder().document(&document).env("FERRUM_NAMESPACE", "other").start();
    assert_eq!((gateway.get("/ours").status, gateway.get("/theirs").status), (404, 200));
}
