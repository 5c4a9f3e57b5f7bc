//! Whole namespaces out of a database and into one, exactly as they are.

use engine::model::{Document as Configuration, Rows};
use mongodb::bson::{Document, doc};

use super::change::Change;
use super::documents::{of_resource, resource};
use super::failure::Failure;
use super::write::{Work, check_listed, clear, insert};
use super::{API_SPECS, MongoStore};
use crate::store::{ImportError, ImportOptions, Kind, Resource, StoreError};

impl MongoStore {
    /// Everything of one namespace, or of all. Nothing is normalised, nothing left out; lists are ordered by id.
    ///
    /// # Errors
    /// The database failed, or a document is no resource.
    pub async fn export(&self, namespace: Option<&str>) -> Result<Configuration, StoreError> {
        let mut document = Configuration::default();
        for row in self.everything(namespace).await? {
            row.add_to(&mut document);
        }
        Ok(document)
    }

    /// How many API specs a namespace has, or all have.
    ///
    /// # Errors
    /// The database failed.
    pub async fn api_spec_count(&self, namespace: Option<&str>) -> Result<u64, StoreError> {
        let wanted = namespace.map_or_else(Document::new, |namespace| doc! { "namespace": namespace });
        Ok(self.patiently(self.collection(API_SPECS).count_documents(wanted)).await?)
    }

    /// Fills a namespace with the document's resources, which are all of that namespace, as one change. Answers how many
    /// resources were there before. Where the server has no transactions, a dry run does not write.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn import(
        &self,
        namespace: &str,
        document: &Configuration,
        options: ImportOptions,
    ) -> Result<u64, ImportError> {
        let rows = by_kind(document);
        for row in rows.iter().flatten() {
            let kept = resource(row.kind(), of_resource(row)).is_ok_and(|kept| kept == *row);
            if !kept {
                return Err(ImportError::Altered { kind: row.kind(), id: row.id().to_owned() });
            }
        }
        let mut present = 0;
        for kind in Kind::ALL {
            let there = self.collection(kind.table());
            present += self
                .patiently(there.count_documents(doc! { "namespace": namespace }))
                .await
                .map_err(StoreError::from)?;
        }
        if present > 0 && !options.replaces {
            return Err(ImportError::Occupied(present));
        }
        let filling = Filling { namespace, rows: &rows, replaces: options.replaces };
        if options.is_dry_run {
            if self.abilities.has_transactions {
                let mut change = Change::begin(self).await.map_err(StoreError::from)?;
                let outcome = fill(&mut change, &filling).await;
                change.take_back().await;
                outcome.map_err(StoreError::from)?;
            }
            return Ok(present);
        }
        self.whole(&Work::Fill(filling)).await?;
        Ok(present)
    }
}

fn by_kind(document: &Configuration) -> [Vec<Resource>; 4] {
    fn resources<T: Clone + Into<Resource>>(rows: &Rows<T>) -> Vec<Resource> {
        rows.iter().map(|row| T::clone(row).into()).collect()
    }
    [
        resources(&document.upstreams),
        resources(&document.consumers),
        resources(&document.proxies),
        resources(&document.plugin_configs),
    ]
}

/// What a namespace is filled with.
pub(super) struct Filling<'a> {
    namespace: &'a str,
    rows: &'a [Vec<Resource>; 4],
    /// What is there goes.
    replaces: bool,
}

pub(super) async fn fill(change: &mut Change<'_>, filling: &Filling<'_>) -> Result<(), Failure> {
    let Filling { namespace, rows, replaces } = filling;
    if *replaces {
        clear(change, namespace).await?;
    }
    for (kind, rows) in Kind::ALL.into_iter().zip(*rows) {
        insert(change, kind, &rows.iter().collect::<Vec<_>>()).await?;
    }
    // A proxy and its plugin configs refer to each other.
    let all: Vec<&Resource> = rows.iter().flatten().collect();
    check_listed(change, &all).await
}
