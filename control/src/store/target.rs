//! Which database, from the settings (control-plane sheet §1 and §2).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::StoreError;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DatabaseKind {
    Sqlite,
    Postgres,
    Mysql,
    Mongodb,
}

impl DatabaseKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Mongodb => "mongodb",
        }
    }
}

impl FromStr for DatabaseKind {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let known = [Self::Sqlite, Self::Postgres, Self::Mysql, Self::Mongodb];
        known.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            StoreError::Settings(format!("FERRUM_DB_TYPE '{text}' is none of postgres, mysql, sqlite, mongodb"))
        })
    }
}

/// How a connection to a database is secured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// `disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`; none = the URL is taken as it is.
    pub mode: Option<String>,
    pub ca_path: Option<PathBuf>,
    /// Certificate and key, which may be one file for MongoDB.
    pub client_paths: Option<(PathBuf, PathBuf)>,
}

/// How many connections, and how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    pub connections_max: u32,
    pub connections_min: u32,
    pub acquire_timeout: Duration,
    pub idle_timeout: Duration,
    pub lifetime_max: Duration,
    /// Zero = off.
    pub connect_timeout: Duration,
    /// Zero = off.
    pub statement_timeout: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            connections_max: 32,
            connections_min: 1,
            acquire_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(600),
            lifetime_max: Duration::from_secs(300),
            connect_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(30),
        }
    }
}

/// What is of MongoDB alone (control-plane sheet §1). An option of the URL is overruled by what is set here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MongoSettings {
    pub database: String,
    pub app_name: Option<String>,
    /// Without one, neither here nor in the URL, changes are not made in transactions.
    pub replica_set: Option<String>,
    pub auth_mechanism: Option<String>,
    /// None: as the URL says.
    pub server_selection_timeout: Option<Duration>,
    /// None: as the URL says.
    pub connect_timeout: Option<Duration>,
}

impl Default for MongoSettings {
    fn default() -> Self {
        Self {
            database: "ferrum".to_owned(),
            app_name: None,
            replica_set: None,
            auth_mechanism: None,
            server_selection_timeout: None,
            connect_timeout: None,
        }
    }
}

/// One database to connect to.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    pub kind: DatabaseKind,
    pub url: String,
    pub tls: TlsSettings,
    pub pool: PoolSettings,
    pub mongo: MongoSettings,
    /// Rows per page of a full load.
    pub page_rows: u64,
    /// Slower queries are named in a warning.
    pub slow_threshold: Option<Duration>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("kind", &self.kind).field("url", &self.shown()).finish_non_exhaustive()
    }
}

impl Target {
    pub fn new(kind: DatabaseKind, url: &str) -> Self {
        let (tls, pool, mongo) = (TlsSettings::default(), PoolSettings::default(), MongoSettings::default());
        Self { kind, url: url.to_owned(), tls, pool, mongo, page_rows: 10_000, slow_threshold: None }
    }

    /// The URL without what is secret: user, host and path. A password may have any letter in it, unescaped, so everything up to
    /// the last `@` counts as one.
    pub fn shown(&self) -> String {
        let place = |rest: &str| rest.split('?').next().unwrap_or_default().to_owned();
        match self.url.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?))) {
            Some((scheme, (credentials, rest))) => {
                let user = credentials.split([':', '/', '?']).next().unwrap_or_default();
                format!("{scheme}://{user}@{}", place(rest))
            }
            None => place(&self.url),
        }
    }

    /// The host name in the URL; none for a file, nor for MongoDB, whose driver follows its servers by itself.
    pub fn host(&self) -> Option<&str> {
        let (_, rest) = self.url.split_once("://")?;
        let place = rest.split(['/', '?']).next()?;
        let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
        let host = match place.strip_prefix('[') {
            Some(bracketed) => bracketed.split(']').next()?,
            None => place.split(':').next()?,
        };
        let is_followed = !matches!(self.kind, DatabaseKind::Sqlite | DatabaseKind::Mongodb);
        (is_followed && !host.is_empty()).then_some(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("postgres://u:p@ss@h:5432/db?sslmode=require", "postgres://u@h:5432/db"),
            ("mysql://root@h/db", "mysql://root@h/db"),
            ("sqlite:///var/lib/f.db?mode=rwc", "sqlite:///var/lib/f.db"),
            ("postgres://u:p@ss?x@h/db", "postgres://u@h/db"),
            ("postgres://u:p?/@ss@h/db?a=b", "postgres://u@h/db"),
        ] {
            let target = Target::new(DatabaseKind::Postgres, url);
            assert_eq!(target.shown(), shown);
            assert!(!format!("{target:?}").contains("p@ss"));
        }
    }

    #[test]
    fn the_host_is_what_is_resolved_again() {
        let host = |url: &str| Target::new(DatabaseKind::Postgres, url).host().map(str::to_owned);
        assert_eq!(host("postgres://u:p@db.internal:5432/x").as_deref(), Some("db.internal"));
        assert_eq!(host("postgres://[::1]:5432/x").as_deref(), Some("::1"));
        assert_eq!(host("postgres:///x"), None);
        assert_eq!(Target::new(DatabaseKind::Sqlite, "sqlite:///a/b.db").host(), None);
        assert_eq!(Target::new(DatabaseKind::Mongodb, "mongodb://a:1,b:2/x").host(), None);
    }

    #[test]
    fn kinds_are_named_exactly() {
        assert_eq!("mysql".parse::<DatabaseKind>().unwrap(), DatabaseKind::Mysql);
        assert!("MySQL".parse::<DatabaseKind>().is_err());
    }
}
