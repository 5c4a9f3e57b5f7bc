use super::*;
use crate::testing::{consumer, facts_with, ready, request};
use crate::{AuthMode, Chain};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType, SerialNumber};
use serde_json::json;
use std::fmt::Write;

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority(adjust: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    adjust(&mut params);
    params
}

fn root(adjust: impl FnOnce(&mut CertificateParams)) -> Issuer {
    CertifiedIssuer::self_signed(authority(adjust), KeyPair::generate().unwrap()).unwrap()
}

fn acme() -> Issuer {
    root(|params| {
        params.distinguished_name.push(DnType::CommonName, "Acme \"Root\"");
        params.distinguished_name.push(DnType::OrganizationName, "Acme");
        params.distinguished_name.push(DnType::OrganizationalUnitName, "PKI");
    })
}

fn leaf(issuer: &Issuer) -> Vec<u8> {
    let mut params = CertificateParams::new(vec!["api.example".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "by-cn");
    params.distinguished_name.push(DnType::OrganizationName, "by-o");
    params.distinguished_name.push(DnType::OrganizationalUnitName, "by-ou");
    params.subject_alt_names.push(SanType::Rfc822Name("a@example.com".try_into().unwrap()));
    params.serial_number = Some(SerialNumber::from_slice(&[0x00, 0xab, 0xcd]));
    params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().der().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn print_of(der: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der).as_ref())
}

/// Who is found, by a consumer whose only identity is `identity`.
fn judged(
    config: &Value,
    shown: Option<(Vec<u8>, Vec<Vec<u8>>)>,
    identity: &str,
) -> Result<Option<String>, (u16, String)> {
    let mut cx = request("GET /", &[]);
    cx.facts = facts_with([consumer("alice", json!({"mtls_auth": [{"identity": identity}]}))], &[]);
    cx.client_certificate = shown.map(|(leaf, chain)| Rc::new(ClientCertificate::new(leaf, chain)));
    let plugin = MtlsAuth::parse(config).unwrap().spec;
    if let Flow::Reject(rejection) = plugin.authenticate(&mut cx) {
        return Err((rejection.status, String::from_utf8(rejection.body).unwrap()));
    }
    assert_eq!(cx.auth_method.is_some(), cx.consumer.is_some());
    Ok(cx.consumer().map(|consumer| consumer.username.clone()))
}

fn found() -> Result<Option<String>, (u16, String)> {
    Ok(Some("alice".to_owned()))
}

fn refused(status: u16, error: &str) -> Result<Option<String>, (u16, String)> {
    Err((status, json!({ "error": error }).to_string()))
}

#[test]
fn every_field_can_be_the_identity() {
    let leaf = leaf(&acme());
    let print = print_of(&leaf);
    for (field, identity) in [
        ("subject_cn", "by-cn"),
        ("subject_o", "by-o"),
        ("subject_ou", "by-ou"),
        ("san_dns", "api.example"),
        ("san_email", "a@example.com"),
        ("serial", "abcd"),
        ("fingerprint_sha256", &print),
    ] {
        let config = json!({ "cert_field": field });
        assert_eq!(judged(&config, Some((leaf.clone(), Vec::new())), identity), found(), "{field}");
        let other = judged(&config, Some((leaf.clone(), Vec::new())), &identity.to_uppercase());
        assert_eq!(other, refused(401, "No consumer found for client certificate"), "{field}");
    }
    for silent in [json!({}), Value::Null, json!({"cert_field": null})] {
        assert_eq!(judged(&silent, Some((leaf.clone(), Vec::new())), "by-cn"), found());
    }
}

