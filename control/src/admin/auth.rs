//! Who may call: the bearer token and its role (admin sheet §5).

use std::fmt;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

/// Ordered: who may do more is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Viewer,
    Operator,
    Admin,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

/// Why a caller is refused, in the words of the answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    NoHeader,
    HeaderFormat,
    Token(String),
    NoRole,
    UnknownRole(String),
    RoleType,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const EXPECTED: &str = "expected viewer, operator, or admin";
        match self {
            Refusal::NoHeader => f.write_str("Missing Authorization header"),
            Refusal::HeaderFormat => f.write_str("Invalid Authorization header format"),
            Refusal::Token(detail) => write!(f, "Token verification failed: {detail}"),
            Refusal::NoRole => write!(f, "Missing admin role claim; {EXPECTED}"),
            Refusal::UnknownRole(role) => write!(f, "Invalid admin role claim '{role}'; {EXPECTED}"),
            Refusal::RoleType => write!(f, "Invalid admin role claim type; {EXPECTED} string"),
        }
    }
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) role: Role,
    /// The `sub` of the token.
    pub(super) subject: String,
}

/// Checks tokens with one key.
pub(super) struct Gate {
    key: DecodingKey,
    validation: Validation,
    ttl_max_seconds: u64,
}

impl Gate {
    pub(super) fn new(secret: Option<&str>, issuer: &str, ttl_max_seconds: u64) -> Self {
        let key = match secret.filter(|secret| !secret.is_empty()) {
            Some(secret) => DecodingKey::from_secret(secret.as_bytes()),
            // Nobody knows it, so nobody can sign.
            None => DecodingKey::from_secret(&rand::random::<[u8; 32]>()),
        };
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[issuer]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "sub"]);
        validation.validate_nbf = true;
        Self { key, validation, ttl_max_seconds }
    }

    pub(super) fn check(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let header = headers.get(AUTHORIZATION).ok_or(Refusal::NoHeader)?;
        let token = header.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")).ok_or(Refusal::HeaderFormat)?;
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &self.key, &self.validation)
            .map_err(|error| Refusal::Token(error.to_string()))?
            .claims;
        self.check_claims(&claims).map_err(Refusal::Token)?;
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Caller { role: role(&claims)?, subject })
    }

    /// What the library does not look at: presence and type of every claim, and the lifetime.
    fn check_claims(&self, claims: &Map<String, Value>) -> Result<(), String> {
        let claim = |name: &str| claims.get(name).ok_or_else(|| format!("Missing required claim: {name}"));
        for name in ["iss", "sub", "jti"] {
            if !claim(name)?.is_string() {
                return Err(format!("Invalid format for claim: {name}"));
            }
        }
        let seconds = |name: &str| claim(name)?.as_i64().ok_or_else(|| format!("Invalid format for claim: {name}"));
        seconds("nbf")?;
        let lifetime = i128::from(seconds("exp")?) - i128::from(seconds("iat")?);
        if self.ttl_max_seconds > 0 && lifetime <= 0 {
            return Err("exp must be later than iat".to_owned());
        }
        if self.ttl_max_seconds > 0 && lifetime > i128::from(self.ttl_max_seconds) {
            return Err(format!("token lifetime of {lifetime} s exceeds the maximum of {} s", self.ttl_max_seconds));
        }
        Ok(())
    }
}

