//! Google Cloud Secret Manager: `projects/<p>/secrets/<s>/versions/<v>`, read with Application Default Credentials.

mod credentials;
mod service_account;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use reqwest::{Client, Url};
use tokio::sync::OnceCell;

use super::fetch::Source;
use super::http::{self, field, given};
use super::{Environment, Refused};
use credentials::Credentials;

/// As gcloud reads it.
const ENDPOINT: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER";
const ENDPOINT_DEFAULT: &str = "https://secretmanager.googleapis.com/";

pub(super) struct SecretManager {
    client: Client,
    endpoint: Url,
    credentials: Credentials,
    token: OnceCell<HeaderValue>,
}

impl SecretManager {
    pub(super) fn open(env: &Environment) -> Result<Self, Refused> {
        let endpoint = http::url(ENDPOINT, given(env, ENDPOINT).unwrap_or(ENDPOINT_DEFAULT))?;
        let (client, credentials) = (http::client(None)?, Credentials::find(env)?);
        Ok(Self { client, endpoint, credentials, token: OnceCell::new() })
    }

    async fn log_in(&self) -> Result<HeaderValue, Refused> {
        let token = self.credentials.token(&self.client).await?;
        http::secret_header("the access token", &format!("Bearer {token}"))
    }
}

impl Source for SecretManager {
    async fn fetch(&self, key: &str, reference: &str) -> Result<String, Refused> {
        let place = place(reference).ok_or_else(|| {
            format!(
                "Invalid GCP Secret Manager reference for {key}: '{reference}'; it has the form \
                 projects/<project>/secrets/<secret>/versions/<version>"
            )
        })?;
        let mut url = self.endpoint.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            let [.., version] = place;
            segments.pop_if_empty().push("v1").extend(&place[..5]).push(&format!("{version}:access"));
        }
        let token = self.token.get_or_try_init(|| self.log_in()).await?;
        let answer = http::send(self.client.get(url).header("authorization", token)).await?.json()?;
        let payload = field(&answer, "/payload/data", "GCP Secret Manager")?;
        let payload = STANDARD.decode(payload).map_err(|_| "the secret's payload is not base64")?;
        String::from_utf8(payload).map_err(|_| "the secret's payload is not UTF-8".to_owned())
    }
}

/// The parts of a reference; nothing for a text of another form.
fn place(reference: &str) -> Option<[&str; 6]> {
    let parts: [&str; 6] = reference.split('/').collect::<Vec<_>>().try_into().ok()?;
    let [projects, project, secrets, secret, versions, version] = parts;
    let is_name = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    };
    let is_whole = (projects, secrets, versions) == ("projects", "secrets", "versions");
    let has_names = [project, secret, version].into_iter().all(|part| is_name(part) && part != "." && part != "..");
    (is_whole && has_names).then_some(parts)
}
