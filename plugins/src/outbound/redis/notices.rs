//! Says once, for all cores, that a Redis is away, and once that it is back.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Endpoints that were reported as away.
#[derive(Default)]
pub struct Notices {
    away: Mutex<BTreeSet<String>>,
}

impl Notices {
    pub(super) fn is_away(&self, endpoint: &str, reason: &str) {
        if self.away.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint.to_owned()) {
            tracing::warn!(
                redis = endpoint,
                "Redis is away ({reason}); what plugins count in it is counted by this process alone until it answers again"
            );
        }
    }

    pub(super) fn is_back(&self, endpoint: &str) {
        if self.away.lock().unwrap_or_else(PoisonError::into_inner).remove(endpoint) {
            tracing::info!(redis = endpoint, "Redis is back; plugins count in it again");
        }
    }
}
