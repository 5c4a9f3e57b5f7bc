//! HashiCorp Vault, secrets engine KV version 2: `<mount>/data/<path>[#<key>]`.

use std::path::Path;

use reqwest::header::HeaderValue;
use reqwest::{Client, StatusCode, Url};
use serde_json::{Map, Value};

use super::fetch::Source;
use super::http::{self, given};
use super::{CA_BUNDLE_KEY, Environment, Refused};

const ADDRESS: &str = "VAULT_ADDR";
const TOKEN: &str = "VAULT_TOKEN";
/// Of Vault Enterprise; as Vault's own tools read it.
const NAMESPACE: &str = "VAULT_NAMESPACE";

pub(super) struct Vault {
    client: Client,
    address: Url,
    token: HeaderValue,
    namespace: Option<HeaderValue>,
}

/// A reference, taken apart.
struct Place<'r> {
    path: Vec<&'r str>,
    key: Option<&'r str>,
}

impl Vault {
    pub(super) fn open(env: &Environment) -> Result<Self, Refused> {
        let needed = |name| given(env, name).ok_or_else(|| format!("{name} must be set to read secrets from Vault"));
        let address = http::url(ADDRESS, needed(ADDRESS)?)?;
        let token = http::secret_header(TOKEN, needed(TOKEN)?)?;
        let namespace = given(env, NAMESPACE).map(|name| http::secret_header(NAMESPACE, name)).transpose()?;
        let client = http::client(given(env, CA_BUNDLE_KEY).map(|path| (CA_BUNDLE_KEY, Path::new(path))))?;
        Ok(Self { client, address, token, namespace })
    }
}

impl Source for Vault {
    async fn fetch(&self, key: &str, reference: &str) -> Result<String, Refused> {
        let place = place(reference).ok_or_else(|| {
            format!(
                "Invalid Vault KV v2 reference for {key}: '{reference}'; it has the form <mount>/data/<path> or \
                 <mount>/data/<path>#<key>"
            )
        })?;
        let mut url = self.address.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(&place.path);
        }
        let mut request = self.client.get(url).header("X-Vault-Token", &self.token);
        if let Some(namespace) = &self.namespace {
            request = request.header("X-Vault-Namespace", namespace);
        }
        let answer = http::send(request).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Err(format!("there is no secret '{}'", place.path.join("/")));
        }
        let answer = answer.json()?;
        let secret = answer.pointer("/data/data").and_then(Value::as_object);
        let secret = secret.ok_or("the answer is not one of a KV v2 secrets engine")?;
        value(secret, place.key).map(str::to_owned)
    }
}

/// Nothing for a text of another form. Dots as parts would be resolved on the way.
fn place(reference: &str) -> Option<Place<'_>> {
    let (path, key) = match reference.split_once('#') {
        Some((path, key)) => (path, Some(key)),
        None => (reference, None),
    };
    let path: Vec<&str> = path.split('/').collect();
    let is_whole = path.len() >= 3 && path[1] == "data" && path.iter().all(|part| !matches!(*part, "" | "." | ".."));
    (is_whole && key != Some("")).then_some(Place { path, key })
}

fn value<'s>(secret: &'s Map<String, Value>, key: Option<&str>) -> Result<&'s str, Refused> {
    let mut texts = Vec::with_capacity(secret.len());
    for (name, value) in secret {
        let text = value.as_str().ok_or_else(|| format!("the value of key '{name}' is not a string; all must be"))?;
        texts.push((name, text));
    }
    match (key, texts.as_slice()) {
        (Some(key), _) => {
            let found = texts.iter().find(|(name, _)| *name == key);
            found.map(|(_, text)| *text).ok_or_else(|| format!("the secret has no key '{key}'"))
        }
        (None, [(_, text)]) => Ok(text),
        (None, several) => {
            Err(format!("the secret has {} keys, not one; choose one with #<key> behind the path", several.len()))
        }
    }
}
