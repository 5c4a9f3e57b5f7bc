//! A document as text, the other way round from `decode`.

use std::sync::Arc;

use serde::Serialize;

use super::consumer::Consumer;
use super::decode::Format;
use super::document::Document;
use super::mesh::{Mesh, TrustBundleSet};
use super::plugin_config::PluginConfig;
use super::proxy::Proxy;
use super::upstream::Upstream;

/// What a document says. When it was read, and what else there was, is for those who have read it.
#[derive(Serialize)]
struct Said<'a> {
    version: &'a str,
    proxies: &'a [Arc<Proxy>],
    consumers: &'a [Arc<Consumer>],
    plugin_configs: &'a [Arc<PluginConfig>],
    upstreams: &'a [Arc<Upstream>],
    #[serde(skip_serializing_if = "Option::is_none")]
    trust_bundles: Option<&'a TrustBundleSet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mesh: Option<&'a Mesh>,
}

/// The document as a file would have it. Equal documents have equal texts.
///
/// # Errors
/// The encoder's text.
pub fn encode(document: &Document, format: Format) -> Result<String, String> {
    let said = Said {
        version: &document.version,
        proxies: &document.proxies,
        consumers: &document.consumers,
        plugin_configs: &document.plugin_configs,
        upstreams: &document.upstreams,
        trust_bundles: document.trust_bundles.as_ref(),
        mesh: document.mesh.as_ref(),
    };
    match format {
        Format::Yaml => serde_norway::to_string(&said).map_err(|error| error.to_string()),
        Format::Json => serde_json::to_string_pretty(&said).map(|text| text + "\n").map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::decode::decode;
    use super::*;

    fn kept(document: &Document) {
        for format in [Format::Yaml, Format::Json] {
            let text = encode(document, format).unwrap();
            let read = Document { loaded_at: document.loaded_at, ..decode(&text, format).unwrap() };
            assert_eq!(&read, document, "{text}");
            assert_eq!(encode(&read, format).unwrap(), text);
        }
    }

    fn document(value: Value) -> Document {
        let mut all = json!({"version": "1", "proxies": [], "consumers": [], "plugin_configs": []});
        all.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn a_document_survives_its_text() {
        kept(&Document::default());
        kept(&document(json!({
            "proxies": [{
                "id": "p", "namespace": "team-a", "backend_host": "h", "backend_port": 1, "hosts": ["a", "*.b"],
                "created_at": "2026-01-01T00:00:00.123456789Z", "allowed_methods": [],
                "retry": {"max_retries": 2, "backoff": {"exponential": {"base_ms": 1, "max_ms": 2}}},
                "udp_max_response_amplification_factor": 2.7,
            }],
            "upstreams": [{"id": "u", "targets": [{"host": "h", "port": 1, "tags": {"yes": "no"}}], "subsets": []}],
        })));
    }

    /// What YAML would read as something else than text, were it not quoted, and numbers that are hard to write.
    #[test]
    fn texts_and_numbers_survive_both_formats() {
        let texts = [
            "",
            " ",
            "~",
            "null",
            "yes",
            "1",
            "1e3",
            "0x1F",
            "0o7",
            ".inf",
            "2026-01-01",
            "- a",
            "a: b",
            "# a",
            "!tag",
            "&a",
            "*a",
            "|",
            ">",
            "%",
            "@",
            "`",
            "\"",
            "'",
            "a\nb\n",
            "\n a",
            "\ttab",
            "\u{85}",
            "\u{feff}",
            "é😀",
            "\\n",
            "{}",
            "[]",
            "?",
            "=",
            "<<",
            "---",
            "...",
            "a #b",
            "trailing ",
        ];
        let numbers =
            [json!(0.1), json!(1e300), json!(5e-324), json!(-0.3), json!(u64::MAX), json!(i64::MIN), json!(1.0)];
        let mut config = serde_json::Map::new();
        for (index, text) in texts.iter().enumerate() {
            if !text.contains('\n') {
                config.insert((*text).to_owned(), json!(text));
            }
            config.insert(format!("in a list {index}"), json!([text, null, true, {"x": text}]));
        }
        config.insert("numbers".to_owned(), numbers.into_iter().collect());
        kept(&document(json!({"plugin_configs": [
            {"id": "c", "plugin_name": "x", "scope": "global", "config": config},
            {"id": "d", "plugin_name": "x", "scope": "global", "config": null},
        ]})));
    }
}
