//! `GET /health`: whether this process may be sent traffic (admin sheet §23).

use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::{Duration, Instant, SystemTime};

use hyper::StatusCode;
use serde_json::{Value, json};

use super::reply::{self, Reply};
use super::{Admin, timestamp};
use crate::store::Store;

/// A database that takes longer does not answer, as far as a probe is concerned.
const PING_MAX: Duration = Duration::from_secs(3);

/// Starting, then ready, never back.
#[derive(Default)]
pub struct Readiness(AtomicBool);

impl Readiness {
    /// Configuration loaded, names and pools warm, all listeners bound. Returns whether this call made it ready.
    pub fn set_ready(&self) -> bool {
        !self.0.swap(true, AcqRel)
    }

    pub fn is_ready(&self) -> bool {
        self.0.load(Acquire)
    }
}

/// Whether the database has answered lately.
pub(super) struct Ping {
    ttl: Duration,
    last: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

impl Ping {
    pub(super) fn new(ttl: Duration) -> Self {
        Self { ttl, last: tokio::sync::Mutex::new(None) }
    }

    /// Callers that come at once wait for one answer.
    async fn answers(&self, store: &dyn Store) -> bool {
        let mut last = self.last.lock().await;
        if let Some((at, answers)) = *last
            && at.elapsed() < self.ttl
        {
            return answers;
        }
        let answers = match tokio::time::timeout(PING_MAX, store.ping()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(error = %error, "The database does not answer a ping");
                false
            }
            Err(_) => {
                tracing::warn!(seconds = PING_MAX.as_secs(), "The database has not answered a ping in time");
                false
            }
        };
        *last = Some((Instant::now(), answers));
        answers
    }
}

impl Admin {
    pub(super) async fn health(&self) -> Reply {
        let is_ready = self.sources.readiness.is_ready();
        let is_outage = !self.options.is_read_only && self.sources.database_unavailable.load(Acquire);
        let database = match &self.sources.store {
            Some(store) => Some((store, self.ping.answers(&**store).await)),
            None => None,
        };
        let status = match database {
            _ if !is_ready => "starting",
            Some((_, false)) => "degraded",
            _ if is_outage => "degraded",
            _ => "ok",
        };
        let mut body = json!({
            "admin_writes_enabled": !self.options.is_read_only && !is_outage,
            "cached_config": self.cached_config(),
            "mode": self.options.mode,
            "ready": is_ready,
            "status": status,
            "timestamp": timestamp::with_offset(SystemTime::now()),
        });
        if let Some((store, answers)) = database {
            body["database"] = if answers { connected(&**store) } else { json!({ "status": "disconnected" }) };
        }
        reply::json(if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, &body)
    }

    fn cached_config(&self) -> Value {
        match self.sources.resources.as_ref().and_then(|resources| resources.summary()) {
            Some(config) => json!({
                "available": true,
                "consumer_count": config.consumers,
                "loaded_at": timestamp::with_offset(config.loaded_at),
                "proxy_count": config.proxies,
            }),
            None => json!({ "available": false }),
        }
    }
}

fn connected(store: &dyn Store) -> Value {
    let mut block = json!({ "status": "connected", "type": store.kind().name() });
    if let Some(pool) = store.pool() {
        block["pool"] = json!({
            "active": pool.size.saturating_sub(pool.idle),
            "idle": pool.idle,
            "max_connections": pool.connections_max,
            "min_connections": pool.connections_min,
            "size": pool.size,
        });
        if let Some(replica) = store.replica_pool() {
            let active = replica.size.saturating_sub(replica.idle);
            block["pool"]["read_replica"] = json!({ "active": active, "idle": replica.idle, "size": replica.size });
        }
    }
    block
}
