//! Where a Redis is, and how one gets in.

use std::fmt;
use std::time::Duration;

use reqwest::Url;

use crate::query;

const PORT: u16 = 6379;

/// Compared as a whole: plugins that say the same share their connections.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_tls: bool,
    pub(super) database: u64,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    /// Of the whole process.
    pub(super) pool_size: u64,
    pub(super) connect_timeout: Duration,
    pub(super) health_interval: Duration,
}

impl Endpoint {
    /// `redis://` or `rediss://`, `[user[:password]@]host[:port][/database]`. Nothing is said about what is wrong, because a
    /// password may stand anywhere in it.
    pub(super) fn of_url(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let is_tls = match url.scheme() {
            "redis" => false,
            "rediss" => true,
            _ => return None,
        };
        if url.query().is_some() || url.fragment().is_some() {
            return None;
        }
        let host = url.host_str().filter(|host| !host.is_empty())?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let database = match url.path().trim_start_matches('/') {
            "" => 0,
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
            _ => return None,
        };
        let decoded = |text: &str| query::decode(text.as_bytes()).into_owned();
        Some(Self {
            host: bare.to_owned(),
            port: url.port().unwrap_or(PORT),
            is_tls,
            database,
            username: Some(decoded(url.username())).filter(|name| !name.is_empty()),
            password: url.password().map(decoded).filter(|password| !password.is_empty()),
            pool_size: 1,
            connect_timeout: Duration::MAX,
            health_interval: Duration::MAX,
        })
    }

    pub fn host(&self) -> &str {
        &self.host
    }
}

/// For the log: without what gets one in.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "rediss" } else { "redis" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}/{}", self.host, self.port, self.database)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> Option<String> {
        Endpoint::of_url(url).map(|endpoint| endpoint.to_string())
    }

    #[test]
    fn the_url_says_where_and_how() {
        assert_eq!(shown("redis://cache").unwrap(), "redis://cache:6379/0");
        assert_eq!(shown("redis://cache:7000/").unwrap(), "redis://cache:7000/0");
        assert_eq!(shown("rediss://10.0.0.1/15").unwrap(), "rediss://10.0.0.1:6379/15");
        assert_eq!(shown("redis://[::1]:1/2").unwrap(), "redis://[::1]:1/2");
        let full = Endpoint::of_url("redis://me%40home:p%3Aw%2F%20d@h:1/3").unwrap();
        assert_eq!((full.username.as_deref(), full.password.as_deref()), (Some("me@home"), Some("p:w/ d")));
        assert_eq!((full.host(), full.port, full.database, full.is_tls), ("h", 1, 3, false));
        let anonymous = Endpoint::of_url("redis://:secret@h").unwrap();
        assert_eq!((anonymous.username, anonymous.password.as_deref()), (None, Some("secret")));
    }

    #[test]
    fn what_is_no_such_url_is_none() {
        for wrong in [
            "",
            "cache:6379",
            "http://cache",
            "unix:///run/redis.sock",
            "redis:///0",
            "redis://",
            "redis://h:99999",
            "redis://h/x",
            "redis://h/-1",
            "redis://h/1/2",
            "redis://h/99999999999999999999",
            "redis://h?db=1",
            "redis://h#1",
        ] {
            assert_eq!(shown(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_gets_one_in_is_never_shown() {
        let endpoint = Endpoint::of_url("redis://user:hunter2@h/1").unwrap();
        for text in [format!("{endpoint}"), format!("{endpoint:?}")] {
            assert!(!text.contains("hunter2") && !text.contains("user"), "{text}");
        }
    }
}
