//! From a database to a document.

use std::sync::Arc;

use engine::model::{Document, Format, check_namespace, encode};

use super::{connected, runtime, target};
use crate::settings::Settings;

/// A document, and what of the database is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    pub text: String,
    pub warnings: Vec<String>,
}

/// What the database has of one namespace, or of all, exactly as it is stored.
///
/// # Errors
/// Why there is no document; no password is in the text.
pub fn export(settings: &Settings, namespace: Option<&str>, format: Format) -> Result<Exported, String> {
    namespace.map_or(Ok(()), check_namespace)?;
    let target = target(settings)?;
    runtime()?.block_on(async {
        let store = connected(&target).await?;
        let failed = |error: crate::store::StoreError| {
            let hint = "if it has no tables yet, FERRUM_MODE=migrate makes them";
            format!("{} cannot be read ({hint}): {error}", target.shown())
        };
        let mut document = store.export(namespace).await.map_err(failed)?;
        let specs = store.api_spec_count(namespace).await.map_err(failed)?;
        store.close().await;
        let warnings = left_out(without_owners(&mut document), specs);
        Ok(Exported { text: encode(&document, format)?, warnings })
    })
}

/// Which API spec owns a resource is no part of a document (resources sheet §11). Answers how many had an owner.
fn without_owners(document: &mut Document) -> usize {
    let proxies = document.proxies.iter_mut().filter_map(|row| Arc::make_mut(row).api_spec_id.take()).count();
    let upstreams = document.upstreams.iter_mut().filter_map(|row| Arc::make_mut(row).api_spec_id.take()).count();
    let configs = document.plugin_configs.iter_mut().filter_map(|row| Arc::make_mut(row).api_spec_id.take()).count();
    proxies + upstreams + configs
}

fn left_out(owned: usize, specs: u64) -> Vec<String> {
    if owned == 0 && specs == 0 {
        return Vec::new();
    }
    vec![format!(
        "{specs} API specs are not in the document, which has no place for them; the {owned} resources that they own are, \
         without their owner"
    )]
}
