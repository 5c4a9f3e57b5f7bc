//! One fetch of a document, bounded in time and size.

use std::time::Duration;

use reqwest::Url;

use crate::outbound::{HttpClient, Label, cause, shown};

/// From the first attempt to the last byte received. Nobody waits for it, but a rotated key is not known until then.
const FETCH_MAX: Duration = Duration::from_secs(10);
/// Real documents have some kilobytes.
pub(super) const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;

/// Redirects are not followed: whoever sits on the way to where one leads, in the clear perhaps, would supply the keys.
///
/// # Errors
/// It did not come in time, not with a 2xx, or is too long.
pub(super) async fn document(http: &HttpClient, url: &Url, plugin: &str) -> Result<Vec<u8>, String> {
    within(FETCH_MAX, fetched(http, url, plugin)).await
}

async fn within(most: Duration, fetched: impl Future<Output = Result<Vec<u8>, String>>) -> Result<Vec<u8>, String> {
    let late = |_| Err(format!("it did not come within {} s", most.as_secs()));
    tokio::time::timeout(most, fetched).await.unwrap_or_else(late)
}

async fn fetched(http: &HttpClient, url: &Url, plugin: &str) -> Result<Vec<u8>, String> {
    let shown = shown(url);
    let request = http.direct().get(url.clone());
    let label = Label { plugin, url: Some(&shown) };
    let mut response = http.execute(request, label, |_| ()).await.map_err(|error| cause(&error))?;
    if !response.status().is_success() {
        return Err(format!("it answered {}", response.status().as_u16()));
    }
    let mut document = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| cause(&error))? {
        if document.len() + piece.len() > DOCUMENT_BYTES_MAX {
            return Err(format!("its answer is longer than {DOCUMENT_BYTES_MAX} bytes"));
        }
        document.extend_from_slice(&piece);
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::{Options, Services};
    use crate::testing::peer::{Act, Peer};

    #[test]
    fn a_redirect_is_not_followed() {
        let peer = Peer::new(|_, seen| match seen.path() {
            "/keys" => Act::AnswerWith(302, "Location: /elsewhere\r\n".to_owned(), Vec::new()),
            _ => Act::Answer(200, b"{}".to_vec()),
        });
        let services = Services::of_tests();
        let url = Url::parse(&peer.url("/keys")).unwrap();
        let fetched = services.runtime.block_on(document(&services.http, &url, "jwks_auth"));
        assert_eq!(fetched.unwrap_err(), "it answered 302");
        assert_eq!(peer.seen().len(), 1);
    }

    #[test]
    fn the_limit_is_that_of_all_attempts_together() {
        let (runtime, options) =
            (Services::of_tests().runtime.clone(), Options { http_retries_max: 1000, ..Options::default() });
        let http = HttpClient::with_system_names(&options);
        let peer = Peer::new(|_, _| Act::Hang);
        let url = Url::parse(&peer.url("/keys")).unwrap();
        let most = Duration::from_secs(1);
        let fetched = runtime.block_on(within(most, fetched(&http, &url, "jwks_auth")));
        assert_eq!(fetched.unwrap_err(), "it did not come within 1 s");
        assert!(peer.seen().len() > 1, "it was tried again");
    }
}
