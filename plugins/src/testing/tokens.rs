//! Keys and tokens of identity providers.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::outbound::jwks::Algorithm;

enum Pair {
    Rsa(&'static RsaKeyPair),
    Ec(EcdsaKeyPair),
}

/// A private key with its public half.
pub(crate) struct Signer {
    id: String,
    algorithm: Algorithm,
    pair: Pair,
}

/// Making one takes long, so all tests share it.
static RSA: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"));

impl Signer {
    pub fn rsa(id: &str, algorithm: Algorithm) -> Self {
        Self { id: id.to_owned(), algorithm, pair: Pair::Rsa(&RSA) }
    }

    pub fn es256(id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Self { id: id.to_owned(), algorithm: Algorithm::Es256, pair: Pair::Ec(pair) }
    }

    pub fn es384(id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key");
        Self { id: id.to_owned(), algorithm: Algorithm::Es384, pair: Pair::Ec(pair) }
    }

    pub fn one_of_each() -> [Self; 5] {
        let rsa = |algorithm| Self::rsa("rsa", algorithm);
        let [rs256, rs384, rs512] = [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512].map(rsa);
        [rs256, rs384, rs512, Self::es256("p256"), Self::es384("p384")]
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public half.
    pub fn jwk(&self) -> Value {
        let (id, algorithm) = (&self.id, self.algorithm.name());
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.pair {
            Pair::Rsa(pair) => {
                // RFC 8017 A.1.1: two numbers, which stand at known places when the key has 2048 bits.
                let der = pair.public_key().as_ref();
                let (n, e) = (encode(&der[9..265]), encode(&der[267..]));
                json!({"kty": "RSA", "kid": id, "alg": algorithm, "use": "sig", "n": n, "e": e})
            }
            Pair::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at(point.len() / 2);
                let crv = if self.algorithm == Algorithm::Es384 { "P-384" } else { "P-256" };
                json!({"kty": "EC", "kid": id, "alg": algorithm, "crv": crv, "x": encode(x), "y": encode(y)})
            }
        }
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding = match self.algorithm {
                    Algorithm::Rs384 => &RSA_PKCS1_SHA384,
                    Algorithm::Rs512 => &RSA_PKCS1_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature).expect("a signature");
                signature
            }
            Pair::Ec(pair) => pair.sign(&random, message).expect("a signature").as_ref().to_vec(),
        }
    }

    /// With the usual header.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.algorithm.name(), "kid": self.id, "typ": "JWT"}), claims)
    }

    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = self.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}
