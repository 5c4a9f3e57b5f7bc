//! A change of several documents: a transaction, or single writes that are taken back when one fails.
//!
//! Everything a change does goes through the few writes here, so that what follows from it is written down once (`write`) and
//! is the same with and without transactions.

use mongodb::ClientSession;
use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::{Acknowledgment, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};

use super::documents::id_of;
use super::failure::Failure;
use super::{IDS_MAX, MongoStore};
use crate::store::StoreError;

/// A document that every change writes: of two changes at the same time the server refuses one, which is tried again. Otherwise a
/// change could refer to what another deletes.
const TURNS: &str = "_ferrum_changes";

/// How a change is kept whole.
enum Wholeness {
    /// The server does it.
    Transaction(Box<ClientSession>),
    /// What was done, in its order.
    Compensation(Vec<Undo>),
}

/// What takes a single write back.
enum Undo {
    Remove(&'static str, Vec<String>),
    PutBack(&'static str, Vec<Document>),
}

pub struct Change<'a> {
    store: &'a MongoStore,
    wholeness: Wholeness,
}

impl<'a> Change<'a> {
    pub async fn begin(store: &'a MongoStore) -> Result<Self, Failure> {
        if !store.abilities.has_transactions {
            return Ok(Self { store, wholeness: Wholeness::Compensation(Vec::new()) });
        }
        let mut session = Box::new(store.patiently(store.client.start_session()).await?);
        let begin = session
            .start_transaction()
            .read_concern(ReadConcern::snapshot())
            .write_concern(WriteConcern::builder().w(Acknowledgment::Majority).build())
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        store.patiently(begin).await?;
        let turns = store.collection(TURNS);
        let turn = turns.update_one(doc! { "_id": "turn" }, doc! { "$inc": { "number": 1_i64 } }).upsert(true);
        store.patiently(turn.session(&mut *session)).await?;
        Ok(Self { store, wholeness: Wholeness::Transaction(session) })
    }

    /// A change that does not end here is taken back by the server; without transactions, by [`Self::take_back`] alone.
    pub async fn commit(self) -> Result<(), Failure> {
        let Wholeness::Transaction(mut session) = self.wholeness else { return Ok(()) };
        let outcome = self.store.patiently(session.commit_transaction()).await;
        match outcome {
            // It is safe to ask again: a transaction is committed once.
            Err(failure) if failure.is_unknown => self.store.patiently(session.commit_transaction()).await,
            other => other,
        }
    }

    /// As far as that is possible: what cannot be taken back is said.
    pub async fn take_back(self) {
        let undos = match self.wholeness {
            Wholeness::Transaction(mut session) => {
                // The server does the same by itself, later.
                let _ = self.store.patiently(session.abort_transaction()).await;
                return;
            }
            Wholeness::Compensation(undos) => undos,
        };
        for undo in undos.into_iter().rev() {
            let (collection, ids) = match &undo {
                Undo::Remove(collection, ids) => (*collection, ids.clone()),
                Undo::PutBack(collection, documents) => (*collection, documents.iter().map(id_of).collect()),
            };
            if let Err(failure) = perform(self.store, undo).await {
                let ids = ids.join(", ");
                tracing::error!(
                    "A change failed halfway, and {collection} {ids} cannot be put back: {}",
                    failure.error
                );
            }
        }
    }

    pub async fn find(&mut self, collection: &str, wanted: Document) -> Result<Vec<Document>, Failure> {
        let store = self.store;
        let find = store.collection(collection);
        let find = find.find(wanted).sort(doc! { "_id": 1 });
        let mut found = Vec::new();
        match &mut self.wholeness {
            Wholeness::Transaction(session) => {
                let take = |document| {
                    found.push(document);
                    Ok(())
                };
                store.each_in_session(find, session, take).await?;
            }
            Wholeness::Compensation(_) => {
                let mut cursor = store.patiently(find).await?;
                while store.patiently(cursor.advance()).await? {
                    found.push(cursor.deserialize_current()?);
                }
            }
        }
        Ok(found)
    }

    pub async fn one(&mut self, collection: &str, id: &str) -> Result<Option<Document>, Failure> {
        Ok(self.find(collection, doc! { "_id": id }).await?.pop())
    }

