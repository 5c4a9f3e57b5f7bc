//! Reading: one resource, some of a list, a whole namespace, and what has changed in it (control-plane sheet §7 and §8).

use std::time::Duration;

use engine::model::{Document as Configuration, PluginConfig};
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::SessionOptions;
use mongodb::{ClientSession, Collection};
use rustc_hash::FxHashMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::documents::{id_of, resource};
use super::failure::Failure;
use super::{IDS_MAX, MongoStore};
use crate::store::sql::{OVERLAP, stamps};
use crate::store::{Changes, Kind, Page, Range, Resource, StoreError, Taken, relisted};

/// A moment may be gone before it is read; a later one is tried, so many in all.
const MOMENTS_MAX: usize = 3;
const BETWEEN_MOMENTS: Duration = Duration::from_millis(200);

/// What may name upstreams, besides proxies.
pub fn dispatches() -> Document {
    doc! { "plugin_name": "mesh_route_dispatch", "enabled": true }
}

pub fn names(config: &PluginConfig, upstream: &str) -> bool {
    config.dispatch_upstreams().any(|(_, named)| named == upstream)
}

/// Several questions, answered as of one moment where the server can.
struct Moment<'a> {
    store: &'a MongoStore,
    session: Option<ClientSession>,
}

impl<'a> Moment<'a> {
    async fn now(store: &'a MongoStore) -> Result<Self, Failure> {
        let session = match store.abilities.has_snapshots {
            true => {
                let options = SessionOptions::builder().snapshot(true).build();
                Some(store.patiently(store.client.start_session().with_options(options)).await?)
            }
            false => None,
        };
        Ok(Self { store, session })
    }

    /// All that are wanted, by id, each given to `take` as it comes.
    async fn each(
        &mut self,
        kind: Kind,
        wanted: Document,
        fields: Document,
        mut take: impl FnMut(Document) -> Result<(), StoreError> + Send,
    ) -> Result<(), Failure> {
        let store = self.store;
        let collection: Collection<Document> = store.anywhere.collection(kind.table());
        let rows = u32::try_from(store.target.page_rows).unwrap_or(u32::MAX);
        let find = collection.find(wanted).projection(fields).sort(doc! { "_id": 1 }).batch_size(rows);
        match &mut self.session {
            Some(session) => store.each_in_session(find, session, take).await?,
            None => {
                let mut cursor = store.patiently(find).await?;
                while store.patiently(cursor.advance()).await? {
                    take(cursor.deserialize_current()?)?;
                }
            }
        }
        Ok(())
    }

    async fn resources(&mut self, kind: Kind, wanted: Document) -> Result<Vec<Resource>, Failure> {
        let mut found = Vec::new();
        let take = |document| {
            found.push(resource(kind, document)?);
            Ok(())
        };
        self.each(kind, wanted, Document::new(), take).await?;
        Ok(found)
    }

    /// Ids of documents that are not as known. Those that are there are taken out of `unseen`; what proxies list goes to `listed`.
    async fn unread(
        &mut self,
        (namespace, kind): (&str, Kind),
        unseen: &mut FxHashMap<&str, OffsetDateTime>,
        since: OffsetDateTime,
        listed: &mut Vec<(String, String)>,
    ) -> Result<Vec<String>, Failure> {
        let mut unread = Vec::new();
        let take = |document: Document| {
            let id = id_of(&document);
            // What cannot be read here says so when its document is read.
            let at = document.get_str("updated_at").ok().and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
            let known = unseen.remove(id.as_str());
            listed.extend(listed_by(&document).into_iter().map(|config| (id.clone(), config)));
            if at.is_none_or(|at| at >= since || known != Some(at)) {
                unread.push(id);
            }
            Ok(())
        };
        let fields = doc! { "updated_at": 1, "plugins": 1 };
        self.each(kind, doc! { "namespace": namespace }, fields, take).await?;
        Ok(unread)
    }
}

