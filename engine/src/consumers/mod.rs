//! Consumers by the credentials they present (plugins sheet §1.8). Built once per configuration, read by every core.

mod secret;

use rustc_hash::FxHashMap;
use serde_json::{Map, Value};

use secret::password_hash;
pub use secret::{PasswordHash, Secret};

/// Who a request was identified as.
#[derive(Debug, Clone, PartialEq)]
pub struct Consumer {
    pub id: String,
    pub username: String,
    pub custom_id: Option<String>,
    pub acl_groups: Vec<String>,
    pub credentials: Map<String, Value>,
}

/// Which consumer, within one [`ConsumerIndex`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConsumerId(u32);

impl ConsumerId {
    /// The place of the consumer in the configuration.
    pub fn place(self) -> usize {
        self.0 as usize
    }
}

/// Look-ups from credential to consumer. Answers are numbers, so that a request that is identified touches no reference
/// count that other cores touch too.
#[derive(Default)]
pub struct ConsumerIndex {
    consumers: Vec<Consumer>,
    by_api_key: FxHashMap<String, ConsumerId>,
    by_basic_username: FxHashMap<String, ConsumerId>,
    by_identity: FxHashMap<String, ConsumerId>,
    by_mtls_identity: FxHashMap<String, ConsumerId>,
    /// These of the consumers that have any.
    password_hashes: FxHashMap<ConsumerId, Box<[PasswordHash]>>,
    jwt_secrets: FxHashMap<ConsumerId, Box<[Secret]>>,
    hmac_secrets: FxHashMap<ConsumerId, Box<[Secret]>>,
}

impl ConsumerIndex {
    /// Later consumers win where identities clash, as the sheet says.
    pub fn new(consumers: impl IntoIterator<Item = Consumer>) -> Self {
        let mut index = Self::default();
        for consumer in consumers {
            index.add(consumer);
        }
        index
    }

    fn add(&mut self, consumer: Consumer) {
        let id = ConsumerId(self.consumers.len() as u32);
        for key in entries(&consumer, "keyauth", "key") {
            self.by_api_key.insert(key.to_owned(), id);
        }
        for identity in entries(&consumer, "mtls_auth", "identity") {
            self.by_mtls_identity.insert(identity.to_owned(), id);
        }
        if consumer.credentials.get("basicauth").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
            self.by_basic_username.insert(consumer.username.clone(), id);
        }
        keep(&mut self.password_hashes, id, entries(&consumer, "basicauth", "password_hash").filter_map(password_hash));
        keep(&mut self.jwt_secrets, id, entries(&consumer, "jwt", "secret").filter_map(Secret::new));
        keep(&mut self.hmac_secrets, id, entries(&consumer, "hmac_auth", "secret").filter_map(Secret::new));
        let names = [Some(&consumer.username), Some(&consumer.id), consumer.custom_id.as_ref()];
        for name in names.into_iter().flatten() {
            self.by_identity.insert(name.clone(), id);
        }
        self.consumers.push(consumer);
    }

    pub fn get(&self, id: ConsumerId) -> &Consumer {
        &self.consumers[id.0 as usize]
    }

    /// The consumer with that API key, compared exactly.
    pub fn by_api_key(&self, key: &str) -> Option<ConsumerId> {
        self.by_api_key.get(key).copied()
    }

    /// The consumer with that username, if it has basic credentials.
    pub fn by_basic_username(&self, username: &str) -> Option<ConsumerId> {
        self.by_basic_username.get(username).copied()
    }

    /// By username, id or custom id.
    pub fn by_identity(&self, identity: &str) -> Option<ConsumerId> {
        self.by_identity.get(identity).copied()
    }

    pub fn by_mtls_identity(&self, identity: &str) -> Option<ConsumerId> {
        self.by_mtls_identity.get(identity).copied()
    }

    /// What the passwords of a consumer hash to.
    pub fn password_hashes(&self, id: ConsumerId) -> &[PasswordHash] {
        self.password_hashes.get(&id).map_or(&[], |hashes| hashes)
    }

    /// What the tokens of a consumer are signed with.
    pub fn jwt_secrets(&self, id: ConsumerId) -> &[Secret] {
        self.jwt_secrets.get(&id).map_or(&[], |secrets| secrets)
    }

    /// What the requests of a consumer are signed with.
    pub fn hmac_secrets(&self, id: ConsumerId) -> &[Secret] {
        self.hmac_secrets.get(&id).map_or(&[], |secrets| secrets)
    }

    /// The consumer at that place in the configuration.
    pub fn at(&self, place: usize) -> Option<ConsumerId> {
        (place < self.consumers.len()).then_some(ConsumerId(place as u32))
    }

    pub fn len(&self) -> usize {
        self.consumers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.consumers.is_empty()
    }
}

fn entries<'c>(consumer: &'c Consumer, kind: &str, key: &'c str) -> impl Iterator<Item = &'c str> + use<'c> {
    let list = consumer.credentials.get(kind).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(move |entry| entry.get(key)?.as_str())
}

fn keep<T>(lists: &mut FxHashMap<ConsumerId, Box<[T]>>, id: ConsumerId, list: impl Iterator<Item = T>) {
    let list: Box<[T]> = list.collect();
    if !list.is_empty() {
        lists.insert(id, list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn consumer(id: &str, username: &str, credentials: Value) -> Consumer {
        Consumer {
            id: id.into(),
            username: username.into(),
            custom_id: None,
            acl_groups: Vec::new(),
            credentials: credentials.as_object().cloned().unwrap_or_default(),
        }
    }

    #[test]
    fn any_key_of_a_consumer_finds_it() {
        let index = ConsumerIndex::new([consumer("c1", "alice", json!({"keyauth": [{"key": "a"}, {"key": "b"}]}))]);
        assert_eq!(index.by_api_key("b").map(|id| index.get(id).username.as_str()), Some("alice"));
        assert!(index.by_api_key("A").is_none());
    }

    #[test]
    fn the_later_consumer_wins_an_identity() {
        let index = ConsumerIndex::new([consumer("bob", "one", json!({})), consumer("c2", "bob", json!({}))]);
        assert_eq!(index.by_identity("bob").map(|id| index.get(id).id.as_str()), Some("c2"));
        assert!(index.by_basic_username("bob").is_none());
    }

    #[test]
    fn credentials_are_decoded_and_what_cannot_be_used_is_left_out() {
        let hash = format!("hmac_sha256:{}", "ab".repeat(32));
        let alice = json!({
            "basicauth": [{"password_hash": hash}, {"password_hash": "plain"}, {"password": "x"}],
            "jwt": [{"secret": "first"}, {"secret": ""}, {"secret": "second"}, {"key": "no secret"}],
            "hmac_auth": [{"secret": 5}, {"secret": "signs"}]
        });
        let only_unusable = json!({"basicauth": [{"password": "x"}]});
        let index = ConsumerIndex::new([consumer("c1", "alice", alice), consumer("c2", "bob", only_unusable)]);
        let [alice, bob] = ["alice", "bob"].map(|name| index.by_basic_username(name).unwrap());
        assert_eq!(index.password_hashes(alice), [[0xab; 32]]);
        assert_eq!((index.jwt_secrets(alice).len(), index.hmac_secrets(alice).len()), (2, 1));
        assert!(index.password_hashes(bob).is_empty() && index.jwt_secrets(bob).is_empty());
        assert!(index.hmac_secrets(bob).is_empty());
    }
}
