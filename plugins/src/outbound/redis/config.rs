//! The keys by which plugins count in Redis (plugins sheet §2.36).

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::Endpoint;
use crate::config::{Key, Keys, key};

pub const SYNC_MODE: Key = key(
    "sync_mode",
    "string",
    "`local`",
    "`local`: this process counts for itself; `redis`: all gateways with the same Redis and prefix count together. In any case",
);
pub const URL: Key = key(
    "redis_url",
    "string",
    "*required with `redis`*",
    "`redis://[user[:password]@]host[:port][/database]`, or `rediss://` for TLS; port 6379 and database 0 unless given",
);
pub const TLS: Key = key("redis_tls", "boolean", "`false`", "TLS also with `redis://`");
pub const POOL_SIZE: Key = key(
    "redis_pool_size",
    "integer",
    "`4`",
    "connections of this process, above 0, spread evenly over its cores; a core has at least one and at most 64",
);
pub const CONNECT_TIMEOUT_SECONDS: Key = key(
    "redis_connect_timeout_seconds",
    "integer",
    "`5`",
    "for a connection to be there, TLS and login included; above 0",
);
pub const HEALTH_CHECK_INTERVAL_SECONDS: Key = key(
    "redis_health_check_interval_seconds",
    "integer",
    "`5`",
    "between two PINGs, and between two attempts while Redis is away; above 0",
);
pub const USERNAME: Key = key("redis_username", "string", "not set", "in the place of the one in the URL");
pub const PASSWORD: Key = key("redis_password", "string", "not set", "in the place of the one in the URL");

/// Each plugin has its own default.
pub const fn key_prefix(default: &'static str) -> Key {
    key("redis_key_prefix", "string", default, "in front of every key in Redis, as it is; not empty")
}

/// Longer times are as good as for ever.
const SECONDS_MAX: u64 = 365 * 24 * 3600;
const POOL_SIZE_DEFAULT: u64 = 4;
const SECONDS_DEFAULT: u64 = 5;

/// A plugin that counts in Redis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Synchronised {
    pub endpoint: Arc<Endpoint>,
    /// None is the default one.
    pub key_prefix: Option<String>,
}

/// Reads the keys above; none when the plugin counts by itself, and then none of the others is looked at.
pub fn sync_mode(keys: &mut Keys<'_>) -> Option<Synchronised> {
    let mode = keys.value(SYNC_MODE.name)?;
    match mode.as_str() {
        None => refuse(keys, SYNC_MODE, "must be a string"),
        Some(mode) if mode.eq_ignore_ascii_case("redis") => return synchronised(keys),
        Some(mode) if mode.eq_ignore_ascii_case("local") => {}
        Some(mode) => refuse(keys, SYNC_MODE, format_args!("must be 'local' or 'redis' (got '{mode}')")),
    }
    None
}

fn refuse(keys: &mut Keys<'_>, key: Key, reason: impl Display) {
    keys.error(format!("redis rate limiter: '{}' {reason}", key.name));
}

fn synchronised(keys: &mut Keys<'_>) -> Option<Synchronised> {
    let url = match keys.raw(URL.name) {
        Some(_) => text(keys, URL),
        None => {
            refuse(keys, URL, "is required when 'sync_mode' is 'redis'");
            None
        }
    };
    let endpoint = url.and_then(Endpoint::of_url);
    if url.is_some() && endpoint.is_none() {
        refuse(
            keys,
            URL,
            "must be redis:// or rediss://, with a host, and a number for the database if there is a path",
        );
    }
    let is_tls = flag(keys, TLS);
    let key_prefix = text(keys, key_prefix("")).map(str::to_owned);
    let pool_size = positive(keys, POOL_SIZE, POOL_SIZE_DEFAULT);
    let connect_timeout =
        Duration::from_secs(positive(keys, CONNECT_TIMEOUT_SECONDS, SECONDS_DEFAULT).min(SECONDS_MAX));
    let health_interval =
        Duration::from_secs(positive(keys, HEALTH_CHECK_INTERVAL_SECONDS, SECONDS_DEFAULT).min(SECONDS_MAX));
    let username = credential(keys, USERNAME);
    let password = credential(keys, PASSWORD);
    let endpoint = endpoint?;
    let endpoint = Endpoint {
        is_tls: endpoint.is_tls || is_tls,
        username: username.or(endpoint.username),
        password: password.or(endpoint.password),
        pool_size,
        connect_timeout,
        health_interval,
        ..endpoint
    };
    Some(Synchronised { endpoint: Arc::new(endpoint), key_prefix })
}

/// A text that is not empty.
fn text<'a>(keys: &mut Keys<'a>, key: Key) -> Option<&'a str> {
    let text = string(keys, key)?;
    if text.is_empty() {
        refuse(keys, key, "must not be empty");
    }
    Some(text).filter(|text| !text.is_empty())
}

/// An empty one is none.
fn credential(keys: &mut Keys<'_>, key: Key) -> Option<String> {
    string(keys, key).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn string<'a>(keys: &mut Keys<'a>, key: Key) -> Option<&'a str> {
    let value = keys.raw(key.name)?;
    if !value.is_string() {
        refuse(keys, key, "must be a string");
    }
    value.as_str()
}

