//! Steps of the schemas that custom plugins bring, as they are shown and recorded.

use std::fmt;

/// One step of a plugin's schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginStep {
    /// The name of its file.
    pub plugin: String,
    pub version: i64,
    pub name: String,
}

impl fmt::Display for PluginStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] V{}: {}", self.plugin, self.version, self.name)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct AppliedPluginStep {
    pub step: PluginStep,
    pub applied_at: String,
    pub checksum: String,
}

/// What has been done, and what has not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PluginMigrationStatus {
    pub applied: Vec<AppliedPluginStep>,
    pub pending: Vec<PluginStep>,
}
