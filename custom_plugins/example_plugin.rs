//! Marks requests and responses with a header: the smallest plugin that does something.
//!
//! ```yaml
//! plugin_name: example_plugin
//! config:
//!   header_value: edge-1    # ferrum-custom, when it is not given
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::plugins::{Plugin, PluginHttpClient, PluginResult, RequestContext};

const HEADER: &str = "x-custom-gateway";
const VALUE_DEFAULT: &str = "ferrum-custom";

struct Marker {
    value: String,
}

impl Marker {
    fn mark(&self, headers: &mut HashMap<String, String>) {
        headers.insert(HEADER.to_owned(), self.value.clone());
    }
}

#[async_trait]
impl Plugin for Marker {
    fn name(&self) -> &str {
        "example_plugin"
    }

    fn modifies_request_headers(&self) -> bool {
        true
    }

    /// What the backend gets.
    async fn before_proxy(&self, _ctx: &mut RequestContext, headers: &mut HashMap<String, String>) -> PluginResult {
        self.mark(headers);
        PluginResult::Continue
    }

    /// What the client gets.
    async fn after_proxy(
        &self,
        _ctx: &mut RequestContext,
        _response_status: u16,
        response_headers: &mut HashMap<String, String>,
    ) -> PluginResult {
        self.mark(response_headers);
        PluginResult::Continue
    }
}

pub fn create_plugin(config: &Value, _http_client: PluginHttpClient) -> Result<Option<Arc<dyn Plugin>>, String> {
    let value = config["header_value"].as_str().unwrap_or(VALUE_DEFAULT).to_owned();
    Ok(Some(Arc::new(Marker { value })))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plugins::{HTTP_ONLY_PROTOCOLS, priority};

    fn plugin(config: &Value) -> Arc<dyn Plugin> {
        create_plugin(config, PluginHttpClient::default()).unwrap().unwrap()
    }

    #[tokio::test]
    async fn request_and_response_are_marked() {
        let plugin = plugin(&json!({"header_value": "edge-1"}));
        let mut ctx = RequestContext::new("10.0.0.1".into(), "GET".into(), "/".into());
        let mut headers = HashMap::from([(HEADER.to_owned(), "from the client".to_owned())]);
        assert!(matches!(plugin.before_proxy(&mut ctx, &mut headers).await, PluginResult::Continue));
        assert_eq!(headers[HEADER], "edge-1");
        let mut headers = HashMap::new();
        assert!(matches!(plugin.after_proxy(&mut ctx, 200, &mut headers).await, PluginResult::Continue));
        assert_eq!(headers[HEADER], "edge-1");
    }

    #[tokio::test]
    async fn anything_but_a_text_means_the_default() {
        for config in
            [Value::Null, json!({}), json!({"header_value": 7}), json!({"header_value": null}), json!([1]), json!("x")]
        {
            let mut ctx = RequestContext::new(String::new(), String::new(), String::new());
            let mut headers = HashMap::new();
            plugin(&config).before_proxy(&mut ctx, &mut headers).await;
            assert_eq!(headers[HEADER], VALUE_DEFAULT, "{config}");
        }
    }

    #[test]
    fn it_stands_where_custom_plugins_stand() {
        let plugin = plugin(&Value::Null);
        assert_eq!((plugin.name(), plugin.priority()), ("example_plugin", priority::DEFAULT));
        assert_eq!(plugin.supported_protocols(), HTTP_ONLY_PROTOCOLS);
        assert!(plugin.modifies_request_headers() && !plugin.applies_after_proxy_on_reject());
    }
}
