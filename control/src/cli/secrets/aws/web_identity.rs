//! A role that is taken with a token from a file, as Kubernetes gives one to a service account (IRSA).

use std::path::PathBuf;

use super::super::Refused;
use super::super::http;
use super::Host;
use super::credentials::Keys;

const ENDPOINT: &str = "AWS_ENDPOINT_URL_STS";
const VERSION: &str = "2011-06-15";
const SESSION_DEFAULT: &str = "ferrum-edge";

pub(super) struct Role {
    pub(super) arn: String,
    pub(super) token_file: PathBuf,
    pub(super) session: Option<String>,
}

impl Role {
    pub(super) fn from_environment(host: &Host) -> Option<Self> {
        let (token_file, arn) = (host.given("AWS_WEB_IDENTITY_TOKEN_FILE")?, host.given("AWS_ROLE_ARN")?);
        let session = host.given("AWS_ROLE_SESSION_NAME").map(str::to_owned);
        Some(Self { arn: arn.to_owned(), token_file: token_file.into(), session })
    }
}

/// The request is not signed: the token says who asks.
pub(super) async fn keys(host: &Host, role: &Role, region: &str) -> Result<Keys, Refused> {
    let file = role.token_file.display();
    let token = tokio::fs::read_to_string(&role.token_file).await;
    let token = token.map_err(|error| format!("the web identity token '{file}' cannot be read: {error}"))?;
    let fields = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", VERSION),
        ("RoleArn", role.arn.as_str()),
        ("RoleSessionName", role.session.as_deref().unwrap_or(SESSION_DEFAULT)),
        ("WebIdentityToken", token.trim_end()),
    ];
    let request = http::form(host.client.post(host.endpoint(ENDPOINT, "sts", region)?), &fields);
    let taken = |reason: Refused| format!("the role '{}' cannot be taken: {reason}", role.arn);
    let answer = http::send(request).await.map_err(taken)?;
    let text = answer.text().map_err(taken)?;
    let part = |name: &str| {
        http::element(text, name).map(str::to_owned).ok_or_else(|| taken(format!("STS answers without '{name}'")))
    };
    Ok(Keys { id: part("AccessKeyId")?, secret: part("SecretAccessKey")?, session: Some(part("SessionToken")?) })
}
