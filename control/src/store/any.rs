//! A database, whichever it is.

use std::ops::Deref;

use engine::model::Document;

use super::mongo::MongoStore;
use super::target::{DatabaseKind, Target};
use super::{ImportError, ImportOptions, Migration, SqlStore, Store, StoreError};

/// What every database does beyond [`Store`], which it is, too.
pub enum AnyStore {
    Sql(SqlStore),
    Mongo(MongoStore),
}

impl Deref for AnyStore {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Sql(store) => store,
            Self::Mongo(store) => store,
        }
    }
}

impl AnyStore {
    /// Connects. The schema is as it is.
    ///
    /// # Errors
    /// The settings do not fit the database, or it does not answer.
    pub async fn connect(target: &Target) -> Result<Self, StoreError> {
        Ok(match target.kind {
            DatabaseKind::Mongodb => Self::Mongo(MongoStore::connect(target).await?),
            _ => Self::Sql(SqlStore::connect(target).await?),
        })
    }

    /// Applies what the schema lacks: migrations, or indexes, which have no versions.
    ///
    /// # Errors
    /// The text says which failed.
    pub async fn migrate(&self) -> Result<Vec<(Migration, u128)>, StoreError> {
        match self {
            Self::Sql(store) => store.migrate().await,
            Self::Mongo(store) => store.ensure_indexes().await.map(|()| Vec::new()),
        }
    }

    /// Whether the database can be filled as it is.
    ///
    /// # Errors
    /// The database failed.
    pub async fn has_schema(&self) -> Result<bool, StoreError> {
        match self {
            Self::Sql(store) => Ok(store.migration_status().await?.pending.is_empty()),
            // Collections come into being with what is put into them.
            Self::Mongo(_) => Ok(true),
        }
    }

    pub async fn close(&self) {
        match self {
            Self::Sql(store) => store.close().await,
            Self::Mongo(store) => store.close().await,
        }
    }

    /// [`SqlStore::export`], of any.
    ///
    /// # Errors
    /// The database failed, or a row is no resource.
    pub async fn export(&self, namespace: Option<&str>) -> Result<Document, StoreError> {
        match self {
            Self::Sql(store) => store.export(namespace).await,
            Self::Mongo(store) => store.export(namespace).await,
        }
    }

    /// How many API specs a namespace has, or all have.
    ///
    /// # Errors
    /// The database failed.
    pub async fn api_spec_count(&self, namespace: Option<&str>) -> Result<u64, StoreError> {
        match self {
            Self::Sql(store) => store.api_spec_count(namespace).await,
            Self::Mongo(store) => store.api_spec_count(namespace).await,
        }
    }

    /// [`SqlStore::import`], of any.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn import(
        &self,
        namespace: &str,
        document: &Document,
        options: ImportOptions,
    ) -> Result<u64, ImportError> {
        match self {
            Self::Sql(store) => store.import(namespace, document, options).await,
            Self::Mongo(store) => store.import(namespace, document, options).await,
        }
    }
}