fn role(claims: &Map<String, Value>) -> Result<Role, Refusal> {
    let role = claims.get("role").ok_or(Refusal::NoRole)?.as_str().ok_or(Refusal::RoleType)?;
    [Role::Viewer, Role::Operator, Role::Admin]
        .into_iter()
        .find(|each| each.name() == role)
        .ok_or_else(|| Refusal::UnknownRole(role.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
    use serde_json::json;

    const SECRET: &str = "a secret of the tests with more than 32 characters";

    fn claims() -> Value {
        let now = get_current_timestamp();
        json!({"iss": "ferrum-edge", "sub": "ops", "role": "admin", "iat": now, "nbf": now, "exp": now + 600, "jti": "1"})
    }

    fn signed(claims: &Value, algorithm: Algorithm, secret: &str) -> String {
        encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    }

    fn check_header(gate: &Gate, value: &str) -> Result<Role, Refusal> {
        let caller = gate.check(&HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]))?;
        assert_eq!(caller.subject, "ops");
        Ok(caller.role)
    }

    fn gate() -> Gate {
        Gate::new(Some(SECRET), "ferrum-edge", 3600)
    }

    /// Checks the usual claims with some changed; null takes one away.
    fn check(changes: Value) -> Result<Role, String> {
        let mut claims = claims();
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        let token = signed(&claims, Algorithm::HS256, SECRET);
        check_header(&gate(), &format!("Bearer {token}")).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn each_role_is_known_and_they_are_ordered() {
        for (name, role) in [("viewer", Role::Viewer), ("operator", Role::Operator), ("admin", Role::Admin)] {
            assert_eq!(check(json!({"role": name})), Ok(role));
        }
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
    }

    #[test]
    fn the_header_is_bearer_one_space_and_a_token() {
        assert_eq!(gate().check(&HeaderMap::new()).unwrap_err().to_string(), "Missing Authorization header");
        let token = signed(&claims(), Algorithm::HS256, SECRET);
        for header in [format!("bearer {token}"), "Basic eA==".to_owned(), token.clone(), "Bearer".to_owned()] {
            let refusal = check_header(&gate(), &header).unwrap_err();
            assert_eq!(refusal.to_string(), "Invalid Authorization header format", "{header}");
        }
        for header in ["Bearer  x", "Bearer x.y", "Bearer "] {
            let refusal = check_header(&gate(), header).unwrap_err().to_string();
            assert!(refusal.starts_with("Token verification failed: "), "{refusal}");
        }
    }

    #[test]
    fn only_hs256_with_our_key_is_taken() {
        for token in [
            signed(&claims(), Algorithm::HS256, "another secret of more than 32 characters"),
            signed(&claims(), Algorithm::HS384, SECRET),
            // {"alg":"none"} without a signature
            format!("eyJhbGciOiJub25lIn0.{}.", signed(&claims(), Algorithm::HS256, SECRET).split('.').nth(1).unwrap()),
        ] {
            let refusal = check_header(&gate(), &format!("Bearer {token}")).unwrap_err().to_string();
            assert!(refusal.starts_with("Token verification failed: "), "{refusal}");
        }
    }

    #[test]
    fn without_a_secret_no_token_is_good() {
        for secret in [None, Some("")] {
            let gate = Gate::new(secret, "ferrum-edge", 3600);
            let token = signed(&claims(), Algorithm::HS256, "");
            assert!(matches!(check_header(&gate, &format!("Bearer {token}")), Err(Refusal::Token(_))));
        }
    }

    #[test]
    fn every_claim_is_required_in_its_type() {
        for name in ["iss", "sub", "exp", "iat", "nbf", "jti"] {
            let mut changes = json!({});
            changes[name] = Value::Null;
            let refusal = check(changes.clone()).unwrap_err();
            assert!(refusal.starts_with("Token verification failed: ") && refusal.contains(name), "{refusal}");
            changes[name] = json!([1]);
            assert!(check(changes.clone()).is_err(), "{name} as a list");
        }
        assert!(check(json!({"jti": 7})).is_err() && check(json!({"iat": "1"})).is_err());
        assert!(check(json!({"iss": ["ferrum-edge"]})).is_err() && check(json!({"iss": "other"})).is_err());
        assert!(check(json!({"aud": "anyone"})).is_err(), "a token for an audience is not for us");
    }

    #[test]
    fn times_have_a_minute_of_leeway_and_the_lifetime_has_a_limit() {
        let now = get_current_timestamp() as i64;
        assert!(check(json!({"iat": now - 600, "exp": now - 30})).is_ok());
        assert_eq!(
            check(json!({"iat": now - 600, "exp": now - 90})).unwrap_err(),
            "Token verification failed: ExpiredSignature"
        );
        assert!(check(json!({"nbf": now + 30})).is_ok());
        assert!(check(json!({"nbf": now + 90})).is_err());
        assert!(check(json!({"iat": now, "exp": now + 3600})).is_ok());
        assert!(check(json!({"iat": now, "exp": now + 3601})).unwrap_err().contains("lifetime"));
        assert!(check(json!({"iat": now + 600, "exp": now + 600})).is_err());

        let gate = Gate::new(Some(SECRET), "ferrum-edge", 0);
        let mut claims = claims();
        claims["exp"] = json!(now + 1_000_000);
        let token = signed(&claims, Algorithm::HS256, SECRET);
        assert!(check_header(&gate, &format!("Bearer {token}")).is_ok(), "0 is no limit");
    }

    #[test]
    fn the_role_is_named_in_the_refusal() {
        let expected = "expected viewer, operator, or admin";
        assert_eq!(check(json!({"role": null})).unwrap_err(), format!("Missing admin role claim; {expected}"));
        assert_eq!(check(json!({"role": "Root"})).unwrap_err(), format!("Invalid admin role claim 'Root'; {expected}"));
        assert_eq!(check(json!({"role": 1})).unwrap_err(), format!("Invalid admin role claim type; {expected} string"));
    }
}
