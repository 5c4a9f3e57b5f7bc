//! Responses of outbound calls, up to a limit.

use std::fmt;

use bytes::{Bytes, BytesMut};
use serde_json::Value;

/// Why a body could not be read.
#[derive(Debug)]
pub enum BoundedReadError {
    TooLarge { limit: usize },
    Transport(reqwest::Error),
}

impl fmt::Display for BoundedReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BoundedReadError::TooLarge { limit } => write!(f, "the response is longer than {limit} bytes"),
            BoundedReadError::Transport(error) => write!(f, "the response broke off: {error}"),
        }
    }
}

impl std::error::Error for BoundedReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BoundedReadError::TooLarge { .. } => None,
            BoundedReadError::Transport(error) => Some(error),
        }
    }
}

/// The body, which may be as long as the limit.
///
/// # Errors
/// It is longer, or does not come.
pub async fn read_response_body_bounded(
    mut response: reqwest::Response,
    limit: usize,
) -> Result<Bytes, BoundedReadError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(BoundedReadError::Transport)? {
        if chunk.len() > limit - body.len() {
            return Err(BoundedReadError::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// A limit in a plugin's configuration.
///
/// # Errors
/// It is no positive integer.
pub fn parse_max_response_body_bytes(config: &Value, plugin: &str, key: &str, default: usize) -> Result<usize, String> {
    let value = &config[key];
    if value.is_null() {
        return Ok(default);
    }
    let bytes = value.as_u64().ok_or_else(|| format!("{plugin}: '{key}' must be a non-negative integer"))?;
    match usize::try_from(bytes) {
        Ok(0) => Err(format!("{plugin}: '{key}' must be greater than zero")),
        Ok(bytes) => Ok(bytes),
        Err(_) => Ok(usize::MAX),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wiremock::matchers::method;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    #[tokio::test]
    async fn a_body_may_be_as_long_as_the_limit_and_not_longer() {
        let server = MockServer::start().await;
        Mock::given(method("GET"))
            .respond_with(ResponseTemplate::new(200).set_body_string("12345"))
            .mount(&server)
            .await;
        let read = async |limit| read_response_body_bounded(reqwest::get(server.uri()).await.unwrap(), limit).await;
        assert_eq!(read(5).await.unwrap(), "12345");
        assert_eq!(read(4).await.unwrap_err().to_string(), "the response is longer than 4 bytes");
    }

    #[test]
    fn a_limit_is_a_positive_integer_or_the_default() {
        let parse = |value| parse_max_response_body_bytes(&json!({"max": value}), "p", "max", 7);
        assert_eq!((parse(json!(null)), parse(json!(1))), (Ok(7), Ok(1)));
        assert_eq!(parse(json!(0)).unwrap_err(), "p: 'max' must be greater than zero");
        assert_eq!(parse(json!("1")).unwrap_err(), "p: 'max' must be a non-negative integer");
    }
}
