//! Application Default Credentials: a file that the environment names, the file that gcloud leaves, the metadata server.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Client, Url};
use serde_json::Value;

use super::super::http::{self, field, given};
use super::super::{Environment, Refused};
use super::service_account::ServiceAccount;

const FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
const METADATA_HOST: &str = "GCE_METADATA_HOST";
const METADATA_HOST_DEFAULT: &str = "metadata.google.internal";
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";

pub(super) enum Credentials {
    ServiceAccount(ServiceAccount),
    User(User),
    Metadata(Url),
}

/// Who has logged in with gcloud.
pub(super) struct User {
    client_id: String,
    client_secret: String,
    refresh_token: String,
    token_url: Url,
}

impl Credentials {
    pub(super) fn find(env: &Environment) -> Result<Self, Refused> {
        if let Some(path) = given(env, FILE) {
            return Self::from_file(&PathBuf::from(path));
        }
        let folder = given(env, "CLOUDSDK_CONFIG").map(PathBuf::from);
        let folder = folder.or_else(|| given(env, "HOME").map(|home| PathBuf::from(home).join(".config/gcloud")));
        if let Some(path) = folder.map(|folder| folder.join("application_default_credentials.json"))
            && path.exists()
        {
            return Self::from_file(&path);
        }
        let host = given(env, METADATA_HOST).unwrap_or(METADATA_HOST_DEFAULT);
        let path = "computeMetadata/v1/instance/service-accounts/default/token";
        http::url(METADATA_HOST, &format!("http://{host}/{path}")).map(Self::Metadata)
    }

    fn from_file(path: &PathBuf) -> Result<Self, Refused> {
        let refused = |reason: String| format!("Google credentials in '{}': {reason}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
        let file: Value = serde_json::from_str(&text).map_err(|_| refused("this is not JSON".to_owned()))?;
        let text = |name: &str| field(&file, &format!("/{name}"), "the file").map(str::to_owned);
        let token_url = || match file.get("token_uri").and_then(Value::as_str) {
            Some(given) => http::url("token_uri", given),
            None => http::url("token_uri", TOKEN_URL),
        };
        let kind = file.get("type").and_then(Value::as_str).unwrap_or_default();
        let found = match kind {
            "service_account" => token_url().and_then(|token_url| {
                ServiceAccount::new(
                    text("client_email")?,
                    &text("private_key")?,
                    text("private_key_id").ok(),
                    token_url,
                )
                .map(Self::ServiceAccount)
            }),
            "authorized_user" => token_url().and_then(|token_url| {
                let (client_id, client_secret) = (text("client_id")?, text("client_secret")?);
                Ok(Self::User(User { client_id, client_secret, refresh_token: text("refresh_token")?, token_url }))
            }),
            _ => Err(format!("credentials of type '{kind}' are not supported; use service_account or authorized_user")),
        };
        found.map_err(refused)
    }

    /// An access token.
    pub(super) async fn token(&self, client: &Client) -> Result<String, Refused> {
        let request = match self {
            Self::ServiceAccount(account) => {
                let assertion = account.assertion()?;
                let fields =
                    [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", assertion.as_str())];
                http::form(client.post(account.token_url.clone()), &fields)
            }
            Self::User(user) => {
                let fields = [
                    ("grant_type", "refresh_token"),
                    ("client_id", user.client_id.as_str()),
                    ("client_secret", user.client_secret.as_str()),
                    ("refresh_token", user.refresh_token.as_str()),
                ];
                http::form(client.post(user.token_url.clone()), &fields)
            }
            Self::Metadata(url) => {
                client.get(url.clone()).header("Metadata-Flavor", "Google").timeout(METADATA_TIMEOUT)
            }
        };
        let answer = http::send(request).await.and_then(|answer| answer.json()).map_err(|reason| match self {
            Self::Metadata(_) => format!(
                "no Google credentials: {FILE} is not set, there is no file of gcloud, and of the metadata server: {reason}"
            ),
            _ => format!("no access token: {reason}"),
        })?;
        field(&answer, "/access_token", "Google").map(str::to_owned)
    }
}
