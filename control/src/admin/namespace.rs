//! The namespace of a request (admin sheet §6).

use hyper::HeaderMap;

/// Not that of `FERRUM_NAMESPACE`.
const DEFAULT: &str = "ferrum";
const LENGTH_MAX: usize = 254;

/// The header's value, or the reason why it is none.
pub(super) fn of(headers: &HeaderMap) -> Result<String, String> {
    let Some(name) = headers.get("x-ferrum-namespace").and_then(|value| value.to_str().ok()) else {
        return Ok(DEFAULT.to_owned());
    };
    if name.is_empty() {
        return Err("namespace must not be empty".to_owned());
    }
    if name.len() > LENGTH_MAX {
        return Err(format!("namespace must be at most {LENGTH_MAX} characters, got {}", name.len()));
    }
    let is_valid = name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !is_valid {
        return Err(format!(
            "namespace '{name}' is invalid: must start with alphanumeric and contain only alphanumeric, dots, underscores, or hyphens"
        ));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn of_value(value: &[u8]) -> Result<String, String> {
        of(&HeaderMap::from_iter([("x-ferrum-namespace".parse().unwrap(), HeaderValue::from_bytes(value).unwrap())]))
    }

    #[test]
    fn absent_or_unreadable_is_the_default() {
        assert_eq!(of(&HeaderMap::new()), Ok("ferrum".to_owned()));
        assert_eq!(of_value(b"caf\xe9"), Ok("ferrum".to_owned()));
    }

    #[test]
    fn names_are_checked_at_their_limits() {
        assert_eq!(of_value(b"Team-a.1_x"), Ok("Team-a.1_x".to_owned()));
        assert!(of_value(&[b'a'; 254]).is_ok());
        assert_eq!(of_value(&[b'a'; 255]).unwrap_err(), "namespace must be at most 254 characters, got 255");
        assert_eq!(of_value(b"").unwrap_err(), "namespace must not be empty");
        for bad in [&b"-a"[..], b".a", b"a/b", b"a b"] {
            assert!(of_value(bad).unwrap_err().contains("is invalid: must start with alphanumeric"));
        }
    }
}
