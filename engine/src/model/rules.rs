//! The checks that many fields share (resources sheet §1.4–1.6). Each adds its message to the list it is given.

use std::fmt::Display;

/// Bytes of an ID or a namespace.
const ID_BYTES_MAX: usize = 254;
/// Entries of a list of status codes.
const STATUS_CODES_MAX: usize = 500;
/// HTTP methods a configuration may name, compared without case.
const METHODS: [&str; 9] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT"];

/// Length in bytes and control bytes of a text field.
pub(super) fn text(errors: &mut Vec<String>, field: &str, value: &str, bytes_max: usize) {
    length(errors, field, value, bytes_max);
    no_control(errors, field, value);
}

pub(super) fn optional_text(errors: &mut Vec<String>, field: &str, value: Option<&str>, bytes_max: usize) {
    if let Some(value) = value {
        text(errors, field, value, bytes_max);
    }
}

pub(super) fn length(errors: &mut Vec<String>, field: &str, value: &str, bytes_max: usize) {
    if value.len() > bytes_max {
        errors.push(format!("{field} must not exceed {bytes_max} characters (got {})", value.len()));
    }
}

pub(super) fn no_control(errors: &mut Vec<String>, field: &str, value: &str) {
    if has_control(value) {
        errors.push(format!("{field} must not contain control characters"));
    }
}

