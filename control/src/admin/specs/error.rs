//! Why a document is no API spec (admin sheet §31.4). Clients switch on the code.

use hyper::StatusCode;

#[derive(Debug, PartialEq, thiserror::Error)]
pub(in crate::admin) enum SpecError {
    #[error("invalid JSON: {0}")]
    InvalidJson(String),
    #[error("invalid YAML: {0}")]
    InvalidYaml(String),
    #[error(r#"unknown spec version (expected 'swagger: "2.0"' or 'openapi: "3.x.y"')"#)]
    UnknownVersion,
    #[error("tag name '{0}' must not contain any of '\"', '%', '_' and '\\'")]
    InvalidTagName(String),
    #[error("consumers cannot be created via spec; use POST /consumers")]
    ConsumerExtensionNotAllowed,
    #[error("missing required x-ferrum-proxy extension at root")]
    MissingProxyExtension,
    #[error("malformed {extension} extension: {reason}")]
    MalformedExtension { extension: &'static str, reason: String },
    #[error("x-ferrum-proxy names upstream_id '{named}', but x-ferrum-upstream has {}", shown_id(.upstream))]
    ProxyUpstreamIdMismatch { named: String, upstream: String },
    #[error("x-ferrum-plugins[{place}] has scope {scope}; plugins of a spec have scope 'proxy'")]
    PluginInvalidScope { place: usize, scope: String },
    #[error("x-ferrum-plugins[{place}] has proxy_id '{named}'; leave it out, or name the proxy of the spec")]
    PluginProxyIdMismatch { place: usize, named: String },
    #[error("x-ferrum-plugins[{place}] has the key '{key}' in its config, which belongs to consumers")]
    PluginContainsCredentials { place: usize, key: String },
}

fn shown_id(id: &str) -> String {
    if id.is_empty() { "no id".to_owned() } else { format!("id '{id}'") }
}

impl SpecError {
    pub(in crate::admin) fn code(&self) -> &'static str {
        match self {
            Self::InvalidJson(_) => "InvalidJson",
            Self::InvalidYaml(_) => "InvalidYaml",
            Self::UnknownVersion => "UnknownVersion",
            Self::InvalidTagName(_) => "InvalidTagName",
            Self::ConsumerExtensionNotAllowed => "ConsumerExtensionNotAllowed",
            Self::MissingProxyExtension => "MissingProxyExtension",
            Self::MalformedExtension { .. } => "MalformedExtension",
            Self::ProxyUpstreamIdMismatch { .. } => "ProxyUpstreamIdMismatch",
            Self::PluginInvalidScope { .. } => "PluginInvalidScope",
            Self::PluginProxyIdMismatch { .. } => "PluginProxyIdMismatch",
            Self::PluginContainsCredentials { .. } => "PluginContainsCredentials",
        }
    }

    pub(in crate::admin) fn status(&self) -> StatusCode {
        match self {
            Self::InvalidJson(_)
            | Self::InvalidYaml(_)
            | Self::UnknownVersion
            | Self::MissingProxyExtension
            | Self::MalformedExtension { .. } => StatusCode::BAD_REQUEST,
            Self::InvalidTagName(_)
            | Self::ConsumerExtensionNotAllowed
            | Self::ProxyUpstreamIdMismatch { .. }
            | Self::PluginInvalidScope { .. }
            | Self::PluginProxyIdMismatch { .. }
            | Self::PluginContainsCredentials { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }
}
