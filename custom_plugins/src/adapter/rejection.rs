//! Answers of plugins as the gateway sends them.

use bytes::Bytes;
use engine::http::{Headers, KnownSet};
use native::Rejection;

use super::headers::{OfResponse, Places, Shown, changes};
use crate::plugins::PluginResult;

/// What the plugin rejects with, if it does. A status that cannot end an exchange becomes `invalid`.
pub(super) fn of(result: PluginResult, invalid: u16) -> Option<Box<Rejection>> {
    let (status, body, headers) = match result {
        PluginResult::Continue => return None,
        PluginResult::Reject { status_code, body, headers } => (status_code, body.into_bytes(), headers),
        PluginResult::RejectBinary { status_code, body, headers } => (status_code, vec_of(body), headers),
    };
    let status = if (200..=999).contains(&status) { status } else { invalid };
    let mut rejection = Rejection { status, headers: Vec::new(), body };
    let mut fields = Headers::new();
    if let Some(changes) = changes(&headers, &Places::default(), &OfResponse::new(&fields)) {
        changes.apply_to_response(&mut fields);
    }
    take_fields(&mut rejection, &fields);
    Some(Box::new(rejection))
}

fn vec_of(body: Bytes) -> Vec<u8> {
    body.into()
}

/// After a panic in a hook.
pub(super) fn of_panic() -> Box<Rejection> {
    Box::new(Rejection::json(500, r#"{"error":"Internal server error"}"#))
}

fn take_fields(rejection: &mut Rejection, fields: &Headers) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let sent = fields.iter().filter(|field| !KnownSet::FRAMING.has(field.known));
    rejection.headers = sent.map(|field| (text(field.name), text(field.value))).collect();
}

fn fields_of(rejection: &Rejection) -> Headers {
    let mut fields = Headers::new();
    rejection.headers.iter().for_each(|(name, value)| fields.append(name, value.as_bytes()));
    fields
}

/// Shows the headers of an answer.
pub(super) fn show(rejection: &Rejection, shown: &mut Shown) {
    shown.fill(&OfResponse::new(&fields_of(rejection)));
}

/// Carries back what was changed in it.
pub(super) fn carry_back(shown: &Shown, rejection: &mut Rejection) {
    let mut fields = fields_of(rejection);
    if let Some(changes) = changes(&shown.map, &shown.places, &OfResponse::new(&fields)) {
        changes.apply_to_response(&mut fields);
        take_fields(rejection, &fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reject(status_code: u16, headers: &[(&str, &str)]) -> PluginResult {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        PluginResult::Reject { status_code, body: "{}".into(), headers }
    }

    #[test]
    fn a_status_that_ends_no_exchange_is_replaced() {
        assert!(of(PluginResult::Continue, 500).is_none());
        for (status, sent) in [(200, 200), (999, 999), (199, 403), (100, 403), (0, 403), (1000, 403)] {
            assert_eq!(of(reject(status, &[]), 403).unwrap().status, sent, "{status}");
        }
    }

    #[test]
    fn headers_are_checked_and_cookies_divided() {
        let headers = [("Retry-After", "1"), ("set-cookie", "a=1\nb=2"), ("Content-Length", "99"), ("bad", "a\r\nb")];
        let mut sent = of(reject(429, &headers), 500).unwrap().headers;
        sent.sort();
        let expected = [("Retry-After", "1"), ("set-cookie", "a=1"), ("set-cookie", "b=2")];
        assert_eq!(sent, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn bytes_are_a_body_as_well() {
        let headers = std::collections::HashMap::new();
        let result = PluginResult::RejectBinary { status_code: 418, body: Bytes::from_static(b"\xff"), headers };
        assert_eq!(of(result, 500).unwrap().body, b"\xff");
    }

    #[test]
    fn a_decorator_changes_what_it_is_shown() {
        let mut rejection = Rejection::json(403, "{}").with_header("X-A", "1").with_header("X-B", "2");
        let mut shown = Shown::default();
        show(&rejection, &mut shown);
        carry_back(&shown, &mut rejection);
        assert_eq!(rejection.headers.len(), 2);
        shown.map.insert("x-c".into(), "3".into());
        shown.map.remove("x-b");
        carry_back(&shown, &mut rejection);
        assert_eq!(rejection.headers, [("X-A", "1"), ("x-c", "3")].map(|(n, v)| (n.to_owned(), v.to_owned())));
    }
}