/// The plugin configs that a proxy's document lists.
pub fn listed_by(proxy: &Document) -> Vec<String> {
    let listed = proxy.get_array("plugins").map(Vec::as_slice).unwrap_or_default();
    let id = |entry: &Bson| Some(entry.as_document()?.get_str("plugin_config_id").ok()?.to_owned());
    listed.iter().filter_map(id).collect()
}

impl MongoStore {
    pub(super) async fn load_all(&self, namespace: &str) -> Result<Configuration, StoreError> {
        // Before the first question: what changes meanwhile is found by the next poll.
        let loaded_at = OffsetDateTime::now_utc();
        let mut document = Configuration { loaded_at, ..Configuration::default() };
        for mut row in self.everything(Some(namespace)).await? {
            row.set_api_spec_id(None);
            row.add_to(&mut document);
        }
        document.normalize();
        Ok(document)
    }

    /// All resources of a namespace, or of all, kind by kind and by id, exactly as they are.
    pub(super) async fn everything(&self, namespace: Option<&str>) -> Result<Vec<Resource>, StoreError> {
        for _ in 1..MOMENTS_MAX {
            match self.everything_of_a_moment(namespace).await {
                Err(failure) if failure.is_transient => tokio::time::sleep(BETWEEN_MOMENTS).await,
                outcome => return Ok(outcome?),
            }
        }
        Ok(self.everything_of_a_moment(namespace).await?)
    }

    async fn everything_of_a_moment(&self, namespace: Option<&str>) -> Result<Vec<Resource>, Failure> {
        let mut moment = Moment::now(self).await?;
        let mut all = Vec::new();
        for kind in Kind::ALL {
            let wanted = namespace.map_or_else(Document::new, |namespace| doc! { "namespace": namespace });
            let mut rows = moment.resources(kind, wanted).await?;
            // A collection may have been given an order of its own.
            rows.sort_by(|one, other| one.id().cmp(other.id()));
            all.extend(rows);
        }
        Ok(all)
    }

    /// One look at the ids and times of all documents, then only those are read that the configuration does not have.
    pub(super) async fn changes_from(
        &self,
        namespace: &str,
        known: &Configuration,
        since: OffsetDateTime,
    ) -> Result<Changes, StoreError> {
        let since = since - OVERLAP;
        let mut moment = Moment::now(self).await?;
        let (mut changes, mut listed) = (Changes::default(), Vec::new());
        for kind in Kind::ALL {
            let mut unseen = stamps(known, kind);
            let unread = moment.unread((namespace, kind), &mut unseen, since, &mut listed).await?;
            changes.gone.extend(unseen.into_keys().map(|id| (kind, id.to_owned())));
            for chunk in unread.chunks(IDS_MAX) {
                changes.changed.extend(moment.resources(kind, doc! { "_id": { "$in": chunk } }).await?);
            }
        }
        listed.sort_by(|(one, _), (other, _)| one.cmp(other));
        changes.relisted = relisted(known, &listed);
        for resource in &mut changes.changed {
            resource.set_api_spec_id(None);
            resource.normalize();
        }
        Ok(changes)
    }

    pub(super) async fn one_page(
        &self,
        kind: Kind,
        namespace: &str,
        range: Range,
    ) -> Result<Page<Resource>, StoreError> {
        let wanted = doc! { "namespace": namespace };
        let page = self.some(kind.table(), wanted, doc! { "_id": 1 }, Document::new(), range).await?;
        let rows = page.rows.into_iter().map(|document| resource(kind, document));
        Ok(Page { rows: rows.collect::<Result<_, _>>()?, total: page.total })
    }

