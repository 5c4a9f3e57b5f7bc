//! AWS Signature Version 4.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use engine::tls::hex;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue};
use time::UtcDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use super::super::{Refused, http};
use super::credentials::Keys;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TIMESTAMP: &[FormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");
/// Of a timestamp: the day.
const DAY_CHARS: usize = 8;

/// What is signed. Header names in lower case, without `host`, which is of the URL.
pub(super) struct Request<'r> {
    pub(super) method: &'r str,
    /// Without a query.
    pub(super) url: &'r Url,
    pub(super) headers: &'r [(&'static str, String)],
    pub(super) body: &'r [u8],
}

/// Where a signature is good.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s> {
    pub(super) region: &'s str,
    pub(super) service: &'s str,
}

/// The headers to send with the request, beside its own.
pub(super) fn headers(
    request: &Request<'_>,
    keys: &Keys,
    scope: Scope<'_>,
    at: UtcDateTime,
) -> Result<HeaderMap, Refused> {
    let timestamp = at.format(TIMESTAMP).map_err(|error| format!("the clock cannot be used: {error}"))?;
    let mut signed = request.headers.to_vec();
    signed.push(("host", host(request.url)));
    signed.push(("x-amz-date", timestamp.clone()));
    if let Some(session) = &keys.session {
        signed.push(("x-amz-security-token", session.clone()));
    }
    signed.sort_unstable_by_key(|(name, _)| *name);
    let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let day = timestamp.get(..DAY_CHARS).unwrap_or_default();
    let credential_scope = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let canonical = hex(digest(&SHA256, canonical(request, &signed, &names).as_bytes()).as_ref());
    let text = format!("{ALGORITHM}\n{timestamp}\n{credential_scope}\n{canonical}");
    let mut key = format!("AWS4{}", keys.secret).into_bytes();
    for part in [day, scope.region, scope.service, "aws4_request"] {
        key = keyed(&key, part);
    }
    let authorization = format!(
        "{ALGORITHM} Credential={}/{credential_scope}, SignedHeaders={names}, Signature={}",
        keys.id,
        hex(&keyed(&key, &text))
    );
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-date", HeaderValue::from_str(&timestamp).map_err(|error| error.to_string())?);
    headers.insert("authorization", http::secret_header("the AWS access key", &authorization)?);
    if let Some(session) = &keys.session {
        headers.insert("x-amz-security-token", http::secret_header("the AWS session token", session)?);
    }
    Ok(headers)
}

fn canonical(request: &Request<'_>, signed: &[(&str, String)], names: &str) -> String {
    let mut text = format!("{}\n{}\n\n", request.method, request.url.path());
    for (name, value) in signed {
        let _ = writeln!(text, "{name}:{}", value.trim());
    }
    let _ = write!(text, "\n{names}\n{}", hex(digest(&SHA256, request.body).as_ref()));
    text
}

/// As the client will send it.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn keyed(key: &[u8], text: &str) -> Vec<u8> {
    sign(&Key::new(HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use time::macros::utc_datetime;

    use super::*;

    /// The published test suite of the signature: its keys, its moment, its requests.
    #[test]
    fn signatures_are_those_of_the_published_test_suite() {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned();
        let keys = Keys { id: "AKIDEXAMPLE".to_owned(), secret, session: None };
        let scope = Scope { region: "us-east-1", service: "service" };
        let url = Url::parse("https://example.amazonaws.com/").unwrap();
        for (method, signature) in [
            ("GET", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("POST", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ] {
            let request = Request { method, url: &url, headers: &[], body: b"" };
            let headers = headers(&request, &keys, scope, utc_datetime!(2015-08-30 12:36:00)).unwrap();
            assert_eq!(headers["x-amz-date"], "20150830T123600Z");
            assert_eq!(
                headers["authorization"],
                format!(
                    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                     SignedHeaders=host;x-amz-date, Signature={signature}"
                )
            );
        }
    }

    #[test]
    fn a_port_is_part_of_the_host_unless_it_is_the_usual_one() {
        for (url, expected) in
            [("https://a.b:443/", "a.b"), ("http://a.b:81/", "a.b:81"), ("http://[::1]:81/", "[::1]:81")]
        {
            assert_eq!(host(&Url::parse(url).unwrap()), expected);
        }
    }
}
