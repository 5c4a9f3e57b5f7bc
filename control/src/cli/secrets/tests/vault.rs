use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::server::{Says, Server, json as answer};
use super::*;

const TOKEN: &str = "hvs.token-of-the-test";

fn secret(values: Value) -> Says {
    answer(200, json!({"data": {"data": values, "metadata": {"version": 3}}}))
}

fn from(server: &Server, reference: &str) -> Result<String, String> {
    x(&[("VAULT_ADDR", &server.url()), ("VAULT_TOKEN", TOKEN)], &[("FERRUM_X_VAULT", reference)])
}

#[test]
fn a_key_of_a_secret_sets_the_base_name_as_it_is() {
    let server = Server::start(|_| secret(json!({"jwt": " s3cret\n", "other": "o"})));
    let address = format!("{}/", server.url());
    let pairs = [
        ("VAULT_ADDR", address.as_str()),
        ("VAULT_TOKEN", TOKEN),
        ("VAULT_NAMESPACE", "team-a"),
        ("FERRUM_ADMIN_JWT_SECRET_VAULT", "kv/data/edge/admin one#jwt"),
    ];
    let (env, loaded) = resolved(&pairs, &[]).unwrap();
    assert_eq!(env["FERRUM_ADMIN_JWT_SECRET"], " s3cret\n");
    assert!(!env.contains_key("FERRUM_ADMIN_JWT_SECRET_VAULT"));
    assert_eq!(loaded, [("FERRUM_ADMIN_JWT_SECRET".to_owned(), "Vault".to_owned())]);
    let asked = server.asked();
    assert_eq!((asked[0].method.as_str(), asked[0].target.as_str()), ("GET", "/v1/kv/data/edge/admin%20one"));
    assert_eq!((asked[0].header("x-vault-token"), asked[0].header("x-vault-namespace")), (Some(TOKEN), Some("team-a")));
}

#[test]
fn without_a_key_the_secret_has_exactly_one() {
    assert_eq!(from(&Server::start(|_| secret(json!({"only": "v"}))), "secret/data/a").unwrap(), "v");
    for (values, count) in [(json!({"a": "1", "b": "2"}), "has 2 keys"), (json!({}), "has 0 keys")] {
        let server = Server::start(move |_| secret(values.clone()));
        let text = from(&server, "secret/data/a").unwrap_err();
        assert!(text.contains(count) && text.contains('#'), "{text}");
    }
}

#[test]
fn a_missing_key_is_named_and_every_value_is_a_string() {
    let server = Server::start(|_| secret(json!({"a": "1"})));
    let text = from(&server, "secret/data/a#b").unwrap_err();
    assert_eq!(text, "Failed to resolve FERRUM_X from Vault: the secret has no key 'b'");
    let server = Server::start(|_| secret(json!({"a": "1", "n": 2})));
    let text = from(&server, "secret/data/a#a").unwrap_err();
    assert!(text.contains("'n' is not a string"), "{text}");
}

#[test]
fn a_reference_of_another_form_is_refused_without_asking() {
    let server = Server::start(|_| secret(json!({"a": "1"})));
    for bad in [
        "secret/a",
        "secret/data",
        "secret/data/",
        "secret/metadata/a",
        "/data/a",
        "secret/data/../b",
        "secret/data/a#",
    ] {
        let text = from(&server, bad).unwrap_err();
        assert!(text.contains("Invalid Vault KV v2 reference for FERRUM_X") && text.contains(bad), "{text}");
    }
    assert!(server.asked().is_empty());
}

#[test]
fn address_and_token_must_be_set() {
    let reference = ("FERRUM_X_VAULT", "secret/data/a");
    for (pairs, missing) in [
        (vec![reference], "VAULT_ADDR must be set"),
        (vec![reference, ("VAULT_ADDR", ""), ("VAULT_TOKEN", "t")], "VAULT_ADDR must be set"),
        (vec![reference, ("VAULT_ADDR", "http://127.0.0.1:1")], "VAULT_TOKEN must be set"),
        (
            vec![reference, ("VAULT_ADDR", "vault.local"), ("VAULT_TOKEN", "t")],
            "VAULT_ADDR: 'vault.local' is not an http",
        ),
        (
            vec![reference, ("VAULT_ADDR", "htp://user:hunter2@vault"), ("VAULT_TOKEN", "t")],
            "VAULT_ADDR: this is not an http",
        ),
    ] {
        let text = x(&pairs, &[]).unwrap_err();
        assert!(text.starts_with(missing) && !text.contains("hunter2"), "{text}");
    }
    let text = x(&[("VAULT_ADDR", "http://127.0.0.1:1"), ("VAULT_TOKEN", "bad\ntoken"), reference], &[]).unwrap_err();
    assert!(text.starts_with("VAULT_TOKEN has characters") && !text.contains("bad"), "{text}");
}

