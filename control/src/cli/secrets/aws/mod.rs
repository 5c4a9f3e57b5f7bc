//! AWS Secrets Manager: `<name or ARN>[#<json key>]`, read with the credentials that AWS's own tools would find.

mod container;
mod credentials;
mod instance;
mod profile;
mod sign;
mod web_identity;

use reqwest::{Client, Url};
use serde_json::{Value, json};
use time::UtcDateTime;
use tokio::sync::OnceCell;

use super::fetch::Source;
use super::http::{self, given};
use super::{Environment, Refused};
use credentials::{Keys, Region};
use instance::InstanceMetadata;
use profile::Profile;
use sign::{Request, Scope};

const SERVICE: &str = "secretsmanager";
const ENDPOINT: &str = "AWS_ENDPOINT_URL_SECRETS_MANAGER";
/// Of all services.
const ENDPOINT_ANY: &str = "AWS_ENDPOINT_URL";

/// What is known of the host, for all who ask AWS.
struct Host {
    env: Environment,
    profile: Profile,
    client: Client,
    instance: Option<InstanceMetadata>,
}

impl Host {
    fn given(&self, name: &str) -> Option<&str> {
        given(&self.env, name)
    }

    /// Where a service is: as its own variable says, or that of all services, or the profile.
    fn endpoint(&self, variable: &str, service: &str, region: &str) -> Result<Url, Refused> {
        for name in [variable, ENDPOINT_ANY] {
            if let Some(text) = self.given(name) {
                return http::url(name, text);
            }
        }
        if let Some(text) = self.profile.get("endpoint_url") {
            return http::url("endpoint_url of the AWS profile", text);
        }
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        http::url(&format!("the region '{region}'"), &format!("https://{service}.{region}.{domain}/"))
    }
}

pub(super) struct SecretsManager {
    host: Host,
    /// Found at the first secret.
    account: OnceCell<Account>,
}

struct Account {
    region: Region,
    keys: Keys,
    endpoint: Url,
}

impl SecretsManager {
    pub(super) fn open(env: &Environment) -> Result<Self, Refused> {
        let (profile, client) = (Profile::load(env)?, http::client(None)?);
        let instance = InstanceMetadata::find(env)?;
        let host = Host { env: env.clone(), profile, client, instance };
        Ok(Self { host, account: OnceCell::new() })
    }

    async fn log_in(&self) -> Result<Account, Refused> {
        let region = credentials::region(&self.host).await?;
        let keys = credentials::keys(&self.host, &region).await?;
        let endpoint = self.host.endpoint(ENDPOINT, SERVICE, &region)?;
        Ok(Account { region, keys, endpoint })
    }

    async fn ask(&self, account: &Account, secret: &str) -> Result<Value, Refused> {
        let body = json!({ "SecretId": secret }).to_string();
        let headers = [
            ("content-type", "application/x-amz-json-1.1".to_owned()),
            ("x-amz-target", "secretsmanager.GetSecretValue".to_owned()),
        ];
        let request = Request { method: "POST", url: &account.endpoint, headers: &headers, body: body.as_bytes() };
        let scope = Scope { region: &account.region, service: SERVICE };
        let signed = sign::headers(&request, &account.keys, scope, UtcDateTime::now())?;
        let mut request = self.host.client.post(account.endpoint.clone()).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        http::send(request.headers(signed)).await?.json()
    }
}

impl Source for SecretsManager {
    async fn fetch(&self, _: &str, reference: &str) -> Result<String, Refused> {
        let (secret, key) = match reference.split_once('#') {
            Some((secret, key)) => (secret, Some(key)),
            None => (reference, None),
        };
        let account = self.account.get_or_try_init(|| self.log_in()).await?;
        let answer = self.ask(account, secret).await?;
        let Some(text) = answer.get("SecretString").and_then(Value::as_str) else {
            return Err(format!("the secret '{secret}' is binary; only text can be a setting"));
        };
        match key {
            None => Ok(text.to_owned()),
            Some(key) => value(secret, text, key),
        }
    }
}

/// A string as it is, anything else as JSON.
fn value(secret: &str, text: &str, key: &str) -> Result<String, Refused> {
    let parsed: Value = serde_json::from_str(text)
        .map_err(|_| format!("the secret '{secret}' is not JSON, so there is no key '{key}' in it"))?;
    match parsed.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Ok(other.to_string()),
        None => Err(format!("the secret '{secret}' has no key '{key}'")),
    }
}
