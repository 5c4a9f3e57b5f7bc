//! `jwks_auth`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tests::{Authority, Backend, Connection, Document, Fault, Gate, Gateway, Identity, Reply, Response, eventually};

use crate::{alice, ask, unauthorized};

const INVALID: &str = "Invalid or unrecognized JWT";

/// A key of a provider; tokens are made by a library that the gateway does not use for this.
struct Key {
    id: String,
    pkcs8: Vec<u8>,
    point: Vec<u8>,
}

impl Key {
    fn new(id: &str) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).expect("a key");
        Self { id: id.to_owned(), pkcs8: pkcs8.as_ref().to_vec(), point: pair.public_key().as_ref().to_vec() }
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.point[1..].split_at(32);
        let encode = |coordinate: &[u8]| URL_SAFE_NO_PAD.encode(coordinate);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.id, "x": encode(x), "y": encode(y)})
    }

    fn token(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        encode(&header, claims, &EncodingKey::from_ec_der(&self.pkcs8)).expect("a token")
    }

    /// Of alice, for an hour.
    fn good(&self) -> String {
        self.token(&claims(json!({})))
    }
}

/// An RSA key; making one takes long, so all tests share it.
static RSA: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"));

fn rsa_jwk() -> Value {
    // RFC 8017 A.1.1: two numbers, which stand at known places when the key has 2048 bits.
    let der = RSA.public_key().as_ref();
    let (n, e) = (URL_SAFE_NO_PAD.encode(&der[9..265]), URL_SAFE_NO_PAD.encode(&der[267..]));
    json!({"kty": "RSA", "kid": "rsa", "n": n, "e": e})
}

