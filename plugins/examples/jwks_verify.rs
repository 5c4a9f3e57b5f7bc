//! How long `jwks_auth` takes for a token, beside the crypto library's own verification with a parsed key:
//! `cargo run --release -p plugins --example jwks_verify`.

use std::hint::black_box;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::buffer::Buffer;
use engine::consumers::{Consumer, ConsumerIndex};
use engine::http::{Known, Method, RequestHead, Span};
use engine::logring::log_ring;
use engine::snapshot::ProxyFacts;
use plugins::outbound::Services;
use plugins::{CoreEnv, Facts, Flow, Plugin, RequestContext, catalog};
use serde_json::{Value, json};

/// The three are measured in turns, because others use the machine too, and the best of many short batches counts. What a batch
/// reads is made just before it, as a request is parsed just before a plugin sees it.
const BATCHES: usize = 300;
const ROUNDS: usize = 100;
const DIFFERENT: u32 = 4096;

fn request(token: &str) -> RequestContext {
    let text = format!("GET/orders/7authorizationBearer {token}");
    let mut bytes = Buffer::head();
    bytes.extend(text.as_bytes());
    let mut head = Box::new(RequestHead::new());
    head.method = Method::Get;
    head.method_text = Span::new(0, 3);
    head.path = Span::new(3, 12);
    head.headers.set_received(bytes);
    head.headers.push_received(Known::of(b"authorization"), (12, 25), b'a', (25, text.len()));
    let alice = Consumer {
        id: "1".into(),
        username: "alice".into(),
        custom_id: None,
        acl_groups: Vec::new(),
        credentials: serde_json::Map::default(),
    };
    let facts = Facts {
        namespace: "ferrum".into(),
        consumers: Arc::new(ConsumerIndex::new([alice])),
        proxies: Arc::new([ProxyFacts::default().into()]),
        redacted_keys: Vec::new(),
        companion: None,
    };
    RequestContext::new(head, Rc::new(facts), 0, IpAddr::from([10, 1, 2, 3]), Instant::now())
}

/// What a provider puts into a token.
fn claims(session: u32) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    json!({
        "iss": "https://idp.example/realms/production", "sub": "alice", "aud": ["orders", "account"],
        "exp": now + 86_400, "iat": now, "auth_time": now, "jti": format!("4c6e7f0a-0f0d-4b3a-9f63-6d1f{session:08x}"),
        "azp": "web", "typ": "Bearer", "session_state": "f1c1a7d2-64a5-4c2b-8a4e-2f6f3ad3a9f0", "acr": "1",
        "realm_access": {"roles": ["offline_access", "uma_authorization", "user"]},
        "scope": "openid profile email orders.read", "email_verified": true, "name": "Alice Example",
        "preferred_username": "alice", "given_name": "Alice", "family_name": "Example", "email": "alice@example.test",
    })
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn plugin(jwk: &Value) -> Rc<dyn Plugin> {
    let (ring, _drain) = log_ring(1);
    let (services, log, ticks) = (Services::of_tests(), Rc::new(ring), Rc::default());
    let env = CoreEnv { core: 0, services, log, count_log_line: Rc::new(|_| ()), ticks };
    let provider = json!({
        "jwks": {"keys": [jwk]}, "issuer": "https://idp.example/realms/production", "audience": "orders",
        "required_scopes": ["orders.read"], "required_roles": ["user"], "role_claim": "realm_access.roles",
    });
    match catalog::check("jwks_auth", &json!({"providers": [provider]})) {
        Ok(checked) => checked.spec.build(&env),
        Err(refusal) => panic!("{refusal}"),
    }
}

/// How long it takes with each of these.
fn batch<T>(of: &mut [T], mut round: impl FnMut(&mut T)) -> Duration {
    let start = Instant::now();
    of.iter_mut().for_each(&mut round);
    start.elapsed()
}

