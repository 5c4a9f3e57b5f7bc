//! Endpoints of sinks.

use std::net::SocketAddr;

use serde_json::Value;

use crate::dns::DnsCache;

/// `endpoint_url` of a configuration: the URL and its host.
///
/// # Errors
/// It is missing, or no URL that can be called.
pub fn parse_http_endpoint(config: &Value, plugin_name: &'static str) -> Result<(String, String), String> {
    let text = config["endpoint_url"].as_str().map(str::trim).filter(|text| !text.is_empty());
    let text =
        text.ok_or_else(|| format!("{plugin_name}: 'endpoint_url' is required and must be a non-empty string"))?;
    let url = url::Url::parse(text).map_err(|error| format!("{plugin_name}: 'endpoint_url' is not a URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{plugin_name}: 'endpoint_url' must use http or https"));
    }
    let host = url.host_str().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| format!("{plugin_name}: 'endpoint_url' must have a host"))?;
    Ok((text.to_owned(), host.trim_matches(['[', ']']).to_owned()))
}

/// What the answer of a sink means: an error says that the batch is worth another try.
///
/// # Errors
/// The sink was not reached, or may take the batch later.
pub fn handle_http_batch_response(
    plugin_name: &str,
    entries: usize,
    sent: Result<reqwest::Response, reqwest::Error>,
) -> Result<(), String> {
    let status = sent.map_err(|error| native::outbound::cause(&error))?.status();
    match status.as_u16() {
        200..=299 => Ok(()),
        408 | 429 => Err(format!("the endpoint answered {status}")),
        400..=499 => {
            tracing::warn!(plugin = plugin_name, entries, "the endpoint answered {status}, the batch is discarded");
            Ok(())
        }
        _ => Err(format!("the endpoint answered {status}")),
    }
}

pub(super) async fn resolve(
    host: &str,
    port: u16,
    dns_cache: Option<&DnsCache>,
    plugin_name: &'static str,
) -> Result<SocketAddr, String> {
    let cannot = |reason: &dyn std::fmt::Display| format!("{plugin_name}: cannot resolve {host}: {reason}");
    if let Some(cache) = dns_cache {
        return cache.resolve(host, None, None).await.map(|ip| (ip, port).into()).map_err(|error| cannot(&error));
    }
    let mut addresses = tokio::net::lookup_host((host, port)).await.map_err(|error| cannot(&error))?;
    addresses.next().ok_or_else(|| cannot(&"it has no address"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wiremock::matchers::any;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    #[test]
    fn an_endpoint_is_a_url_with_a_host() {
        let parse = |url: Value| parse_http_endpoint(&json!({"endpoint_url": url}), "p");
        assert_eq!(parse(json!("http://a.example:1/x")).unwrap(), ("http://a.example:1/x".into(), "a.example".into()));
        assert_eq!(parse(json!("http://[::1]/")).unwrap().1, "::1");
        for wrong in [json!(null), json!(1), json!(" "), json!("no url"), json!("ftp://a/")] {
            assert!(parse(wrong).unwrap_err().starts_with("p: 'endpoint_url' "));
        }
    }

    #[tokio::test]
    async fn only_what_may_go_better_is_tried_again() {
        for (status, again) in [(204, false), (404, false), (408, true), (429, true), (503, true)] {
            let server = MockServer::start().await;
            Mock::given(any()).respond_with(ResponseTemplate::new(status)).mount(&server).await;
            let sent = reqwest::get(server.uri()).await;
            assert_eq!(handle_http_batch_response("p", 1, sent).is_err(), again, "{status}");
        }
        assert!(handle_http_batch_response("p", 1, reqwest::get("http://127.0.0.1:1/").await).is_err());
    }
}
