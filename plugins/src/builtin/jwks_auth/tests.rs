use serde_json::{Value, json};

use super::*;
use crate::credential::jws::TOKEN_BYTES_MAX;
use crate::testing::tokens::{Signer, now};
use crate::testing::{core, ready, request};
use crate::{AuthMode, Chain, ClientCertificate, Rejection};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

fn refused(config: Value) -> Vec<String> {
    JwksAuth::parse(&config).err().expect("the config is refused")
}

fn plugin(config: Value) -> Rc<dyn Plugin> {
    let (env, _drain) = core();
    let spec = JwksAuth::parse(&config).unwrap_or_else(|errors| panic!("{errors:?}")).spec;
    spec.build(&env)
}

/// One provider with the signer's key inline, and more of its keys.
fn provider(signer: &Signer, more: Value) -> Value {
    let mut provider = json!({"jwks": {"keys": [signer.jwk()]}});
    provider.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    provider
}

fn of(providers: &[Value]) -> Value {
    json!({ "providers": providers })
}

/// All phases up to the backend.
fn run(plugin: &Rc<dyn Plugin>, cx: &mut RequestContext) -> Result<(), Rejection> {
    let chain = Chain::new(std::slice::from_ref(plugin), AuthMode::Single);
    ready(async {
        chain.on_request_received(cx).await?;
        chain.authenticate(cx).await?;
        chain.authorize(cx).await?;
        chain.before_proxy(cx).await
    })
    .map_err(|rejection| *rejection)
}

fn bearer(token: &str) -> RequestContext {
    request("GET /", &[("authorization", &format!("Bearer {token}"))])
}

/// Good for an hour.
fn claims(more: Value) -> Value {
    let mut claims = json!({"sub": "alice", "exp": now() + 3600});
    claims.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    claims
}

/// Who a token of these claims is, or the answer to it.
fn check(config: Value, token: &str) -> Result<String, (u16, String)> {
    let mut cx = bearer(token);
    match run(&plugin(config), &mut cx) {
        Ok(()) => Ok(cx.effective_identity().expect("somebody").to_owned()),
        Err(rejection) => Err((rejection.status, String::from_utf8(rejection.body).unwrap())),
    }
}

