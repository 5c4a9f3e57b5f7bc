//! Where AWS credentials come from: environment, profile, web identity, container, instance. The first that has any counts.

use serde_json::Value;

use super::super::Refused;
use super::super::http::field;
use super::{Host, container, web_identity};

/// What requests are signed with.
pub(super) struct Keys {
    pub(super) id: String,
    pub(super) secret: String,
    /// Of credentials that end.
    pub(super) session: Option<String>,
}

pub(super) type Region = String;

impl Keys {
    /// As the metadata services of containers and instances answer.
    pub(super) fn from_metadata(answer: &Value, server: &str) -> Result<Self, Refused> {
        Ok(Self {
            id: field(answer, "/AccessKeyId", server)?.to_owned(),
            secret: field(answer, "/SecretAccessKey", server)?.to_owned(),
            session: answer.get("Token").and_then(Value::as_str).map(str::to_owned),
        })
    }
}

pub(super) async fn region(host: &Host) -> Result<Region, Refused> {
    let given = host.given("AWS_REGION").or_else(|| host.given("AWS_DEFAULT_REGION"));
    if let Some(region) = given.or_else(|| host.profile.get("region")) {
        return Ok(region.to_owned());
    }
    let missing = "no AWS region: set AWS_REGION, or region in the AWS profile";
    match &host.instance {
        Some(instance) => instance.region(&host.client).await.map_err(|reason| format!("{missing} ({reason})")),
        None => Err(missing.to_owned()),
    }
}

pub(super) async fn keys(host: &Host, region: &str) -> Result<Keys, Refused> {
    if let (Some(id), Some(secret)) = (host.given("AWS_ACCESS_KEY_ID"), host.given("AWS_SECRET_ACCESS_KEY")) {
        let session = host.given("AWS_SESSION_TOKEN").map(str::to_owned);
        return Ok(Keys { id: id.to_owned(), secret: secret.to_owned(), session });
    }
    if let Some(role) = host.profile.web_identity()? {
        return web_identity::keys(host, &role, region).await;
    }
    if let Some(keys) = host.profile.keys() {
        return Ok(keys);
    }
    if let Some(role) = web_identity::Role::from_environment(host) {
        return web_identity::keys(host, &role, region).await;
    }
    if let Some(answer) = container::ask(host).await? {
        return Keys::from_metadata(&answer, "the container's credential endpoint");
    }
    let missing = "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role of the \
                   container or instance";
    match &host.instance {
        Some(instance) => instance.keys(&host.client).await.map_err(|reason| format!("{missing} ({reason})")),
        None => Err(missing.to_owned()),
    }
}
