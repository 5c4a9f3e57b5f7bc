//! Credentials of one consumer.

use super::*;

const UNKNOWN: &str =
    r#"Unknown credential type 'ssh'. Allowed types: ["basicauth", "keyauth", "jwt", "hmac_auth", "mtls_auth"]"#;

async fn stored(rig: &StoreRig, id: &str) -> Value {
    let consumers = rig.everything().await[0][1].clone();
    let found = consumers.as_array().unwrap().iter().find(|row| row["id"] == id).cloned();
    found.unwrap_or_default()["credentials"].clone()
}

pub(super) async fn credentials_are_set_appended_and_deleted(rig: &StoreRig) {
    let made = rig.make("/consumers", consumer("c", json!({}))).await;
    let at = |rest: &str| format!("/consumers/c/credentials/{rest}");
    let set = rig.call("admin", "PUT", &at("keyauth"), json!([{"key": "k-1"}])).await;
    assert_eq!((set.status, &set.json()["credentials"]), (200, &json!({"keyauth": [{"key": "[REDACTED]"}]})));
    assert_ne!(set.json()["updated_at"], made["updated_at"]);
    let appended = rig.call("admin", "POST", &at("keyauth"), json!({"key": "k-2"})).await;
    assert_eq!(appended.status, 200, "{}", appended.body);
    assert_eq!(stored(rig, "c").await, json!({"keyauth": [{"key": "k-1"}, {"key": "k-2"}]}));
    let deleted = rig.call("admin", "DELETE", &at("keyauth/0"), Value::Null).await;
    assert_eq!((deleted.status, &deleted.json()["username"]), (200, &json!("c")));
    assert_eq!(stored(rig, "c").await, json!({"keyauth": [{"key": "k-2"}]}));
    assert_eq!(rig.call("admin", "DELETE", &at("keyauth/0"), Value::Null).await.status, 200);
    assert_eq!(stored(rig, "c").await, json!({}), "no entry, no type");

    let body = json!({"password": "The quick brown fox jumps over the lazy dog"});
    assert_eq!(rig.call("admin", "POST", &at("basicauth"), body).await.status, 200);
    let hash = "hmac_sha256:f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
    assert_eq!(stored(rig, "c").await, json!({"basicauth": [{"password_hash": hash}]}));
    for _ in 0..2 {
        assert_eq!(
            rig.call("admin", "DELETE", &at("basicauth"), Value::Null).await.status,
            204,
            "also when it is gone"
        );
    }
    assert_eq!(stored(rig, "c").await, json!({}));
}

pub(super) async fn credentials_are_refused_in_the_order_of_the_sheet(rig: &StoreRig) {
    let other = json!({"credentials": {"keyauth": [{"key": "taken"}], "mtls_auth": [{"identity": "CN=x"}]}});
    rig.make("/consumers", consumer("other", other)).await;
    rig.make("/consumers", consumer("c", json!({"credentials": {"jwt": [{"secret": "s".repeat(32)}]}}))).await;
    let at = |rest: &str| format!("/consumers/c/credentials/{rest}");
    let bad_index = "Invalid credential index — must be a non-negative integer";
    for (method, path, body, (status, text)) in [
        ("PUT", at("ssh"), json!("x"), (400, UNKNOWN)),
        ("DELETE", at("ssh"), Value::Null, (400, UNKNOWN)),
        ("DELETE", at("ssh/x"), Value::Null, (400, UNKNOWN)),
        ("DELETE", at("jwt/x"), Value::Null, (400, bad_index)),
        ("DELETE", at("jwt/-1"), Value::Null, (400, bad_index)),
        ("DELETE", at("jwt/+1"), Value::Null, (400, bad_index)),
        ("PUT", at("jwt"), json!({"secret": "x"}), (400, "Credential set must be an array of JSON objects")),
        ("PUT", at("jwt"), json!([1]), (400, "Credential set must be an array of JSON objects")),
        ("POST", at("jwt"), json!([{}]), (400, "Credential entry must be a JSON object")),
        ("POST", at("keyauth"), json!({"key": "taken"}), (409, "A consumer with this API key already exists")),
        (
            "PUT",
            at("mtls_auth"),
            json!([{"identity": "CN=x"}]),
            (409, "A consumer with this mTLS identity already exists"),
        ),
        (
            "POST",
            "/consumers/nobody/credentials/keyauth".to_owned(),
            json!({"key": "taken"}),
            (409, "A consumer with this API key already exists"),
        ),
        ("PUT", "/consumers/nobody/credentials/keyauth".to_owned(), json!([{"key": "k"}]), (404, "Consumer not found")),
        ("DELETE", "/consumers/nobody/credentials/keyauth".to_owned(), Value::Null, (404, "Consumer not found")),
        ("DELETE", "/consumers/nobody/credentials/keyauth/0".to_owned(), Value::Null, (404, "Consumer not found")),
        ("DELETE", at("keyauth/0"), Value::Null, (404, "No 'keyauth' credentials found")),
        ("DELETE", at("jwt/1"), Value::Null, (404, "Credential index 1 out of range (have 1 entries)")),
        (
            "POST",
            at("jwt"),
            json!({"secret": "short"}),
            (400, "Invalid credential fields: credentials.jwt[1].secret must be at least 32 characters (got 5)"),
        ),
        (
            "PUT",
            at("keyauth"),
            json!([{"key": "a"}, {"key": "b"}, {"key": "c"}]),
            (400, "Invalid credential fields: credentials.keyauth array must not exceed 2 entries (got 3)"),
        ),
    ] {
        assert_eq!(rig.refused(method, &path, body).await, refusal(status, text), "{method} {path}");
    }
    let (status, text) = rig.refused("PUT", &at("jwt"), json!([])).await;
    assert!(status == 400 && text.starts_with("Invalid credential fields: credentials.jwt array must not be empty"));
    let second = json!({"secret": "t".repeat(32)});
    assert_eq!(rig.call("admin", "POST", &at("jwt"), second.clone()).await.status, 200, "two are allowed");
    let text = "Cannot exceed 2 credentials per type (currently 3)";
    assert_eq!(rig.refused("POST", &at("jwt"), second).await, refusal(400, text));
    let (status, text) = rig.refused("POST", &at("jwt"), Value::Null).await;
    assert!(status == 400 && text.starts_with("Invalid body: "), "{text}");
    let elsewhere = rig.refused_at("team-a", "DELETE", &at("jwt"), Value::Null).await;
    assert_eq!(elsewhere, refusal(404, "Consumer not found"));
}
