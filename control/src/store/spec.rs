//! API specs as they are asked for: documents of their own, beside the resources they own (admin sheet §31).

use engine::model::{ApiSpec, SpecFormat};
use serde::Serialize;
use time::OffsetDateTime;
use time::serde::rfc3339;

/// Which spec.
#[derive(Clone, Copy, Debug)]
pub enum SpecKey<'a> {
    /// In whatever namespace.
    Id(&'a str),
    /// The one that owns this proxy.
    Proxy(&'a str),
}

/// A spec without its document, as lists show it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SpecSummary {
    pub id: String,
    #[serde(skip)]
    pub namespace: String,
    pub proxy_id: String,
    pub spec_version: String,
    pub spec_format: SpecFormat,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact_email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license_identifier: Option<String>,
    pub tags: Vec<String>,
    pub server_urls: Vec<String>,
    pub operation_count: u32,
    pub uncompressed_size: u64,
    pub content_hash: String,
    #[serde(with = "rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "rfc3339")]
    pub updated_at: OffsetDateTime,
}

impl From<&ApiSpec> for SpecSummary {
    fn from(spec: &ApiSpec) -> Self {
        let spec = spec.clone();
        Self {
            id: spec.id,
            namespace: spec.namespace,
            proxy_id: spec.proxy_id,
            spec_version: spec.spec_version,
            spec_format: spec.spec_format,
            title: spec.title,
            info_version: spec.info_version,
            description: spec.description,
            contact_name: spec.contact_name,
            contact_email: spec.contact_email,
            license_name: spec.license_name,
            license_identifier: spec.license_identifier,
            tags: spec.tags,
            server_urls: spec.server_urls,
            operation_count: spec.operation_count,
            uncompressed_size: spec.uncompressed_size,
            content_hash: spec.content_hash,
            created_at: spec.created_at,
            updated_at: spec.updated_at,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpecSort {
    #[default]
    UpdatedAt,
    Title,
    OperationCount,
    CreatedAt,
}

/// Which specs are listed, and in which order.
#[derive(Clone, Debug, Default)]
pub struct SpecFilter {
    pub proxy_id: Option<String>,
    /// How the version begins.
    pub spec_version: Option<String>,
    /// In whatever case.
    pub title_contains: Option<String>,
    pub updated_since: Option<OffsetDateTime>,
    pub has_tag: Option<String>,
    pub sort: SpecSort,
    pub is_ascending: bool,
}
