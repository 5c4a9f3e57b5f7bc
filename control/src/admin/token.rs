//! Tokens for this API, for operators who have the gateway's settings at hand (admin sheet §5).

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;
use uuid::Uuid;

use super::Role;
use crate::settings::{SECRET_BYTES_MIN, Secret};

/// How long a token is good unless something else is asked for and allowed.
pub const TOKEN_TTL_DEFAULT_SECONDS: u64 = 3600;

/// What tokens are signed with, and how long they may be good.
#[derive(Clone, Debug)]
pub struct Signing<'a> {
    pub secret: Option<&'a Secret>,
    pub issuer: &'a str,
    /// Longest `exp - iat`; 0 = no limit.
    pub ttl_max_seconds: u64,
}

/// For whom a token is.
#[derive(Clone, Debug)]
pub struct Bearer<'a> {
    pub role: Role,
    /// As the audit log shows them.
    pub subject: &'a str,
    /// None: an hour, or the longest there is.
    pub ttl_seconds: Option<u64>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error(
        "FERRUM_ADMIN_JWT_SECRET is not set: set the secret that the gateway has, at least {SECRET_BYTES_MIN} characters"
    )]
    NoSecret,
    #[error(
        "FERRUM_ADMIN_JWT_SECRET must be at least {SECRET_BYTES_MIN} characters (got {0}): the gateway refuses tokens of a shorter one"
    )]
    ShortSecret(usize),
    #[error("--ttl-seconds {asked}: FERRUM_ADMIN_JWT_MAX_TTL allows at most {max}")]
    TtlTooLong { asked: u64, max: u64 },
    #[error("--ttl-seconds 0: a token must be good for at least a second")]
    NoTtl,
    #[error("--ttl-seconds {0}: no clock goes that far")]
    NoSuchTime(u64),
    #[error("--subject is empty: name who will use the token")]
    NoSubject,
    #[error("the token cannot be signed: {0}")]
    Signing(String),
}

impl Signing<'_> {
    /// A token that is good from `now`, in seconds of Unix time.
    ///
    /// # Errors
    /// The gateway would refuse it.
    pub fn token(&self, bearer: &Bearer<'_>, now: u64) -> Result<String, TokenError> {
        let secret = match self.secret.map(Secret::expose) {
            None | Some("") => return Err(TokenError::NoSecret),
            Some(secret) if secret.len() < SECRET_BYTES_MIN => return Err(TokenError::ShortSecret(secret.len())),
            Some(secret) => secret,
        };
        if bearer.subject.trim().is_empty() {
            return Err(TokenError::NoSubject);
        }
        let ttl = self.ttl_seconds(bearer.ttl_seconds)?;
        let end = now.checked_add(ttl).filter(|end| i64::try_from(*end).is_ok()).ok_or(TokenError::NoSuchTime(ttl))?;
        let claims = json!({
            "iss": self.issuer,
            "sub": bearer.subject,
            "role": bearer.role.name(),
            "iat": now,
            "nbf": now,
            "exp": end,
            "jti": Uuid::new_v4().to_string(),
        });
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
            .map_err(|error| TokenError::Signing(error.to_string()))
    }

    fn ttl_seconds(&self, asked: Option<u64>) -> Result<u64, TokenError> {
        let max = if self.ttl_max_seconds == 0 { u64::MAX } else { self.ttl_max_seconds };
        match asked {
            None => Ok(TOKEN_TTL_DEFAULT_SECONDS.min(max)),
            Some(0) => Err(TokenError::NoTtl),
            Some(asked) if asked > max => Err(TokenError::TtlTooLong { asked, max }),
            Some(asked) => Ok(asked),
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::HeaderMap;
    use hyper::header::AUTHORIZATION;

    use super::super::auth::Gate;
    use super::*;

    const SECRET: &str = "a secret of the tests with more than 32 characters";

    fn minted(secret: Option<&str>, ttl_max_seconds: u64, ttl_seconds: Option<u64>) -> Result<String, TokenError> {
        let secret = secret.map(Secret::new);
        let signing = Signing { secret: secret.as_ref(), issuer: "ferrum-edge", ttl_max_seconds };
        let bearer = Bearer { role: Role::Operator, subject: "ops@example", ttl_seconds };
        signing.token(&bearer, jsonwebtoken::get_current_timestamp())
    }

    #[test]
    fn the_gateway_takes_what_is_signed_here() {
        for (max, ttl) in [(3600, None), (3600, Some(3600)), (60, None), (0, Some(1_000_000)), (3600, Some(1))] {
            let token = minted(Some(SECRET), max, ttl).unwrap();
            let gate = Gate::new(Some(SECRET), "ferrum-edge", max);
            let headers = HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {token}").parse().unwrap())]);
            let caller = gate.check(&headers).unwrap();
            assert_eq!((caller.role, caller.subject.as_str()), (Role::Operator, "ops@example"));
        }
    }

    #[test]
    fn what_the_gateway_would_refuse_is_not_signed() {
        assert_eq!(minted(None, 3600, None), Err(TokenError::NoSecret));
        assert_eq!(minted(Some(""), 3600, None), Err(TokenError::NoSecret));
        assert_eq!(minted(Some(&SECRET[..31]), 3600, None), Err(TokenError::ShortSecret(31)));
        assert!(minted(Some(&SECRET[..32]), 3600, None).is_ok());
        assert_eq!(minted(Some(SECRET), 60, Some(61)), Err(TokenError::TtlTooLong { asked: 61, max: 60 }));
        assert_eq!(minted(Some(SECRET), 60, Some(0)), Err(TokenError::NoTtl));
        assert_eq!(minted(Some(SECRET), 0, Some(u64::MAX)), Err(TokenError::NoSuchTime(u64::MAX)));
    }
}
