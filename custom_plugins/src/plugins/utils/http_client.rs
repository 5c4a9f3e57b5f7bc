//! The HTTP client, under the name that files know it by.

pub use crate::plugins::PluginHttpClient;