fn invalid() -> Result<String, (u16, String)> {
    Err((401, r#"{"error":"Invalid or unrecognized JWT"}"#.to_owned()))
}

#[test]
fn a_token_of_each_algorithm_identifies_a_consumer() {
    for signer in Signer::one_of_each() {
        let token = signer.token(&claims(json!({})));
        let mut cx = bearer(&token);
        run(&plugin(of(&[provider(&signer, json!({}))])), &mut cx).unwrap();
        assert_eq!(cx.consumer().unwrap().username, "alice");
        assert_eq!((cx.auth_method, cx.external_identity.as_deref()), (Some("jwks_auth"), Some("alice")));
        assert_eq!(cx.head.headers.get("authorization"), Some(&*format!("Bearer {token}")), "it is forwarded");
    }
}

#[test]
fn who_is_no_consumer_is_known_by_the_token_s_claims() {
    let signer = Signer::es256("k");
    let config = json!({
        "providers": [provider(&signer, json!({}))],
        "consumer_identity_claim": "user.id", "consumer_header_claim": "user.mail",
    });
    let plugin = plugin(config);
    let mut cx = bearer(&signer.token(&claims(json!({"user": {"id": "u-1", "mail": "u@x.test"}}))));
    run(&plugin, &mut cx).unwrap();
    assert!(cx.consumer().is_none());
    assert_eq!((cx.effective_identity(), cx.displayed_identity()), (Some("u-1"), Some("u@x.test")));
    let mut cx = bearer(&signer.token(&claims(json!({"user": {"id": "u-1"}}))));
    run(&plugin, &mut cx).unwrap();
    assert_eq!(cx.displayed_identity(), Some("u-1"), "without the header's claim it is the identity");
}

#[test]
fn a_good_token_without_identity_identifies_nobody() {
    let signer = Signer::es256("k");
    let config = of(&[provider(&signer, json!({}))]);
    for sub in [json!(null), json!(5), json!(["alice"]), json!("")] {
        let mut cx = bearer(&signer.token(&claims(json!({ "sub": sub }))));
        let rejection = run(&plugin(config.clone()), &mut cx).unwrap_err();
        assert_eq!((rejection.status, &rejection.body[..]), (401, &br#"{"error":"Authentication required"}"#[..]));
        assert!(cx.auth_method.is_none());
    }
}

#[test]
fn where_there_is_no_token_others_may_know_the_caller() {
    let signer = Signer::es256("k");
    let plugin = plugin(of(&[provider(&signer, json!({}))]));
    let answer = |headers: &[(&str, &str)]| {
        let rejection = run(&plugin, &mut request("GET /", headers)).unwrap_err();
        (rejection.status, String::from_utf8(rejection.body).unwrap())
    };
    assert_eq!(answer(&[]), (401, r#"{"error":"Authentication required"}"#.to_owned()));
    let missing = (401, r#"{"error":"Missing Bearer token"}"#.to_owned());
    for foreign in ["Basic YTpi", "BEARER x", "Bearer", "Bearer\tx", "token", ""] {
        assert_eq!(answer(&[("authorization", foreign)]), missing, "{foreign:?}");
    }
    assert_eq!(answer(&[("authorization", "Bearer ")]), (401, r#"{"error":"Empty token"}"#.to_owned()));
    let token = signer.token(&claims(json!({})));
    let mut cx = request("GET /", &[("authorization", &format!("bearer {token}"))]);
    run(&plugin, &mut cx).unwrap();
    assert_eq!(
        answer(&[("authorization", &format!("Bearer  {token}"))]).1,
        invalid().unwrap_err().1,
        "nothing is trimmed"
    );
}

#[test]
fn the_algorithm_is_the_key_s_and_not_the_token_s() {
    let rsa = Signer::rsa("k", crate::outbound::jwks::Algorithm::Rs256);
    let config = of(&[provider(&rsa, json!({}))]);
    let header = |alg: &str| json!({"alg": alg, "kid": "k"});
    // Signed well, but said to be signed otherwise.
    for alg in ["none", "None", "HS256", "RS384", "RS512", "PS256", "ES256", "rs256", ""] {
        assert_eq!(check(config.clone(), &rsa.token_with(&header(alg), &claims(json!({})))), invalid(), "{alg}");
    }
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = |alg: &str| format!("{}.{}.", encode(&header(alg)), encode(&claims(json!({}))));
    assert_eq!(check(config.clone(), &unsigned("none")), invalid());
    assert_eq!(check(config.clone(), &unsigned("RS256")), invalid());
    // The public key, which everybody knows, taken for a shared secret.
    let signed = unsigned("HS256").trim_end_matches('.').to_owned();
    let public = rsa.jwk()["n"].as_str().unwrap().to_owned();
    for secret in [public.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(&public).unwrap(), rsa.jwk().to_string().into()] {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
        let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
        assert_eq!(check(config.clone(), &format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))), invalid());
    }
    let without = json!({"kid": "k"});
    assert_eq!(check(config.clone(), &rsa.token_with(&without, &claims(json!({})))), invalid());
    assert!(check(config, &rsa.token(&claims(json!({})))).is_ok());
}

#[test]
fn a_signature_of_somebody_else_is_none() {
    let (signer, other) = (Signer::es256("k"), Signer::es256("k"));
    let config = of(&[provider(&signer, json!({}))]);
    assert_eq!(check(config.clone(), &other.token(&claims(json!({})))), invalid());
    let token = signer.token(&claims(json!({})));
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let forged = URL_SAFE_NO_PAD.encode(claims(json!({"sub": "bob"})).to_string());
    assert_eq!(check(config.clone(), &format!("{header}.{forged}.{signature}")), invalid());
    for broken in [
        format!("{header}.{payload}"),
        format!("{header}.{payload}.{signature}.x"),
        format!("{header}.{payload}.{signature}=="),
        format!("{header}.{payload}.AA"),
        "not a token".to_owned(),
        "..".to_owned(),
    ] {
        assert_eq!(check(config.clone(), &broken), invalid(), "{broken}");
    }
}

#[test]
fn a_header_with_what_must_be_understood_is_refused() {
    let signer = Signer::es256("k");
    let header = json!({"alg": "ES256", "kid": "k", "crit": ["b64"], "b64": true});
    let token = signer.token_with(&header, &claims(json!({})));
    assert_eq!(check(of(&[provider(&signer, json!({}))]), &token), invalid());
}

#[test]
fn any_key_of_the_provider_may_have_signed() {
    let (one, two) = (Signer::es256("one"), Signer::es256("two"));
    let config = of(&[json!({"jwks": {"keys": [one.jwk(), two.jwk()]}})]);
    for header in [json!({"alg": "ES256"}), json!({"alg": "ES256", "kid": "one"}), json!({"alg": "ES256", "kid": "x"})]
    {
        assert!(check(config.clone(), &two.token_with(&header, &claims(json!({})))).is_ok(), "{header}");
    }
}

fn verifier(config: Value) -> Verifier {
    let spec = JwksAuth::parse(&config).unwrap_or_else(|errors| panic!("{errors:?}")).spec;
    Verifier::new(spec.config.clone(), spec.live(&core().0.services), 0)
}

fn passes(verifier: &Verifier, cx: &RequestContext, now: u64) -> bool {
    matches!(verifier.judge(cx, now), Judged::Passed(_))
}

#[test]
fn a_token_that_was_good_is_not_when_its_time_is_over() {
    let signer = Signer::es256("k");
    let verifier = verifier(of(&[provider(&signer, json!({}))]));
    for expiry in [json!(1000), json!(1000.5)] {
        let cx = bearer(&signer.token(&json!({"sub": "alice", "exp": expiry})));
        assert!(passes(&verifier, &cx, 1000) && passes(&verifier, &cx, 1060), "{expiry}");
        assert!(!passes(&verifier, &cx, 1061) && passes(&verifier, &cx, 1060), "{expiry}");
    }
}

#[test]
fn a_token_that_was_good_names_the_same_caller_and_headers_again() {
    let signer = Signer::es256("k");
    let token = signer.token(&claims(json!({"sub": "stranger", "name": "A Stranger", "team": "blue"})));
    let more = json!({"claim_headers": {"team": "X-Team"}, "consumer_header_claim": "name"});
    let plugin = plugin(of(&[provider(&signer, more)]));
    for _ in 0..3 {
        let mut cx = bearer(&token);
        run(&plugin, &mut cx).unwrap();
        assert_eq!((cx.effective_identity(), cx.displayed_identity()), (Some("stranger"), Some("A Stranger")));
        assert_eq!(cx.head.headers.get("x-team"), Some("blue"));
    }
}

#[test]
fn a_signature_that_was_good_is_not_under_another_text() {
    let signer = Signer::es256("k");
    let plugin = plugin(of(&[provider(&signer, json!({}))]));
    let token = signer.token(&claims(json!({})));
    run(&plugin, &mut bearer(&token)).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let other = URL_SAFE_NO_PAD.encode(claims(json!({"sub": "bob"})).to_string());
    assert_eq!(run(&plugin, &mut bearer(&[parts[0], &other, parts[2]].join("."))).unwrap_err().status, 401);
    run(&plugin, &mut bearer(&token)).unwrap();
}

#[test]
fn a_token_that_was_good_without_a_scope_is_forbidden_each_time() {
    let signer = Signer::es256("k");
    let verifier = verifier(of(&[provider(&signer, json!({"required_scopes": ["read"]}))]));
    let cx = bearer(&signer.token(&claims(json!({}))));
    for _ in 0..2 {
        let Judged::Rejected(rejection) = verifier.judge(&cx, now()) else { panic!("it passed") };
        assert_eq!(rejection.status, 403);
    }
}

#[test]
fn a_token_that_was_good_in_one_place_is_not_for_that_good_in_another() {
    let (one, two) = (Signer::es256("k"), Signer::es256("k"));
    let elsewhere = provider(&two, json!({"from_headers": [{"name": "X-Token"}]}));
    let verifier = verifier(of(&[provider(&one, json!({})), elsewhere]));
    let (of_one, of_two) = (one.token(&claims(json!({}))), two.token(&claims(json!({}))));
    let custom = |token: &str| request("GET /", &[("x-token", token)]);
    for _ in 0..2 {
        assert!(passes(&verifier, &bearer(&of_one), now()) && passes(&verifier, &custom(&of_two), now()));
        assert!(!passes(&verifier, &bearer(&of_two), now()) && !passes(&verifier, &custom(&of_one), now()));
    }
}

#[test]
fn an_expired_token_is_good_for_another_minute_and_no_longer() {
    let signer = Signer::es256("k");
    let verifier = verifier(of(&[provider(&signer, json!({}))]));
    let at = |expiry: Value, now: u64| {
        passes(&verifier, &bearer(&signer.token(&json!({"sub": "alice", "exp": expiry}))), now)
    };
    assert!(at(json!(1000), 1000) && at(json!(1000), 1059) && at(json!(1000), 1060));
    assert!(!at(json!(1000), 1061));
    assert!(at(json!(1000.5), 1060) && !at(json!(1000.5), 1061));
    for odd in [json!("2000"), json!(null), json!(-1), json!([2000]), json!(true)] {
        assert!(!at(odd.clone(), 1000), "{odd}");
    }
    assert!(at(json!(u64::MAX), 1000));
    assert!(!at(json!(1000), u64::MAX) && !at(json!(1000.5), u64::MAX), "a clock that cannot be read");
}

#[test]
fn a_token_needs_an_expiry_unless_it_is_said_that_it_does_not() {
    let signer = Signer::es256("k");
    let token = signer.token(&json!({"sub": "alice"}));
    let config = |global: Value, own: Value| {
        let mut config = of(&[provider(&signer, own)]);
        config.as_object_mut().unwrap().extend(global.as_object().cloned().unwrap());
        config
    };
    let (on, off) = (json!({"require_exp": true}), json!({"require_exp": false}));
    assert_eq!(check(config(json!({}), json!({})), &token), invalid());
    assert_eq!(check(config(off.clone(), on.clone()), &token), invalid());
    assert!(check(config(off.clone(), json!({})), &token).is_ok());
    assert!(check(config(on, off.clone()), &token).is_ok());
    let expired = signer.token(&json!({"sub": "alice", "exp": now() - 100}));
    assert_eq!(check(config(off, json!({})), &expired), invalid(), "one that is there is looked at all the same");
}

#[test]
fn the_issuer_must_be_the_one_named_if_the_token_names_one() {
    let signer = Signer::es256("k");
    let with = |issuer: Value| {
        check(of(&[provider(&signer, json!({"issuer": "https://idp.test"}))]), &signer.token(&claims(issuer)))
    };
    assert!(with(json!({"iss": "https://idp.test"})).is_ok());
    assert!(with(json!({})).is_ok());
    assert_eq!(with(json!({"iss": "https://idp.test/"})), invalid());
    assert_eq!(with(json!({"iss": ["https://idp.test"]})), invalid());
    let anybody = check(of(&[provider(&signer, json!({}))]), &signer.token(&claims(json!({"iss": "x"}))));
    assert!(anybody.is_ok());
}

#[test]
fn an_audience_must_be_one_of_those_named_and_none_is_if_none_is_named() {
    let signer = Signer::es256("k");
    let with =
        |config: Value, audience: Value| check(of(&[provider(&signer, config)]), &signer.token(&claims(audience)));
    let both = || json!({"audience": "api", "audiences": ["web", "app"]});
    for good in [json!({"aud": "api"}), json!({"aud": "app"}), json!({"aud": ["x", "web"]}), json!({})] {
        assert!(with(both(), good.clone()).is_ok(), "{good}");
    }
    for bad in
        [json!({"aud": "ap"}), json!({"aud": "api web"}), json!({"aud": []}), json!({"aud": 5}), json!({"aud": null})]
    {
        assert_eq!(with(both(), bad.clone()), invalid(), "{bad}");
    }
    assert_eq!(with(json!({}), json!({"aud": "api"})), invalid());
}

#[test]
fn every_scope_and_one_of_the_roles_must_be_there() {
    let signer = Signer::es256("k");
    let rules = json!({"required_scopes": ["read", "a\"\\<b>"], "required_roles": ["admin", "ops"]});
    let config = of(&[provider(&signer, rules)]);
    let with = |more: Value| check(config.clone(), &signer.token(&claims(more)));
    let roles = json!(["dev", "ops"]);
    assert!(with(json!({"scope": "x read a\"\\<b>", "roles": roles})).is_ok());
    assert!(with(json!({"scope": ["a\"\\<b>", "read"], "roles": "admin dev"})).is_ok());
    let missing = |scope: &str| Err((403, format!(r#"{{"error":"Insufficient scope","required":"{scope}"}}"#)));
    assert_eq!(with(json!({"roles": roles})), missing("read"));
    assert_eq!(with(json!({"scope": 5, "roles": roles})), missing("read"));
    assert_eq!(with(json!({"scope": "read", "roles": roles})), missing(r#"a\"\\\u003cb\u003e"#));
    let scopes = json!(["read", "a\"\\<b>"]);
    let role = Err((403, r#"{"error":"Insufficient role"}"#.to_owned()));
    assert_eq!(with(json!({"scope": scopes, "roles": ["adm", "in"]})), role);
    assert_eq!(with(json!({ "scope": scopes })), role);
}

#[test]
fn scopes_and_roles_may_stand_elsewhere() {
    let signer = Signer::es256("k");
    let rules = json!({"required_scopes": ["read"], "required_roles": ["admin"], "role_claim": "realm_access.roles"});
    let mut config = of(&[provider(&signer, rules)]);
    config["scope_claim"] = json!("scp");
    config["role_claim"] = json!("elsewhere");
    let token = signer.token(&claims(json!({"scp": ["read"], "realm_access": {"roles": ["admin"]}})));
    assert!(check(config, &token).is_ok(), "a provider's own path goes before the global one");
}

#[test]
fn the_provider_of_the_token_s_issuer_is_asked_first_and_then_the_others() {
    let (one, two) = (Signer::es256("k"), Signer::es256("k"));
    let named = |signer: &Signer, issuer: &str, claim: &str| {
        provider(signer, json!({"issuer": issuer, "consumer_identity_claim": claim}))
    };
    let config = of(&[
        named(&one, "one", "a"),
        named(&two, "two", "b"),
        provider(&one, json!({"consumer_identity_claim": "c"})),
    ]);
    let token =
        |signer: &Signer, issuer: &str| signer.token(&claims(json!({"iss": issuer, "a": "A", "b": "B", "c": "C"})));
    assert_eq!(check(config.clone(), &token(&one, "one")).unwrap(), "A");
    assert_eq!(check(config.clone(), &token(&two, "two")).unwrap(), "B");
    assert_eq!(check(config.clone(), &token(&one, "two")).unwrap(), "C", "signed by another one than it says");
    assert_eq!(check(config.clone(), &token(&one, "three")).unwrap(), "C");
    assert_eq!(check(config, &token(&two, "one")), invalid());
}

#[test]
fn tokens_are_found_where_providers_say() {
    let (one, two) = (Signer::es256("1"), Signer::es256("2"));
    let first = json!({"from_headers": [{"name": "X-Token"}, {"name": "X-Auth", "prefix": "Token "}], "from_params": ["access_token"]});
    let second = json!({"from_headers": [{"name": "X-Second", "prefix": null}]});
    let plugin = plugin(of(&[provider(&one, first), provider(&two, second)]));
    let (good, other) = (one.token(&claims(json!({}))), two.token(&claims(json!({"sub": "bob"}))));
    let who = |line: &str, headers: &[(&str, &str)]| {
        let mut cx = request(line, headers);
        let verdict = run(&plugin, &mut cx);
        verdict.map(|()| cx.effective_identity().unwrap().to_owned()).map_err(|r| String::from_utf8(r.body).unwrap())
    };
    let nobody = Err(r#"{"error":"Authentication required"}"#.to_owned());
    let bad = Err(r#"{"error":"Invalid or unrecognized JWT"}"#.to_owned());
    assert_eq!(who("GET /", &[("x-token", &good)]).unwrap(), "alice");
    assert_eq!(who("GET /", &[("x-auth", &format!("Token {good}"))]).unwrap(), "alice");
    assert_eq!(who("GET /", &[("x-auth", &format!("token {good}"))]), nobody, "a prefix is compared exactly");
    assert_eq!(who(&format!("GET /?a=1&access%5Ftoken={good}"), &[]).unwrap(), "alice");
    assert_eq!(who("GET /", &[("x-second", &other)]).unwrap(), "bob");
    assert_eq!(who("GET /", &[("x-second", &good)]), bad, "its own place, another one's key");
    assert_eq!(who("GET /", &[("x-token", &good), ("x-second", &other)]).unwrap(), "alice", "the first place counts");
    assert_eq!(who("GET /", &[("authorization", &format!("Bearer {good}"))]), nobody, "nobody looks there");
    assert_eq!(who("GET /", &[("authorization", "Basic x")]), nobody);
    let empty = Err(r#"{"error":"Empty token"}"#.to_owned());
    assert_eq!(who("GET /?access_token=", &[]), empty);
    assert_eq!(who("GET /?access_token=", &[("x-token", ""), ("x-second", &other)]).unwrap(), "bob");
}

#[test]
fn providers_with_places_of_their_own_go_before_those_that_share_authorization() {
    let (one, two) = (Signer::es256("1"), Signer::es256("2"));
    let plugin =
        plugin(of(&[provider(&two, json!({})), provider(&one, json!({"from_headers": [{"name": "X-Token"}]}))]));
    let (good, other) = (one.token(&claims(json!({}))), two.token(&claims(json!({"sub": "bob"}))));
    let who = |headers: &[(&str, &str)]| {
        let mut cx = request("GET /", headers);
        let verdict = run(&plugin, &mut cx);
        verdict.map(|()| cx.effective_identity().unwrap().to_owned()).map_err(|r| String::from_utf8(r.body).unwrap())
    };
    let authorization = format!("Bearer {other}");
    assert_eq!(who(&[("authorization", &authorization)]).unwrap(), "bob");
    assert_eq!(who(&[("authorization", &authorization), ("x-token", &good)]).unwrap(), "alice");
    assert_eq!(who(&[("x-token", &other)]), Err(r#"{"error":"Invalid or unrecognized JWT"}"#.to_owned()));
    assert_eq!(
        who(&[("x-token", &other), ("authorization", &authorization)]).unwrap(),
        "bob",
        "the same token in both places"
    );
    assert_eq!(who(&[("x-token", ""), ("authorization", &authorization)]).unwrap(), "bob");
    assert_eq!(who(&[("x-token", "")]), Err(r#"{"error":"Empty token"}"#.to_owned()));
    assert_eq!(
        who(&[("x-token", ""), ("authorization", "Basic x")]),
        Err(r#"{"error":"Missing Bearer token"}"#.to_owned())
    );
}

#[test]
fn a_token_is_kept_from_the_backend_where_the_provider_that_took_it_says_so() {
    let (one, two) = (Signer::es256("1"), Signer::es256("2"));
    let hidden = json!({"from_headers": [{"name": "X-Token"}, {"name": "X-Other"}], "from_params": ["t"], "forward_original_token": false});
    let plugin_of = |more: Value| plugin(of(&[provider(&one, hidden.clone()), provider(&two, more)]));
    let plugin = plugin_of(json!({"forward_original_token": false}));
    let (good, other) = (one.token(&claims(json!({}))), two.token(&claims(json!({}))));
    let authorization = format!("Bearer {other}");
    let all = [("x-token", &*good), ("x-other", "o"), ("authorization", &*authorization)];
    let mut cx = request("GET /?t=1", &all);
    run(&plugin, &mut cx).unwrap();
    let seen =
        |cx: &RequestContext| ["x-token", "x-other", "authorization"].map(|name| cx.head.headers.get(name).is_some());
    assert_eq!(seen(&cx), [false, false, true], "only those of the provider that took it");
    assert_eq!(cx.consumed_query, ["t"]);
    let mut cx = request("GET /?t=", &[("authorization", &authorization)]);
    run(&plugin, &mut cx).unwrap();
    assert_eq!((seen(&cx), cx.consumed_query.len()), ([false, false, false], 0));
    let mut cx = request("GET /", &[("authorization", &authorization)]);
    run(&plugin_of(json!({})), &mut cx).unwrap();
    assert_eq!(seen(&cx), [false, false, true]);
    let mut cx = request("GET /", &[("x-token", "bad")]);
    assert!(run(&plugin, &mut cx).is_err());
    assert!(cx.head.headers.get("x-token").is_some());
}

#[test]
fn claims_become_headers_which_no_client_can_set() {
    let signer = Signer::es256("k");
    let own = json!({"claim_headers": {"groups": "X-Groups", "user.id": "X-User", "n": "X-N", "odd": "X-Odd"}, "claim_headers_separator": "|"});
    let plugin = plugin(of(&[provider(&signer, own)]));
    let token =
        signer.token(&claims(json!({"groups": ["a", 5, "b"], "user": {"id": "7"}, "n": 5, "odd": "line\nbreak"})));
    let forged = [("x-groups", "root"), ("X-Odd", "root"), ("x-user", "root"), ("x-other", "kept")];
    let mut cx = request("GET /", &[&forged[..], &[("authorization", &format!("Bearer {token}"))]].concat());
    run(&plugin, &mut cx).unwrap();
    let header = |cx: &RequestContext, name: &str| cx.head.headers.get(name).map(str::to_owned);
    assert_eq!(header(&cx, "x-groups").as_deref(), Some("a|b"));
    assert_eq!(header(&cx, "x-user").as_deref(), Some("7"));
    assert_eq!(header(&cx, "x-n").as_deref(), Some("5"));
    assert_eq!(header(&cx, "x-odd"), None);
    assert_eq!(header(&cx, "x-other").as_deref(), Some("kept"));
    let mut cx = request("GET /", &forged);
    assert!(run(&plugin, &mut cx).is_err());
    assert_eq!(header(&cx, "x-groups"), None, "also where no token is shown");
}

#[test]
fn claim_headers_for_all_providers_may_be_replaced_by_one_s_own() {
    let (one, two) = (Signer::es256("1"), Signer::es256("2"));
    let mut config = of(&[provider(&one, json!({})), provider(&two, json!({"claim_headers": {"b": "X-B"}}))]);
    config["claim_headers"] = json!({"a": "X-A"});
    config["claim_headers_separator"] = json!("; ");
    let plugin = plugin(config);
    let headers = |signer: &Signer| {
        let mut cx = bearer(&signer.token(&claims(json!({"a": ["1", "2"], "b": ["3", "4"]}))));
        run(&plugin, &mut cx).unwrap();
        ["x-a", "x-b"].map(|name| cx.head.headers.get(name).map(str::to_owned))
    };
    assert_eq!(headers(&one), [Some("1; 2".to_owned()), None]);
    assert_eq!(headers(&two), [None, Some("3; 4".to_owned())]);
}

#[test]
fn a_token_may_be_bound_to_the_client_s_certificate() {
    let signer = Signer::es256("k");
    let plugin = plugin(of(&[provider(&signer, json!({"require_mtls_binding": true}))]));
    let certificate = |der: &[u8]| Rc::new(ClientCertificate::new(der.to_vec(), Vec::new()));
    // SHA-256 of "abc" in base64url (FIPS 180-2 appendix B.1).
    let bound = claims(json!({"cnf": {"x5t#S256": "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"}}));
    let (bound, unbound) = (signer.token(&bound), signer.token(&claims(json!({}))));
    let check = |token: &str, shown: Option<&[u8]>| {
        let mut cx = bearer(token);
        cx.client_certificate = shown.map(certificate);
        run(&plugin, &mut cx).is_ok()
    };
    for _ in 0..2 {
        assert!(check(&bound, Some(b"abc")));
        assert!(!check(&bound, Some(b"abd")) && !check(&bound, None) && !check(&unbound, Some(b"abc")));
    }
}

#[test]
fn the_mesh_principal_is_left_in_the_metadata_if_asked_for() {
    let signer = Signer::es256("k");
    for (flag, claims, principal) in [
        (true, claims(json!({"iss": "https://idp", "sub": "u"})), Some("https://idp/u")),
        (true, claims(json!({"sub": "u"})), None),
        (true, claims(json!({"iss": 5, "sub": "u"})), None),
        (false, claims(json!({"iss": "https://idp", "sub": "u"})), None),
    ] {
        let mut config = of(&[provider(&signer, json!({}))]);
        config["emit_mesh_request_principal_metadata"] = json!(flag);
        let mut cx = bearer(&signer.token(&claims));
        run(&plugin(config), &mut cx).unwrap();
        assert_eq!(cx.metadata.get("mesh.request_principal"), principal);
    }
}

#[test]
fn a_claim_that_is_looked_at_is_there_once() {
    let signer = Signer::es256("k");
    let config = of(&[provider(&signer, json!({"role_claim": "realm.roles", "required_roles": ["user"]}))]);
    let token = |members: &str| {
        let payload = format!(r#"{{"exp":{},"sub":"alice",{members}}}"#, now() + 3600);
        let [header, payload] = [r#"{"alg":"ES256","kid":"k"}"#, &payload].map(|part| URL_SAFE_NO_PAD.encode(part));
        let signed = format!("{header}.{payload}");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signer.sign(signed.as_bytes())))
    };
    let roles = r#""realm":{"roles":["user"]}"#;
    assert_eq!(check(config.clone(), &token(&format!(r#"{roles},"jti":1,"jti":2"#))).unwrap(), "alice");
    for twice in [r#""sub":"alice""#, r#""exp":4102444800"#, r#""realm":{}"#] {
        assert_eq!(check(config.clone(), &token(&format!("{roles},{twice}"))), invalid(), "{twice}");
    }
}

#[test]
fn a_token_of_the_most_bytes_is_read_and_a_longer_one_is_not() {
    let signer = Signer::es256("k");
    let config = of(&[provider(&signer, json!({}))]);
    let padded = |bytes: usize| signer.token(&claims(json!({"pad": "x".repeat(bytes)})));
    // Four characters of the token hold three of the payload.
    let step = |length: usize| padded(length).len();
    let mut pad = (TOKEN_BYTES_MAX - step(0)) * 3 / 4;
    while step(pad) > TOKEN_BYTES_MAX {
        pad -= 1;
    }
    while step(pad + 1) <= TOKEN_BYTES_MAX {
        pad += 1;
    }
    assert!(check(config.clone(), &padded(pad)).is_ok());
    assert_eq!(check(config, &padded(pad + 1)), invalid());
}

#[test]
fn without_keys_no_token_is_good_and_nobody_waits() {
    let signer = Signer::es256("k");
    // Nobody listens there.
    let config =
        of(&[json!({"jwks_uri": "http://127.0.0.1:9/keys"}), json!({"discovery_url": "http://127.0.0.1:9/d"})]);
    assert_eq!(check(config, &signer.token(&claims(json!({})))), invalid());
    let empty = of(&[json!({"jwks": {"keys": []}})]);
    assert_eq!(check(empty, &signer.token(&claims(json!({})))), invalid());
}

#[test]
fn what_a_plugin_does_not_need_it_takes_no_part_in() {
    let signer = Signer::es256("k");
    let phases = |more: Value| plugin(of(&[provider(&signer, more)])).phases();
    assert_eq!(phases(json!({})), Phases::AUTHENTICATE);
    assert_eq!(phases(json!({"forward_original_token": false})), Phases::AUTHENTICATE.and(Phases::BEFORE_PROXY));
    assert!(phases(json!({"claim_headers": {"a": "X-A"}})).has(Phases::RECEIVED.and(Phases::BEFORE_PROXY)));
}

#[test]
fn a_claim_header_that_would_never_arrive_is_refused() {
    let with = |name: &str| refused(of(&[json!({"jwks_uri": "https://k.test/", "claim_headers": {"tenant": name}})]));
    for name in
        ["X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Ferrum-Original-Content-Encoding", "Host"]
    {
        let text = format!(
            "jwks_auth: 'providers[0].claim_headers.tenant' '{}' is reserved and cannot be set from a claim",
            name.to_lowercase()
        );
        assert_eq!(with(name), [text]);
    }
    let other = json!({"jwks_uri": "https://k.test/", "from_headers": [{"name": "X-Token"}]});
    let config = json!({"providers": [other, {"jwks_uri": "https://l.test/"}], "claim_headers": {"t": "x-token"}});
    let text = "jwks_auth: 'claim_headers' 'x-token' is where a provider looks for tokens; set another header";
    assert_eq!(refused(config), [text]);
}

#[test]
fn an_interval_is_no_longer_than_a_year() {
    let year = 365 * 24 * 3600;
    for (said, counts) in [(1, 1), (year - 1, year - 1), (year, year), (year + 1, year), (u64::MAX, year)] {
        let mut config = of(&[json!({"jwks_uri": "https://k.test/"})]);
        config["jwks_refresh_interval_secs"] = json!(said);
        assert_eq!(JwksAuth::parse(&config).unwrap().spec.config.refresh_interval.as_secs(), counts);
    }
}

#[test]
fn hosts_of_providers_are_known_before_they_are_needed() {
    let config = of(&[
        json!({"jwks_uri": "https://keys.test/k"}),
        json!({"discovery_url": "https://idp.test/.well-known/openid-configuration"}),
        json!({"jwks_uri": "http://10.0.0.1/k"}),
        json!({"jwks": {"keys": []}}),
    ]);
    assert_eq!(JwksAuth::parse(&config).unwrap().spec.hosts(), ["keys.test", "idp.test", "10.0.0.1"]);
}

#[test]
fn wrong_values_at_the_top_are_refused_with_key_and_reason() {
    assert_eq!(refused(Value::Null), ["jwks_auth: config must be an object"]);
    assert_eq!(refused(json!({})), ["jwks_auth: 'providers' is required"]);
    for wrong in [json!([]), json!(null), json!({})] {
        assert_eq!(refused(json!({ "providers": wrong })), ["jwks_auth: 'providers' must be a non-empty array"]);
    }
    let with = |key: &str, value: Value| {
        let mut config = of(&[json!({"jwks": {"keys": []}})]);
        config[key] = value;
        refused(config)
    };
    for path in ["scope_claim", "role_claim", "consumer_identity_claim", "consumer_header_claim"] {
        for wrong in ["", "a..b", ".a"] {
            let text = format!("jwks_auth: '{path}' must be a dot path without empty segments (got '{wrong}')");
            assert_eq!(with(path, json!(wrong)), [text]);
        }
        assert_eq!(with(path, json!(null)), [format!("jwks_auth: '{path}' must be a string")]);
    }
    assert_eq!(with("require_exp", json!("no")), ["jwks_auth: 'require_exp' must be a boolean"]);
    assert_eq!(
        with("emit_mesh_request_principal_metadata", json!(1)),
        ["jwks_auth: 'emit_mesh_request_principal_metadata' must be a boolean"]
    );
    assert_eq!(
        with("jwks_refresh_interval_secs", json!(0)),
        ["jwks_auth: 'jwks_refresh_interval_secs' must be greater than zero"]
    );
    assert_eq!(
        with("jwks_refresh_interval_secs", json!(1.5)),
        ["jwks_auth: 'jwks_refresh_interval_secs' must be an unsigned integer"]
    );
    assert_eq!(with("claim_headers_separator", json!(5)), ["jwks_auth: 'claim_headers_separator' must be a string"]);
    assert_eq!(with("claim_headers", json!([])), ["jwks_auth: 'claim_headers' must be an object"]);
    assert_eq!(
        with("claim_headers", json!({"a": "X-A", "b": "x-a", "c..d": "X-C", "e": "X E", "f": 5})),
        [
            "jwks_auth: 'claim_headers.b' 'x-a' is set from another claim already",
            "jwks_auth: 'claim_headers.c..d' must be a dot path without empty segments",
            "jwks_auth: 'claim_headers.e' 'x e' is not a header name",
            "jwks_auth: 'claim_headers.f' must be a string"
        ]
    );
    for reserved in ["Authorization", "Host", "Connection", "TE", "X-Consumer-Username", "x-consumer-custom-id"] {
        let name = reserved.to_lowercase();
        let text = format!("jwks_auth: 'claim_headers.a' '{name}' is reserved and cannot be set from a claim");
        assert_eq!(with("claim_headers", json!({ "a": reserved })), [text]);
    }
}

#[test]
fn wrong_values_of_a_provider_are_refused_with_its_place() {
    let wrong = |provider: Value| refused(json!({ "providers": [provider] }));
    assert_eq!(wrong(json!(5)), ["jwks_auth: 'providers[0]' must be an object"]);
    assert_eq!(wrong(json!({})), ["jwks_auth: 'providers[0].jwks_uri' is required, or else 'discovery_url' or 'jwks'"]);
    assert_eq!(
        wrong(json!({"jwks_uri": "http://a/", "jwks": "{}"})),
        ["jwks_auth: 'providers[0].jwks_uri' and 'jwks' exclude each other"]
    );
    assert_eq!(
        wrong(json!({"jwks_uri": "ftp://a/"})),
        ["jwks_auth: 'providers[0].jwks_uri' must use http or https scheme, got 'ftp'"]
    );
    assert!(
        wrong(json!({"discovery_url": "idp"}))[0]
            .starts_with("jwks_auth: 'providers[0].discovery_url' is not a valid URL")
    );
    assert_eq!(wrong(json!({"jwks_uri": null})), ["jwks_auth: 'providers[0].jwks_uri' must be a string"]);
    assert!(wrong(json!({"jwks": "<"}))[0].starts_with("jwks_auth: 'providers[0].jwks' is not JSON: "));
    assert_eq!(wrong(json!({"jwks": {}})), ["jwks_auth: 'providers[0].jwks' has no array 'keys'"]);
    assert_eq!(wrong(json!({"jwks": []})), ["jwks_auth: 'providers[0].jwks' must be a string or an object"]);
    assert_eq!(
        wrong(json!({"jwks": {"keys": [{"kty": "oct", "kid": "s"}]}})),
        [
            "jwks_auth: 'providers[0].jwks' has no key that can be used: keys[0] 's' is skipped: kty 'oct' is not supported"
        ]
    );
    let with = |key: &str, value: Value| wrong(json!({"jwks": {"keys": []}, key: value}));
    for key in ["issuer", "audience"] {
        assert_eq!(with(key, json!(" ")), [format!("jwks_auth: 'providers[0].{key}' must not be empty")]);
        assert_eq!(with(key, json!(null)), [format!("jwks_auth: 'providers[0].{key}' must be a string")]);
    }
    for key in ["audiences", "from_params", "required_scopes", "required_roles"] {
        assert_eq!(
            with(key, json!(["a", " "])),
            [format!("jwks_auth: 'providers[0].{key}' must not have empty entries")]
        );
        assert_eq!(with(key, json!("a")), [format!("jwks_auth: 'providers[0].{key}' must be an array of strings")]);
    }
    for key in ["forward_original_token", "require_exp", "require_mtls_binding", "require_dpop"] {
        assert_eq!(with(key, json!("yes")), [format!("jwks_auth: 'providers[0].{key}' must be a boolean")]);
    }
    assert_eq!(with("from_headers", json!({})), ["jwks_auth: 'providers[0].from_headers' must be an array of objects"]);
    assert_eq!(
        with("from_headers", json!(["X", {}, {"name": "a b"}, {"name": "X", "prefix": 5}, {"name": 5}])),
        [
            "jwks_auth: 'providers[0].from_headers[0]' must be an object",
            "jwks_auth: 'providers[0].from_headers[1].name' is required",
            "jwks_auth: 'providers[0].from_headers[2].name' 'a b' is not a header name",
            "jwks_auth: 'providers[0].from_headers[3].prefix' must be a string",
            "jwks_auth: 'providers[0].from_headers[4].name' must be a string"
        ]
    );
    assert_eq!(
        with("role_claim", json!("a.")),
        ["jwks_auth: 'providers[0].role_claim' must be a dot path without empty segments (got 'a.')"]
    );
}

#[test]
fn proofs_of_possession_are_refused_in_clear_words() {
    let with = |key: &str, value: Value| refused(of(&[json!({"jwks": {"keys": []}, key: value})]));
    let text = |key: &str| {
        format!(
            "jwks_auth: 'providers[0].{key}' is not supported: proofs of possession (RFC 9449) are not checked in this release"
        )
    };
    assert_eq!(with("require_dpop", json!(true)), [text("require_dpop")]);
    for key in ["dpop_clock_skew_secs", "dpop_jti_cache_max_entries", "dpop_jti_ttl_secs"] {
        assert_eq!(with(key, json!(30)), [text(key)]);
    }
    assert!(JwksAuth::parse(&of(&[json!({"jwks": {"keys": []}, "require_dpop": false})])).is_ok());
}

#[test]
fn unknown_keys_and_keys_that_cannot_be_used_are_named_in_warnings() {
    let signer = Signer::es256("k");
    let jwks = json!({"keys": [signer.jwk(), {"kty": "oct", "kid": "s"}]}).to_string();
    let parsed = JwksAuth::parse(&json!({"providers": [{"jwks": jwks, "jwks_url": "x"}], "leeway": 5})).unwrap();
    assert_eq!(
        parsed.warnings,
        [
            "jwks_auth: 'providers[0].jwks' keys[1] 's' is skipped: kty 'oct' is not supported",
            "jwks_auth: unknown key 'providers[0].jwks_url' is ignored",
            "jwks_auth: unknown key 'leeway' is ignored"
        ]
    );
}
