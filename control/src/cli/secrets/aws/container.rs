//! The role of a container, from the endpoint that ECS or EKS names.

use std::net::IpAddr;

use reqwest::Url;
use serde_json::Value;

use super::super::{Refused, http};
use super::Host;

const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
/// Where ECS answers.
const ECS: &str = "http://169.254.170.2";
/// Where credentials may come from in the clear, beside this host: ECS, and EKS over either version of IP.
const LINK_LOCAL: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];

/// Nothing where no endpoint is named.
pub(super) async fn ask(host: &Host) -> Result<Option<Value>, Refused> {
    let url = match (host.given(RELATIVE), host.given(FULL)) {
        (Some(path), _) => http::url(RELATIVE, &format!("{ECS}{path}"))?,
        (None, Some(url)) => allowed(http::url(FULL, url)?)?,
        (None, None) => return Ok(None),
    };
    let mut request = host.client.get(url);
    if let Some(token) = token(host).await? {
        request = request.header("authorization", http::secret_header(TOKEN, &token)?);
    }
    http::send(request).await?.json().map(Some)
}

fn allowed(url: Url) -> Result<Url, Refused> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_near = match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || LINK_LOCAL.contains(&host),
        Err(_) => host == "localhost",
    };
    if url.scheme() == "https" || is_near {
        return Ok(url);
    }
    // Its server alone: in the rest there may be a secret.
    Err(format!("{FULL}: '{}' is neither https nor on this host", url.origin().ascii_serialization()))
}

async fn token(host: &Host) -> Result<Option<String>, Refused> {
    let Some(path) = host.given(TOKEN_FILE) else { return Ok(host.given(TOKEN).map(str::to_owned)) };
    let token = tokio::fs::read_to_string(path).await;
    token
        .map(|token| Some(token.trim_end().to_owned()))
        .map_err(|error| format!("{TOKEN_FILE}: '{path}' cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_come_in_the_clear_from_near_only() {
        let is_allowed = |url: &str| allowed(Url::parse(url).unwrap()).is_ok();
        for near in ["http://127.0.0.1:80/x", "http://[::1]/x", "http://localhost/", "http://169.254.170.2/"] {
            assert!(is_allowed(near), "{near}");
        }
        assert!(is_allowed("http://[fd00:ec2::23]/v1") && is_allowed("https://far.example/"));
        assert!(!is_allowed("http://far.example/") && !is_allowed("http://10.0.0.1/"));
        let said = allowed(Url::parse("http://user:hunter2@far.example/x?token=hunter2").unwrap()).unwrap_err();
        assert_eq!(said, format!("{FULL}: 'http://far.example' is neither https nor on this host"));
    }
}
