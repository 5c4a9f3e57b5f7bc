//! The description of the admin API in OpenAPI 3.1: `GET /openapi.yaml`, and `docs/openapi.yaml`, which a test compares with it.
//!
//! Resources are described by the types that read them (`schemas`), operations by one table (`operations`); this room puts both
//! together.

mod operations;
mod page;
mod schemas;

use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use super::auth::Role;
use operations::{Answer, Body, Operation, PARAMETERS};

pub use page::page;

/// The whole document, as YAML.
pub fn document() -> &'static str {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    // Text and numbers only: there is nothing in it that YAML could not hold.
    DOCUMENT.get_or_init(|| serde_norway::to_string(&described()).unwrap_or_default())
}

fn described() -> Value {
    let mut paths = Map::new();
    for operation in operations::all() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(operation.method.to_lowercase(), shown(operation));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ferrum Edge admin API",
            "version": crate::cli::VERSION,
            "description": "An unknown path and a wrong method are both 404. Keys of objects come in no fixed order.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:9000", "description": "FERRUM_ADMIN_HTTP_PORT"}],
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "HS256 with FERRUM_ADMIN_JWT_SECRET; claims iss, sub, role, exp, iat, nbf, jti.",
                },
            },
        },
    })
}

fn shown(operation: &Operation) -> Value {
    let mut shown = Map::new();
    shown.insert("operationId".into(), operation.id().into());
    shown.insert("summary".into(), operation.summary.into());
    if let Some(role) = operation.role {
        shown.insert("description".into(), format!("Role: {}.", role.name()).into());
        shown.insert("security".into(), json!([{"token": []}]));
    }
    let in_path = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = in_path.map(in_path_parameter).collect();
    parameters.extend(operation.query.iter().filter_map(|name| query_parameter(name)));
    if operation.role.is_some() {
        parameters.push(namespace_parameter());
    }
    if !parameters.is_empty() {
        shown.insert("parameters".into(), parameters.into());
    }
    if let Some(body) = operation.body {
        shown.insert("requestBody".into(), request_body(body));
    }
    let mut answers = Map::new();
    for answer in operation.answers.iter().chain(operation.refusals()) {
        answers.entry(answer.status.to_string()).or_insert_with(|| response(answer));
    }
    shown.insert("responses".into(), answers.into());
    shown.into()
}

fn in_path_parameter(name: &str) -> Value {
    let schema = match name {
        "type" => json!({"type": "string", "enum": ["basicauth", "keyauth", "jwt", "hmac_auth", "mtls_auth"]}),
        "index" => json!({"type": "integer", "minimum": 0}),
        _ => json!({"type": "string", "pattern": "^[a-zA-Z0-9][a-zA-Z0-9._-]*$", "maxLength": 254}),
    };
    json!({"name": name, "in": "path", "required": true, "schema": schema})
}

fn query_parameter(name: &str) -> Option<Value> {
    let (_, description, schema) = PARAMETERS.iter().find(|(known, _, _)| *known == name)?;
    let schema: Value = serde_json::from_str(schema).ok()?;
    Some(json!({"name": name, "in": "query", "description": description, "schema": schema}))
}

fn namespace_parameter() -> Value {
    json!({
        "name": "X-Ferrum-Namespace",
        "in": "header",
        "description": "Whose resources are meant.",
        "schema": {"type": "string", "default": "ferrum", "pattern": "^[a-zA-Z0-9][a-zA-Z0-9._-]*$", "maxLength": 254},
    })
}

fn request_body(body: Body) -> Value {
    let content = match body {
        Body::Json(schema) => json!({"application/json": {"schema": reference(schema)}}),
        Body::ApiSpec => json!({
            "application/json": {"schema": {"type": "object"}},
            "application/yaml": {"schema": {"type": "string"}},
        }),
    };
    json!({"required": true, "content": content})
}

fn response(answer: &Answer) -> Value {
    let mut response = json!({"description": answer.description});
    let content = match answer.schema {
        "" => return response,
        "text" => json!({"text/plain": {"schema": {"type": "string"}}}),
        "yaml" => json!({"application/yaml": {"schema": {}}}),
        "spec" => json!({"application/json": {"schema": {}}, "application/yaml": {"schema": {}}}),
        schema => json!({"application/json": {"schema": reference(schema)}}),
    };
    response["content"] = content;
    response
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

#[cfg(test)]
mod tests {
    use hyper::Method;

    use super::*;
    use crate::admin::route;

    /// Everything that a `$ref` names.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_operation_is_routed_with_the_role_it_says() {
        for operation in operations::all().filter(|operation| operation.role.is_some()) {
            let path = operation.path.replace("{type}", "jwt").replace("{index}", "0").replace(['{', '}'], "");
            let method: Method = operation.method.parse().unwrap();
            let routed = route::find(&method, &route::segments(&path)).map(|route| route.need);
            assert_eq!(routed, operation.role, "{} {path}", operation.method);
        }
    }

    #[test]
    fn every_reference_leads_to_a_schema() {
        let document = described();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let mut names: Vec<_> = operations::all().map(Operation::id).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
