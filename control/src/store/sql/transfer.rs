//! Whole namespaces out of a database and into one, exactly as they are.

use std::sync::Arc;

use engine::model::Document;

use super::SqlStore;
use super::driver::{Cell, Change};
use super::load::{Reader, in_order};
use super::record::Record;
use super::write::{clear, insert_all};
use crate::store::{ImportError, Kind, StoreError};

/// How a namespace is filled.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportOptions {
    /// What is there goes, with the API specs. Without it, a namespace that is not empty is left alone.
    pub replaces: bool,
    /// All is done and taken back.
    pub is_dry_run: bool,
}

impl SqlStore {
    /// Everything of one namespace, or of all, as it was at one moment. Nothing is normalised, nothing left out; lists are
    /// ordered by id.
    ///
    /// # Errors
    /// The database failed, or a row is no resource.
    pub async fn export(&self, namespace: Option<&str>) -> Result<Document, StoreError> {
        let mut moment = self.database.begin_read().await?;
        Reader { moment: &mut moment, target: &self.target }.document(namespace).await
    }

    /// How many API specs a namespace has, or all have.
    ///
    /// # Errors
    /// The database failed.
    pub async fn api_spec_count(&self, namespace: Option<&str>) -> Result<u64, StoreError> {
        match namespace {
            Some(namespace) => self.count("api_specs", "WHERE namespace = ?", &[Cell::text(namespace)]).await,
            None => self.count("api_specs", "", &[]).await,
        }
    }

    /// Fills a namespace with the document's resources, which are all of that namespace, in one transaction. Before it ends,
    /// what was written is read again: a database that would keep something else gets nothing. Answers how many resources
    /// were there before.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn import(
        &self,
        namespace: &str,
        document: &Document,
        options: ImportOptions,
    ) -> Result<u64, ImportError> {
        let mut change = self.database.begin().await?;
        let present = count(&mut change, namespace).await?;
        if present > 0 && !options.replaces {
            return Err(ImportError::Occupied(present));
        }
        if options.replaces {
            clear(&mut change, namespace).await?;
        }
        insert_all(&mut change, document).await?;
        let kept = Reader { moment: &mut change, target: &self.target }.document(Some(namespace)).await?;
        if let Some((kind, id)) = difference(&in_order(document.clone()), &kept) {
            return Err(ImportError::Altered { kind, id });
        }
        if !options.is_dry_run {
            change.commit().await?;
        }
        Ok(present)
    }
}

async fn count(change: &mut Change<'_>, namespace: &str) -> Result<u64, StoreError> {
    let mut count = 0;
    for kind in Kind::ALL {
        let sql = format!("SELECT COUNT(*) FROM {} WHERE namespace = ?", kind.table());
        if let Some(Cell::Integer(rows)) =
            change.rows(&sql, &[Cell::text(namespace)]).await?.into_iter().flatten().next()
        {
            count += u64::try_from(rows).unwrap_or(0);
        }
    }
    Ok(count)
}

/// The first resource that is not the same in both.
fn difference(wanted: &Document, kept: &Document) -> Option<(Kind, String)> {
    let upstream = first_other(&wanted.upstreams, &kept.upstreams).map(|id| (Kind::Upstream, id));
    let consumer = || first_other(&wanted.consumers, &kept.consumers).map(|id| (Kind::Consumer, id));
    let proxy = || first_other(&wanted.proxies, &kept.proxies).map(|id| (Kind::Proxy, id));
    let config = || first_other(&wanted.plugin_configs, &kept.plugin_configs).map(|id| (Kind::PluginConfig, id));
    upstream.or_else(consumer).or_else(proxy).or_else(config)
}

fn first_other<T: PartialEq + Record>(wanted: &[Arc<T>], kept: &[Arc<T>]) -> Option<String> {
    let pairs = wanted.iter().zip(kept).find(|(wanted, kept)| wanted != kept).map(|(wanted, _)| wanted);
    let longer = || wanted.get(kept.len()).or_else(|| kept.get(wanted.len()));
    pairs.or_else(longer).map(|row| row.id().to_owned())
}
