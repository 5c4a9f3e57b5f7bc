//! Where a provider's keys are, as its discovery document says (OpenID Connect Discovery §4).

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use reqwest::Url;
use serde_json::Value;
use tokio::sync::Notify;

use super::schedule::Schedule;
use super::{Store, fetch};
use crate::outbound::{Services, http_url, shown};

/// The pause behind a failed attempt doubles from two seconds up to this.
const PAUSE_SECS_MAX: u64 = 256;

/// Dropping the last handle ends the search.
pub struct Discovery {
    document: Url,
    plugin: &'static str,
    schedule: Schedule,
    found: OnceLock<Arc<Store>>,
    dropped: Arc<Notify>,
}

impl Discovery {
    pub(super) fn new(document: Url, plugin: &'static str, schedule: Schedule) -> Self {
        Self { document, plugin, schedule, found: OnceLock::new(), dropped: Arc::default() }
    }

    /// The keys, once it is known where they are.
    pub fn store(&self) -> Option<&Arc<Store>> {
        self.found.get()
    }

    /// As [`Store::refresh_every`].
    pub fn refresh_every(&self, interval: Duration, services: &Services) {
        self.schedule.set(interval, services.jwks.configuration());
        if let Some(store) = self.store() {
            store.refresh_every(interval, services);
        }
    }

    async fn attempt(&self, services: &Arc<Services>) -> Result<(), String> {
        let document = fetch::document(&services.http, &self.document, self.plugin).await?;
        let uri = keys_uri(&self.document, &document)?;
        tracing::info!("{}: {} names the keys at {}", self.plugin, shown(&self.document), shown(&uri));
        let store = services.jwks(&uri, self.plugin, self.schedule.interval());
        self.found.get_or_init(|| store);
        Ok(())
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.dropped.notify_one();
    }
}

fn keys_uri(from: &Url, document: &[u8]) -> Result<Url, String> {
    let document: Value = serde_json::from_slice(document).map_err(|error| format!("it is not JSON: {error}"))?;
    let uri = document.get("jwks_uri").and_then(Value::as_str).ok_or("it has no 'jwks_uri'")?;
    let uri = http_url(uri).map_err(|reason| format!("its 'jwks_uri' {reason}"))?;
    // The keys are the document's to name, but not on a host, or in the clear, that the operator never named.
    match uri.origin() == from.origin() {
        true => Ok(uri),
        false => Err(format!("its 'jwks_uri' has another origin than it has itself: {}", shown(&uri))),
    }
}

fn pause(failures: u32) -> Duration {
    Duration::from_secs(2_u64.saturating_pow(failures).min(PAUSE_SECS_MAX))
}

/// Tries until the document has been read, as long as somebody uses it.
pub(super) async fn find(discovery: Weak<Discovery>, services: Arc<Services>) {
    let mut failures = 0;
    while let Some(present) = discovery.upgrade() {
        let Err(reason) = present.attempt(&services).await else { return };
        failures += 1;
        let (plugin, from, pause) = (present.plugin, shown(&present.document), pause(failures));
        tracing::warn!(
            pause_secs = pause.as_secs(),
            "{plugin}: the discovery document {from} cannot be used: {reason}"
        );
        let dropped = present.dropped.clone();
        drop(present);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = dropped.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::peer::{Act, Peer, eventually};
    use crate::testing::tokens::Signer;
    use serde_json::json;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn the_pauses_double_from_two_to_256_seconds() {
        let pauses: Vec<u64> = (1..=10).map(|failures| pause(failures).as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 256, 256]);
        assert_eq!(pause(u32::MAX).as_secs(), 256);
    }

    #[test]
    fn the_document_names_the_keys() {
        let found = |from: &str, document: &[u8]| keys_uri(&url(from), document).map(|uri| uri.to_string());
        let document = br#"{"issuer":"x","jwks_uri":"https://idp.test:443/k?v=1"}"#;
        assert_eq!(found("https://idp.test/d", document).unwrap(), "https://idp.test/k?v=1");
        let elsewhere = "its 'jwks_uri' has another origin than it has itself: https://idp.test/k";
        for from in ["http://idp.test/d", "https://idp.test:8443/d", "https://www.idp.test/d"] {
            assert_eq!(found(from, document).unwrap_err(), elsewhere, "{from}");
        }
        for (document, reason) in [
            (&b"<"[..], "it is not JSON: "),
            (b"[]", "it has no 'jwks_uri'"),
            (br#"{"jwks_uri":5}"#, "it has no 'jwks_uri'"),
            (br#"{"jwks_uri":"/k"}"#, "its 'jwks_uri' is not a valid URL: "),
            (br#"{"jwks_uri":"file:///k"}"#, "its 'jwks_uri' must use http or https scheme, got 'file'"),
            (
                br#"{"jwks_uri":"http://idp.test/k"}"#,
                "its 'jwks_uri' has another origin than it has itself: http://idp.test/k",
            ),
        ] {
            let error = found("https://idp.test/d", document).unwrap_err();
            assert!(error.starts_with(reason), "{error}");
        }
    }

    #[test]
    fn the_keys_it_names_are_fetched_and_everybody_shares_them() {
        let keys = json!({"keys": [Signer::es256("one").jwk()]}).to_string().into_bytes();
        let peer = Peer::new(move |_, seen| match seen.path() {
            "/keys" => Act::Answer(200, keys.clone()),
            _ => {
                let host = seen.header("host").unwrap_or_default();
                Act::Answer(200, json!({"jwks_uri": format!("http://{host}/keys")}).to_string().into_bytes())
            }
        });
        let services = Services::of_tests();
        let document = url(&peer.url("/.well-known/openid-configuration"));
        let one = services.discovered_jwks(&document, "jwks_auth", Duration::from_secs(900));
        let two = services.discovered_jwks(&document, "jwks_auth", Duration::from_secs(900));
        assert!(Arc::ptr_eq(&one, &two));
        let store = eventually("the document is read", || one.store().cloned());
        eventually("the keys are there", || (store.view(0).look().0.len() == 1).then_some(()));
        let direct = services.jwks(&url(&peer.url("/keys")), "jwks_auth", Duration::from_secs(900));
        assert!(Arc::ptr_eq(&store, &direct));
    }
}
