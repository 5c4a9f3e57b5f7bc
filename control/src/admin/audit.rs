//! Who has changed what: recording, and `GET /audit` (admin sheet §21).

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::reply::{self, Reply};
use super::write::{DATABASE_FAILED, NO_DATABASE};
use super::{Admin, query};
use crate::store::{AuditEvent, AuditFilter, Range, Store};

/// Events that wait for the database; one more is dropped.
const QUEUE_MAX: usize = 1024;
/// Of their diffs as JSON, each of which may hold a resource of a mebibyte twice.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;

const LIMIT_DEFAULT: u64 = 100;
const LIMIT_MAX: i128 = 1000;

/// Records events in the background: no call waits for it, and none fails with it.
pub(super) struct Recorder {
    queue: mpsc::Sender<(AuditEvent, OwnedSemaphorePermit)>,
    bytes: Arc<Semaphore>,
}

impl Recorder {
    /// On the current tokio runtime, until it is dropped.
    pub(super) fn start(store: Arc<dyn Store>) -> Self {
        let (queue, mut events) = mpsc::channel::<(AuditEvent, OwnedSemaphorePermit)>(QUEUE_MAX);
        tokio::spawn(async move {
            while let Some((event, _bytes)) = events.recv().await {
                if let Err(error) = store.record(&event).await {
                    tracing::warn!(action = event.action, error = %error, "An audit event is lost");
                }
            }
        });
        Self { queue, bytes: Arc::new(Semaphore::new(QUEUE_BYTES_MAX)) }
    }

    pub(super) fn record(&self, event: AuditEvent) {
        let action = event.action.clone();
        if self.queued(event).is_none() {
            let (queue_max, queue_bytes_max) = (QUEUE_MAX, QUEUE_BYTES_MAX);
            tracing::warn!(action, queue_max, queue_bytes_max, "An audit event is lost: the queue is full");
        }
    }

    fn queued(&self, event: AuditEvent) -> Option<()> {
        let bytes = event.diff.to_string().len().min(QUEUE_BYTES_MAX) as u32;
        let bytes = self.bytes.clone().try_acquire_many_owned(bytes).ok()?;
        self.queue.try_send((event, bytes)).ok()
    }
}

impl Admin {
    pub(super) async fn audit(&self, namespace: &str, query: &str) -> Reply {
        let Some(store) = &self.sources.store else {
            return reply::error(StatusCode::SERVICE_UNAVAILABLE, NO_DATABASE);
        };
        let (filter, range) = match asked(query) {
            Ok(asked) => asked,
            Err(text) => return reply::error(StatusCode::BAD_REQUEST, &text),
        };
        let page = match store.audit(namespace, &filter, range).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(error = %error, "Audit events cannot be read");
                return reply::error(StatusCode::SERVICE_UNAVAILABLE, DATABASE_FAILED);
            }
        };
        let events: Vec<Value> = page.rows.into_iter().map(shown).collect();
        reply::page(&events, range, page.total)
    }
}

fn shown(event: AuditEvent) -> Value {
    let at = event.at.to_offset(UtcOffset::UTC).format(&Rfc3339).unwrap_or_default();
    json!({
        "id": event.id,
        "ts": at,
        "actor": event.actor,
        "action": event.action,
        "resource_type": event.resource_type,
        "resource_id": event.resource_id,
        "namespace": event.namespace,
        "diff": event.diff,
    })
}

