//! Credentials of one consumer, one type at a time (admin sheet §13).

use hyper::StatusCode;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{Call, Change, Refusal, not_stored, secrets, unique};
use crate::admin::reply::{self, Reply};
use crate::admin::{Admin, Written};
use crate::store::{Kind, Resource, Step, Store};

use engine::model::Consumer;

/// Of one value. What is longer, the field check refuses.
const CREDENTIAL_BYTES_MAX: usize = 4096;

const TYPES: [&str; 5] = ["basicauth", "keyauth", "jwt", "hmac_auth", "mtls_auth"];

fn check_type(kind: &str) -> Result<(), Refusal> {
    if TYPES.contains(&kind) {
        return Ok(());
    }
    Err(Refusal::bad_request(format!("Unknown credential type '{kind}'. Allowed types: {TYPES:?}")))
}

fn decode(body: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::bad_request(format!("Invalid body: {error}")))
}

/// Those of a type; a value that is no list, of whichever origin, counts as one.
fn entries_of(consumer: &Consumer, kind: &str) -> Vec<Value> {
    match consumer.credentials.get(kind) {
        None => Vec::new(),
        Some(Value::Array(entries)) => entries.clone(),
        Some(other) => vec![other.clone()],
    }
}

/// No entries, no type.
fn set_entries(consumer: &mut Consumer, kind: &str, entries: Vec<Value>) {
    match entries.is_empty() {
        true => consumer.credentials.remove(kind),
        false => consumer.credentials.insert(kind.to_owned(), entries.into()),
    };
}

impl Admin {
    pub(super) async fn set_credentials(&self, id: &str, kind: &str, call: &Call) -> Result<Reply, Refusal> {
        check_type(kind)?;
        let store = self.store()?;
        let value = decode(&call.body)?;
        let entries = match value {
            Value::Array(entries) if entries.iter().all(Value::is_object) => entries,
            _ => return Err(Refusal::bad_request("Credential set must be an array of JSON objects")),
        };
        let entries = self.hashed(kind, entries);
        self.check_credentials(store, id, kind, &entries, call).await?;
        let former = self.consumer(store, id, call).await?;
        let mut consumer = former.clone();
        // Kept even when empty, which the field check refuses.
        consumer.credentials.insert(kind.to_owned(), entries.into());
        self.store_credentials(store, former, consumer, "update_credentials", call).await
    }

    pub(super) async fn append_credential(&self, id: &str, kind: &str, call: &Call) -> Result<Reply, Refusal> {
        check_type(kind)?;
        let store = self.store()?;
        let entry = decode(&call.body)?;
        if !entry.is_object() {
            return Err(Refusal::bad_request("Credential entry must be a JSON object"));
        }
        let added = self.hashed(kind, vec![entry]);
        self.check_credentials(store, id, kind, &added, call).await?;
        let former = self.consumer(store, id, call).await?;
        let mut entries = entries_of(&former, kind);
        entries.extend(added);
        let max = self.options.write.credentials_per_type_max;
        if entries.len() > max {
            let count = entries.len();
            let text = format!("Cannot exceed {max} credentials per type (currently {count})");
            return Err(Refusal::bad_request(text));
        }
        let mut consumer = former.clone();
        set_entries(&mut consumer, kind, entries);
        self.store_credentials(store, former, consumer, "append_credential", call).await
    }

    /// A type that is not there is gone already.
    pub(super) async fn delete_credentials(&self, id: &str, kind: &str, call: &Call) -> Result<Reply, Refusal> {
        check_type(kind)?;
        let store = self.store()?;
        let former = self.consumer(store, id, call).await?;
        let mut consumer = former.clone();
        if consumer.credentials.remove(kind).is_some() {
            self.store_credentials(store, former, consumer, "delete_credentials", call).await?;
        }
        Ok(reply::no_content())
    }

