//! `GET /health`: whether this process may be sent traffic (admin sheet §23).

use std::sync::atomic::{AtomicBool, Ordering::*};
use std::time::SystemTime;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::reply::{self, Reply};
use super::{Admin, timestamp};

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

impl Admin {
    pub(super) fn health(&self) -> Reply {
        let is_ready = self.sources.readiness.is_ready();
        let body = json!({
            "admin_writes_enabled": !self.options.is_read_only,
            "cached_config": self.cached_config(),
            "mode": self.options.mode,
            "ready": is_ready,
            "status": if is_ready { "ok" } else { "starting" },
            "timestamp": timestamp::with_offset(SystemTime::now()),
        });
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
