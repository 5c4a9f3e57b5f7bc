//! What the admin API has written, on its way to the publication.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::admin::Written;
use crate::store::Kind;

/// With more rows than this at once, all of the database is looked at.
const ROWS_MAX: usize = 256;

/// What is to be looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Look {
    /// These rows and no others.
    At(Vec<(Kind, String)>),
    AtAll,
}

#[derive(Default)]
pub(super) struct Writes {
    pending: Mutex<Option<Look>>,
    notify: Notify,
}

impl Writes {
    pub(super) fn note(&self, written: Written) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        *pending = Some(match (pending.take(), written) {
            (None, Written::Row(kind, id)) => Look::At(vec![(kind, id)]),
            (Some(Look::At(mut rows)), Written::Row(kind, id)) if rows.len() < ROWS_MAX => {
                if !rows.iter().any(|(known_kind, known)| *known_kind == kind && *known == id) {
                    rows.push((kind, id));
                }
                Look::At(rows)
            }
            _ => Look::AtAll,
        });
        drop(pending);
        self.notify.notify_one();
    }

    /// Waits for a write, or until it is time to look at everything.
    pub(super) async fn next(&self, every: Duration) -> Look {
        let _ = tokio::time::timeout(every, self.notify.notified()).await;
        self.take().unwrap_or(Look::AtAll)
    }

    fn take(&self) -> Option<Look> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: usize) -> Written {
        Written::Row(Kind::Proxy, format!("p{number}"))
    }

    fn taken(written: impl IntoIterator<Item = Written>) -> Option<Look> {
        let writes = Writes::default();
        written.into_iter().for_each(|written| writes.note(written));
        let taken = writes.take();
        assert_eq!(writes.take(), None);
        taken
    }

    #[test]
    fn rows_are_gathered_until_something_else_or_too_many_are_written() {
        assert_eq!(taken([]), None);
        let one = (Kind::Proxy, "p1".to_owned());
        assert_eq!(taken([row(1), row(1)]), Some(Look::At(vec![one.clone()])));
        let other = Written::Row(Kind::Consumer, "p1".to_owned());
        assert_eq!(taken([row(1), other]), Some(Look::At(vec![one, (Kind::Consumer, "p1".to_owned())])));
        assert_eq!(taken([row(1), Written::Several, row(2)]), Some(Look::AtAll));
        let Some(Look::At(rows)) = taken((0..ROWS_MAX).map(row)) else { panic!("all is looked at") };
        assert_eq!(rows.len(), ROWS_MAX);
        assert_eq!(taken((0..=ROWS_MAX).map(row)), Some(Look::AtAll));
    }

    #[tokio::test(start_paused = true)]
    async fn when_nothing_is_written_everything_is_looked_at_in_time() {
        let writes = Writes::default();
        assert_eq!(writes.next(Duration::from_secs(30)).await, Look::AtAll);
        writes.note(row(1));
        assert_eq!(writes.next(Duration::from_secs(30)).await, Look::At(vec![(Kind::Proxy, "p1".to_owned())]));
    }
}