#[test]
fn without_a_certificate_it_has_nothing_to_say() {
    let config = json!({"allowed_issuers": [{"cn": "x"}]});
    assert_eq!(judged(&config, None, "by-cn"), Ok(None));
    let mut cx = request("GET /", &[]);
    let plugin: Rc<dyn Plugin> = Rc::new(MtlsAuth::parse(&json!({})).unwrap().spec);
    let rejection = ready(Chain::new(&[plugin], AuthMode::Single).authenticate(&mut cx)).unwrap_err();
    assert_eq!(rejection.body, br#"{"error":"Authentication required"}"#);
}

#[test]
fn what_cannot_be_read_or_lacks_the_field_is_invalid() {
    let invalid = refused(401, "Invalid client certificate");
    for config in [json!({}), json!({"cert_field": "fingerprint_sha256"}), json!({"allowed_issuers": [{"cn": "x"}]})] {
        assert_eq!(judged(&config, Some((b"no certificate".to_vec(), Vec::new())), "by-cn"), invalid);
    }
    let bare = root(|_| ());
    let bare = bare.der().to_vec();
    for field in ["subject_cn", "subject_o", "subject_ou", "san_dns", "san_email"] {
        let config = json!({ "cert_field": field });
        assert_eq!(judged(&config, Some((bare.clone(), Vec::new())), ""), invalid, "{field}");
    }
}

#[test]
fn the_issuer_must_fit_one_filter_in_all_its_parts() {
    let leaf = leaf(&acme());
    let with =
        |filters: Value| judged(&json!({ "allowed_issuers": filters }), Some((leaf.clone(), Vec::new())), "by-cn");
    let wrong = refused(403, "Certificate issuer 'Acme \"Root\"' does not match any allowed issuer");
    assert_eq!(with(json!([{"cn": " Acme \"Root\" "}])), found());
    assert_eq!(with(json!([{"o": "Acme", "ou": "PKI"}])), found());
    assert_eq!(with(json!([{"cn": "Other"}, {"o": "Acme"}])), found());
    assert_eq!(with(json!([{"cn": "Acme \"Root\"", "o": "Other"}])), wrong);
    assert_eq!(with(json!([{"o": "acme"}, {"ou": "PK"}])), wrong);
    let nameless = root(|params| params.distinguished_name.push(DnType::OrganizationName, "Acme"));
    let leaf = self::leaf(&nameless);
    let config = json!({"allowed_issuers": [{"cn": "Acme"}]});
    let unknown = refused(403, "Certificate issuer '<unknown>' does not match any allowed issuer");
    assert_eq!(judged(&config, Some((leaf, Vec::new())), "by-cn"), unknown);
}

#[test]
fn one_of_the_authorities_must_have_signed() {
    let (root, stranger) = (acme(), acme());
    let low = authority(|params| params.distinguished_name.push(DnType::CommonName, "Low"));
    let low = CertifiedIssuer::signed_by(low, KeyPair::generate().unwrap(), &root).unwrap();
    let leaf = leaf(&low);
    let chain: Vec<Vec<u8>> = [&low, &root, &stranger].map(|issuer| issuer.der().to_vec()).into();
    let missing = refused(403, "No certificate in the chain matches any allowed CA fingerprint");
    let with = |allowed: &[u8], chain: &[Vec<u8>]| {
        let prints = ["0".repeat(64), print_of(allowed).to_uppercase()];
        judged(&json!({"allowed_ca_fingerprints_sha256": prints}), Some((leaf.clone(), chain.to_vec())), "by-cn")
    };
    assert_eq!(with(low.der(), &chain), found());
    assert_eq!(with(root.der(), &chain), found());
    assert_eq!(with(stranger.der(), &chain), missing, "it has the name and was sent, and has signed nothing");
    assert_eq!(with(&leaf, &[vec![leaf.clone()], chain.clone()].concat()), missing, "a leaf is no authority");
    assert_eq!(with(root.der(), &chain[1..]), missing, "the link between is not there");
    assert_eq!(with(low.der(), &[]), missing);
}

#[test]
fn both_rules_must_be_kept() {
    let root = acme();
    let shown = || Some((leaf(&root), vec![root.der().to_vec()]));
    let print = print_of(root.der());
    let with = |cn: &str, print: &str| {
        let config = json!({"allowed_issuers": [{"cn": cn}], "allowed_ca_fingerprints_sha256": [print]});
        judged(&config, shown(), "by-cn").map_err(|(status, _)| status)
    };
    assert_eq!(with("Acme \"Root\"", &print), Ok(Some("alice".to_owned())));
    assert_eq!(with("Other", &print), Err(403));
    assert_eq!(with("Acme \"Root\"", &"0".repeat(64)), Err(403));
}

#[test]
fn a_certificate_is_read_once_for_all_requests_of_a_connection() {
    let root = acme();
    let shown = ClientCertificate::new(leaf(&root), vec![root.der().to_vec()]);
    assert!(std::ptr::eq(shown.facts().unwrap(), shown.facts().unwrap()));
    assert!(std::ptr::eq(shown.issuers(), shown.issuers()));
    assert_eq!(shown.issuers().len(), 1);
}

#[test]
fn wrong_configs_are_refused_with_key_and_reason() {
    let errors = |config: Value| MtlsAuth::parse(&config).unwrap_err();
    assert_eq!(errors(json!([])), ["mtls_auth: config must be an object"]);
    let fields = "subject_cn, subject_ou, subject_o, san_dns, san_email, fingerprint_sha256, serial";
    for (config, error) in [
        (json!({"cert_field": "cn"}), format!("'cert_field' must be one of {fields} (got 'cn')")),
        (json!({"cert_field": 1}), "'cert_field' must be a string".to_owned()),
        (json!({"allowed_issuers": {"cn": "x"}}), "'allowed_issuers' must be an array of objects".to_owned()),
        (json!({"allowed_issuers": ["x"]}), "'allowed_issuers' must be an array of objects".to_owned()),
        (json!({"allowed_issuers": [{}]}), "'allowed_issuers[0]' needs at least one of cn, o, ou".to_owned()),
        (
            json!({"allowed_issuers": [{"cn": "x"}, {"cn": "x", "dc": "y"}]}),
            "'allowed_issuers[1].dc' is not one of cn, o, ou".to_owned(),
        ),
        (json!({"allowed_issuers": [{"o": "  "}]}), "'allowed_issuers[0].o' must be a non-empty string".to_owned()),
        (json!({"allowed_issuers": [{"ou": null}]}), "'allowed_issuers[0].ou' must be a non-empty string".to_owned()),
        (
            json!({"allowed_ca_fingerprints_sha256": "x"}),
            "'allowed_ca_fingerprints_sha256' must be an array of strings".to_owned(),
        ),
        (
            json!({"allowed_ca_fingerprints_sha256": ["ab:cd"]}),
            "'allowed_ca_fingerprints_sha256' must hold SHA-256 fingerprints of 64 hex digits (got 'ab:cd')".to_owned(),
        ),
        (
            json!({"issuer_verification": null}),
            "'issuer_verification' was removed: 'allowed_ca_fingerprints_sha256' always verifies signatures".to_owned(),
        ),
    ] {
        assert_eq!(errors(config.clone()), [format!("mtls_auth: {error}")], "{config}");
    }
    for length in [63, 65] {
        assert_eq!(errors(json!({"allowed_ca_fingerprints_sha256": ["a".repeat(length)]})).len(), 1);
    }
    assert_eq!(errors(json!({"allowed_ca_fingerprints_sha256": [format!("{}g", "a".repeat(63))]})).len(), 1);
}

#[test]
fn an_empty_rule_is_named_in_a_warning() {
    let config = json!({"allowed_issuers": [], "allowed_ca_fingerprints_sha256": [], "x": 1});
    let parsed = MtlsAuth::parse(&config).unwrap();
    let expected = [
        "mtls_auth: 'allowed_issuers' is empty and restricts nothing",
        "mtls_auth: 'allowed_ca_fingerprints_sha256' is empty and restricts nothing",
        "mtls_auth: unknown key 'x' is ignored",
    ];
    assert_eq!(parsed.warnings, expected);
}