/// Bytes below 0x20 other than TAB, LF and CR. DEL is allowed.
pub(super) fn has_control(value: &str) -> bool {
    value.bytes().any(|byte| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r'))
}

pub(super) fn range<T: PartialOrd + Display>(errors: &mut Vec<String>, field: &str, value: T, min: T, max: T) {
    if value < min || value > max {
        errors.push(format!("{field} must be between {min} and {max} (got {value})"));
    }
}

pub(super) fn optional_range<T: PartialOrd + Display>(
    errors: &mut Vec<String>,
    field: &str,
    value: Option<T>,
    min: T,
    max: T,
) {
    if let Some(value) = value {
        range(errors, field, value, min, max);
    }
}

pub(super) fn entries(errors: &mut Vec<String>, field: &str, count: usize, max: usize) {
    if count > max {
        errors.push(format!("{field} must not have more than {max} entries (got {count})"));
    }
}

pub(super) fn status_codes(errors: &mut Vec<String>, field: &str, codes: &[u16]) {
    entries(errors, field, codes.len(), STATUS_CODES_MAX);
    for code in codes.iter().filter(|code| !(100..=599).contains(*code)) {
        errors.push(format!("{field} contains invalid HTTP status code {code} (must be 100-599)"));
    }
}

pub(super) fn methods(errors: &mut Vec<String>, field: &str, methods: &[String]) {
    for method in methods.iter().filter(|method| !METHODS.iter().any(|known| method.eq_ignore_ascii_case(known))) {
        errors.push(format!("{field} contains invalid HTTP method: {method}"));
    }
}

/// Client certificate and key come together or not at all; the same texts on Proxy and Upstream.
pub(super) fn certificate_pair(errors: &mut Vec<String>, certificate: Option<&str>, key: Option<&str>) {
    match (certificate, key) {
        (Some(_), None) => errors.push(
            "backend_tls_client_cert_path is set but backend_tls_client_key_path is missing (mTLS needs both)".into(),
        ),
        (None, Some(_)) => errors.push(
            "backend_tls_client_key_path is set but backend_tls_client_cert_path is missing (mTLS needs both)".into(),
        ),
        _ => {}
    }
}

/// Whether `id` can name a resource.
///
/// # Errors
/// What is wrong with it, in the words of the sheet.
pub fn check_id(id: &str) -> Result<(), String> {
    match name_fault(id) {
        None => Ok(()),
        Some(NameFault::Empty) => Err("ID must not be empty".into()),
        Some(NameFault::Long) => Err(format!("ID must be at most {ID_BYTES_MAX} characters, got {}", id.len())),
        Some(NameFault::Characters) => Err(format!(
            "ID '{id}' is invalid: must start with an alphanumeric character and contain only alphanumeric characters, \
             dots, underscores, or hyphens"
        )),
    }
}

/// Whether `namespace` can be a namespace: the rule for the setting and the header, not for resources of a file.
///
/// # Errors
/// What is wrong with it, in the words of the sheet.
pub fn check_namespace(namespace: &str) -> Result<(), String> {
    match name_fault(namespace) {
        None => Ok(()),
        Some(NameFault::Empty) => Err("namespace must not be empty".into()),
        Some(NameFault::Long) => {
            Err(format!("namespace must be at most {ID_BYTES_MAX} characters, got {}", namespace.len()))
        }
        Some(NameFault::Characters) => Err(format!(
            "namespace '{namespace}' is invalid: must start with alphanumeric and contain only alphanumeric, dots, \
             underscores, or hyphens"
        )),
    }
}

enum NameFault {
    Empty,
    Long,
    Characters,
}

/// `^[a-zA-Z0-9][a-zA-Z0-9._-]*$`, 1 to 254 bytes.
fn name_fault(name: &str) -> Option<NameFault> {
    let Some(first) = name.bytes().next() else {
        return Some(NameFault::Empty);
    };
    if name.len() > ID_BYTES_MAX {
        return Some(NameFault::Long);
    }
    let is_sound = first.is_ascii_alphanumeric()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    (!is_sound).then_some(NameFault::Characters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_namespaces_have_one_grammar_and_two_wordings() {
        for name in ["a", "9", "a.b_c-D", &"a".repeat(254)] {
            assert_eq!(check_id(name), Ok(()), "{name}");
            assert_eq!(check_namespace(name), Ok(()), "{name}");
        }
        let long = "a".repeat(255);
        let rows = [
            ("", "ID must not be empty", "namespace must not be empty"),
            (&long, "ID must be at most 254 characters, got 255", "namespace must be at most 254 characters, got 255"),
            (
                "-a",
                "ID '-a' is invalid: must start with an alphanumeric",
                "namespace '-a' is invalid: must start with alphanumeric",
            ),
            ("a b", "ID 'a b' is invalid", "namespace 'a b' is invalid"),
            ("é", "ID 'é' is invalid", "namespace 'é' is invalid"),
        ];
        for (name, id, namespace) in rows {
            assert!(check_id(name).unwrap_err().starts_with(id), "{name}");
            assert!(check_namespace(name).unwrap_err().starts_with(namespace), "{name}");
        }
    }

    #[test]
    fn control_bytes_are_those_below_space_without_tab_and_line_ends() {
        assert!(!has_control("a\tb\nc\rd\u{7f}é"));
        for byte in ['\0', '\u{1}', '\u{8}', '\u{b}', '\u{1f}'] {
            assert!(has_control(&byte.to_string()), "{byte:?}");
        }
    }

    #[test]
    fn lengths_count_bytes() {
        let mut errors = Vec::new();
        text(&mut errors, "name", &"é".repeat(127), 254);
        assert_eq!(errors, [""; 0]);
        text(&mut errors, "name", &"é".repeat(128), 255);
        assert_eq!(errors, ["name must not exceed 255 characters (got 256)"]);
    }

    #[test]
    fn status_codes_and_their_number_are_limited() {
        let mut errors = Vec::new();
        status_codes(&mut errors, "codes", &[100, 599]);
        status_codes(&mut errors, "codes", &[200; 500]);
        assert_eq!(errors, [""; 0]);
        status_codes(&mut errors, "codes", &[99, 600]);
        status_codes(&mut errors, "codes", &[200; 501]);
        let expected = [
            "codes contains invalid HTTP status code 99 (must be 100-599)",
            "codes contains invalid HTTP status code 600 (must be 100-599)",
            "codes must not have more than 500 entries (got 501)",
        ];
        assert_eq!(errors, expected);
    }
}