#[test]
fn what_the_server_refuses_is_said_and_no_secret_is() {
    for (status, body, said) in [
        (403, json!({"errors": ["permission denied"]}), "403 Forbidden: permission denied"),
        (404, json!({"errors": []}), "there is no secret 'secret/data/a'"),
        (503, json!({"errors": ["Vault is\nsealed"]}), "503 Service Unavailable: Vault is sealed"),
        (307, json!({}), "307 Temporary Redirect"),
        (200, json!({"data": {"a": "s3cret"}}), "not one of a KV v2 secrets engine"),
        (200, json!({"data": {"data": null}}), "not one of a KV v2 secrets engine"),
    ] {
        let server = Server::start(move |_| answer(status, body.clone()));
        let text = from(&server, "secret/data/a").unwrap_err();
        assert!(text.starts_with("Failed to resolve FERRUM_X from Vault: ") && text.contains(said), "{text}");
        assert!(!text.contains(TOKEN) && !text.contains("s3cret"), "{text}");
        assert_eq!(server.asked().len(), 1);
    }
    let text = from(&Server::start(|_| Says::Text(200, "s3cret".to_owned())), "secret/data/a").unwrap_err();
    assert!(text.contains("not JSON") && !text.contains("s3cret"), "{text}");
}

#[test]
fn an_answer_is_bounded() {
    let long = |bytes: usize| move |_: &server::Asked| secret(json!({"a": "x".repeat(bytes)}));
    assert_eq!(from(&Server::start(long(1 << 20)), "secret/data/a").unwrap().len(), 1 << 20);
    let text = from(&Server::start(long(4 << 20)), "secret/data/a").unwrap_err();
    assert!(text.contains("more than 4194304 bytes"), "{text}");
}

#[test]
fn nobody_there_is_said() {
    let text = x(&[("VAULT_ADDR", "http://127.0.0.1:1"), ("VAULT_TOKEN", TOKEN)], &[("FERRUM_X_VAULT", "s/data/a")])
        .unwrap_err();
    assert!(text.contains("cannot ask http://127.0.0.1:1: ") && text.contains("refused"), "{text}");
}

#[test]
fn a_server_that_never_answers_is_given_up_in_time() {
    let server = Server::start(|_| Says::Nothing);
    let began = Instant::now();
    let base = [("VAULT_ADDR", server.url()), ("VAULT_TOKEN", TOKEN.to_owned())];
    let base: Vec<(&str, &str)> = base.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let text = x(&base, &[("FERRUM_X_VAULT", "secret/data/a"), (TIMEOUT_KEY, "1")]).unwrap_err();
    assert_eq!(text, "Timeout resolving FERRUM_X from Vault after 1s");
    assert!((Duration::from_secs(1)..Duration::from_secs(8)).contains(&began.elapsed()));
}

#[test]
fn several_secrets_are_fetched_at_once_and_keep_their_names() {
    let server = Server::start(|asked| {
        let name = asked.target.rsplit('/').next().unwrap();
        Says::AfterAll(3, json!({"data": {"data": {"value": format!("of {name}")}}}).to_string())
    });
    let address = server.url();
    let pairs = [
        ("VAULT_ADDR", address.as_str()),
        ("VAULT_TOKEN", TOKEN),
        ("FERRUM_A_VAULT", "secret/data/a"),
        ("FERRUM_B_VAULT", "secret/data/b"),
        ("FERRUM_C_VAULT", "secret/data/c"),
    ];
    let (env, loaded) = resolved(&pairs, &[]).unwrap();
    assert_eq!([&env["FERRUM_A"], &env["FERRUM_B"], &env["FERRUM_C"]], ["of a", "of b", "of c"]);
    assert_eq!(loaded.len(), 3);
}

#[test]
fn files_come_first_and_may_bring_what_vault_needs() {
    let server = Server::start(|_| secret(json!({"a": "v"})));
    let address = server.url();
    let pairs = [("VAULT_ADDR", address.as_str()), ("VAULT_TOKEN", TOKEN), ("FERRUM_A_VAULT", "secret/data/a")];
    let text = resolved(&[&pairs[..], &[("FERRUM_Z_FILE", "gone")]].concat(), &[]).unwrap_err();
    assert!(text.starts_with("Failed to read FERRUM_Z_FILE"), "{text}");
    assert!(server.asked().is_empty(), "the first error ends it");
    let (_, loaded) = resolved(&[&pairs[..], &[("FERRUM_Z_FILE", "z")]].concat(), &[("z", b"1")]).unwrap();
    assert_eq!(loaded.iter().map(|(_, backend)| backend.as_str()).collect::<Vec<_>>(), ["file", "Vault"]);
}

#[test]
fn the_ca_bundle_must_be_one() {
    let base = [("VAULT_ADDR", "https://127.0.0.1:1"), ("VAULT_TOKEN", TOKEN), ("FERRUM_X_VAULT", "secret/data/a")];
    let text = x(&base, &[("FERRUM_TLS_CA_BUNDLE_PATH", "/nonexistent/ca.pem")]).unwrap_err();
    assert!(text.starts_with("FERRUM_TLS_CA_BUNDLE_PATH: cannot use '/nonexistent/ca.pem': "), "{text}");
}
