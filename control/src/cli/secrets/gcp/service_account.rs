//! A service account's key, which signs for an access token (RFC 7523).

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Url;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::super::Refused;

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// The longest that Google takes.
const LIFE_SECONDS: u64 = 3600;

pub(in crate::cli::secrets) struct ServiceAccount {
    email: String,
    key: KeyPair,
    key_id: Option<String>,
    pub(super) token_url: Url,
}

impl ServiceAccount {
    pub(super) fn new(email: String, key: &str, key_id: Option<String>, token_url: Url) -> Result<Self, Refused> {
        let unusable = "'private_key' is not an RSA key in PEM (PKCS#8)";
        let der = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).map_err(|_| unusable)?;
        let key = KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| unusable)?;
        Ok(Self { email, key, key_id, token_url })
    }

    /// Who asks, for how long, signed.
    pub(super) fn assertion(&self) -> Result<String, Refused> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| "the clock is before 1970")?.as_secs();
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let Some(id) = &self.key_id {
            header["kid"] = Value::from(id.as_str());
        }
        let claims = json!({
            "iss": self.email,
            "scope": SCOPE,
            "aud": self.token_url.as_str(),
            "iat": now,
            "exp": now + LIFE_SECONDS,
        });
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| "the service account's key cannot sign")?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}
