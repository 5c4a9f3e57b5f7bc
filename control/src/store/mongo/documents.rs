//! Resources as documents, and documents as resources (control-plane sheet §5).

use engine::model::ApiSpec;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, Decimal128, Document};
use serde_json::{Map, Number, Value};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::API_SPECS;
use crate::store::{Kind, Resource, StoreError};

/// Of fixed width, so that the order of texts is that of times.
const STAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]Z");

/// Left out rather than null: partial unique indexes hold what has them.
const LEFT_OUT: [&str; 3] = ["name", "listen_port", "custom_id"];

pub fn stamp(at: OffsetDateTime) -> String {
    at.format(STAMP).unwrap_or_default()
}

/// The resource's JSON, under its id.
pub fn of_resource(resource: &Resource) -> Document {
    let mut fields = fields(resource.to_json());
    let updated_at = match resource {
        Resource::Upstream(row) => row.updated_at,
        Resource::Consumer(row) => row.updated_at,
        Resource::Proxy(row) => row.updated_at,
        Resource::PluginConfig(row) => row.updated_at,
    };
    set_stamps(&mut fields, resource.created_at(), updated_at);
    under(resource.id(), fields)
}

pub fn resource(kind: Kind, document: Document) -> Result<Resource, StoreError> {
    let id = id_of(&document);
    let decoded = json_of(document).and_then(|value| Resource::decode(kind, value));
    decoded.map_err(|reason| unreadable(kind.table(), id, reason))
}

/// The spec's JSON, but that its content is bytes.
pub fn of_spec(spec: &ApiSpec) -> Document {
    let mut spec = spec.clone();
    let content = std::mem::take(&mut spec.spec_content);
    let mut fields = fields(serde_json::to_value(&spec).unwrap_or_default());
    set_stamps(&mut fields, spec.created_at, spec.updated_at);
    let mut document = under(&spec.id, fields);
    document.insert("spec_content", Binary { subtype: BinarySubtype::Generic, bytes: content });
    document
}

/// Without content, where the question has left that out.
pub fn spec(mut document: Document) -> Result<ApiSpec, StoreError> {
    let id = id_of(&document);
    let content = match document.remove("spec_content") {
        None => Vec::new(),
        Some(Bson::Binary(binary)) => binary.bytes,
        Some(other) => {
            return Err(unreadable(
                API_SPECS,
                id,
                format!("spec_content: expected bytes, found {:?}", other.element_type()),
            ));
        }
    };
    let decoded = json_of(document).and_then(|mut value| {
        value["spec_content"] = Value::Array(Vec::new());
        serde_json::from_value::<ApiSpec>(value).map_err(|error| error.to_string())
    });
    let spec = decoded.map_err(|reason| unreadable(API_SPECS, id, reason))?;
    Ok(ApiSpec { spec_content: content, ..spec })
}

pub fn id_of(document: &Document) -> String {
    match document.get("_id") {
        Some(Bson::String(id)) => id.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

fn unreadable(table: &'static str, id: String, reason: String) -> StoreError {
    StoreError::Row { table, id, column: "", reason: reason.into() }
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(mut fields) => {
            fields.retain(|name, value| !(value.is_null() && LEFT_OUT.contains(&name.as_str())));
            fields
        }
        _ => Map::new(),
    }
}

fn set_stamps(fields: &mut Map<String, Value>, created_at: OffsetDateTime, updated_at: OffsetDateTime) {
    for (name, at) in [("created_at", created_at), ("updated_at", updated_at)] {
        fields.insert(name.to_owned(), Value::String(stamp(at)));
    }
}

fn under(id: &str, fields: Map<String, Value>) -> Document {
    let mut document = Document::new();
    document.insert("_id", id);
    document.extend(fields.into_iter().map(|(name, value)| (name, bson(value))));
    document
}

fn json_of(mut document: Document) -> Result<Value, String> {
    document.remove("_id");
    json(Bson::Document(document))
}

/// As it stands: an object is never taken for one of the types that JSON has no word for.
pub fn bson(value: Value) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Bool(flag) => Bson::Boolean(flag),
        Value::Number(number) => of_number(&number),
        Value::String(text) => Bson::String(text),
        Value::Array(items) => Bson::Array(items.into_iter().map(bson).collect()),
        Value::Object(fields) => Bson::Document(fields.into_iter().map(|(name, value)| (name, bson(value))).collect()),
    }
}

