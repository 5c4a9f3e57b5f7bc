//! Consumers, by the credentials they present.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::config::types::Consumer;
use crate::kept::Kept;

/// One consistent view of the consumers of a configuration.
pub struct ConsumerIndex {
    tables: RwLock<Tables>,
}

/// Never changed, only replaced.
struct Tables {
    consumers: Arc<Vec<Arc<Consumer>>>,
    keys: Arc<Keys>,
    /// What one core has copied of consumers that it shares with the others.
    copies: Option<Mutex<Kept<usize, Arc<Consumer>>>>,
}

/// So many consumers a core copies as soon as one is asked for, which takes it a fraction of a millisecond; of more it copies
/// those that are found.
const COPIED_MAX: usize = 256;

/// Where consumers stand, by what they present.
#[derive(Default)]
struct Keys {
    by_api_key: HashMap<String, usize>,
    by_basic_username: HashMap<String, usize>,
    by_mtls_identity: HashMap<String, usize>,
    by_identity: HashMap<String, usize>,
}

impl Tables {
    /// Later consumers win where identities clash.
    fn new(consumers: Vec<Arc<Consumer>>) -> Self {
        let mut keys = Keys::default();
        for (number, consumer) in consumers.iter().enumerate() {
            for key in consumer.credential_texts("keyauth", "key") {
                keys.by_api_key.insert(key.to_owned(), number);
            }
            for identity in consumer.credential_texts("mtls_auth", "identity") {
                keys.by_mtls_identity.insert(identity.to_owned(), number);
            }
            if consumer.has_credential("basicauth") {
                keys.by_basic_username.insert(consumer.username.clone(), number);
            }
            for name in
                [Some(&consumer.username), Some(&consumer.id), consumer.custom_id.as_ref()].into_iter().flatten()
            {
                if !name.is_empty() {
                    keys.by_identity.insert(name.clone(), number);
                }
            }
        }
        Self { consumers: Arc::new(consumers), keys: Arc::new(keys), copies: None }
    }

    fn find(&self, table: impl FnOnce(&Keys) -> &HashMap<String, usize>, key: &str) -> Option<Arc<Consumer>> {
        let number = *table(&self.keys).get(key)?;
        let consumer = self.consumers.get(number)?;
        let Some(copies) = &self.copies else { return Some(consumer.clone()) };
        copies.lock().unwrap_or_else(PoisonError::into_inner).get(number, || Some(copy_of(consumer)))
    }

    /// The same for one core, which shares as few counts with the others as can be had without a long wait.
    fn apart(&self) -> Self {
        let keys = self.keys.clone();
        if self.consumers.len() <= COPIED_MAX {
            let consumers = Arc::new(self.consumers.iter().map(copy_of).collect());
            return Self { consumers, keys, copies: None };
        }
        Self { consumers: self.consumers.clone(), keys, copies: Some(Mutex::default()) }
    }

    fn count(&self, cred_type: &str) -> usize {
        self.consumers.iter().filter(|consumer| consumer.has_credential(cred_type)).count()
    }
}

fn copy_of(consumer: &Arc<Consumer>) -> Arc<Consumer> {
    Arc::new((**consumer).clone())
}

impl ConsumerIndex {
    pub fn new(consumers: &[Consumer]) -> Self {
        Self::of(consumers.iter().cloned().map(Arc::new).collect())
    }

    pub(crate) fn of(consumers: Vec<Arc<Consumer>>) -> Self {
        Self { tables: RwLock::new(Tables::new(consumers)) }
    }

    /// The same for one core, under a lock and with counts of its own, because what all cores write is what no request may touch.
    /// Where there are many consumers, the list of all of them is shared after all.
    pub(crate) fn apart(&self) -> Self {
        Self { tables: RwLock::new(self.look(Tables::apart)) }
    }

