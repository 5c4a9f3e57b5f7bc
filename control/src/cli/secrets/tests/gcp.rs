use std::time::{Duration, Instant};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::server::{Asked, Says, Server, json as answer};
use super::*;

const REFERENCE: &str = "projects/p-1/secrets/edge_jwt/versions/latest";

/// Metadata server, token endpoint and Secret Manager at once.
fn google(payload: &'static [u8]) -> Server {
    Server::start(move |asked| match asked.target.as_str() {
        "/computeMetadata/v1/instance/service-accounts/default/token"
            if asked.header("metadata-flavor") == Some("Google") =>
        {
            answer(200, json!({"access_token": "of-metadata", "expires_in": 3600}))
        }
        "/token" => answer(200, json!({"access_token": "of-token-url"})),
        "/v1/projects/p-1/secrets/edge_jwt/versions/latest:access" if asked.header("authorization").is_some() => {
            answer(200, json!({"name": "n", "payload": {"data": STANDARD.encode(payload)}}))
        }
        _ => answer(404, json!({"error": {"code": 404, "status": "NOT_FOUND", "message": "Secret not found."}})),
    })
}

fn from(server: &Server, reference: &str, more: &[(&str, &str)]) -> Result<String, String> {
    let (url, host) = (server.url(), server.host());
    let base = [("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", url.as_str()), ("GCE_METADATA_HOST", &host)];
    x(&[&base[..], more].concat(), &[("FERRUM_X_GCP", reference)])
}

/// A credentials file, and its path.
fn file(content: &Value) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("application_default_credentials.json");
    std::fs::write(&path, content.to_string()).unwrap();
    (dir, path.display().to_string())
}

fn bearer(asked: &Asked) -> Option<&str> {
    asked.header("authorization")
}

#[test]
fn a_secret_is_read_as_the_host_and_kept_as_it_is() {
    let server = google(b" s3cret\n");
    assert_eq!(from(&server, REFERENCE, &[]).unwrap(), " s3cret\n");
    assert_eq!(bearer(&server.asked()[1]), Some("Bearer of-metadata"));
}

#[test]
fn a_service_account_signs_for_its_token() {
    let server = google(b"v");
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
    let token_url = format!("{}/token", server.url());
    let account = json!({
        "type": "service_account", "client_email": "edge@p-1.iam.gserviceaccount.com", "private_key": pem,
        "private_key_id": "k1", "token_uri": token_url,
    });
    let (_dir, path) = file(&account);
    assert_eq!(from(&server, REFERENCE, &[("GOOGLE_APPLICATION_CREDENTIALS", &path)]).unwrap(), "v");
    let asked = server.asked();
    assert_eq!(bearer(&asked[1]), Some("Bearer of-token-url"));
    assert_eq!(asked[0].field("grant_type").unwrap(), "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let assertion = asked[0].field("assertion").unwrap();
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref())
        .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
        .expect("a good signature");
    let part = |at| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(signed.split('.').nth(at).unwrap()).unwrap()).unwrap()
    };
    assert_eq!(part(0), json!({"alg": "RS256", "typ": "JWT", "kid": "k1"}));
    let claims = part(1);
    assert_eq!((&claims["iss"], &claims["aud"]), (&account["client_email"], &account["token_uri"]));
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/cloud-platform");
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
}

#[test]
fn who_logged_in_with_gcloud_is_found_in_its_folder() {
    let server = google(b"v");
    let (dir, _path) = file(&json!({
        "type": "authorized_user", "client_id": "c", "client_secret": "cs", "refresh_token": "r",
        "token_uri": format!("{}/token", server.url()),
    }));
    let folder = dir.path().display().to_string();
    assert_eq!(from(&server, REFERENCE, &[("CLOUDSDK_CONFIG", &folder)]).unwrap(), "v");
    let asked = server.asked();
    let fields =
        ["grant_type", "client_id", "client_secret", "refresh_token"].map(|name| asked[0].field(name).unwrap());
    assert_eq!(fields, ["refresh_token", "c", "cs", "r"]);
    assert_eq!(bearer(&asked[1]), Some("Bearer of-token-url"));
}

#[test]
fn credentials_that_cannot_be_used_name_their_file_and_nothing_of_it() {
    let server = google(b"v");
    for (content, reason) in [
        (json!({"type": "external_account"}), "credentials of type 'external_account' are not supported"),
        (json!({"type": "service_account", "private_key": "s3cret"}), "without 'client_email'"),
        (
            json!({"type": "service_account", "client_email": "e", "private_key": "s3cret"}),
            "'private_key' is not an RSA key",
        ),
    ] {
        let (_dir, path) = file(&content);
        let text = from(&server, REFERENCE, &[("GOOGLE_APPLICATION_CREDENTIALS", &path)]).unwrap_err();
        assert!(text.starts_with(&format!("Google credentials in '{path}': ")) && text.contains(reason), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
    let text = from(&server, REFERENCE, &[("GOOGLE_APPLICATION_CREDENTIALS", "/none.json")]).unwrap_err();
    assert!(text.starts_with("Google credentials in '/none.json': "), "{text}");
    assert!(server.asked().is_empty());
}

#[test]
fn without_any_credentials_all_places_are_named() {
    let text = x(&[("GCE_METADATA_HOST", "127.0.0.1:1")], &[("FERRUM_X_GCP", REFERENCE)]).unwrap_err();
    assert!(text.contains("no Google credentials: GOOGLE_APPLICATION_CREDENTIALS is not set"), "{text}");
    assert!(text.contains("cannot ask http://127.0.0.1:1"), "{text}");
}

#[test]
fn a_reference_of_another_form_is_refused_without_asking() {
    let server = google(b"v");
    for bad in [
        "projects/p/secrets/s",
        "projects/p/secrets/s/versions/",
        "projects/p/secrets/s/versions/1#key",
        "projects//secrets/s/versions/1",
        "projects/p/secrets/../versions/1",
        "/projects/p/secrets/s/versions/1",
        "projects/p/topics/s/versions/1",
    ] {
        let text = from(&server, bad, &[]).unwrap_err();
        assert!(text.contains("Invalid GCP Secret Manager reference for FERRUM_X") && text.contains(bad), "{text}");
    }
    assert!(server.asked().is_empty());
}

#[test]
fn what_is_refused_or_no_text_is_said() {
    let server = google(b"v");
    let text = from(&server, "projects/p-1/secrets/gone/versions/3", &[]).unwrap_err();
    assert!(text.starts_with("Failed to resolve FERRUM_X from GCP Secret Manager: "), "{text}");
    assert!(text.ends_with("404 Not Found: NOT_FOUND: Secret not found."), "{text}");
    let text = from(&google(&[0xff, 0xfe]), REFERENCE, &[]).unwrap_err();
    assert!(text.ends_with("the secret's payload is not UTF-8"), "{text}");
}

#[test]
fn a_service_that_never_answers_is_given_up_in_time() {
    let server = Server::start(|asked| match asked.target.contains("token") {
        true => answer(200, json!({"access_token": "t"})),
        false => Says::Nothing,
    });
    let began = Instant::now();
    let text = from(&server, REFERENCE, &[(TIMEOUT_KEY, "1")]).unwrap_err();
    assert_eq!(text, "Timeout resolving FERRUM_X from GCP Secret Manager after 1s");
    assert!(began.elapsed() < Duration::from_secs(8));
}
