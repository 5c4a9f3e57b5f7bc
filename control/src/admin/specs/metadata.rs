//! What a document says of itself, as lists show it (admin sheet §31.7).

use engine::model::api_spec_cut as cut;
use serde_json::Value;

use super::submission::tags;

/// The keys of a path that are operations.
const OPERATIONS: [&str; 8] = ["get", "post", "put", "delete", "options", "head", "patch", "trace"];

#[derive(Debug, Default, PartialEq)]
pub(in crate::admin) struct Metadata {
    pub(in crate::admin) title: Option<String>,
    pub(in crate::admin) info_version: Option<String>,
    pub(in crate::admin) description: Option<String>,
    pub(in crate::admin) contact_name: Option<String>,
    pub(in crate::admin) contact_email: Option<String>,
    pub(in crate::admin) license_name: Option<String>,
    pub(in crate::admin) license_identifier: Option<String>,
    pub(in crate::admin) tags: Vec<String>,
    pub(in crate::admin) server_urls: Vec<String>,
    pub(in crate::admin) operation_count: u32,
}

impl Metadata {
    pub(super) fn of(root: &Value, version: &str) -> Self {
        let text = |pointer: &str, bytes_max: usize| Some(shortened(root.pointer(pointer)?.as_str()?, bytes_max));
        let license = text("/info/license/identifier", cut::LICENSE_IDENTIFIER);
        Self {
            title: text("/info/title", cut::TITLE),
            info_version: text("/info/version", cut::INFO_VERSION),
            description: text("/info/description", cut::DESCRIPTION),
            contact_name: text("/info/contact/name", cut::CONTACT_NAME),
            contact_email: text("/info/contact/email", cut::CONTACT_EMAIL),
            license_name: text("/info/license/name", cut::LICENSE_NAME),
            license_identifier: license.or_else(|| text("/info/license/url", cut::LICENSE_IDENTIFIER)),
            tags: sorted_tags(root),
            server_urls: if version == "2.0" { urls_of_2(root) } else { urls_of_3(root) },
            operation_count: operations(root),
        }
    }
}

/// At a character's boundary. A NUL is a text that not every database takes.
fn shortened(text: &str, bytes_max: usize) -> String {
    let text = text.replace('\0', "");
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}

fn sorted_tags(root: &Value) -> Vec<String> {
    let mut names: Vec<String> = tags(root).map(|name| shortened(name, cut::TAG)).collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(cut::TAGS);
    names
}

fn urls_of_3(root: &Value) -> Vec<String> {
    let servers = root.get("servers").and_then(Value::as_array).into_iter().flatten();
    let urls = servers.filter_map(|server| server.get("url")?.as_str());
    urls.take(cut::SERVER_URLS).map(|url| shortened(url, cut::SERVER_URL)).collect()
}

fn urls_of_2(root: &Value) -> Vec<String> {
    let Some(host) = root.get("host").and_then(Value::as_str) else { return Vec::new() };
    let base = root.get("basePath").and_then(Value::as_str).unwrap_or_default();
    let schemes = root.get("schemes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let urls = schemes.take(cut::SERVER_URLS).map(|scheme| format!("{scheme}://{host}{base}"));
    urls.map(|url| shortened(&url, cut::SERVER_URL)).collect()
}

fn operations(root: &Value) -> u32 {
    let paths = root.get("paths").and_then(Value::as_object).into_iter().flatten();
    let keys = paths.filter_map(|(_, path)| path.as_object()).flat_map(|path| path.keys());
    let count = keys.filter(|key| OPERATIONS.contains(&key.as_str())).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_is_described_by_its_own_words() {
        let root = json!({
            "info": {"title": "Orders", "version": "1.4", "description": "d", "contact": {"name": "n", "email": "e"},
                "license": {"name": "MIT", "identifier": "MIT-0", "url": "https://l"}},
            "tags": [{"name": "b"}, {"name": "a"}, {"name": "b"}],
            "servers": [{"url": "https://a/v1"}, {}, {"url": "/v2"}],
            "paths": {"/a": {"get": {}, "post": {}, "parameters": []}, "/b": {"trace": {}, "GET": {}}, "x-note": 1},
        });
        let text = |text: &str| Some(text.to_owned());
        let expected = Metadata {
            title: text("Orders"),
            info_version: text("1.4"),
            description: text("d"),
            contact_name: text("n"),
            contact_email: text("e"),
            license_name: text("MIT"),
            license_identifier: text("MIT-0"),
            tags: vec!["a".to_owned(), "b".to_owned()],
            server_urls: vec!["https://a/v1".to_owned(), "/v2".to_owned()],
            operation_count: 3,
        };
        assert_eq!(Metadata::of(&root, "3.1.0"), expected);
        let by_url = json!({"info": {"title": 1, "license": {"url": "https://l"}}});
        let found = Metadata::of(&by_url, "3.0.0");
        assert_eq!((found.title, found.license_identifier), (None, text("https://l")));
        assert_eq!(Metadata::of(&json!({}), "3.0.0"), Metadata::default());
    }

    #[test]
    fn servers_of_version_2_are_put_together() {
        let of = |root: Value| Metadata::of(&root, "2.0").server_urls;
        let both =
            json!({"host": "a:8080", "basePath": "/v1", "schemes": ["https", "http"], "servers": [{"url": "x"}]});
        assert_eq!(of(both), ["https://a:8080/v1", "http://a:8080/v1"]);
        assert_eq!(of(json!({"host": "a", "schemes": ["http"]})), ["http://a"]);
        assert!(of(json!({"host": "a", "basePath": "/"})).is_empty());
        assert!(of(json!({"schemes": ["http"]})).is_empty());
    }

    #[test]
    fn everything_is_cut_at_its_limit() {
        let long = "é".repeat(5000);
        let info = json!({"title": long, "version": long, "description": long, "contact": {"name": long, "email": long},
            "license": {"name": long, "identifier": long}});
        let many =
            |key: &str, text: &dyn Fn(usize) -> String| (0..70).map(|n| json!({ key: text(n) })).collect::<Vec<_>>();
        let numbered = |n: usize| format!("{n:02}{long}");
        let root = json!({"info": info, "tags": many("name", &numbered), "servers": many("url", &numbered)});
        let found = Metadata::of(&root, "3.0.0");
        let lengths = [
            found.title,
            found.info_version,
            found.description,
            found.contact_name,
            found.contact_email,
            found.license_name,
            found.license_identifier,
        ]
        .map(|text| text.unwrap().len());
        assert_eq!(lengths, [1024, 256, 4096, 256, 320, 256, 128]);
        assert_eq!((found.tags.len(), found.tags[63].len(), &found.tags[63][..2]), (64, 128, "63"));
        assert_eq!((found.server_urls.len(), found.server_urls[0].len()), (32, 2048));
        assert_eq!(shortened("aéb", 2), "a", "no half of a character");
        assert_eq!(shortened("a\0b", 9), "ab");
    }
}