    pub async fn any(&mut self, collection: &str, wanted: Document) -> Result<bool, Failure> {
        let store = self.store;
        let documents = store.collection(collection);
        let mut find = documents.find_one(wanted).projection(doc! { "_id": 1 });
        if let Wholeness::Transaction(session) = &mut self.wholeness {
            find = find.session(&mut **session);
        }
        Ok(store.patiently(find).await?.is_some())
    }

    /// Which of these ids no document has.
    pub async fn missing(&mut self, collection: &str, ids: &[String]) -> Result<Vec<String>, Failure> {
        let mut missing: Vec<String> = ids.to_vec();
        for chunk in ids.chunks(IDS_MAX) {
            let store = self.store;
            let documents = store.collection(collection);
            let mut there = documents.distinct("_id", doc! { "_id": { "$in": chunk } });
            if let Wholeness::Transaction(session) = &mut self.wholeness {
                there = there.session(&mut **session);
            }
            let there = store.patiently(there).await?;
            missing.retain(|id| !there.iter().any(|other| other.as_str() == Some(id)));
        }
        Ok(missing)
    }

    pub async fn insert(&mut self, collection: &'static str, documents: Vec<Document>) -> Result<(), Failure> {
        if documents.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = documents.iter().map(id_of).collect();
        if let Wholeness::Compensation(_) = self.wholeness {
            // What is there must not be among what is removed when the change is taken back.
            let there = ids.len() - self.missing(collection, &ids).await?.len();
            if there > 0 {
                return Err(StoreError::Conflict(format!("{there} of the ids are taken in {collection}").into()).into());
            }
        }
        let store = self.store;
        let into = store.collection(collection);
        let insert = into.insert_many(documents);
        match &mut self.wholeness {
            Wholeness::Transaction(session) => {
                store.patiently(insert.session(&mut **session)).await?;
                Ok(())
            }
            Wholeness::Compensation(undos) => {
                let mut inserted = ids;
                let outcome = store.answered(insert.ordered(false)).await;
                if let Ok(Err(error)) = &outcome
                    && let ErrorKind::InsertMany(refused) = &*error.kind
                {
                    let refused: Vec<usize> = refused.write_errors.iter().flatten().map(|error| error.index).collect();
                    inserted = inserted
                        .into_iter()
                        .enumerate()
                        .filter(|(at, _)| !refused.contains(at))
                        .map(|(_, id)| id)
                        .collect();
                }
                undos.push(Undo::Remove(collection, inserted));
                outcome?.map(drop).map_err(Into::into)
            }
        }
    }

    /// In place of the document with its id, which is `former`.
    pub async fn replace(
        &mut self,
        collection: &'static str,
        former: Document,
        document: Document,
    ) -> Result<(), Failure> {
        let store = self.store;
        let documents = store.collection(collection);
        let mut replace = documents.replace_one(doc! { "_id": id_of(&former) }, document);
        match &mut self.wholeness {
            Wholeness::Transaction(session) => replace = replace.session(&mut **session),
            Wholeness::Compensation(undos) => undos.push(Undo::PutBack(collection, vec![former])),
        }
        store.patiently(replace).await?;
        Ok(())
    }

    pub async fn delete(&mut self, collection: &'static str, wanted: Document) -> Result<(), Failure> {
        let former = match &self.wholeness {
            Wholeness::Transaction(_) => Vec::new(),
            Wholeness::Compensation(_) => self.find(collection, wanted.clone()).await?,
        };
        let store = self.store;
        let documents = store.collection(collection);
        let mut delete = documents.delete_many(wanted);
        match &mut self.wholeness {
            Wholeness::Transaction(session) => delete = delete.session(&mut **session),
            Wholeness::Compensation(undos) => undos.push(Undo::PutBack(collection, former)),
        }
        store.patiently(delete).await?;
        Ok(())
    }
}

async fn perform(store: &MongoStore, undo: Undo) -> Result<(), Failure> {
    match undo {
        Undo::Remove(collection, ids) => {
            for chunk in ids.chunks(IDS_MAX) {
                store.patiently(store.collection(collection).delete_many(doc! { "_id": { "$in": chunk } })).await?;
            }
        }
        Undo::PutBack(collection, documents) => {
            for document in documents {
                let there = doc! { "_id": id_of(&document) };
                store.patiently(store.collection(collection).replace_one(there, document).upsert(true)).await?;
            }
        }
    }
    Ok(())
}
