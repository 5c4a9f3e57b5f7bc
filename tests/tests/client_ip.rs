//! Whose word about the client's address is believed.

use tests::{Backend, Document, Gateway};

/// The client address the gateway settles on, as it tells the backend: the last entry of `X-Forwarded-For`.
#[track_caller]
fn client_ip(settings: &[(&str, &str)], lines: &str) -> String {
    let backend = Backend::saying("ok");
    let builder = Gateway::builder().document(&Document::all_to(backend.port()));
    let gateway = settings.iter().fold(builder, |builder, (name, value)| builder.env(name, value)).start();
    assert_eq!(gateway.ask(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")).status, 200);
    let request = backend.only_request();
    let values = request.headers.all("x-forwarded-for");
    assert_eq!(values.len(), 1, "exactly one X-Forwarded-For: {values:?}");
    values[0].rsplit(", ").next().expect("an entry").to_owned()
}

const TRUSTED: (&str, &str) = ("FERRUM_TRUSTED_PROXIES", "127.0.0.0/8, 10.0.0.0/8");
const REAL_IP: (&str, &str) = ("FERRUM_REAL_IP_HEADER", "CloudFront-Viewer-Address");

#[test]
fn without_trusted_proxies_nobodys_word_is_believed() {
    assert_eq!(client_ip(&[], "X-Forwarded-For: 6.6.6.6\r\n"), "127.0.0.1");
    assert_eq!(client_ip(&[REAL_IP], "CloudFront-Viewer-Address: 6.6.6.6\r\n"), "127.0.0.1");
}

#[test]
fn a_peer_that_is_not_trusted_is_not_believed() {
    let others = ("FERRUM_TRUSTED_PROXIES", "10.0.0.0/8");
    assert_eq!(client_ip(&[others], "X-Forwarded-For: 203.0.113.9\r\n"), "127.0.0.1");
    assert_eq!(client_ip(&[others, REAL_IP], "CloudFront-Viewer-Address: 203.0.113.9\r\n"), "127.0.0.1");
}

#[test]
fn behind_a_trusted_proxy_the_last_untrusted_entry_is_the_client() {
    for (header, expected) in [
        ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.0.0.7", "203.0.113.9"),
        ("203.0.113.9,10.0.0.7 , 10.0.0.8", "203.0.113.9"),
        ("203.0.113.9, , ", "203.0.113.9"),
        ("2001:db8::7", "2001:db8::7"),
        ("10.0.0.1, 10.0.0.2", "127.0.0.1"),
        ("203.0.113.9, garbage", "127.0.0.1"),
        ("203.0.113.9, 198.51.100.1:4711", "127.0.0.1"),
        ("garbage, 203.0.113.9", "203.0.113.9"),
        ("", "127.0.0.1"),
    ] {
        assert_eq!(client_ip(&[TRUSTED], &format!("X-Forwarded-For: {header}\r\n")), expected, "{header:?}");
    }
}

#[test]
fn several_x_forwarded_for_lines_are_one_list() {
    let lines = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 10.0.0.7\r\n";
    assert_eq!(client_ip(&[TRUSTED], lines), "203.0.113.9");
}

#[test]
fn the_real_ip_header_is_believed_from_a_trusted_proxy() {
    for (value, expected) in [
        ("198.51.100.10", "198.51.100.10"),
        ("198.51.100.10:46532", "198.51.100.10"),
        (" 198.51.100.10 ", "198.51.100.10"),
        ("2001:0db8:0000::0001", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("", "127.0.0.1"),
        ("198.51.100.10, 198.51.100.11", "127.0.0.1"),
        ("nobody", "127.0.0.1"),
    ] {
        let lines = format!("cloudfront-viewer-address: {value}\r\nX-Forwarded-For: 203.0.113.9\r\n");
        assert_eq!(client_ip(&[TRUSTED, REAL_IP], &lines), expected, "{value:?}: X-Forwarded-For is not consulted");
    }
}

#[test]
fn without_the_real_ip_header_x_forwarded_for_is_read() {
    assert_eq!(client_ip(&[TRUSTED, REAL_IP], "X-Forwarded-For: 203.0.113.9\r\n"), "203.0.113.9");
}

#[test]
fn a_bad_entry_in_the_trust_list_is_skipped_and_the_others_count() {
    let list = ("FERRUM_TRUSTED_PROXIES", "not-an-ip, 127.0.0.1, 300.0.0.0/8");
    assert_eq!(client_ip(&[list], "X-Forwarded-For: 203.0.113.9\r\n"), "203.0.113.9");
}

#[test]
fn the_backend_gets_the_whole_list_with_the_client_at_its_end() {
    let backend = Backend::saying("ok");
    let builder = Gateway::builder().document(&Document::all_to(backend.port()));
    let gateway = builder.env(TRUSTED.0, TRUSTED.1).start();
    gateway.ask("GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 6.6.6.6, 203.0.113.9\r\n\r\n");
    let expected = ["6.6.6.6, 203.0.113.9, 203.0.113.9"];
    assert_eq!(backend.only_request().headers.all("x-forwarded-for"), expected);
}
