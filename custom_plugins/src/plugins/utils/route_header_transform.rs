//! Header rules that a plugin leaves for the built-in transformers.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteHeaderOperation {
    /// Only if it is not there.
    Add,
    /// Whether it is there or not.
    Update,
    Remove,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteHeaderTransformRule {
    pub operation: RouteHeaderOperation,
    /// Lower-case.
    pub key: String,
    /// Of `add` and `update`.
    #[serde(default)]
    pub value: Option<String>,
}