    fn look<R>(&self, at: impl FnOnce(&Tables) -> R) -> R {
        at(&self.tables.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, consumers: Vec<Arc<Consumer>>) {
        let tables = Tables::new(consumers);
        *self.tables.write().unwrap_or_else(PoisonError::into_inner) = tables;
    }

    /// All of them, in the order of the configuration.
    pub fn consumers(&self) -> Arc<Vec<Arc<Consumer>>> {
        self.look(|tables| tables.consumers.clone())
    }

    /// By any `credentials.keyauth[].key`, compared exactly.
    pub fn find_by_api_key(&self, api_key: &str) -> Option<Arc<Consumer>> {
        self.look(|tables| tables.find(|keys| &keys.by_api_key, api_key))
    }

    /// Only those that have a `basicauth` credential.
    pub fn find_by_username(&self, username: &str) -> Option<Arc<Consumer>> {
        self.look(|tables| tables.find(|keys| &keys.by_basic_username, username))
    }

    /// By `username`, `id` or `custom_id`.
    pub fn find_by_identity(&self, identity: &str) -> Option<Arc<Consumer>> {
        self.look(|tables| tables.find(|keys| &keys.by_identity, identity))
    }

    /// By any `credentials.mtls_auth[].identity`.
    pub fn find_by_mtls_identity(&self, identity: &str) -> Option<Arc<Consumer>> {
        self.look(|tables| tables.find(|keys| &keys.by_mtls_identity, identity))
    }

    pub fn consumer_count(&self) -> usize {
        self.look(|tables| tables.consumers.len())
    }

    /// Entries of the tables of API keys, basic usernames and identities.
    pub fn index_len(&self) -> usize {
        self.look(|tables| {
            let keys = &tables.keys;
            keys.by_api_key.len() + keys.by_basic_username.len() + keys.by_identity.len()
        })
    }

    /// Consumers with `keyauth`, `basicauth`, `mtls_auth`, `jwt` and `hmac_auth` credentials, identities, and consumers.
    pub fn auth_type_counts(&self) -> (usize, usize, usize, usize, usize, usize, usize) {
        self.look(|tables| {
            (
                tables.count("keyauth"),
                tables.count("basicauth"),
                tables.count("mtls_auth"),
                tables.count("jwt"),
                tables.count("hmac_auth"),
                tables.keys.by_identity.len(),
                tables.consumers.len(),
            )
        })
    }

    pub fn rebuild(&self, consumers: &[Consumer]) {
        self.replace(consumers.iter().cloned().map(Arc::new).collect());
    }

    /// Adds, removes by id, and replaces by id; what is new or was replaced stands last.
    pub fn apply_delta(&self, added: &[Consumer], removed_ids: &[String], modified: &[Consumer]) {
        let is_gone = |id: &String| removed_ids.contains(id) || modified.iter().any(|consumer| consumer.id == *id);
        let mut consumers: Vec<Arc<Consumer>> =
            self.consumers().iter().filter(|consumer| !is_gone(&consumer.id)).cloned().collect();
        consumers.extend(modified.iter().chain(added).cloned().map(Arc::new));
        self.replace(consumers);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn consumer(fields: Value) -> Consumer {
        serde_json::from_value(fields).unwrap()
    }

    fn index() -> ConsumerIndex {
        ConsumerIndex::new(&[
            consumer(json!({"id": "1", "username": "alice", "credentials": {"keyauth": [{"key": "a"}, {"key": "b"}]}})),
            consumer(json!({"id": "2", "username": "bob", "custom_id": "alice",
                "credentials": {"basicauth": [{}], "mtls_auth": [{"identity": "CN=bob"}]}})),
        ])
    }

    fn name(found: Option<Arc<Consumer>>) -> Option<String> {
        found.map(|consumer| consumer.username.clone())
    }

    #[test]
    fn each_look_up_has_its_own_keys() {
        let index = index();
        assert_eq!(name(index.find_by_api_key("b")).as_deref(), Some("alice"));
        assert_eq!(name(index.find_by_api_key("B")), None);
        assert_eq!(name(index.find_by_username("bob")).as_deref(), Some("bob"));
        assert_eq!(name(index.find_by_username("alice")), None, "she has no basic credential");
        assert_eq!(name(index.find_by_mtls_identity("CN=bob")).as_deref(), Some("bob"));
        assert_eq!(name(index.find_by_identity("1")).as_deref(), Some("alice"));
        assert_eq!(name(index.find_by_identity("alice")).as_deref(), Some("bob"), "the later one wins");
        assert_eq!((index.consumer_count(), index.index_len()), (2, 2 + 1 + 4));
        assert_eq!(index.auth_type_counts(), (1, 1, 1, 0, 0, 4, 2));
    }

    #[test]
    fn what_was_handed_out_stays_as_it_was_when_the_index_changes() {
        let index = index();
        let before = index.consumers();
        let carol = consumer(json!({"id": "3", "username": "carol"}));
        let bob = consumer(json!({"id": "2", "username": "robert"}));
        index.apply_delta(&[carol], &["1".to_owned()], &[bob]);
        let names: Vec<String> = index.consumers().iter().map(|consumer| consumer.username.clone()).collect();
        assert_eq!(names, ["robert", "carol"]);
        assert_eq!(before.len(), 2);
        index.rebuild(&[]);
        assert_eq!(index.consumer_count(), 0);
    }

    #[test]
    fn an_index_of_one_core_has_the_same_consumers_and_shares_no_count() {
        let index = index();
        let apart = index.apart();
        assert_eq!(apart.auth_type_counts(), index.auth_type_counts());
        assert_eq!(name(apart.find_by_api_key("b")).as_deref(), Some("alice"));
        assert!(!Arc::ptr_eq(&apart.consumers(), &index.consumers()));
        assert!(!Arc::ptr_eq(&apart.consumers()[0], &index.consumers()[0]));
    }

    #[test]
    fn of_many_consumers_a_core_copies_those_that_are_found_and_no_others() {
        let consumers: Vec<Consumer> = (0..=COPIED_MAX)
            .map(|number| consumer(json!({"id": format!("{number}"), "username": format!("user-{number}")})))
            .collect();
        let index = ConsumerIndex::new(&consumers);
        let apart = index.apart();
        assert!(Arc::ptr_eq(&apart.consumers(), &index.consumers()), "a list of its own takes a while");
        let found = apart.find_by_identity("user-7").unwrap();
        assert_eq!(found.id, "7");
        assert!(!Arc::ptr_eq(&found, &index.find_by_identity("7").unwrap()), "each core counts for itself");
        assert!(Arc::ptr_eq(&found, &apart.find_by_identity("7").unwrap()), "copied once");
        apart.apply_delta(&[consumer(json!({"id": "new", "username": "user-7"}))], &["7".to_owned()], &[]);
        assert_eq!(apart.find_by_identity("user-7").unwrap().id, "new");
    }
}
