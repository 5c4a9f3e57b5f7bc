//! The conf file: `KEY = VALUE` lines.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The conf file of a process that names none.
pub const DEFAULT_PATH: &str = "./ferrum.conf";

/// Why a conf file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfError {
    #[error("Invalid conf file syntax at line {line}: missing '=' in '{text}'")]
    MissingEquals { line: usize, text: String },
    #[error("Invalid conf file syntax at line {line}: empty key")]
    EmptyKey { line: usize },
    #[error("Failed to read conf file '{path}': {source}")]
    Unreadable { path: String, source: io::Error },
}

/// The conf file that an environment names.
pub(crate) fn path_of(env: &BTreeMap<String, String>) -> PathBuf {
    PathBuf::from(env.get("FERRUM_CONF_PATH").map_or(DEFAULT_PATH, String::as_str))
}

/// Reads a conf file, from `directory` if its path is relative; one that does not exist is an empty one.
pub(crate) fn read(directory: &Path, path: &Path) -> Result<BTreeMap<String, String>, ConfError> {
    // Joined, an empty path would name the directory itself.
    if path.as_os_str().is_empty() {
        return Ok(BTreeMap::new());
    }
    match std::fs::read_to_string(directory.join(path)) {
        Ok(text) => parse(&text),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(BTreeMap::new())
        }
        Err(source) => Err(ConfError::Unreadable { path: path.display().to_string(), source }),
    }
}

/// Parses the text of a conf file. A key that stands twice has its last value.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, String>, ConfError> {
    let mut values = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(ConfError::MissingEquals { line: line_number, text: line.to_owned() });
        };
        let key = key.trim();
        if key.is_empty() {
            return Err(ConfError::EmptyKey { line: line_number });
        }
        values.insert(key.to_owned(), clean(value.trim()).to_owned());
    }
    Ok(values)
}

/// Takes one pair of quotes off, then cuts an inline comment. Quotes do not protect a ` #`.
fn clean(value: &str) -> &str {
    let bare = ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote).and_then(|rest| rest.strip_suffix(*quote)))
        .unwrap_or(value);
    bare.find(" #").map_or(bare, |cut| bare[..cut].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> String {
        parse(line).unwrap().remove("K").unwrap()
    }

    #[test]
    fn a_line_is_split_at_its_first_equals_sign_and_trimmed() {
        assert_eq!(one("  K =  a=b  "), "a=b");
        assert_eq!(one("K=v"), "v");
        assert_eq!(one("K ="), "");
    }

    #[test]
    fn blank_lines_and_comments_are_skipped() {
        let values = parse("\n   # note\n\r\nA = 1\r\nB = 2\n").unwrap();
        assert_eq!(values.len(), 2);
        assert_eq!(values["A"], "1");
    }

    #[test]
    fn one_pair_of_equal_quotes_is_removed() {
        assert_eq!(one(r#"K = "a b""#), "a b");
        assert_eq!(one("K = 'a b'"), "a b");
        assert_eq!(one(r#"K = "a'"#), r#""a'"#);
        assert_eq!(one(r#"K = """#), "");
        assert_eq!(one(r#"K = ""#), "\"");
        assert_eq!(one(r#"K = ""a"""#), r#""a""#);
    }

    #[test]
    fn an_inline_comment_starts_at_a_space_and_a_hash_even_inside_quotes() {
        assert_eq!(one("K = a # note"), "a");
        assert_eq!(one("K = a#b"), "a#b");
        assert_eq!(one(r#"K = "a #b""#), "a");
        assert_eq!(one(r#"K = "x y" # note"#), r#""x y""#);
    }

    #[test]
    fn the_last_of_two_equal_keys_wins_and_any_key_is_allowed() {
        let values = parse("K = 1\nOTHER = x\nK = 2").unwrap();
        assert_eq!(values["K"], "2");
        assert_eq!(values["OTHER"], "x");
    }

    #[test]
    fn a_line_without_equals_sign_is_refused_with_its_number() {
        let error = parse("# c\nA = 1\n  broken line \n").unwrap_err().to_string();
        assert_eq!(error, "Invalid conf file syntax at line 3: missing '=' in 'broken line'");
    }

    #[test]
    fn an_empty_key_is_refused_with_its_number() {
        assert_eq!(parse("A=1\n\n = 2").unwrap_err().to_string(), "Invalid conf file syntax at line 3: empty key");
    }

    #[test]
    fn a_missing_file_is_empty_and_an_unreadable_one_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path(), Path::new("none.conf")).unwrap().is_empty());
        assert!(read(dir.path(), Path::new("")).unwrap().is_empty());
        let error = read(Path::new("/"), dir.path()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("Failed to read conf file '{}': ", dir.path().display())), "{error}");

        let binary = dir.path().join("binary.conf");
        std::fs::write(&binary, [0xff, 0xfe]).unwrap();
        assert!(read(dir.path(), Path::new("binary.conf/below")).unwrap().is_empty());
        assert!(read(Path::new("/"), &binary).unwrap_err().to_string().starts_with("Failed to read conf file"));
    }
}
