//! What an answer must not show (admin sheet §15).

use plugins::redaction::{REDACTED, is_sensitive};
use serde_json::Value;

use super::auth::Role;
use super::resources::ResourceKind;

/// Further names of secrets in plugin configurations, after `-` and `.` have become `_`.
const KEY_PARTS: [&str; 7] =
    ["api_key", "apikey", "access_key", "client_secret", "credential", "private_key", "webhook"];

/// Members of a consumer's credentials that are secrets. A password is hashed before it is stored; should one ever be
/// there in clear, it is not shown either.
const CREDENTIAL_SECRETS: [(&str, &[&str]); 4] = [
    ("basicauth", &["password_hash", "password"]),
    ("hmac_auth", &["secret"]),
    ("jwt", &["secret"]),
    ("keyauth", &["key"]),
];

/// Which keys of a plugin's configuration are sensitive.
pub(super) struct SensitiveKeys {
    more: Vec<String>,
}

impl SensitiveKeys {
    pub(super) fn new(more: &[String]) -> Self {
        let more = more.iter().map(|part| part.trim().to_lowercase()).filter(|part| !part.is_empty()).collect();
        Self { more }
    }

    fn contains(&self, key: &str) -> bool {
        let plain = key.to_ascii_lowercase().replace(['-', '.'], "_");
        is_sensitive(key, &self.more) || plain == "key" || KEY_PARTS.iter().any(|part| plain.contains(part))
    }
}

pub(super) fn redact(kind: ResourceKind, row: &mut Value, role: Role, keys: &SensitiveKeys) {
    match kind {
        ResourceKind::Proxy => {}
        ResourceKind::Consumer => redact_credentials(row),
        ResourceKind::PluginConfig if role < Role::Admin => {
            if let Some(config) = row.get_mut("config") {
                redact_keys(config, keys);
            }
        }
        ResourceKind::Upstream if role < Role::Admin => {
            if let Some(token) = row.pointer_mut("/service_discovery/consul/token")
                && !token.is_null()
            {
                *token = REDACTED.into();
            }
        }
        ResourceKind::PluginConfig | ResourceKind::Upstream => {}
    }
}

fn redact_credentials(consumer: &mut Value) {
    for (kind, secrets) in CREDENTIAL_SECRETS {
        let Some(credentials) = consumer.get_mut("credentials").and_then(|all| all.get_mut(kind)) else { continue };
        let entries = match credentials {
            Value::Array(entries) => entries.as_mut_slice(),
            single => std::slice::from_mut(single),
        };
        for entry in entries {
            for name in secrets {
                if let Some(secret) = entry.get_mut(name) {
                    *secret = REDACTED.into();
                }
            }
        }
    }
}

fn redact_keys(value: &mut Value, keys: &SensitiveKeys) {
    match value {
        Value::Object(members) => {
            for (key, member) in members.iter_mut() {
                if keys.contains(key) {
                    *member = REDACTED.into();
                } else {
                    redact_keys(member, keys);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redact_keys(item, keys)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sensitive_keys_are_those_of_the_sheet() {
        let keys = SensitiveKeys::new(&["Internal_Id".to_owned(), " ".to_owned()]);
        for key in [
            "Authorization",
            "set-cookie",
            "dbPassword",
            "client_secret",
            "token",
            "refreshToken",
            "token_value",
            "access-token",
            "githubToken",
            "idToken",
            "key",
            "Key",
            "x.api.key",
            "apikey",
            "my_access_key",
            "private-key",
            "webhook_url",
            "my_internal_id_x",
        ] {
            assert!(keys.contains(key), "{key} is sensitive");
        }
        for key in ["ai_total_tokens", "APIToken", "keys", "monkey", "tokens", "token_count", "url", "name", ""] {
            assert!(!keys.contains(key), "{key} is not sensitive");
        }
    }

    #[test]
    fn plugin_secrets_are_for_admins_only_at_any_depth() {
        let keys = SensitiveKeys::new(&[]);
        let config = json!({"config": {"url": "u", "auth": {"password": {"a": 1}}, "list": [{"api_key": "k"}]}});
        let mut seen = config.clone();
        redact(ResourceKind::PluginConfig, &mut seen, Role::Operator, &keys);
        assert_eq!(
            seen,
            json!({"config": {"url": "u", "auth": {"password": "[REDACTED]"}, "list": [{"api_key": "[REDACTED]"}]}})
        );
        let mut seen = config.clone();
        redact(ResourceKind::PluginConfig, &mut seen, Role::Admin, &keys);
        assert_eq!(seen, config);
    }

    #[test]
    fn credentials_are_shown_to_nobody_and_certificate_identities_to_all() {
        let mut consumer = json!({"username": "u", "credentials": {
            "basicauth": [{"password_hash": "h"}], "hmac_auth": [{"secret": "s"}], "jwt": {"secret": "s"},
            "keyauth": [{"key": "a"}, {"key": "b"}], "mtls_auth": [{"identity": "CN=x"}]}});
        redact(ResourceKind::Consumer, &mut consumer, Role::Admin, &SensitiveKeys::new(&[]));
        assert_eq!(
            consumer,
            json!({"username": "u", "credentials": {
            "basicauth": [{"password_hash": "[REDACTED]"}], "hmac_auth": [{"secret": "[REDACTED]"}],
            "jwt": {"secret": "[REDACTED]"}, "keyauth": [{"key": "[REDACTED]"}, {"key": "[REDACTED]"}],
            "mtls_auth": [{"identity": "CN=x"}]}})
        );
    }

    #[test]
    fn the_consul_token_is_for_admins_only() {
        let with = |token: Value| json!({"service_discovery": {"consul": {"token": token}}});
        for (token, role, shown) in [
            (json!("t"), Role::Viewer, json!("[REDACTED]")),
            (json!("t"), Role::Admin, json!("t")),
            (Value::Null, Role::Viewer, Value::Null),
        ] {
            let mut upstream = with(token);
            redact(ResourceKind::Upstream, &mut upstream, role, &SensitiveKeys::new(&[]));
            assert_eq!(upstream, with(shown));
        }
    }
}
