//! The shapes of bodies.

use engine::model::{Consumer, PluginConfig, Proxy, Upstream};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Every schema that an operation names, and those that these name.
pub(super) fn all() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    generator.subschema_for::<Proxy>();
    generator.subschema_for::<Upstream>();
    generator.subschema_for::<Consumer>();
    generator.subschema_for::<PluginConfig>();
    let mut schemas: Map<String, Value> = generator.take_definitions(true);
    schemas.values_mut().for_each(without_a_clock);
    for (name, schema) in [
        ("ProxyPage", page_of("Proxy")),
        ("UpstreamPage", page_of("Upstream")),
        ("ConsumerPage", page_of("Consumer")),
        ("PluginConfigPage", page_of("PluginConfig")),
        ("Resources", resources()),
        ("Backup", backup()),
        ("Created", outcome("created")),
        ("Restored", outcome("restored")),
        ("Error", error()),
        ("ValidationErrors", validation_errors()),
        ("SpecRefusal", spec_refusal()),
        ("Health", health()),
        ("AuditEvents", audit_events()),
        ("ApiSpecs", api_specs()),
        ("ApiSpecStored", strings(&["id", "proxy_id", "content_hash", "spec_version"])),
        ("Credentials", json!({"type": "array", "items": {"type": "object"}, "minItems": 1})),
        ("Names", json!({"type": "array", "items": {"type": "string"}})),
        ("Object", json!({"type": "object"})),
        ("Any", json!({})),
    ] {
        schemas.insert(name.to_owned(), schema);
    }
    schemas.into()
}

/// What a time is when it is not said depends on when the schema is asked for.
fn without_a_clock(schema: &mut Value) {
    for name in ["created_at", "updated_at"] {
        if let Some(time) = schema.pointer_mut(&format!("/properties/{name}")) {
            *time = json!({"type": "string", "format": "date-time"});
        }
    }
}

fn list_of(schema: &str) -> Value {
    json!({"type": "array", "items": super::reference(schema)})
}

fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn page_of(schema: &str) -> Value {
    json!({
        "type": "object",
        "required": ["data", "pagination"],
        "properties": {
            "data": list_of(schema),
            "pagination": {
                "type": "object",
                "required": ["limit", "offset", "total"],
                "properties": {"limit": count(), "offset": count(), "total": count()},
            },
        },
    })
}

/// An object whose keys are all there and all texts.
fn strings(keys: &[&str]) -> Value {
    let properties: Map<String, Value> =
        keys.iter().map(|key| ((*key).to_owned(), json!({"type": "string"}))).collect();
    json!({"type": "object", "required": keys, "properties": properties})
}

const KINDS: [(&str, &str); 4] =
    [("proxies", "Proxy"), ("consumers", "Consumer"), ("plugin_configs", "PluginConfig"), ("upstreams", "Upstream")];

fn lists() -> Map<String, Value> {
    KINDS.into_iter().map(|(key, schema)| (key.to_owned(), list_of(schema))).collect()
}

fn counts() -> Value {
    let properties: Map<String, Value> = KINDS.into_iter().map(|(key, _)| (key.to_owned(), count())).collect();
    json!({"type": "object", "required": KINDS.map(|(key, _)| key), "properties": properties})
}

fn resources() -> Value {
    let mut properties = lists();
    properties.insert("version".into(), json!({"type": "string", "enum": ["1"]}));
    json!({"type": "object", "properties": properties})
}

fn backup() -> Value {
    let mut properties = lists();
    properties.insert("version".into(), json!({"type": "string", "const": "1"}));
    properties.insert("ferrum_version".into(), json!({"type": "string"}));
    properties.insert("exported_at".into(), json!({"type": "string"}));
    properties.insert("source".into(), json!({"type": "string", "enum": ["database", "cached"]}));
    properties.insert("counts".into(), counts());
    let required: Vec<String> = properties.keys().cloned().collect();
    json!({"type": "object", "required": required, "properties": properties})
}

fn outcome(what: &str) -> Value {
    json!({
        "type": "object",
        "required": [what],
        "properties": {what: counts(), "errors": {"type": "array", "items": {"type": "string"}}},
    })
}

fn error() -> Value {
    strings(&["error"])
}

/// Of the two writes of many resources; a request that is wrong before that is an error like any other.
fn validation_errors() -> Value {
    let mut schema = error();
    schema["properties"]["validation_errors"] = json!({"type": "array", "items": {"type": "string"}});
    schema
}

fn spec_refusal() -> Value {
    let mut schema = error();
    schema["properties"]["code"] = json!({"type": "string"});
    schema["properties"]["details"] = json!({"type": "string"});
    schema["properties"]["spec_version"] = json!({"type": "string"});
    schema["properties"]["failures"] = json!({
        "type": "array",
        "items": {
            "type": "object",
            "required": ["resource_type", "id", "errors"],
            "properties": {
                "resource_type": {"type": "string", "enum": ["proxy", "upstream", "plugin", "proxy_plugin_association"]},
                "id": {"type": "string"},
                "errors": {"type": "array", "items": {"type": "string"}},
            },
        },
    });
    schema
}

fn health() -> Value {
    json!({
        "type": "object",
        "required": ["status", "timestamp", "mode", "ready", "admin_writes_enabled", "cached_config"],
        "properties": {
            "status": {"type": "string", "enum": ["ok", "starting", "degraded"]},
            "timestamp": {"type": "string"},
            "mode": {"type": "string"},
            "ready": {"type": "boolean"},
            "admin_writes_enabled": {"type": "boolean"},
            "cached_config": {"type": "object"},
            "database": {"type": "object"},
        },
    })
}

fn items(item: Value) -> Value {
    json!({
        "type": "object",
        "required": ["items", "limit", "next_offset", "offset", "total"],
        "properties": {
            "items": {"type": "array", "items": item},
            "limit": count(),
            "next_offset": {"type": ["integer", "null"]},
            "offset": count(),
            "total": count(),
        },
    })
}

fn audit_events() -> Value {
    let mut event = strings(&["id", "ts", "actor", "action", "resource_type", "resource_id", "namespace"]);
    event["properties"]["diff"] = json!({"type": "object"});
    items(event)
}

fn api_specs() -> Value {
    items(strings(&["id", "proxy_id", "spec_version", "spec_format", "content_hash", "created_at", "updated_at"]))
}
