//! Several secrets of one back-end in the network, at once and each in its time.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::reference::Reference;
use super::{Refused, SecretError};

/// More wait for their turn.
const FETCHES_MAX: usize = 16;

/// A back-end that is ready to be asked.
pub(super) trait Source {
    /// The secret that `reference` names, for the setting `key`.
    async fn fetch(&self, key: &str, reference: &str) -> Result<String, Refused>;
}

/// The secrets in the order of the references. The first failure counts.
pub(super) fn all<S: Source>(
    source: Result<S, Refused>,
    references: &[&Reference],
    seconds: u64,
) -> Result<Vec<String>, SecretError> {
    let source = source.map_err(|reason| SecretError::Closed { reason })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| SecretError::Closed { reason: format!("cannot start a runtime to fetch secrets: {error}") })?;
    let fetches = stream::iter(references.iter().enumerate())
        .map(|(position, reference)| {
            let text = one(&source, reference, seconds);
            async move { Ok((position, text.await?)) }
        })
        .buffer_unordered(FETCHES_MAX)
        .try_collect();
    let fetched: Result<Vec<(usize, String)>, SecretError> = runtime.block_on(fetches);
    // A name that is still being looked up must not hold up the end.
    runtime.shutdown_background();
    let mut texts = fetched?;
    texts.sort_unstable_by_key(|(position, _)| *position);
    Ok(texts.into_iter().map(|(_, text)| text).collect())
}

async fn one<S: Source>(source: &S, reference: &Reference, seconds: u64) -> Result<String, SecretError> {
    let (key, backend) = (reference.key.clone(), reference.backend);
    match tokio::time::timeout(Duration::from_secs(seconds), source.fetch(&key, &reference.text)).await {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(reason)) => Err(SecretError::Refused { key, backend, reason }),
        Err(_) => Err(SecretError::Timeout { key, backend, seconds }),
    }
}
