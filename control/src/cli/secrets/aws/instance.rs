//! The role and region of an EC2 instance, from its metadata service (version 2).

use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Client, Url};

use super::super::http::{self, given};
use super::super::{Environment, Refused};
use super::credentials::Keys;

const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const ENDPOINT_DEFAULT: &str = "http://169.254.169.254";
const DISABLED: &str = "AWS_EC2_METADATA_DISABLED";
/// Next door if anywhere: elsewhere than on an instance nobody answers.
const TIMEOUT: Duration = Duration::from_secs(2);
const ROLES: &str = "latest/meta-data/iam/security-credentials/";

pub(super) struct InstanceMetadata {
    endpoint: Url,
}

impl InstanceMetadata {
    /// Nothing where it is switched off.
    pub(super) fn find(env: &Environment) -> Result<Option<Self>, Refused> {
        if given(env, DISABLED).is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let text = given(env, ENDPOINT).unwrap_or(ENDPOINT_DEFAULT);
        let endpoint = http::url(ENDPOINT, &format!("{}/", text.trim_end_matches('/')))?;
        Ok(Some(Self { endpoint }))
    }

    pub(super) async fn region(&self, client: &Client) -> Result<String, Refused> {
        let token = self.token(client).await?;
        self.get(client, &token, "latest/meta-data/placement/region").await
    }

    pub(super) async fn keys(&self, client: &Client) -> Result<Keys, Refused> {
        let token = self.token(client).await?;
        let roles = self.get(client, &token, ROLES).await?;
        let role = roles.lines().next().unwrap_or_default().trim();
        if role.is_empty() {
            return Err("the instance has no role".to_owned());
        }
        let answer = self.get(client, &token, &format!("{ROLES}{role}")).await?;
        let answer = serde_json::from_str(&answer).map_err(|_| "the instance's credentials are not JSON")?;
        Keys::from_metadata(&answer, "the instance metadata service")
    }

    async fn token(&self, client: &Client) -> Result<HeaderValue, Refused> {
        let request = client
            .put(self.at("latest/api/token")?)
            .header("X-aws-ec2-metadata-token-ttl-seconds", "60")
            .header("content-length", "0")
            .timeout(TIMEOUT);
        let answer = http::send(request).await?;
        http::secret_header("the token of the instance metadata service", answer.text()?.trim())
    }

    async fn get(&self, client: &Client, token: &HeaderValue, path: &str) -> Result<String, Refused> {
        let request = client.get(self.at(path)?).header("X-aws-ec2-metadata-token", token).timeout(TIMEOUT);
        Ok(http::send(request).await?.text()?.to_owned())
    }

    fn at(&self, path: &str) -> Result<Url, Refused> {
        self.endpoint.join(path).map_err(|error| format!("{ENDPOINT}: {error}"))
    }
}