/// What is past the widest integer is kept as a decimal, exactly.
fn of_number(number: &Number) -> Bson {
    let narrow = number.as_i64().and_then(|number| i32::try_from(number).ok()).map(Bson::Int32);
    let wide = || number.as_i64().map(Bson::Int64);
    let huge =
        || number.as_u64().and_then(|number| number.to_string().parse::<Decimal128>().ok()).map(Bson::Decimal128);
    let real = || number.as_f64().map(Bson::Double);
    narrow.or_else(wide).or_else(huge).or_else(real).unwrap_or(Bson::Null)
}

/// # Errors
/// There is something that JSON has no word for.
pub fn json(value: Bson) -> Result<Value, String> {
    Ok(match value {
        Bson::Null => Value::Null,
        Bson::Boolean(flag) => Value::Bool(flag),
        Bson::Int32(number) => number.into(),
        Bson::Int64(number) => number.into(),
        Bson::Double(number) => {
            Number::from_f64(number).map(Value::Number).ok_or_else(|| format!("{number} is no number of JSON"))?
        }
        Bson::Decimal128(number) => {
            let text = number.to_string();
            text.parse::<u64>().map(Value::from).map_err(|_| format!("{text} is out of range"))?
        }
        Bson::String(text) => Value::String(text),
        Bson::DateTime(at) => at.try_to_rfc3339_string().map(Value::String).map_err(|error| error.to_string())?,
        Bson::Array(items) => Value::Array(items.into_iter().map(json).collect::<Result<_, _>>()?),
        Bson::Document(fields) => {
            let fields = fields.into_iter().map(|(name, value)| Ok((name, json(value)?)));
            Value::Object(fields.collect::<Result<_, String>>()?)
        }
        other => return Err(format!("a value of type {:?} has no place in a resource", other.element_type())),
    })
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    fn decoded(kind: Kind, value: Value) -> Resource {
        Resource::decode(kind, value).unwrap()
    }

    #[test]
    fn a_resource_is_its_json_under_its_id() {
        let proxy = decoded(
            Kind::Proxy,
            json!({"id": "p", "backend_host": "h", "backend_port": 80, "plugins": [{"plugin_config_id": "c"}],
                   "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00.5Z"}),
        );
        let document = of_resource(&proxy);
        assert_eq!((document.get_str("_id"), document.get_str("id")), (Ok("p"), Ok("p")));
        assert_eq!(document.get("backend_port"), Some(&Bson::Int32(80)));
        assert_eq!(document.get_str("updated_at"), Ok("2026-01-01T00:00:00.500000000Z"));
        for absent in ["name", "listen_port"] {
            assert!(!document.contains_key(absent), "{absent}");
        }
        assert_eq!(document.get("listen_path"), Some(&Bson::Null));
        assert_eq!(resource(Kind::Proxy, document).unwrap(), proxy);
    }

    #[test]
    fn any_json_of_a_plugin_is_what_it_was() {
        let odd = json!({"$oid": "5", "$numberLong": "7", "a.b": [], "": {"$date": {"x": null}}, "n": [0, -1, 1.0, 1e300,
            i64::MAX, i64::MIN, u64::MAX, i64::MAX as u64 + 1, 0.1]});
        let config =
            decoded(Kind::PluginConfig, json!({"id": "c", "plugin_name": "x", "scope": "global", "config": odd}));
        assert_eq!(resource(Kind::PluginConfig, of_resource(&config)).unwrap(), config);
    }

    #[test]
    fn what_is_no_resource_says_which_document_it_is() {
        let document = doc! { "_id": "u", "id": "u", "targets": [], "colour": "red" };
        let said = resource(Kind::Upstream, document).unwrap_err().to_string();
        assert!(said.starts_with("upstreams 'u': ") && said.contains("colour"), "{said}");
        let document =
            doc! { "_id": "u", "id": "u", "targets": Binary { subtype: BinarySubtype::Generic, bytes: vec![] } };
        assert!(resource(Kind::Upstream, document).unwrap_err().to_string().contains("Binary"));
    }

    #[test]
    fn times_of_other_writers_are_read() {
        let document = doc! { "_id": "u", "id": "u", "targets": [], "updated_at": "2026-05-01T10:00:00.123Z",
        "created_at": mongodb::bson::DateTime::from_millis(1_800_000_000_000) };
        let Resource::Upstream(row) = resource(Kind::Upstream, document).unwrap() else { panic!("an upstream") };
        assert_eq!(row.updated_at, datetime!(2026-05-01 10:00:00.123 UTC));
        assert_eq!(row.created_at, datetime!(2027-01-15 08:00:00 UTC));
    }
}
