//! What admins have done (admin sheet §21).

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use super::SqlStore;
use super::driver::Cell;
use crate::store::{AuditEvent, AuditFilter, Page, Range, StoreError};

const COLUMNS: &str = "id, ts, actor, action, resource_type, resource_id, namespace, diff";
/// Of fixed width, so that the order of texts is that of times.
const STAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]Z");

fn stamp(at: OffsetDateTime) -> Cell {
    Cell::Text(at.format(STAMP).unwrap_or_default())
}

impl SqlStore {
    pub(super) async fn insert_event(&self, event: &AuditEvent) -> Result<(), StoreError> {
        let sql = format!("INSERT INTO audit_events ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
        let AuditEvent { id, at, actor, action, resource_type, resource_id, namespace, diff } = event;
        let mut cells = vec![Cell::text(id), stamp(*at)];
        cells.extend([actor, action, resource_type, resource_id, namespace].map(|text| Cell::text(text)));
        cells.push(Cell::Text(diff.to_string()));
        self.database.execute(&sql, &cells).await.map(drop)
    }

    pub(super) async fn list_events(
        &self,
        namespace: &str,
        filter: &AuditFilter,
        range: Range,
    ) -> Result<Page<AuditEvent>, StoreError> {
        let mut rest = "WHERE namespace = ?".to_owned();
        let mut cells = vec![Cell::text(namespace)];
        let texts = [
            ("actor", &filter.actor),
            ("action", &filter.action),
            ("resource_type", &filter.resource_type),
            ("resource_id", &filter.resource_id),
        ];
        for (column, value) in texts {
            if let Some(value) = value {
                rest.push_str(&format!(" AND {column} = ?"));
                cells.push(Cell::text(value));
            }
        }
        for (compare, at) in [(">=", filter.start), ("<=", filter.end)] {
            if let Some(at) = at {
                rest.push_str(&format!(" AND ts {compare} ?"));
                cells.push(stamp(at));
            }
        }
        let total = self.count("audit_events", &rest, &cells).await?;
        rest.push_str(" ORDER BY ts DESC, id DESC LIMIT ? OFFSET ?");
        let limit = range.limit.unwrap_or(total);
        cells.extend([limit, range.offset].map(|number| Cell::Integer(number.min(i64::MAX as u64) as i64)));
        let mut rows = Vec::new();
        let sql = format!("SELECT {COLUMNS} FROM audit_events {rest}");
        self.database
            .each(&sql, &cells, |row| {
                rows.extend(event(row));
                Ok(())
            })
            .await?;
        Ok(Page { rows, total })
    }
}

/// Nothing of a row that is no event: the log of events is not to be unreadable for one of them.
fn event(row: Vec<Cell>) -> Option<AuditEvent> {
    let mut texts = row.into_iter().map(|cell| match cell {
        Cell::Text(text) => text,
        _ => String::new(),
    });
    let (id, at) = (texts.next()?, texts.next()?);
    Some(AuditEvent {
        id,
        at: OffsetDateTime::parse(&at, &Rfc3339).ok()?,
        actor: texts.next()?,
        action: texts.next()?,
        resource_type: texts.next()?,
        resource_id: texts.next()?,
        namespace: texts.next()?,
        diff: serde_json::from_str(&texts.next()?).unwrap_or_default(),
    })
}
