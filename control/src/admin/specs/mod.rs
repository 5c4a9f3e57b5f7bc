//! API specs: OpenAPI documents that own a proxy, with its upstream and plugins (admin sheet §31, resources sheet §11).
//!
//! A document becomes a [`Submission`] (parsed, of a known version, described), of which [`extract`] takes the resources;
//! [`Bundle`] is these resources with their ids. How they are checked and written stands in `write/specs`. Nothing here
//! knows a database but [`read`], which answers the two kinds of GET.

mod bundle;
mod content;
mod error;
mod extract;
mod identity;
mod listing;
mod metadata;
mod negotiate;
mod parse;
mod read;
mod submission;
mod yaml;

pub(super) use bundle::Bundle;
pub(super) use error::SpecError;
pub(super) use extract::{declared_in, extract};
pub(super) use identity::{Live, keep_ids, new_ids};
pub(super) use metadata::Metadata;
pub(super) use submission::Submission;

use engine::model::check_id;

use super::Admin;

/// Documents, batches and backups that are taken apart at once, for reads and writes together: each may take seconds and hundreds of
/// megabytes.
pub(super) const AT_ONCE_MAX: usize = 2;

pub(super) const NOT_FOUND: &str = "API spec not found";
pub(super) const NO_DATABASE: &str = "No database configured";

const MIB: usize = 1024 * 1024;

/// The ids in a path.
///
/// # Errors
/// What is wrong with one.
pub(super) fn check_path(segments: &[&str]) -> Result<(), String> {
    match segments {
        ["api-specs", "by-proxy", id] | ["api-specs", id] => check_id(id),
        _ => Ok(()),
    }
}

impl Admin {
    /// Work on a whole document, away from the threads that serve. `None` if it panicked.
    pub(super) async fn take_apart<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let place = self.documents.clone().acquire_owned().await.ok()?;
        let task = tokio::task::spawn_blocking(move || {
            let made = work();
            drop(place);
            made
        });
        task.await.ok()
    }

    /// What a stored document may at most unpack to: the limit may have been lowered since it was stored.
    pub(super) fn spec_bytes_max(&self) -> u64 {
        self.options.spec_body_max_mib.saturating_mul(2).saturating_mul(MIB) as u64
    }
}
