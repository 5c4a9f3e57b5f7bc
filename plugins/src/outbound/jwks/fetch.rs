//! One fetch of a document, bounded in time and size.

use std::time::Duration;

use reqwest::Url;

use crate::outbound::{HttpClient, Label, cause, shown};

/// From the first byte sent to the last received. Nobody waits for it, but a rotated key is not known until then.
const FETCH_MAX: Duration = Duration::from_secs(10);
/// Real documents have some kilobytes.
pub(super) const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;

/// # Errors
/// It did not come, not with a 2xx, or is too long.
pub(super) async fn document(http: &HttpClient, url: &Url, plugin: &str) -> Result<Vec<u8>, String> {
    let shown = shown(url);
    let request = http.client().get(url.clone()).timeout(FETCH_MAX);
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
