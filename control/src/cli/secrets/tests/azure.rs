use std::time::{Duration, Instant};

use serde_json::json;

use super::server::{Says, Server, json as answer};
use super::*;

const SECRET: &str = "client secret & more";

/// Log-in and vault at once.
fn azure() -> Server {
    Server::start(|asked| {
        let is_known = asked.header("authorization") == Some("Bearer of-azure");
        match asked.target.as_str() {
            "/tenant-1/oauth2/v2.0/token" if asked.field("client_secret").as_deref() == Some(SECRET) => {
                answer(200, json!({"access_token": "of-azure", "expires_in": 3599}))
            }
            "/tenant-1/oauth2/v2.0/token" => {
                answer(401, json!({"error": "invalid_client", "error_description": "AADSTS7000215: Invalid."}))
            }
            "/secrets/edge?api-version=7.4" if is_known => answer(200, json!({"value": " s3cret\n", "id": "i"})),
            _ => answer(404, json!({"error": {"code": "SecretNotFound", "message": "It was not found."}})),
        }
    })
}

fn from(server: &Server, reference: &str, secret: &str) -> Result<String, String> {
    let url = server.url();
    let base = [
        ("AZURE_AUTHORITY_HOST", url.as_str()),
        ("AZURE_TENANT_ID", "tenant-1"),
        ("AZURE_CLIENT_ID", "client-1"),
        ("AZURE_CLIENT_SECRET", secret),
    ];
    x(&base, &[("FERRUM_X_AZURE", reference)])
}

#[test]
fn the_newest_version_is_read_and_kept_as_it_is() {
    let server = azure();
    for rest in ["", "/0123456789abcdef", "/1/2?x=y#z"] {
        let reference = format!("{}/secrets/edge{rest}", server.url());
        assert_eq!(from(&server, &reference, SECRET).unwrap(), " s3cret\n", "{rest}");
    }
    let log_in = &server.asked()[0];
    let fields = ["grant_type", "client_id", "scope"].map(|name| log_in.field(name).unwrap());
    assert_eq!(fields, ["client_credentials", "client-1", "https://vault.azure.net/.default"]);
}

#[test]
fn one_token_serves_all_secrets() {
    let server = azure();
    let (url, reference) = (server.url(), format!("{}/secrets/edge", server.url()));
    let pairs = [
        ("AZURE_AUTHORITY_HOST", url.as_str()),
        ("AZURE_TENANT_ID", "tenant-1"),
        ("AZURE_CLIENT_ID", "client-1"),
        ("AZURE_CLIENT_SECRET", SECRET),
        ("FERRUM_A_AZURE", &reference),
        ("FERRUM_B_AZURE", &reference),
    ];
    let (env, loaded) = resolved(&pairs, &[]).unwrap();
    assert_eq!([&env["FERRUM_A"], &env["FERRUM_B"]], [" s3cret\n"; 2]);
    assert_eq!(loaded[0], ("FERRUM_A".to_owned(), "Azure Key Vault".to_owned()));
    assert_eq!(server.asked().iter().filter(|asked| asked.method == "POST").count(), 1);
}

#[test]
fn each_variable_must_be_set() {
    let all = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "s")];
    for missing in 0..all.len() {
        let pairs: Vec<_> = all.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, pair)| *pair).collect();
        let text = x(&pairs, &[("FERRUM_X_AZURE", "https://v.vault.azure.net/secrets/n")]).unwrap_err();
        assert!(text.starts_with(&format!("{} must be set", all[missing].0)), "{text}");
    }
}

#[test]
fn a_reference_of_another_form_is_refused_without_asking() {
    let server = azure();
    for bad in [
        "edge",
        "https://v.vault.azure.net/keys/n",
        "https://v.vault.azure.net/secrets",
        "https://v.vault.azure.net/secrets/",
        "http://v.vault.azure.net/secrets/n",
        "ftp://v.vault.azure.net/secrets/n",
    ] {
        let text = from(&server, bad, SECRET).unwrap_err();
        assert!(text.contains("https://<vault>.vault.azure.net/secrets/<name>") && text.contains("FERRUM_X"), "{text}");
    }
    assert!(server.asked().is_empty());
}

#[test]
fn what_is_refused_is_said_and_no_secret_is() {
    let server = azure();
    let text = from(&server, &format!("{}/secrets/edge", server.url()), "wrong-one").unwrap_err();
    assert!(text.ends_with("401 Unauthorized: invalid_client: AADSTS7000215: Invalid."), "{text}");
    assert!(!text.contains("wrong-one"), "{text}");
    let text = from(&server, &format!("{}/secrets/gone", server.url()), SECRET).unwrap_err();
    assert!(text.starts_with("Failed to resolve FERRUM_X from Azure Key Vault: "), "{text}");
    assert!(text.ends_with("404 Not Found: SecretNotFound: It was not found."), "{text}");
}

#[test]
fn a_vault_that_never_answers_is_given_up_in_time() {
    let server = Server::start(|_| Says::Nothing);
    let (url, began) = (server.url(), Instant::now());
    let reference = format!("{url}/secrets/edge");
    let base = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c"), ("AZURE_CLIENT_SECRET", "s"), (TIMEOUT_KEY, "1")];
    let text = x(&base, &[("AZURE_AUTHORITY_HOST", &url), ("FERRUM_X_AZURE", &reference)]).unwrap_err();
    assert_eq!(text, "Timeout resolving FERRUM_X from Azure Key Vault after 1s");
    assert!(began.elapsed() < Duration::from_secs(8));
}
