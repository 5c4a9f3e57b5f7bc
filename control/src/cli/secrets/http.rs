//! The HTTP client of the back-ends in the network, and how their answers are read.

// Each back-end uses its part.
#![cfg_attr(
    not(all(feature = "secrets-vault", feature = "secrets-aws", feature = "secrets-gcp", feature = "secrets-azure")),
    allow(dead_code)
)]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use engine::tls::{ClientConfig, RootCertStore, install_provider, public_roots};
use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;

use super::{Environment, Refused};

/// Of one answer. Secrets are at most 1 MiB (Vault), a third more as base64.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Of what a server says about its refusal.
const EXPLANATION_CHARS_MAX: usize = 300;

/// A variable that is set and not empty.
pub(super) fn given<'e>(env: &'e Environment, name: &str) -> Option<&'e str> {
    env.get(name).map(String::as_str).filter(|text| !text.is_empty())
}

/// Trusts the public roots, and those of this bundle. Follows no redirect: what it sends is for the server it asks.
pub(super) fn client(bundle: Option<(&str, &Path)>) -> Result<Client, Refused> {
    let mut roots: RootCertStore = (*public_roots()).clone();
    if let Some((setting, path)) = bundle {
        trust(&mut roots, setting, path)?;
    }
    // Whoever runs this room alone has installed none.
    install_provider();
    let tls = ClientConfig::builder().with_root_certificates(Arc::new(roots)).with_no_client_auth();
    Client::builder()
        .user_agent(concat!("ferrum-edge/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(Policy::none())
        .tls_backend_preconfigured(tls)
        .build()
        .map_err(|error| format!("cannot make an HTTP client: {}", causes(&error)))
}

fn trust(roots: &mut RootCertStore, setting: &str, path: &Path) -> Result<(), Refused> {
    let refused = |error: &dyn Error| format!("{setting}: cannot use '{}': {error}", path.display());
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| refused(&error))?;
    for certificate in certificates {
        roots.add(certificate.map_err(|error| refused(&error))?).map_err(|error| refused(&error))?;
    }
    Ok(())
}

/// # Errors
/// It is none, or neither http nor https.
pub(super) fn url(what: &str, text: &str) -> Result<Url, Refused> {
    // Before an @ there may be a password.
    let shown = if text.contains('@') { "this".to_owned() } else { format!("'{text}'") };
    let refused = |reason: &str| format!("{what}: {shown} is not an http or https URL{reason}");
    let url = Url::parse(text).map_err(|error| refused(&format!(": {error}")))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(refused("")),
    }
}

/// For what must never be shown.
pub(super) fn secret_header(what: &str, text: &str) -> Result<HeaderValue, Refused> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_| format!("{what} has characters in it that no header can carry"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// With these fields as its body.
pub(super) fn form(request: RequestBuilder, fields: &[(&str, &str)]) -> RequestBuilder {
    let encoded = Url::parse_with_params("form:", fields).ok();
    let body = encoded.as_ref().and_then(Url::query).unwrap_or_default().to_owned();
    request.header("content-type", "application/x-www-form-urlencoded").body(body)
}

pub(super) struct Answer {
    status: StatusCode,
    body: Vec<u8>,
    /// Whose it is.
    server: String,
}

/// Sends the request and receives the whole answer.
pub(super) async fn send(request: RequestBuilder) -> Result<Answer, Refused> {
    let (client, request) = request.build_split();
    let request = request.map_err(|error| format!("cannot make a request: {}", causes(&error)))?;
    let server = request.url().origin().ascii_serialization();
    let lost = |error: reqwest::Error| format!("cannot ask {server}: {}", causes(&error.without_url()));
    let mut response = client.execute(request).await.map_err(lost)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(format!("{server} answers with more than {ANSWER_BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status: response.status(), body, server })
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The body of a success.
    pub(super) fn json(&self) -> Result<Value, Refused> {
        self.check()?;
        serde_json::from_slice(&self.body)
            .map_err(|_| format!("{} answers with something that is not JSON", self.server))
    }

    pub(super) fn text(&self) -> Result<&str, Refused> {
        self.check()?;
        std::str::from_utf8(&self.body).map_err(|_| format!("{} answers with something that is not text", self.server))
    }

    fn check(&self) -> Result<(), Refused> {
        if self.status.is_success() {
            return Ok(());
        }
        let said = explanation(&self.body).map(|said| format!(": {said}")).unwrap_or_default();
        Err(format!("{} answers {}{said}", self.server, self.status))
    }
}

/// What a refusal says about itself, in the forms that these servers have.
fn explanation(body: &[u8]) -> Option<String> {
    let body = std::str::from_utf8(body).ok()?;
    let parsed: Value = serde_json::from_str(body).unwrap_or_default();
    let text = |pointer: &str| parsed.pointer(pointer)?.as_str().filter(|text| !text.is_empty());
    let kind = ["/__type", "/error/status", "/error/code", "/error"].into_iter().find_map(text);
    let message =
        ["/errors/0", "/message", "/Message", "/error/message", "/error_description"].into_iter().find_map(text);
    let said: Vec<&str> = match kind.or(message) {
        Some(_) => kind.into_iter().chain(message).collect(),
        None => ["Code", "Message"].into_iter().filter_map(|name| element(body, name)).collect(),
    };
    let shown = said.join(": ");
    let plain = shown.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    (!said.is_empty()).then(|| plain.take(EXPLANATION_CHARS_MAX).collect())
}

/// The text of the first XML element of this name; its kind of answer has no attributes and nothing escaped where it matters.
pub(super) fn element<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

/// The error and what is behind it.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// A field that must be there.
pub(super) fn field<'v>(answer: &'v Value, pointer: &str, server: &str) -> Result<&'v str, Refused> {
    answer
        .pointer(pointer)
        .and_then(Value::as_str)
        .ok_or_else(|| format!("{server} answers without '{}'", pointer.trim_start_matches('/').replace('/', ".")))
}
