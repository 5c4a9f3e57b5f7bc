//! Azure Key Vault: `https://<vault>.vault.azure.net/secrets/<name>`, read as an application (client credentials).

use reqwest::header::HeaderValue;
use reqwest::{Client, Url};
use tokio::sync::OnceCell;

use super::fetch::Source;
use super::http::{self, field, given};
use super::{Environment, Refused};

const AUTHORITY: &str = "AZURE_AUTHORITY_HOST";
const AUTHORITY_DEFAULT: &str = "https://login.microsoftonline.com";
const PUBLIC_VAULTS: &str = "vault.azure.net";
const API_VERSION: &str = "7.4";

pub(super) struct KeyVault {
    client: Client,
    token_url: Url,
    client_id: String,
    client_secret: String,
    /// One per scope would be needed for several clouds; a process is in one.
    token: OnceCell<HeaderValue>,
}

impl KeyVault {
    pub(super) fn open(env: &Environment) -> Result<Self, Refused> {
        let needed =
            |name| given(env, name).ok_or_else(|| format!("{name} must be set to read secrets from Azure Key Vault"));
        let tenant = needed("AZURE_TENANT_ID")?;
        let (client_id, client_secret) = (needed("AZURE_CLIENT_ID")?, needed("AZURE_CLIENT_SECRET")?);
        let mut token_url = http::url(AUTHORITY, given(env, AUTHORITY).unwrap_or(AUTHORITY_DEFAULT))?;
        if let Ok(mut segments) = token_url.path_segments_mut() {
            segments.pop_if_empty().extend([tenant, "oauth2", "v2.0", "token"]);
        }
        let (client_id, client_secret) = (client_id.to_owned(), client_secret.to_owned());
        Ok(Self { client: http::client(None)?, token_url, client_id, client_secret, token: OnceCell::new() })
    }

    async fn log_in(&self, vaults: &str) -> Result<HeaderValue, Refused> {
        let scope = format!("https://{vaults}/.default");
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", self.client_id.as_str()),
            ("client_secret", self.client_secret.as_str()),
            ("scope", scope.as_str()),
        ];
        let request = http::form(self.client.post(self.token_url.clone()), &fields);
        let answer = http::send(request).await?.json()?;
        http::secret_header("the access token", &format!("Bearer {}", field(&answer, "/access_token", "Azure")?))
    }
}

impl Source for KeyVault {
    async fn fetch(&self, key: &str, reference: &str) -> Result<String, Refused> {
        let (url, vaults) = place(reference).ok_or_else(|| {
            format!(
                "Invalid Azure Key Vault reference for {key}: '{reference}'; it has the form \
                 https://<vault>.vault.azure.net/secrets/<name>"
            )
        })?;
        let token = self.token.get_or_try_init(|| self.log_in(&vaults)).await?;
        let answer = http::send(self.client.get(url).header("authorization", token)).await?.json()?;
        field(&answer, "/value", "Azure Key Vault").map(str::to_owned)
    }
}

/// What to ask for the newest version, and the domain of the vault's cloud, which tokens are for. Nothing for a text of another
/// form. A token goes in the clear to this host only, where there may be an emulator.
fn place(reference: &str) -> Option<(Url, String)> {
    let mut url = Url::parse(reference).ok()?;
    let host = url.host_str()?.to_owned();
    let is_local = matches!(host.as_str(), "127.0.0.1" | "[::1]" | "localhost");
    let may_be_asked = url.scheme() == "https" || (url.scheme() == "http" && is_local);
    let mut parts = url.path_segments()?;
    let name = match (parts.next(), parts.next()) {
        (Some("secrets"), Some(name)) if !name.is_empty() && may_be_asked => name.to_owned(),
        _ => return None,
    };
    url.set_path(&format!("/secrets/{name}"));
    url.set_query(Some(&format!("api-version={API_VERSION}")));
    url.set_fragment(None);
    let domain = host.split_once('.').map(|(_, domain)| domain).filter(|domain| domain.starts_with("vault."));
    Some((url, domain.unwrap_or(PUBLIC_VAULTS).to_owned()))
}