fn flag(keys: &mut Keys<'_>, key: Key) -> bool {
    let Some(value) = keys.raw(key.name) else { return false };
    if !value.is_boolean() {
        refuse(keys, key, "must be a boolean");
    }
    value.as_bool().unwrap_or(false)
}

fn positive(keys: &mut Keys<'_>, key: Key, default: u64) -> u64 {
    match keys.raw(key.name).map(Value::as_u64) {
        None => default,
        Some(Some(number)) if number > 0 => number,
        Some(_) => {
            refuse(keys, key, "must be an integer above 0");
            default
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Null;

    const KEYS: &[Key] = &[
        SYNC_MODE,
        URL,
        TLS,
        key_prefix("`p`"),
        POOL_SIZE,
        CONNECT_TIMEOUT_SECONDS,
        HEALTH_CHECK_INTERVAL_SECONDS,
        USERNAME,
        PASSWORD,
    ];

    fn read(config: Value) -> Result<Option<Synchronised>, Vec<String>> {
        let mut keys = Keys::open("p", KEYS, &config, Null::Refused).unwrap();
        let read = sync_mode(&mut keys);
        keys.finish(read).map(|parsed| parsed.spec)
    }

    #[test]
    fn by_default_nothing_is_shared_and_the_other_keys_are_not_looked_at() {
        assert_eq!(read(json!({})), Ok(None));
        assert_eq!(read(json!({"sync_mode": "Local", "redis_url": 5, "redis_pool_size": 0})), Ok(None));
    }

    #[test]
    fn a_url_is_enough() {
        let read = read(json!({"sync_mode": "REDIS", "redis_url": "redis://u:p@h/2"})).unwrap().unwrap();
        let endpoint = &read.endpoint;
        assert_eq!((endpoint.to_string().as_str(), read.key_prefix), ("redis://h:6379/2", None));
        assert_eq!((endpoint.username.as_deref(), endpoint.password.as_deref()), (Some("u"), Some("p")));
        assert_eq!(endpoint.pool_size, 4);
        assert_eq!([endpoint.connect_timeout, endpoint.health_interval], [Duration::from_secs(5); 2]);
    }

    #[test]
    fn every_key_has_its_place() {
        let read = read(json!({
            "sync_mode": "redis", "redis_url": "redis://u:p@h", "redis_tls": true, "redis_key_prefix": "shop:limits",
            "redis_pool_size": 9, "redis_connect_timeout_seconds": 1, "redis_health_check_interval_seconds": u64::MAX,
            "redis_username": "me", "redis_password": "secret",
        }));
        let Synchronised { endpoint, key_prefix } = read.unwrap().unwrap();
        assert_eq!((endpoint.to_string().as_str(), key_prefix.as_deref()), ("rediss://h:6379/0", Some("shop:limits")));
        assert_eq!((endpoint.username.as_deref(), endpoint.password.as_deref()), (Some("me"), Some("secret")));
        assert_eq!((endpoint.pool_size, endpoint.connect_timeout), (9, Duration::from_secs(1)));
        assert_eq!(endpoint.health_interval, Duration::from_secs(SECONDS_MAX));
    }

    #[test]
    fn what_is_wrong_is_said_key_by_key_and_without_the_password() {
        assert_eq!(
            read(json!({"sync_mode": "shared"})).unwrap_err(),
            ["redis rate limiter: 'sync_mode' must be 'local' or 'redis' (got 'shared')"]
        );
        for wrong in [json!(null), json!(1)] {
            let errors = read(json!({"sync_mode": wrong})).unwrap_err();
            assert_eq!(errors, ["redis rate limiter: 'sync_mode' must be a string"]);
        }
        assert_eq!(
            read(json!({"sync_mode": "redis"})).unwrap_err(),
            ["redis rate limiter: 'redis_url' is required when 'sync_mode' is 'redis'"]
        );
        assert_eq!(
            read(json!({"sync_mode": "redis", "redis_url": ""})).unwrap_err(),
            ["redis rate limiter: 'redis_url' must not be empty"]
        );
        assert_eq!(
            read(json!({"sync_mode": "redis", "redis_url": "https://u:hunter2@h"})).unwrap_err(),
            [
                "redis rate limiter: 'redis_url' must be redis:// or rediss://, with a host, and a number for the database if there is a path"
            ]
        );
        let all = json!({
            "sync_mode": "redis", "redis_url": null, "redis_tls": "yes", "redis_key_prefix": "", "redis_pool_size": 0,
            "redis_connect_timeout_seconds": 1.5, "redis_health_check_interval_seconds": null,
            "redis_username": 1, "redis_password": null,
        });
        assert_eq!(
            read(all).unwrap_err(),
            [
                "redis rate limiter: 'redis_url' must be a string",
                "redis rate limiter: 'redis_tls' must be a boolean",
                "redis rate limiter: 'redis_key_prefix' must not be empty",
                "redis rate limiter: 'redis_pool_size' must be an integer above 0",
                "redis rate limiter: 'redis_connect_timeout_seconds' must be an integer above 0",
                "redis rate limiter: 'redis_health_check_interval_seconds' must be an integer above 0",
                "redis rate limiter: 'redis_username' must be a string",
                "redis rate limiter: 'redis_password' must be a string",
            ]
        );
    }
}