/// Signed by the RSA key, with that header.
fn rsa_token(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let mut signature = vec![0; RSA.public_modulus_len()];
    let padding = if header["alg"] == "RS384" { &RSA_PKCS1_SHA384 } else { &RSA_PKCS1_SHA256 };
    RSA.sign(padding, &SystemRandom::new(), signed.as_bytes(), &mut signature).expect("a signature");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

fn claims(more: Value) -> Value {
    merged(json!({"sub": "alice", "exp": now() + 3600}), more)
}

fn merged(mut one: Value, more: Value) -> Value {
    one.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    one
}

/// An identity provider whose keys can be changed.
struct Provider {
    server: Backend,
    keys: Arc<Mutex<Vec<Value>>>,
    is_broken: Arc<AtomicBool>,
}

impl Provider {
    fn new(keys: &[&Key]) -> Self {
        Self::behind(keys, open_gate())
    }

    /// Answers when the gate is open.
    fn behind(keys: &[&Key], gate: Gate) -> Self {
        let keys: Arc<Mutex<Vec<Value>>> = Arc::new(Mutex::new(keys.iter().map(|key| key.jwk()).collect()));
        let is_broken = Arc::new(AtomicBool::new(false));
        let (present, broken) = (keys.clone(), is_broken.clone());
        let server = Backend::replying(move |request| {
            gate.wait();
            let host = request.header("host").unwrap_or_default();
            let body = match request.target.as_str() {
                "/keys" => json!({ "keys": *present.lock().unwrap() }),
                "/.well-known/openid-configuration" => {
                    json!({"issuer": "https://idp.test", "jwks_uri": format!("http://{host}/keys")})
                }
                _ => return Reply::new(404),
            };
            match broken.load(Ordering::SeqCst) {
                true => Reply::new(503),
                false => Reply::new(200).header("Content-Type", "application/json").body(body.to_string()),
            }
        });
        Self { server, keys, is_broken }
    }

    fn uri(&self) -> String {
        format!("http://127.0.0.1:{}/keys", self.server.port())
    }

    fn publish(&self, keys: &[&Key]) {
        *self.keys.lock().unwrap() = keys.iter().map(|key| key.jwk()).collect();
    }

    /// How often keys were asked for.
    fn fetches(&self) -> usize {
        self.server.requests().iter().filter(|request| request.target == "/keys").count()
    }
}

fn open_gate() -> Gate {
    let gate = Gate::new();
    gate.open();
    gate
}

/// Every path goes to the backend, behind `jwks_auth`; alice is a consumer.
fn document(backend: &Backend, config: Value) -> Document {
    Document::all_to(backend.port()).proxy_plugin("app", "jwks_auth", config).consumer(alice())
}

/// One provider with its keys in the config.
fn inline(key: &Key, more: Value) -> Value {
    merged(json!({"jwks": {"keys": [key.jwk()]}}), more)
}

fn guarded(backend: &Backend, providers: Value, more: Value) -> Gateway {
    Gateway::running(&document(backend, merged(json!({ "providers": providers }), more)))
}

fn show(gateway: &Gateway, token: &str) -> Response {
    ask(gateway, "/", &format!("Authorization: Bearer {token}\r\n"))
}

/// Waits until the gateway takes this token, which it does once it has the keys.
#[track_caller]
fn wait_until_taken(gateway: &Gateway, token: &str) {
    eventually("the token is taken", || (show(gateway, token).status == 200).then_some(()));
}

#[track_caller]
fn forbidden(response: &Response, body: &str) {
    assert_eq!((response.status, response.text()), (403, body.to_owned()));
    assert_eq!(response.headers.all("content-type"), ["application/json"]);
}

#[test]
fn a_token_of_a_provider_whose_keys_are_fetched_tells_the_backend_who_asks() {
    let (key, backend) = (Key::new("k"), Backend::saying("ok"));
    let provider = Provider::new(&[&key]);
    provider.keys.lock().unwrap().push(rsa_jwk());
    let gateway = guarded(&backend, json!([{"jwks_uri": provider.uri()}]), json!({}));
    wait_until_taken(&gateway, &key.good());
    let rsa = rsa_token(&json!({"alg": "RS256", "kid": "rsa"}), &claims(json!({})));
    assert_eq!(show(&gateway, &rsa).status, 200);
    for request in backend.requests() {
        assert_eq!(request.headers.all("x-consumer-username"), ["alice"]);
        assert_eq!(request.headers.all("x-consumer-custom-id"), ["7"]);
        assert!(request.header("authorization").unwrap().starts_with("Bearer ey"), "the token goes on");
    }
    let asked = &provider.server.requests()[0];
    assert_eq!((&*asked.method, &*asked.target), ("GET", "/keys"));
    assert_eq!(show(&gateway, &key.token(&claims(json!({"sub": "stranger"})))).status, 200);
    let stranger = backend.requests().pop().unwrap();
    assert_eq!(stranger.headers.all("x-consumer-username"), ["stranger"]);
    assert!(!stranger.headers.has("x-consumer-custom-id"));
    assert_eq!(provider.fetches(), 1, "no request fetches");
}

#[test]
fn what_is_no_good_token_does_not_pass() {
    let (key, other, backend) = (Key::new("k"), Key::new("k"), Backend::saying("never"));
    let gateway = guarded(&backend, json!([inline(&key, json!({}))]), json!({}));
    let nobody = ask(&gateway, "/", "");
    unauthorized(&nobody, "Authentication required");
    assert_eq!(nobody.header("www-authenticate"), Some("ferrum-edge"));
    unauthorized(&ask(&gateway, "/", "Authorization: Basic YTpi\r\n"), "Missing Bearer token");
    unauthorized(&show(&gateway, "x.y.z"), INVALID);
    unauthorized(&show(&gateway, &other.good()), INVALID);
    unauthorized(&show(&gateway, &key.token(&json!({"sub": "alice", "exp": now() - 70}))), INVALID);
    unauthorized(&show(&gateway, &key.token(&json!({"sub": "alice"}))), INVALID);
    unauthorized(&show(&gateway, &key.token(&claims(json!({"aud": "api"})))), INVALID);
    let mut cut = key.good();
    cut.pop();
    unauthorized(&show(&gateway, &cut), INVALID);
    assert!(!show(&gateway, &cut).headers.has("www-authenticate"));
    backend.expect_untouched();
}

#[test]
fn a_token_is_good_until_a_minute_behind_its_expiry() {
    let (key, backend) = (Key::new("k"), Backend::saying("ok"));
    let gateway = guarded(&backend, json!([inline(&key, json!({}))]), json!({}));
    // The last second may pass while the request is on its way.
    assert_eq!(show(&gateway, &key.token(&json!({"sub": "alice", "exp": now() - 50}))).status, 200);
    unauthorized(&show(&gateway, &key.token(&json!({"sub": "alice", "exp": now() - 61}))), INVALID);
}

#[test]
fn no_token_chooses_how_it_is_verified() {
    let backend = Backend::saying("never");
    let gateway = guarded(&backend, json!([{"jwks": {"keys": [rsa_jwk()]}}]), json!({}));
    let claims = claims(json!({}));
    for alg in ["none", "HS256", "RS384", "PS256", "ES256"] {
        unauthorized(&show(&gateway, &rsa_token(&json!({"alg": alg, "kid": "rsa"}), &claims)), INVALID);
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for alg in ["none", "NONE", "RS256"] {
        let unsigned = format!("{}.{}.", part(&json!({"alg": alg, "kid": "rsa"})), part(&claims));
        unauthorized(&show(&gateway, &unsigned), INVALID);
        unauthorized(&show(&gateway, unsigned.trim_end_matches('.')), INVALID);
    }
    // The public key as a shared secret, in the forms in which it is at hand.
    let der = RSA.public_key().as_ref();
    for secret in [der.to_vec(), der[9..265].to_vec(), rsa_jwk()["n"].as_str().unwrap().into(), Vec::new()] {
        let header = Header { kid: Some("rsa".to_owned()), ..Header::new(Algorithm::HS256) };
        let forged = encode(&header, &claims, &EncodingKey::from_secret(&secret)).expect("a token");
        unauthorized(&show(&gateway, &forged), INVALID);
    }
    backend.expect_untouched();
}

#[test]
fn a_rotated_key_is_known_in_an_instant_and_nobody_can_make_the_gateway_fetch_all_the_time() {
    let (old, new, newest) = (Key::new("old"), Key::new("new"), Key::new("newest"));
    let (provider, backend) = (Provider::new(&[&old]), Backend::saying("ok"));
    let gateway = guarded(&backend, json!([{"jwks_uri": provider.uri()}]), json!({}));
    wait_until_taken(&gateway, &old.good());
    assert_eq!(provider.fetches(), 1);
    provider.publish(&[&new]);
    unauthorized(&show(&gateway, &new.good()), INVALID);
    wait_until_taken(&gateway, &new.good());
    assert_eq!(provider.fetches(), 2);
    unauthorized(&show(&gateway, &old.good()), INVALID);
    provider.publish(&[&newest]);
    let started = Instant::now();
    for _ in 0..20 {
        unauthorized(&show(&gateway, &newest.good()), INVALID);
    }
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(provider.fetches(), 2, "not again within 30 seconds");
}

#[test]
fn forged_tokens_that_are_bad_in_other_ways_make_the_gateway_fetch_nothing() {
    let (key, forged, backend) = (Key::new("k"), Key::new("other"), Backend::saying("ok"));
    let provider = Provider::new(&[&key]);
    let gateway = guarded(&backend, json!([{"jwks_uri": provider.uri(), "issuer": "https://idp.test"}]), json!({}));
    wait_until_taken(&gateway, &key.good());
    unauthorized(&show(&gateway, &forged.token(&claims(json!({"iss": "https://elsewhere.test"})))), INVALID);
    unauthorized(&show(&gateway, &forged.token(&json!({"sub": "alice", "exp": 1}))), INVALID);
    unauthorized(&show(&gateway, &Key::new("k").good()), INVALID);
    assert_eq!(provider.fetches(), 1);
    // What could be a rotated key does.
    unauthorized(&show(&gateway, &forged.good()), INVALID);
    eventually("keys are asked for", || (provider.fetches() == 2).then_some(()));
}

#[test]
fn keys_are_fetched_again_at_every_interval_and_a_withdrawn_one_is_no_longer_good() {
    let (one, two, backend) = (Key::new("one"), Key::new("two"), Backend::saying("ok"));
    let provider = Provider::new(&[&one, &two]);
    let gateway = guarded(&backend, json!([{"jwks_uri": provider.uri()}]), json!({"jwks_refresh_interval_secs": 1}));
    let token = one.good();
    wait_until_taken(&gateway, &token);
    provider.publish(&[&two]);
    eventually("the key is gone", || (show(&gateway, &token).status == 401).then_some(()));
    assert_eq!(show(&gateway, &two.good()).status, 200);
    provider.is_broken.store(true, Ordering::SeqCst);
    let before = provider.fetches();
    eventually("two fetches have failed", || (provider.fetches() >= before + 3).then_some(()));
    assert_eq!(show(&gateway, &two.good()).status, 200, "a fetch that fails keeps what there is");
    gateway.wait_for_log(|text| text.contains("cannot be fetched, the ones before are kept: it answered 503"));
}

#[test]
fn a_provider_that_does_not_answer_delays_nobody() {
    let (key, gate, backend) = (Key::new("k"), Gate::new(), Backend::saying("ok"));
    let provider = Provider::behind(&[&key], gate.clone());
    let gateway = guarded(&backend, json!([{"jwks_uri": provider.uri()}]), json!({}));
    provider.server.wait_for_requests(1);
    let started = Instant::now();
    for _ in 0..5 {
        unauthorized(&show(&gateway, &key.good()), INVALID);
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    gate.open();
    wait_until_taken(&gateway, &key.good());
    assert_eq!(provider.fetches(), 1);
}

#[test]
fn a_provider_that_is_down_at_the_start_is_found_once_it_is_back() {
    let (key, backend) = (Key::new("k"), Backend::saying("ok"));
    let provider = Provider::new(&[&key]);
    provider.is_broken.store(true, Ordering::SeqCst);
    let providers = json!([{"jwks_uri": provider.uri()}]);
    let gateway = guarded(&backend, providers, json!({"jwks_refresh_interval_secs": 2}));
    gateway.wait_for_log(|text| text.contains("cannot be fetched, there are none: it answered 503"));
    unauthorized(&show(&gateway, &key.good()), INVALID);
    provider.is_broken.store(false, Ordering::SeqCst);
    wait_until_taken(&gateway, &key.good());
}

#[test]
fn an_answer_without_end_is_not_read_to_its_end() {
    let (key, backend) = (Key::new("k"), Backend::saying("ok"));
    let taken = Arc::new(Mutex::new(None));
    let note = taken.clone();
    let flooding = Backend::scripted(move |connection: &mut Connection| {
        if connection.read_request().is_some() && connection.send("HTTP/1.1 200 OK\r\n\r\n{\"keys\":[\"") {
            *note.lock().unwrap() = Some(connection.flood(Duration::from_secs(5)));
        }
    });
    let uri = format!("http://127.0.0.1:{}/keys", flooding.port());
    let gateway = guarded(&backend, json!([{"jwks_uri": uri}]), json!({}));
    let told = gateway.wait_for_log(|text| text.contains("its answer is longer than"));
    assert!(told.contains("its answer is longer than 1048576 bytes"), "{told}");
    let (bytes, fault) = eventually("the flood has ended", || taken.lock().unwrap().clone());
    assert!(matches!(fault, Fault::Reset | Fault::Closed), "{fault:?}");
    assert!(bytes < 16 << 20, "what is on its way is in the buffers of two sockets: {bytes}");
    unauthorized(&show(&gateway, &key.good()), INVALID);
}

#[test]
fn the_keys_are_where_the_discovery_document_says() {
    let (key, backend) = (Key::new("k"), Backend::saying("ok"));
    let provider = Provider::new(&[&key]);
    provider.is_broken.store(true, Ordering::SeqCst);
    let url = provider.uri().replace("/keys", "/.well-known/openid-configuration");
    let gateway = guarded(&backend, json!([{"discovery_url": url}]), json!({}));
    gateway.wait_for_log(|text| text.contains("the discovery document") && text.contains("it answered 503"));
    unauthorized(&show(&gateway, &key.good()), INVALID);
    provider.is_broken.store(false, Ordering::SeqCst);
    wait_until_taken(&gateway, &key.good());
    let asked: Vec<String> = provider.server.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(asked.last().map(String::as_str), Some("/keys"));
}

#[test]
fn another_interval_counts_from_the_reload_on() {
    let (key, next, backend) = (Key::new("k"), Key::new("next"), Backend::saying("ok"));
    let provider = Provider::new(&[&key]);
    let every =
        |seconds: u64| json!({"providers": [{"jwks_uri": provider.uri()}], "jwks_refresh_interval_secs": seconds});
    let gateway = Gateway::running(&document(&backend, every(86_400)));
    wait_until_taken(&gateway, &key.good());
    gateway.reload(&document(&backend, every(1)));
    provider.publish(&[&next]);
    eventually("the key is gone", || (show(&gateway, &key.good()).status == 401).then_some(()));
}

#[test]
fn a_redirect_to_other_keys_is_not_followed() {
    let (key, backend) = (Key::new("k"), Backend::saying("ok"));
    let provider = Provider::new(&[&key]);
    let keys = provider.uri();
    let redirecting = Backend::replying(move |_| Reply::new(302).header("Location", &keys));
    let uri = format!("http://127.0.0.1:{}/keys", redirecting.port());
    let gateway = guarded(&backend, json!([{"jwks_uri": uri}]), json!({}));
    gateway.wait_for_log(|text| text.contains("cannot be fetched, there are none: it answered 302"));
    unauthorized(&show(&gateway, &key.good()), INVALID);
    assert_eq!(provider.fetches(), 0);
}

#[test]
fn plugins_with_the_same_uri_share_its_keys_and_a_reload_fetches_nothing_anew() {
    let (key, backend) = (Key::new("k"), Backend::saying("ok"));
    let provider = Provider::new(&[&key]);
    let config = json!({"providers": [{"jwks_uri": provider.uri()}]});
    let proxy = |id: &str| tests::Proxy::new(id).path(&format!("/{id}")).to(backend.port());
    let two = Document::new()
        .proxy(proxy("left"))
        .proxy(proxy("right"))
        .proxy_plugin("left", "jwks_auth", config.clone())
        .proxy_plugin("right", "jwks_auth", config.clone());
    let gateway = Gateway::running(&two);
    let line = format!("Authorization: Bearer {}\r\n", key.good());
    for path in ["/left", "/right"] {
        eventually("the token is taken", || (ask(&gateway, path, &line).status == 200).then_some(()));
    }
    gateway.reload(&two.clone().consumer(alice()));
    assert_eq!(ask(&gateway, "/left", &line).status, 200);
    // Another configuration of the same provider, whose keys are there at once.
    let stricter = json!({"providers": [{"jwks_uri": provider.uri(), "required_roles": ["ops"]}]});
    gateway.reload(&Document::new().proxy(proxy("left")).proxy_plugin("left", "jwks_auth", stricter));
    forbidden(&ask(&gateway, "/left", &line), r#"{"error":"Insufficient role"}"#);
    assert_eq!(provider.fetches(), 1);
}

#[test]
fn issuer_and_audience_must_be_the_ones_named() {
    let (key, backend) = (Key::new("k"), Backend::saying("ok"));
    let rules = json!({"issuer": "https://idp.test", "audience": "api", "audiences": ["web", "app"]});
    let gateway = guarded(&backend, json!([inline(&key, rules)]), json!({}));
    let with = |more: Value| show(&gateway, &key.token(&claims(more)));
    for good in [json!({"iss": "https://idp.test", "aud": "api"}), json!({"aud": ["x", "app"]}), json!({})] {
        assert_eq!(with(good.clone()).status, 200, "{good}");
    }
    for bad in [json!({"iss": "https://idp.test/"}), json!({"aud": "other"}), json!({"aud": ["x"]}), json!({"aud": []})]
    {
        unauthorized(&with(bad), INVALID);
    }
}

#[test]
fn a_token_without_expiry_is_for_those_who_say_so() {
    let (strict, lax, backend) = (Key::new("s"), Key::new("l"), Backend::saying("ok"));
    let providers = json!([inline(&strict, json!({"require_exp": true})), inline(&lax, json!({}))]);
    let gateway = guarded(&backend, providers, json!({"require_exp": false}));
    let endless = json!({"sub": "alice"});
    assert_eq!(show(&gateway, &lax.token(&endless)).status, 200);
    unauthorized(&show(&gateway, &strict.token(&endless)), INVALID);
    assert_eq!(show(&gateway, &strict.good()).status, 200);
}

#[test]
fn scopes_and_roles_open_the_door() {
    let (key, other, backend) = (Key::new("k"), Key::new("o"), Backend::saying("ok"));
    let rules = json!({"required_scopes": ["read", "wri<te>"], "required_roles": ["admin", "ops"]});
    let own = merged(rules.clone(), json!({"scope_claim": "own.scp", "role_claim": "own.roles"}));
    let providers = json!([inline(&key, rules), inline(&other, own)]);
    let gateway = guarded(&backend, providers, json!({"scope_claim": "scp", "role_claim": "realm_access.roles"}));
    let with = |key: &Key, more: Value| show(&gateway, &key.token(&claims(more)));
    let good = json!({"scp": "read wri<te> more", "realm_access": {"roles": ["dev", "ops"]}});
    assert_eq!(with(&key, good.clone()).status, 200);
    assert_eq!(with(&other, json!({"own": {"scp": ["wri<te>", "read"], "roles": "admin"}})).status, 200);
    let missing = |scope: &str| format!(r#"{{"error":"Insufficient scope","required":"{scope}"}}"#);
    forbidden(&with(&other, good), &missing("read"));
    forbidden(&with(&key, json!({"scp": ["read"]})), &missing(r"wri\u003cte\u003e"));
    let role = json!({"scp": ["read", "wri<te>"], "realm_access": {"roles": ["dev"]}});
    forbidden(&with(&key, role), r#"{"error":"Insufficient role"}"#);
}

#[test]
fn the_identity_is_where_the_config_says() {
    let (key, other, backend) = (Key::new("k"), Key::new("o"), Backend::saying("ok"));
    let own = json!({"consumer_identity_claim": "own", "consumer_header_claim": "shown"});
    let providers = json!([inline(&key, json!({})), inline(&other, own)]);
    let more = json!({"consumer_identity_claim": "user.id", "consumer_header_claim": "user.mail"});
    let gateway = guarded(&backend, providers, more);
    let claims = claims(json!({"user": {"id": "u-1", "mail": "u@x.test"}, "own": "mine", "shown": "Me"}));
    assert_eq!(show(&gateway, &key.token(&claims)).status, 200);
    assert_eq!(show(&gateway, &other.token(&claims)).status, 200);
    let seen: Vec<String> =
        backend.requests().iter().map(|r| r.header("x-consumer-username").unwrap().to_owned()).collect();
    assert_eq!(seen, ["u@x.test", "Me"]);
    unauthorized(&show(&gateway, &key.good()), "Authentication required");
}

#[test]
fn a_claim_that_cannot_stand_in_a_header_names_nobody() {
    let (key, backend) = (Key::new("k"), Backend::saying("ok"));
    let more = json!({"consumer_header_claim": "name"});
    let gateway = guarded(&backend, json!([inline(&key, json!({}))]), more);
    let odd = ["x\r\nX-Admin: 1", "x\r\n\r\nGET /admin HTTP/1.1\r\n\r\n", "a\tb", "a\u{7f}", "a\u{85}b", "  ", ""];
    for odd in odd {
        unauthorized(&show(&gateway, &key.token(&claims(json!({"sub": odd})))), "Authentication required");
        let shown = claims(json!({"sub": "somebody", "name": odd}));
        assert_eq!(show(&gateway, &key.token(&shown)).status, 200, "{odd:?}");
    }
    let requests = backend.requests();
    assert_eq!(requests.len(), odd.len());
    for request in requests {
        let head = String::from_utf8(request.raw_head).expect("text");
        assert!(head.contains("X-Consumer-Username: somebody\r\n"), "the identity is shown instead: {head}");
        assert!(!head.contains("X-Admin") && !head.contains("/admin"), "{head}");
    }
}

#[test]
fn tokens_in_other_places_are_found_and_kept_from_the_backend() {
    let (key, backend) = (Key::new("k"), Backend::saying("ok"));
    let places = json!({
        "from_headers": [{"name": "X-Token"}, {"name": "X-Auth", "prefix": "Token "}],
        "from_params": ["access_token"], "forward_original_token": false,
    });
    let gateway = guarded(&backend, json!([inline(&key, places)]), json!({}));
    let token = key.good();
    assert_eq!(ask(&gateway, "/h?a=1", &format!("X-Token: {token}\r\n")).status, 200);
    assert_eq!(ask(&gateway, "/p", &format!("X-Auth: Token {token}\r\nX-Token:\r\n")).status, 200);
    assert_eq!(ask(&gateway, &format!("/q?a=%20&access_token={token}&b"), "").status, 200);
    assert_eq!(ask(&gateway, &format!("/e?access%5Ftoken={token}&a=1"), "Authorization: Basic x\r\n").status, 200);
    assert_eq!(ask(&gateway, &format!("/o?access_token={token}"), "").status, 200);
    let requests = backend.requests();
    let targets: Vec<&str> = requests.iter().map(|request| &*request.target).collect();
    assert_eq!(targets, ["/h?a=1", "/p", "/q?a=%20&b", "/e?a=1", "/o"]);
    assert!(requests.iter().all(|request| !request.headers.has("x-token") && !request.headers.has("x-auth")));
    assert_eq!(requests[3].header("authorization"), Some("Basic x"), "no place of this provider");
    let sent: Vec<u8> = requests.iter().flat_map(|request| request.raw_head.clone()).collect();
    assert!(!String::from_utf8_lossy(&sent).contains(&token));
    unauthorized(&ask(&gateway, "/", &format!("X-Auth: token {token}\r\n")), "Authentication required");
    unauthorized(&ask(&gateway, "/?access_token=", ""), "Empty token");
    unauthorized(&show(&gateway, &token), "Authentication required");
}

#[test]
fn a_token_in_authorization_is_kept_from_the_backend_too() {
    let (key, backend) = (Key::new("k"), Backend::saying("ok"));
    let gateway = guarded(&backend, json!([inline(&key, json!({"forward_original_token": false}))]), json!({}));
    assert_eq!(show(&gateway, &key.good()).status, 200);
    assert!(!backend.only_request().headers.has("authorization"));
}

#[test]
fn claims_become_headers_of_the_backend_s_request() {
    let (key, other, backend) = (Key::new("k"), Key::new("o"), Backend::saying("ok"));
    let own = json!({"claim_headers": {"team": "X-Team"}, "claim_headers_separator": "|"});
    let providers = json!([inline(&key, json!({})), inline(&other, own)]);
    let more =
        json!({"claim_headers": {"groups": "X-Groups", "user.id": "X-User-Id"}, "claim_headers_separator": "; "});
    let gateway = guarded(&backend, providers, more);
    let claims = claims(json!({"groups": ["a", "b"], "user": {"id": 7}, "team": ["x", "y"]}));
    let forged = "X-Groups: root\r\nX-Team: root\r\nX-User-Id: 0\r\n";
    for key in [&key, &other] {
        let line = format!("{forged}Authorization: Bearer {}\r\n", key.token(&claims));
        assert_eq!(ask(&gateway, "/", &line).status, 200);
    }
    let headers = ["x-groups", "x-user-id", "x-team"];
    let seen: Vec<_> =
        backend.requests().iter().map(|request| headers.map(|name| request.headers.all(name).join("&"))).collect();
    assert_eq!(seen, [["a; b", "7", ""], ["", "", "x|y"]]);
}

#[test]
fn claim_headers_cannot_be_forged_by_those_whom_another_plugin_knows() {
    let (key, backend) = (Key::new("k"), Backend::saying("ok"));
    let config = json!({"providers": [inline(&key, json!({"claim_headers": {"groups": "X-Groups"}}))]});
    let mut document = Document::new()
        .proxy(tests::Proxy::new("app").path("/").to(backend.port()).set("auth_mode", "multi"))
        .proxy_plugin("app", "jwks_auth", config)
        .proxy_plugin("app", "key_auth", json!({}));
    document = document.consumer(alice());
    let gateway = Gateway::running(&document);
    assert_eq!(ask(&gateway, "/", "X-API-Key: k-1\r\nX-Groups: root\r\n").status, 200);
    assert!(!backend.only_request().headers.has("x-groups"));
    assert_eq!(
        ask(&gateway, "/", "X-API-Key: k-1\r\nAuthorization: Bearer x.y.z\r\n").status,
        200,
        "one of the two is enough"
    );
    unauthorized(&ask(&gateway, "/", "Authorization: Bearer x.y.z\r\n"), INVALID);
}

#[test]
fn a_bound_token_is_good_for_the_client_it_was_issued_to() {
    let (authority, key, backend) = (Authority::new(), Key::new("k"), Backend::saying("ok"));
    let (server, mine, other) =
        (authority.issue(&["gateway.test"]), authority.issue(&["me"]), authority.issue(&["other"]));
    let config = json!({"providers": [inline(&key, json!({"require_mtls_binding": true}))]});
    let gateway = Gateway::builder()
        .document(&document(&backend, config))
        .env("FERRUM_FRONTEND_TLS_CERT_PATH", server.certificate.display())
        .env("FERRUM_FRONTEND_TLS_KEY_PATH", server.key.display())
        .env("FERRUM_FRONTEND_TLS_CLIENT_CA_BUNDLE_PATH", authority.bundle().display())
        .env("FERRUM_FRONTEND_TLS_CLIENT_AUTH", "optional")
        .start();
    let token = key.token(&claims(json!({"cnf": {"x5t#S256": thumbprint(&mine)}})));
    let bundle = authority.bundle();
    let status = |token: &str, identity: Option<&Identity>| {
        let header = format!("Authorization: Bearer {token}");
        let mut arguments = vec!["-H", &header, "--cacert", bundle.to_str().unwrap()];
        if let Some(identity) = identity {
            arguments.extend([
                "--cert",
                identity.certificate.to_str().unwrap(),
                "--key",
                identity.key.to_str().unwrap(),
            ]);
        }
        gateway.curl_tls("gateway.test", "/", &arguments).status
    };
    assert_eq!(status(&token, Some(&mine)), 200);
    assert_eq!((status(&token, Some(&other)), status(&token, None)), (401, 401));
    assert_eq!(status(&key.good(), Some(&mine)), 401, "a token that is not bound is not enough");
    unauthorized(&show(&gateway, &token), INVALID);
}

fn thumbprint(identity: &Identity) -> String {
    let pem = std::fs::read_to_string(&identity.certificate).expect("a certificate");
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(text).expect("PEM");
    URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der))
}

#[test]
fn the_record_names_the_principal_and_the_method() {
    let (key, backend) = (Key::new("k"), Backend::saying("ok"));
    let config = json!({"providers": [inline(&key, json!({}))], "emit_mesh_request_principal_metadata": true});
    let gateway = Gateway::running(&document(&backend, config).global_plugin("stdout_logging", json!({})));
    assert_eq!(show(&gateway, &key.token(&claims(json!({"iss": "https://idp.test"})))).status, 200);
    let record = gateway.wait_for_record(|record| record["response_status_code"] == 200);
    assert_eq!((&record["auth_method"], &record["consumer_username"]), (&json!("jwks_auth"), &json!("alice")));
    assert_eq!(record["metadata"], json!({"mesh.request_principal": "https://idp.test/alice"}));
}

#[test]
fn keys_may_stand_in_the_config_as_text() {
    let (key, backend) = (Key::new("k"), Backend::saying("ok"));
    let jwks = json!({"keys": [key.jwk()]}).to_string();
    let gateway = guarded(&backend, json!([{"jwks": jwks}]), json!({}));
    assert_eq!(show(&gateway, &key.good()).status, 200);
}

#[test]
fn a_config_that_is_wrong_refuses_to_start_with_all_its_errors() {
    let config = json!({
        "providers": [
            {"jwks_uri": "ftp://x/", "issuer": "", "audience": 5, "audiences": "x", "from_headers": [{"prefix": 5}],
             "from_params": [""], "forward_original_token": "no", "require_exp": null, "required_scopes": [" "],
             "required_roles": {}, "require_mtls_binding": 1, "require_dpop": true, "dpop_clock_skew_secs": 30,
             "dpop_jti_cache_max_entries": 10, "dpop_jti_ttl_secs": 300},
            {"jwks": {"keys": [{"kty": "oct"}]}},
            {"discovery_url": "http://x/", "jwks_uri": "http://y/"},
        ],
        "scope_claim": "a..b", "claim_headers": {"a": "Host"}, "jwks_refresh_interval_secs": 0,
    });
    let document = Document::new().global_plugin("jwks_auth", config);
    let exit = Gateway::builder().document(&document).start_failing();
    assert_eq!(exit.code, Some(1));
    let logged = exit.messages().join("\n");
    for text in [
        "'scope_claim' must be a dot path without empty segments (got 'a..b')",
        "'claim_headers.a' 'host' is reserved and cannot be set from a claim",
        "'jwks_refresh_interval_secs' must be greater than zero",
        "'providers[0].jwks_uri' must use http or https scheme, got 'ftp'",
        "'providers[0].issuer' must not be empty",
        "'providers[0].audience' must be a string",
        "'providers[0].audiences' must be an array of strings",
        "'providers[0].from_headers[0].name' is required",
        "'providers[0].from_headers[0].prefix' must be a string",
        "'providers[0].from_params' must not have empty entries",
        "'providers[0].forward_original_token' must be a boolean",
        "'providers[0].require_exp' must be a boolean",
        "'providers[0].required_scopes' must not have empty entries",
        "'providers[0].required_roles' must be an array of strings",
        "'providers[0].require_mtls_binding' must be a boolean",
        "'providers[0].require_dpop' is not supported: proofs of possession (RFC 9449) are not checked in this release",
        "'providers[0].dpop_clock_skew_secs' is not supported",
        "'providers[0].dpop_jti_cache_max_entries' is not supported",
        "'providers[0].dpop_jti_ttl_secs' is not supported",
        "'providers[1].jwks' has no key that can be used",
        "'providers[2].jwks_uri' and 'discovery_url' exclude each other",
    ] {
        assert!(logged.contains(&format!("jwks_auth: {text}")), "{text}: {logged}");
    }
}

#[test]
fn no_token_and_no_secret_of_a_url_is_logged() {
    let (key, backend) = (Key::new("k"), Backend::saying("ok"));
    let provider = Provider::new(&[&key]);
    let uri = provider.uri().replace("http://", "http://user:pass-word@") + "?apikey=in-query";
    let document = document(&backend, json!({"providers": [{"jwks_uri": uri}], "jwks_refresh_interval_secs": 1}));
    let gateway = Gateway::builder().document(&document).env("FERRUM_LOG_LEVEL", "debug").start();
    gateway.wait_for_log(|text| text.contains("cannot be fetched, there are none: it answered 404"));
    unauthorized(&show(&gateway, &key.good()), INVALID);
    let (stdout, stderr) = gateway.output();
    let printed = [stdout, stderr].concat().join("\n");
    for secret in ["pass-word", "in-query", &key.good()[..40]] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
}
