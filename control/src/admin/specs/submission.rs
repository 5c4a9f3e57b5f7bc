//! A document that is an API spec, before its resources are looked at (admin sheet §31.2 and the first steps of §31.4).

use engine::model::SpecFormat;
use semver::Version;
use serde_json::Value;

use super::content::Content;
use super::error::SpecError;
use super::metadata::Metadata;
use super::parse::parse;

/// What the column of some databases holds.
const VERSION_BYTES_MAX: usize = 255;

/// Characters that the filter of the list does not take.
const TAG_NEVER: [char; 4] = ['"', '%', '_', '\\'];

pub(in crate::admin) struct Submission {
    pub(in crate::admin) format: SpecFormat,
    pub(in crate::admin) version: String,
    pub(in crate::admin) root: Value,
    pub(in crate::admin) metadata: Metadata,
    pub(in crate::admin) content: Content,
}

impl Submission {
    /// # Errors
    /// The first that is wrong, in the order of the sheet.
    pub(in crate::admin) fn read(bytes: &[u8], content_type: Option<&str>) -> Result<Self, SpecError> {
        let (format, root) = parse(bytes, content_type)?;
        let version = version_of(&root).ok_or(SpecError::UnknownVersion)?.to_owned();
        check_tags(&root)?;
        if root.get("x-ferrum-consumers").is_some() {
            return Err(SpecError::ConsumerExtensionNotAllowed);
        }
        let metadata = Metadata::of(&root, &version);
        Ok(Self { format, version, root, metadata, content: Content::of(bytes) })
    }
}

fn version_of(root: &Value) -> Option<&str> {
    if root.get("swagger").and_then(Value::as_str) == Some("2.0") {
        return Some("2.0");
    }
    let version = root.get("openapi")?.as_str()?;
    let is_three =
        version.len() <= VERSION_BYTES_MAX && Version::parse(version).is_ok_and(|version| version.major == 3);
    is_three.then_some(version)
}

/// The names of the root's tags.
pub(super) fn tags(root: &Value) -> impl Iterator<Item = &str> {
    let tags = root.get("tags").and_then(Value::as_array);
    tags.into_iter().flatten().filter_map(|tag| tag.get("name")?.as_str())
}

fn check_tags(root: &Value) -> Result<(), SpecError> {
    match tags(root).find(|name| name.contains(TAG_NEVER)) {
        // However long it is, its beginning tells which one it is.
        Some(name) => Err(SpecError::InvalidTagName(name.chars().take(128).collect())),
        None => Ok(()),
    }
}

/// Whether a tag may be asked for.
pub(super) fn is_tag(name: &str) -> bool {
    !name.contains(TAG_NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn code(root: Value) -> Result<String, &'static str> {
        let read = Submission::read(root.to_string().as_bytes(), None);
        read.map(|submission| submission.version).map_err(|error| error.code())
    }

    #[test]
    fn versions_are_those_of_the_sheet() {
        for version in ["3.0.3", "3.1.0", "3.2.0-rc1"] {
            assert_eq!(code(json!({"openapi": version})), Ok(version.to_owned()));
        }
        assert_eq!(code(json!({"swagger": "2.0"})), Ok("2.0".to_owned()));
        assert_eq!(code(json!({"swagger": "1.2", "openapi": "3.0.0"})), Ok("3.0.0".to_owned()));
        let long = |letters: usize| json!({"openapi": format!("3.0.0-{}", "a".repeat(letters))});
        assert!(code(long(249)).is_ok());
        for root in [
            json!({}),
            json!([]),
            json!({"swagger": 2.0}),
            json!({"swagger": "3.0"}),
            json!({"openapi": "3.0"}),
            json!({"openapi": "2.0.0"}),
            json!({"openapi": "4.0.0"}),
            json!({"openapi": " 3.0.0"}),
            json!({"openapi": 3}),
            long(250),
        ] {
            assert_eq!(code(root.clone()), Err("UnknownVersion"), "{root}");
        }
    }

    #[test]
    fn tags_and_consumers_are_looked_at_in_this_order() {
        let root = |name: &str| json!({"openapi": "3.0.0", "x-ferrum-consumers": null, "tags": [{"name": "ok"}, {"name": name}]});
        for name in ["a\"b", "50%", "a_b", "a\\b"] {
            assert_eq!(code(root(name)), Err("InvalidTagName"), "{name}");
        }
        assert_eq!(code(root("a-b c")), Err("ConsumerExtensionNotAllowed"));
        assert!(code(json!({"openapi": "3.0.0", "tags": [{"name": 1}, 2, {}]})).is_ok(), "no names");
    }
}