    pub(super) async fn delete_credential(
        &self,
        id: &str,
        kind: &str,
        index: &str,
        call: &Call,
    ) -> Result<Reply, Refusal> {
        check_type(kind)?;
        let is_number = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
        let index: usize = index
            .parse()
            .ok()
            .filter(|_| is_number)
            .ok_or_else(|| Refusal::bad_request("Invalid credential index — must be a non-negative integer"))?;
        let store = self.store()?;
        let former = self.consumer(store, id, call).await?;
        let mut entries = entries_of(&former, kind);
        let not_found = |text| Refusal::new(StatusCode::NOT_FOUND, text);
        if entries.is_empty() {
            return Err(not_found(format!("No '{kind}' credentials found")));
        }
        if index >= entries.len() {
            let text = format!("Credential index {index} out of range (have {} entries)", entries.len());
            return Err(not_found(text));
        }
        entries.remove(index);
        let mut consumer = former.clone();
        set_entries(&mut consumer, kind, entries);
        self.store_credentials(store, former, consumer, "delete_credential", call).await
    }

    async fn consumer(&self, store: &dyn Store, id: &str, call: &Call) -> Result<Consumer, Refusal> {
        match self.present(store, Kind::Consumer, id, &call.namespace).await? {
            Resource::Consumer(consumer) => Ok(*consumer),
            _ => Err(Refusal::not_found(Kind::Consumer)),
        }
    }

    fn hashed(&self, kind: &str, mut entries: Vec<Value>) -> Vec<Value> {
        if kind == "basicauth" {
            let secret = &self.options.write.basic_auth_secret;
            entries.iter_mut().filter_map(Value::as_object_mut).for_each(|entry| secrets::hash_entry(entry, secret));
        }
        entries
    }

    /// That no other consumer of the namespace has them.
    async fn check_credentials(
        &self,
        store: &dyn Store,
        id: &str,
        kind: &str,
        entries: &[Value],
        call: &Call,
    ) -> Result<(), Refusal> {
        // Those are refused by their count or length, and not worth a question each.
        let is_long = |value: &Value| value.as_str().is_some_and(|text| text.len() > CREDENTIAL_BYTES_MAX);
        let has_long = |entry: &Value| entry.as_object().is_some_and(|entry| entry.values().any(is_long));
        if entries.len() > self.options.write.credentials_per_type_max || entries.iter().any(has_long) {
            return Ok(());
        }
        let asked = json!({ "id": id, "username": "-", "namespace": call.namespace, "credentials": { kind: entries } });
        match serde_json::from_value::<Consumer>(asked) {
            Ok(asked) => unique::check_credentials(store, &asked).await,
            Err(error) => Err(Refusal::bad_request(format!("Invalid body: {error}"))),
        }
    }

    async fn store_credentials(
        &self,
        store: &dyn Store,
        former: Consumer,
        mut consumer: Consumer,
        action: &str,
        call: &Call,
    ) -> Result<Reply, Refusal> {
        let errors = consumer.check_fields(self.options.write.credentials_per_type_max);
        if !errors.is_empty() {
            return Err(Refusal::bad_request(format!("Invalid credential fields: {}", errors.join("; "))));
        }
        consumer.updated_at = OffsetDateTime::now_utc();
        let [before, after] = [former, consumer].map(|consumer| Resource::Consumer(Box::new(consumer)));
        let (id, shown) = (after.id().to_owned(), after.to_json());
        store.apply(vec![Step::Replace(after)]).await.map_err(|error| not_stored(Kind::Consumer, &error))?;
        let diff = json!({
            "before": self.recorded(Kind::Consumer, &before.to_json()),
            "after": self.recorded(Kind::Consumer, &shown),
        });
        let change = Change { action, resource_type: "consumer_credentials", resource_id: &id, diff };
        self.written(call, change, Written::Row(Kind::Consumer, id.clone()));
        Ok(self.shown(StatusCode::OK, Kind::Consumer, shown, call.caller.role))
    }
}
