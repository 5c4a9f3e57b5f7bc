//! What admins have done (admin sheet §21).

use mongodb::bson::{Bson, DateTime, Document, doc};
use time::OffsetDateTime;

use super::documents::{bson, json};
use super::{AUDIT_EVENTS, MongoStore};
use crate::store::{AuditEvent, AuditFilter, Page, Range, StoreError};

/// To the millisecond, as the server keeps times.
fn moment(at: OffsetDateTime) -> DateTime {
    DateTime::from_millis((at.unix_timestamp_nanos().div_euclid(1_000_000)) as i64)
}

impl MongoStore {
    pub(super) async fn insert_event(&self, event: &AuditEvent) -> Result<(), StoreError> {
        let AuditEvent { id, at, actor, action, resource_type, resource_id, namespace, diff } = event;
        let document = doc! {
            "_id": id, "id": id, "ts": moment(*at), "actor": actor, "action": action, "resource_type": resource_type,
            "resource_id": resource_id, "namespace": namespace, "diff": bson(diff.clone()),
        };
        Ok(self.patiently(self.collection(AUDIT_EVENTS).insert_one(document)).await.map(drop)?)
    }

    pub(super) async fn list_events(
        &self,
        namespace: &str,
        filter: &AuditFilter,
        range: Range,
    ) -> Result<Page<AuditEvent>, StoreError> {
        let mut wanted = doc! { "namespace": namespace };
        let texts = [
            ("actor", &filter.actor),
            ("action", &filter.action),
            ("resource_type", &filter.resource_type),
            ("resource_id", &filter.resource_id),
        ];
        for (field, value) in texts {
            if let Some(value) = value {
                wanted.insert(field, value);
            }
        }
        let limits = [("$gte", filter.start), ("$lte", filter.end)];
        let limits = limits.into_iter().filter_map(|(compare, at)| Some((compare.to_owned(), moment(at?).into())));
        let limits: Document = limits.collect();
        if !limits.is_empty() {
            wanted.insert("ts", limits);
        }
        let page = self.some(AUDIT_EVENTS, wanted, doc! { "ts": -1, "_id": -1 }, Document::new(), range).await?;
        Ok(Page { rows: page.rows.into_iter().filter_map(event).collect(), total: page.total })
    }
}

/// Nothing of a document that is no event: the log of events is not to be unreadable for one of them.
fn event(mut document: Document) -> Option<AuditEvent> {
    let mut text = |name: &str| match document.remove(name) {
        Some(Bson::String(text)) => Some(text),
        _ => None,
    };
    let (id, actor, action) = (text("_id")?, text("actor")?, text("action")?);
    let (resource_type, resource_id, namespace) = (text("resource_type")?, text("resource_id")?, text("namespace")?);
    let at = document.get_datetime("ts").ok()?;
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.timestamp_millis()) * 1_000_000).ok()?;
    let diff = document.remove("diff").and_then(|diff| json(diff).ok()).unwrap_or_default();
    Some(AuditEvent { id, at, actor, action, resource_type, resource_id, namespace, diff })
}