    /// Some of a list, in its order.
    pub(super) async fn some(
        &self,
        collection: &str,
        wanted: Document,
        order: Document,
        fields: Document,
        range: Range,
    ) -> Result<Page<Document>, StoreError> {
        let collection: Collection<Document> = self.anywhere.collection(collection);
        let total = self.patiently(collection.count_documents(wanted.clone())).await?;
        let mut find = collection.find(wanted).sort(order).projection(fields).skip(range.offset);
        match range.limit {
            // To the server it would mean no limit.
            Some(0) => return Ok(Page { rows: Vec::new(), total }),
            Some(limit) => find = find.limit(i64::try_from(limit).unwrap_or(i64::MAX)),
            None => {}
        }
        let mut cursor = self.patiently(find).await?;
        let mut rows = Vec::new();
        while self.patiently(cursor.advance()).await? {
            rows.push(cursor.deserialize_current()?);
        }
        Ok(Page { rows, total })
    }

    pub(super) async fn one(&self, kind: Kind, id: &str) -> Result<Option<Resource>, StoreError> {
        let found = self.patiently(self.collection(kind.table()).find_one(doc! { "_id": id })).await?;
        found.map(|document| resource(kind, document)).transpose()
    }

    /// Of the primary, by id.
    pub(super) async fn resources(&self, kind: Kind, wanted: Document) -> Result<Vec<Resource>, StoreError> {
        let collection = self.collection(kind.table());
        let find = collection.find(wanted).sort(doc! { "_id": 1 });
        let mut cursor = self.patiently(find).await?;
        let mut found = Vec::new();
        while self.patiently(cursor.advance()).await? {
            found.push(resource(kind, cursor.deserialize_current()?)?);
        }
        Ok(found)
    }

    /// The id of another resource of the namespace that has it.
    pub(super) async fn other_with(
        &self,
        what: Taken<'_>,
        namespace: &str,
        except: &str,
    ) -> Result<Option<String>, StoreError> {
        let (kind, field, value): (Kind, &str, Bson) = match what {
            Taken::ProxyName(name) => (Kind::Proxy, "name", name.into()),
            Taken::ListenPort(port) => (Kind::Proxy, "listen_port", i32::from(port).into()),
            Taken::UpstreamName(name) => (Kind::Upstream, "name", name.into()),
            Taken::ConsumerUsername(name) => (Kind::Consumer, "username", name.into()),
            Taken::ConsumerCustomId(id) => (Kind::Consumer, "custom_id", id.into()),
            Taken::ApiKey(key) => (Kind::Consumer, "credentials.keyauth.key", key.into()),
            Taken::MtlsIdentity(identity) => (Kind::Consumer, "credentials.mtls_auth.identity", identity.into()),
        };
        let wanted = doc! { "namespace": namespace, "_id": { "$ne": except }, field: value };
        let collection = self.collection(kind.table());
        let find = collection.find_one(wanted).sort(doc! { "_id": 1 }).projection(doc! { "_id": 1 });
        Ok(self.patiently(find).await?.as_ref().map(id_of))
    }

    pub(super) async fn referring_to(&self, kind: Kind, id: &str) -> Result<Vec<Resource>, StoreError> {
        match kind {
            Kind::Upstream => {
                let mut found = self.resources(Kind::Proxy, doc! { "upstream_id": id }).await?;
                let names = |row: &Resource| matches!(row, Resource::PluginConfig(config) if names(config, id));
                found.extend(self.resources(Kind::PluginConfig, dispatches()).await?.into_iter().filter(names));
                Ok(found)
            }
            Kind::PluginConfig => self.resources(Kind::Proxy, doc! { "plugins.plugin_config_id": id }).await,
            Kind::Proxy | Kind::Consumer => Ok(Vec::new()),
        }
    }

    pub(super) async fn all_namespaces(&self) -> Result<Vec<String>, StoreError> {
        let mut all = Vec::new();
        for kind in Kind::ALL {
            let collection: Collection<Document> = self.anywhere.collection(kind.table());
            let found = self.patiently(collection.distinct("namespace", Document::new())).await?;
            all.extend(found.into_iter().filter_map(|namespace| match namespace {
                Bson::String(namespace) => Some(namespace),
                _ => None,
            }));
        }
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }
}
