//! Shows how a plugin brings tables of its own: an audit log, for three kinds of SQL.
//!
//! ```yaml
//! plugin_name: example_audit_plugin
//! config:
//!   log_request_headers: false
//!   retention_days: 90
//! ```
//!
//! The tables are made by `FERRUM_MODE=migrate`. Writing into them is left to you: make a connection pool in `create_plugin`,
//! from keys of your own such as `db_url` and `db_type`, and insert a row in `log`, in the background.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::config::migrations::CustomPluginMigration;
use crate::plugins::{Plugin, PluginHttpClient, TransactionSummary};

/// Just behind the loggers that come with the gateway.
const PRIORITY: u16 = 9150;
const RETENTION_DAYS_DEFAULT: u64 = 90;

struct Audit {
    log_request_headers: bool,
    retention_days: u64,
}

impl Audit {
    fn new(config: &Value) -> Self {
        Self {
            log_request_headers: config["log_request_headers"].as_bool().unwrap_or(false),
            retention_days: config["retention_days"].as_u64().unwrap_or(RETENTION_DAYS_DEFAULT),
        }
    }
}

#[async_trait]
impl Plugin for Audit {
    fn name(&self) -> &str {
        "example_audit_plugin"
    }

    fn priority(&self) -> u16 {
        PRIORITY
    }

    async fn log(&self, summary: &TransactionSummary) {
        // The place for `INSERT INTO audit_log …`.
        let (headers, days) = (self.log_request_headers, self.retention_days);
        tracing::trace!(path = summary.request_path, headers, days, "a transaction to audit");
    }
}

pub fn create_plugin(config: &Value, _http_client: PluginHttpClient) -> Result<Option<Arc<dyn Plugin>>, String> {
    Ok(Some(Arc::new(Audit::new(config))))
}

/// Version 1 makes the table, version 2 an index that turned out to be missing. A version that has run anywhere is never
/// changed again: what comes later is a version of its own.
pub fn plugin_migrations() -> Vec<CustomPluginMigration> {
    vec![
        CustomPluginMigration {
            version: 1,
            name: "create_audit_log",
            checksum: "v1_create_audit_log_f8a3e1",
            sql: "
                CREATE TABLE IF NOT EXISTS audit_log (
                    id TEXT PRIMARY KEY,
                    timestamp TEXT NOT NULL,
                    client_ip TEXT NOT NULL,
                    http_method TEXT NOT NULL,
                    request_path TEXT NOT NULL,
                    response_status INTEGER NOT NULL,
                    latency_ms REAL NOT NULL,
                    consumer_username TEXT,
                    proxy_id TEXT,
                    request_headers TEXT
                );
                CREATE INDEX IF NOT EXISTS idx_audit_log_timestamp ON audit_log (timestamp);
                CREATE INDEX IF NOT EXISTS idx_audit_log_client_ip ON audit_log (client_ip)",
            sql_postgres: Some(
                "
                CREATE TABLE IF NOT EXISTS audit_log (
                    id TEXT PRIMARY KEY,
                    timestamp TIMESTAMPTZ NOT NULL DEFAULT NOW(),
                    client_ip TEXT NOT NULL,
                    http_method TEXT NOT NULL,
                    request_path TEXT NOT NULL,
                    response_status INTEGER NOT NULL,
                    latency_ms DOUBLE PRECISION NOT NULL,
                    consumer_username TEXT,
                    proxy_id TEXT,
                    request_headers JSONB
                );
                CREATE INDEX IF NOT EXISTS idx_audit_log_timestamp ON audit_log (timestamp);
                CREATE INDEX IF NOT EXISTS idx_audit_log_client_ip ON audit_log (client_ip)",
            ),
            // MySQL knows no IF NOT EXISTS of an index, so the indexes are made with the table.
            sql_mysql: Some(
                "
                CREATE TABLE IF NOT EXISTS audit_log (
                    id VARCHAR(255) PRIMARY KEY,
                    timestamp DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
                    client_ip VARCHAR(255) NOT NULL,
                    http_method VARCHAR(20) NOT NULL,
                    request_path TEXT NOT NULL,
                    response_status INTEGER NOT NULL,
                    latency_ms DOUBLE NOT NULL,
                    consumer_username VARCHAR(255),
                    proxy_id VARCHAR(255),
                    request_headers JSON,
                    INDEX idx_audit_log_timestamp (timestamp),
                    INDEX idx_audit_log_client_ip (client_ip)
                )",
            ),
        },
        CustomPluginMigration {
            version: 2,
            name: "add_status_timestamp_index",
            checksum: "v2_add_status_timestamp_idx_b7c4d2",
            sql: "CREATE INDEX IF NOT EXISTS idx_audit_log_status_ts ON audit_log (response_status, timestamp)",
            sql_postgres: None,
            sql_mysql: Some("CREATE INDEX idx_audit_log_status_ts ON audit_log (response_status, timestamp)"),
        },
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn wrong_types_mean_the_defaults_and_nothing_is_refused() {
        for config in [Value::Null, json!({"log_request_headers": "yes", "retention_days": -1})] {
            let audit = Audit::new(&config);
            assert_eq!((audit.log_request_headers, audit.retention_days), (false, RETENTION_DAYS_DEFAULT));
        }
        let audit = Audit::new(&json!({"log_request_headers": true, "retention_days": 7}));
        assert_eq!((audit.log_request_headers, audit.retention_days), (true, 7));
        let plugin = create_plugin(&Value::Null, PluginHttpClient::default()).unwrap().unwrap();
        assert_eq!((plugin.name(), plugin.priority()), ("example_audit_plugin", 9150));
    }

    #[test]
    fn every_database_gets_statements_it_knows() {
        let steps = plugin_migrations();
        assert_eq!(steps.iter().map(|step| step.version).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(steps[0].checksum, "v1_create_audit_log_f8a3e1");
        assert_eq!(steps[1].checksum, "v2_add_status_timestamp_idx_b7c4d2");
        for step in &steps {
            assert!(!step.sql_for_db("mysql").contains("INDEX IF NOT EXISTS"), "{}", step.name);
            for index in step.sql.match_indices("idx_").map(|(at, _)| step.sql[at..].split(' ').next().unwrap()) {
                assert!(["postgres", "mysql"].iter().all(|db| step.sql_for_db(db).contains(index)), "{index}");
            }
        }
        assert!(steps[0].sql_for_db("postgres").contains("JSONB") && steps[0].sql_for_db("sqlite").contains("REAL"));
    }

    #[tokio::test]
    async fn the_default_texts_run_on_sqlite_once_and_again() {
        let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
        for _ in 0..2 {
            for step in plugin_migrations() {
                for statement in step.sql_for_db("sqlite").split(';') {
                    sqlx::query(statement).execute(&pool).await.unwrap();
                }
            }
        }
        let indexes =
            sqlx::query("SELECT name FROM sqlite_master WHERE type = 'index' AND name LIKE 'idx_audit_log_%'");
        assert_eq!(indexes.fetch_all(&pool).await.unwrap().len(), 3);
    }
}
