//! The stored record of an imported OpenAPI document (resources sheet §11.1). It exists with a database only and is never
//! part of the configuration document.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{default_namespace, timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpecFormat {
    Json,
    Yaml,
}

/// Texts taken from the document are cut to these bytes, at a character's boundary.
pub mod cut {
    pub const TITLE: usize = 1024;
    pub const INFO_VERSION: usize = 256;
    pub const DESCRIPTION: usize = 4096;
    pub const CONTACT_NAME: usize = 256;
    pub const CONTACT_EMAIL: usize = 320;
    pub const LICENSE_NAME: usize = 256;
    pub const LICENSE_IDENTIFIER: usize = 128;
    pub const TAG: usize = 128;
    pub const SERVER_URL: usize = 2048;
    /// Entries, not bytes.
    pub const TAGS: usize = 64;
    /// Entries, not bytes.
    pub const SERVER_URLS: usize = 32;
}

/// Fields in the order in which they are emitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiSpec {
    pub id: String,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    pub proxy_id: String,
    pub spec_version: String,
    pub spec_format: SpecFormat,
    /// gzip of the submitted bytes.
    pub spec_content: Vec<u8>,
    pub content_encoding: String,
    pub uncompressed_size: u64,
    /// Lower-case hex SHA-256 of the submitted bytes; the ETag.
    pub content_hash: String,
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
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub server_urls: Vec<String>,
    #[serde(default)]
    pub operation_count: u32,
    pub resource_hash: String,
    #[serde(with = "timestamp", default = "timestamp::now")]
    pub created_at: OffsetDateTime,
    #[serde(with = "timestamp", default = "timestamp::now")]
    pub updated_at: OffsetDateTime,
}