/// The filter and the page of a query.
fn asked(query: &str) -> Result<(AuditFilter, Range), String> {
    let value = |name: &str| query::first(query, name);
    let text = |name: &str| value(name).map(|raw| query::forgiven(&raw.replace('+', " ")));
    // The + of an offset is no blank.
    let moment = |name: &str| match value(name) {
        Some(raw) => {
            let invalid = |reason: String| format!("Invalid audit {name} timestamp: {reason}");
            let at =
                OffsetDateTime::parse(&query::forgiven(raw), &Rfc3339).map_err(|error| invalid(error.to_string()))?;
            let at = at.checked_to_offset(UtcOffset::UTC);
            at.map(Some).ok_or_else(|| invalid("out of range: years 0000-9999 in UTC".to_owned()))
        }
        None => Ok(None),
    };
    let filter = AuditFilter {
        actor: text("actor"),
        action: text("action"),
        resource_type: text("resource_type"),
        resource_id: text("resource_id"),
        start: moment("start")?,
        end: moment("end")?,
    };
    let limit = match value("limit") {
        None => LIMIT_DEFAULT,
        Some(raw) => {
            let limit: i128 = raw.parse().map_err(|_| "Invalid audit limit".to_owned())?;
            limit.clamp(1, LIMIT_MAX) as u64
        }
    };
    let offset = value("offset").and_then(|raw| raw.parse::<u128>().ok()).unwrap_or(0);
    let offset = u32::try_from(offset).map_err(|_| "Audit offset exceeds supported range".to_owned())?;
    Ok((filter, Range { offset: offset.into(), limit: Some(limit) }))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::SeqCst;

    use super::super::test_rig::{StoreRig, store_rig};
    use super::*;

    fn event(diff: Value) -> AuditEvent {
        AuditEvent {
            id: String::new(),
            at: OffsetDateTime::UNIX_EPOCH,
            actor: "t".to_owned(),
            action: "create".to_owned(),
            resource_type: "proxy".to_owned(),
            resource_id: "p".to_owned(),
            namespace: "ferrum".to_owned(),
            diff,
        }
    }

    /// How many of these events are tried to be stored, when they all come before the first is.
    async fn taken(rig: &StoreRig, events: usize, diff: &Value) -> usize {
        let before = rig.store.records.load(SeqCst);
        let recorder = rig.rig.admin.recorder.as_ref().unwrap();
        // On one thread: nobody takes any of them until all are there.
        (0..events).for_each(|_| recorder.record(event(diff.clone())));
        while recorder.bytes.available_permits() < QUEUE_BYTES_MAX {
            tokio::task::yield_now().await;
        }
        rig.store.records.load(SeqCst) - before
    }

    #[tokio::test]
    async fn events_that_wait_are_bounded_in_number_and_in_size() {
        let rig = store_rig().await;
        rig.store.fails_records.store(true, SeqCst);
        assert_eq!(taken(&rig, QUEUE_MAX, &json!({})).await, QUEUE_MAX);
        assert_eq!(taken(&rig, QUEUE_MAX + 1, &json!({})).await, QUEUE_MAX);
        // With its quotes, a quarter of what may wait.
        let large = Value::from("x".repeat(QUEUE_BYTES_MAX / 4 - 2));
        assert_eq!((taken(&rig, 4, &large).await, taken(&rig, 5, &large).await), (4, 4));
        let huge = Value::from("x".repeat(QUEUE_BYTES_MAX));
        assert_eq!(
            (taken(&rig, 1, &huge).await, taken(&rig, 2, &huge).await),
            (1, 1),
            "one is not too large for itself"
        );
    }

    fn range(query: &str) -> (u64, u64) {
        let (_, range) = asked(query).unwrap();
        (range.offset, range.limit.unwrap())
    }

    #[test]
    fn pages_are_bounded() {
        for (query, expected) in [
            ("", (0, 100)),
            ("limit=0", (0, 1)),
            ("limit=-7", (0, 1)),
            ("limit=1000&offset=3", (3, 1000)),
            ("limit=1001", (0, 1000)),
            ("offset=many", (0, 100)),
            ("offset=4294967295", (4_294_967_295, 100)),
        ] {
            assert_eq!(range(query), expected, "{query}");
        }
        assert_eq!(asked("limit=many").unwrap_err(), "Invalid audit limit");
        assert_eq!(asked("limit=").unwrap_err(), "Invalid audit limit");
        assert_eq!(asked("offset=4294967296").unwrap_err(), "Audit offset exceeds supported range");
    }

    #[test]
    fn filters_are_decoded() {
        let query = "actor=a%40b+c%2Bd&action=create&start=2026-01-01T00:00:00+00:00&end=2026-01-02T00%3A00%3A00Z";
        let (filter, _) = asked(query).unwrap();
        assert_eq!(filter.actor.as_deref(), Some("a@b c+d"));
        assert_eq!((filter.action.as_deref(), filter.resource_id), (Some("create"), None));
        assert_eq!(filter.end.unwrap() - filter.start.unwrap(), time::Duration::DAY);
        assert!(asked("start=now").unwrap_err().starts_with("Invalid audit start timestamp: "));
        assert!(asked("end=").unwrap_err().starts_with("Invalid audit end timestamp: "));
    }
}
