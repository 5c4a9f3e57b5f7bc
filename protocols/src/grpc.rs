//! Refusals in the words of gRPC (traffic sheet §13.3 and §13.5).

use std::time::Duration;

use plugins::Rejection;

pub const INVALID_ARGUMENT: u8 = 3;
pub const DEADLINE_EXCEEDED: u8 = 4;
pub const RESOURCE_EXHAUSTED: u8 = 8;
pub const INTERNAL: u8 = 13;
pub const UNAVAILABLE: u8 = 14;

/// A refusal that consists of trailers only: status 200, no body, and the code and message as fields of the head.
pub fn refusal(code: u8, message: &str) -> Rejection {
    Rejection { status: 200, headers: Vec::new(), body: Vec::new() }
        .with_header("content-type", "application/grpc")
        .with_header("grpc-status", &code.to_string())
        .with_header("grpc-message", &encoded(message))
}

/// The rejection as a gRPC client understands it. Its other fields are kept.
pub fn translated(rejection: &Rejection) -> Rejection {
    let code = code(rejection.status);
    let header = |wanted: &str| {
        let found = rejection.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.clone())
    };
    // A plugin that speaks gRPC has said it already.
    let code = header("grpc-status").and_then(|status| status.parse().ok()).unwrap_or(code);
    let message = header("grpc-message").or_else(|| message(&rejection.body));
    let mut translated = refusal(code, message.as_deref().unwrap_or(default_message(code)));
    const REPLACED: [&str; 5] = ["content-type", "content-length", "grpc-status", "grpc-message", "x-gateway-error"];
    let is_kept = |name: &str| !REPLACED.iter().any(|replaced| name.eq_ignore_ascii_case(replaced));
    translated.headers.extend(rejection.headers.iter().filter(|(name, _)| is_kept(name)).cloned());
    translated
}

fn code(status: u16) -> u8 {
    match status {
        400 => INVALID_ARGUMENT,
        401 => 16,
        403 => 7,
        404 => 5,
        405 | 501 => 12,
        408 | 504 => DEADLINE_EXCEEDED,
        409 => 10,
        412 => 9,
        413 | 414 | 429 => RESOURCE_EXHAUSTED,
        425 | 502 | 503 => UNAVAILABLE,
        _ => INTERNAL,
    }
}

/// What the body says: one of the usual keys of a JSON object, or else its text.
fn message(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim();
    if let Ok(serde_json::Value::Object(object)) = serde_json::from_str(text) {
        let keys = ["grpc_message", "message", "error", "details"];
        return keys.iter().find_map(|key| object.get(*key)?.as_str()).map(str::to_owned);
    }
    (!text.is_empty()).then(|| text.to_owned())
}

fn default_message(code: u8) -> &'static str {
    match code {
        3 => "Invalid argument",
        4 => "Deadline exceeded",
        5 => "Not found",
        7 => "Permission denied",
        8 => "Resource exhausted",
        9 => "Failed precondition",
        10 => "Aborted",
        12 => "Unimplemented",
        13 => "Internal error",
        14 => "Service unavailable",
        16 => "Unauthenticated",
        _ => "Gateway rejected request",
    }
}

/// As a field's value: line ends become spaces, and what is not visible ASCII is percent-encoded, as the gRPC protocol has it.
fn encoded(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.trim().bytes() {
        match byte {
            b'\r' | b'\n' => encoded.push(' '),
            b' '..=b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The deadline that a client gives, at least a millisecond; nothing when it is zero or malformed.
pub fn timeout(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    // The protocol allows eight digits.
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    let timeout = match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    };
    (count > 0).then(|| timeout.max(Duration::from_millis(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(rejection: &Rejection) -> (String, String) {
        let translated = translated(rejection);
        assert_eq!((translated.status, translated.body.len()), (200, 0));
        let value = |name: &str| {
            let found = translated.headers.iter().filter(|(present, _)| present == name).collect::<Vec<_>>();
            assert_eq!(found.len(), 1, "{name}");
            found[0].1.clone()
        };
        assert_eq!(value("content-type"), "application/grpc");
        (value("grpc-status"), value("grpc-message"))
    }

    #[test]
    fn each_status_has_its_code_and_the_body_its_words() {
        let rows = [
            (404, r#"{"error":"Not Found"}"#, "5", "Not Found"),
            (401, "", "16", "Unauthenticated"),
            (429, r#"{"message":"slow down","error":"x"}"#, "8", "slow down"),
            (503, "plain words", "14", "plain words"),
            (405, r#"{"code":1}"#, "12", "Unimplemented"),
            (418, "", "13", "Internal error"),
            (400, "a\r\nb%\u{e9}", "3", "a  b%%C3%A9"),
        ];
        for (status, body, code, message) in rows {
            assert_eq!(said(&Rejection::json(status, body)), (code.to_owned(), message.to_owned()), "{status} {body}");
        }
    }

    #[test]
    fn other_fields_are_kept_and_what_is_gateway_wording_is_not() {
        let rejection =
            Rejection::error(429, "x").with_header("retry-after", "3").with_header("content-type", "text/plain");
        let headers = translated(&rejection).headers;
        assert!(headers.contains(&("retry-after".to_owned(), "3".to_owned())));
        assert!(!headers.contains(&("content-type".to_owned(), "text/plain".to_owned())));
    }

    #[test]
    fn timeouts_have_a_unit_and_are_at_least_a_millisecond() {
        let rows = [
            ("1H", Some(3_600_000)),
            ("2M", Some(120_000)),
            ("3S", Some(3000)),
            ("4m", Some(4)),
            ("5000u", Some(5)),
            ("1n", Some(1)),
            ("99999999S", Some(99_999_999_000)),
            ("0S", None),
            ("100000000S", None),
            ("S", None),
            ("", None),
            ("1s", None),
            ("-1S", None),
            ("1\u{e9}", None),
        ];
        for (text, expected) in rows {
            assert_eq!(timeout(text), expected.map(Duration::from_millis), "{text}");
        }
    }
}