/// The verification alone, the plugin with a token that it has not seen, and with one that it has.
fn compare(what: &str, key: &ParsedPublicKey, jwk: &Value, sign: &dyn Fn(&[u8]) -> Vec<u8>) {
    let header = part(&json!({"alg": what, "kid": "k", "typ": "JWT"}));
    let signed = |number: u32| format!("{header}.{}", part(&claims(number)));
    // More than a core remembers, so that each is forgotten when its turn comes again.
    let messages: Vec<String> = (0..DIFFERENT).map(signed).collect();
    let signatures: Vec<Vec<u8>> = messages.iter().map(|message| sign(message.as_bytes())).collect();
    let token = |(message, signature)| format!("{message}.{}", URL_SAFE_NO_PAD.encode::<&Vec<u8>>(signature));
    let tokens: Vec<String> = messages.iter().zip(&signatures).map(token).collect();
    let (fresh, seen) = (plugin(jwk), plugin(jwk));
    let ask = |plugin: &Rc<dyn Plugin>, cx: &mut RequestContext| {
        assert!(matches!(plugin.authenticate(black_box(cx)), Flow::Continue));
        assert!(cx.consumer.is_some());
    };
    let mut turn = (0..tokens.len()).cycle();
    let mut best = [Duration::MAX; 3];
    for _ in 0..BATCHES {
        let numbers: Vec<usize> = turn.by_ref().take(ROUNDS).collect();
        let mut signed: Vec<_> = numbers.iter().map(|&n| (messages[n].clone(), signatures[n].clone())).collect();
        let library = batch(&mut signed, |(message, signature)| {
            assert!(black_box(key).verify_sig(message.as_bytes(), signature).is_ok());
        });
        let mut requests: Vec<RequestContext> = numbers.iter().map(|&number| request(&tokens[number])).collect();
        let first = batch(&mut requests, |cx| ask(&fresh, cx));
        let mut requests: Vec<RequestContext> = numbers.iter().map(|_| request(&tokens[0])).collect();
        let again = batch(&mut requests, |cx| ask(&seen, cx));
        for (best, took) in best.iter_mut().zip([library, first, again]) {
            *best = (*best).min(took);
        }
    }
    let [library, fresh, seen] = best.map(|best| best.as_secs_f64() * 1e6 / ROUNDS as f64);
    println!(
        "{what}, a token of {} bytes: the library's verification {library:.2} us; the plugin, for the first time \
         {fresh:.2} us ({:+.2} us), again {seen:.2} us ({:+.2} us)",
        tokens[0].len(),
        fresh - library,
        seen - library
    );
}

fn rsa(random: &SystemRandom) -> Result<(), aws_lc_rs::error::Unspecified> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048)?;
    // RFC 8017 A.1.1: two numbers, which stand at known places when the key has 2048 bits.
    let der = pair.public_key().as_ref();
    let (n, e) = (URL_SAFE_NO_PAD.encode(&der[9..265]), URL_SAFE_NO_PAD.encode(&der[267..]));
    let jwk = json!({"kty": "RSA", "kid": "k", "n": n, "e": e});
    let sign = |message: &[u8]| {
        let mut signature = vec![0; pair.public_modulus_len()];
        assert!(pair.sign(&RSA_PKCS1_SHA256, random, message, &mut signature).is_ok());
        signature
    };
    let key = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).map_err(|_| aws_lc_rs::error::Unspecified)?;
    compare("RS256", &key, &jwk, &sign);
    Ok(())
}

fn ec(random: &SystemRandom) -> Result<(), aws_lc_rs::error::Unspecified> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let point = pair.public_key().as_ref();
    let (x, y) = point[1..].split_at(32);
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let jwk = json!({"kty": "EC", "crv": "P-256", "kid": "k", "x": x, "y": y});
    let sign =
        |message: &[u8]| pair.sign(random, message).map_or_else(|_| Vec::new(), |signature| signature.as_ref().into());
    let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(|_| aws_lc_rs::error::Unspecified)?;
    compare("ES256", &key, &jwk, &sign);
    Ok(())
}

fn main() -> Result<(), aws_lc_rs::error::Unspecified> {
    let random = SystemRandom::new();
    rsa(&random)?;
    ec(&random)
}
