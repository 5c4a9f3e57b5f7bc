use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, DnValue, IsCa, KeyPair, PKCS_ECDSA_P384_SHA384,
    PKCS_ED25519, PKCS_RSA_SHA256, SanType, SerialNumber, SignatureAlgorithm,
};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn named(name: &str, is_ca: IsCa) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = is_ca;
    params
}

fn authority(name: &str) -> CertificateParams {
    named(name, IsCa::Ca(BasicConstraints::Unconstrained))
}

fn key(algorithm: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(algorithm).unwrap()
}

fn root(name: &str) -> Issuer {
    CertifiedIssuer::self_signed(authority(name), KeyPair::generate().unwrap()).unwrap()
}

fn under(name: &str, issuer: &Issuer) -> Issuer {
    CertifiedIssuer::signed_by(authority(name), KeyPair::generate().unwrap(), issuer).unwrap()
}

fn leaf(issuer: &Issuer) -> Vec<u8> {
    named("leaf", IsCa::NoCa).signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().der().to_vec()
}

fn der(issuer: &Issuer) -> Vec<u8> {
    issuer.der().to_vec()
}

const NOBODY: [Fingerprint; 0] = [];

fn prints(chain: &[&Issuer]) -> Vec<Fingerprint> {
    chain.iter().map(|issuer| fingerprint(issuer.der())).collect()
}

#[test]
fn a_certificate_is_read_once_for_all_that_is_asked_of_it() {
    let mut issuer = authority("Issuing CA");
    issuer.distinguished_name.push(DnType::OrganizationName, "Acme");
    issuer.distinguished_name.push(DnType::OrganizationalUnitName, "PKI");
    let issuer = CertifiedIssuer::self_signed(issuer, KeyPair::generate().unwrap()).unwrap();
    let mut params = CertificateParams::new(vec!["a.example".to_owned(), "b.example".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "alice");
    params.distinguished_name.push(DnType::OrganizationName, "Shop");
    params.distinguished_name.push(DnType::OrganizationalUnitName, "Orders");
    for address in ["a@example.com", "b@example.com"] {
        params.subject_alt_names.push(SanType::Rfc822Name(address.try_into().unwrap()));
    }
    params.serial_number = Some(SerialNumber::from_slice(&[0x00, 0x8f, 0x0a]));
    let der = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().der().to_vec();
    let facts = CertificateFacts::read(&der).unwrap();
    let name =
        |cn: &str, o: &str, ou: &str| DistinguishedName { cn: Some(cn.into()), o: Some(o.into()), ou: Some(ou.into()) };
    assert_eq!((facts.subject, facts.issuer), (name("alice", "Shop", "Orders"), name("Issuing CA", "Acme", "PKI")));
    assert_eq!((facts.san_dns.as_deref(), facts.san_email.as_deref()), (Some("a.example"), Some("a@example.com")));
    assert_eq!(facts.serial, "8f0a");
    assert_eq!(facts.fingerprint_sha256.len(), 64);
    assert_eq!(facts.fingerprint_sha256, hex(digest(&SHA256, &der).as_ref()));
}

#[test]
fn what_is_not_there_or_blank_or_no_text_is_not_there() {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "  ");
    params.distinguished_name.push(DnType::OrganizationalUnitName, DnValue::BmpString("Orders".try_into().unwrap()));
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let facts = CertificateFacts::read(certificate.der()).unwrap();
    assert_eq!(facts.subject, DistinguishedName::default());
    assert_eq!((facts.san_dns, facts.san_email), (None, None));
}

#[test]
fn a_serial_is_written_as_its_integer() {
    for (bytes, text) in
        [(&[0x0a][..], "a"), (&[0x00, 0x80], "80"), (&[0x00], "0"), (&[], "0"), (&[0x10, 0x00], "1000")]
    {
        assert_eq!(integer_hex(bytes), text);
    }
}

#[test]
fn what_is_not_exactly_one_certificate_says_nothing() {
    let der = leaf(&root("R"));
    assert!(CertificateFacts::read(&der).is_some());
    assert_eq!(CertificateFacts::read(&[&der[..], &[0]].concat()), None);
    assert_eq!(CertificateFacts::read(&der[..der.len() - 1]), None);
    assert_eq!(CertificateFacts::read(&[]), None);
}

#[test]
fn the_path_leads_over_those_that_were_sent_in_whatever_order() {
    let root = root("Root");
    let middle = under("Middle", &root);
    let low = under("Low", &middle);
    let leaf = leaf(&low);
    let expected = prints(&[&low, &middle, &root]);
    assert_eq!(issuers(&leaf, &[der(&low), der(&middle), der(&root)]), expected);
    assert_eq!(issuers(&leaf, &[der(&root), der(&low), der(&middle)]), expected);
    assert_eq!(issuers(&leaf, &[der(&low)]), prints(&[&low]));
    assert_eq!(issuers(&leaf, &[der(&middle), der(&root)]), NOBODY, "there is a gap");
    assert_eq!(issuers(&leaf, &[]), NOBODY);
}

#[test]
fn a_name_without_the_signature_is_no_issuer() {
    let honest = root("Root");
    let leaf = leaf(&honest);
    let liar = root("Root");
    assert_eq!(issuers(&leaf, &[der(&liar)]), NOBODY);
    assert_eq!(issuers(&leaf, &[der(&liar), der(&honest)]), prints(&[&honest]));
}

#[test]
fn a_signature_without_the_name_is_no_issuer() {
    let keys = KeyPair::generate().unwrap();
    let twin = KeyPair::try_from(keys.serialize_der()).unwrap();
    let one = CertifiedIssuer::self_signed(authority("One"), keys).unwrap();
    let other = CertifiedIssuer::self_signed(authority("Other"), twin).unwrap();
    assert_eq!(issuers(&leaf(&one), &[der(&other)]), NOBODY);
}

#[test]
fn who_says_it_is_no_authority_is_no_issuer() {
    let params = named("Ends here", IsCa::ExplicitNoCa);
    let end = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    assert_eq!(issuers(&leaf(&end), &[der(&end)]), NOBODY);
}

#[test]
fn the_leaf_is_not_its_own_issuer() {
    let own = root("Self");
    assert_eq!(issuers(own.der(), &[der(&own)]), NOBODY);
}

#[test]
fn strangers_and_garbage_in_the_chain_are_passed_over() {
    let root_one = root("Root");
    let leaf = leaf(&root_one);
    let chain = [vec![0x30, 0x03, 1, 2], Vec::new(), der(&root("Stranger")), der(&root_one)];
    assert_eq!(issuers(&leaf, &chain), prints(&[&root_one]));
}

#[test]
fn keys_of_every_usual_kind_can_have_signed() {
    for keys in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519, &PKCS_RSA_SHA256].map(key) {
        let algorithm = format!("{:?}", keys.algorithm());
        let issuer = CertifiedIssuer::self_signed(authority("Issuer"), keys).unwrap();
        assert_eq!(issuers(&leaf(&issuer), &[der(&issuer)]), prints(&[&issuer]), "{algorithm}");
    }
}

#[test]
fn the_sixteenth_certificate_is_looked_at_and_the_next_is_not() {
    let issuer = root("Issuer");
    let leaf = leaf(&issuer);
    let stranger = der(&root("Stranger"));
    let at = |place: usize| issuers(&leaf, &[vec![stranger.clone(); place - 1], vec![der(&issuer)]].concat());
    assert_eq!(at(PATH_CERTIFICATES_MAX), prints(&[&issuer]));
    assert_eq!(at(PATH_CERTIFICATES_MAX + 1), NOBODY);
}

#[test]
fn sixteen_signatures_are_checked_and_no_more() {
    // All have one name, so that only signatures tell them apart.
    let middle = root("Same");
    let low = under("Same", &middle);
    let leaf = leaf(&low);
    let behind_liars = |count: usize| {
        let liars = (0..count).map(|_| der(&root("Same")));
        issuers(&leaf, &liars.chain([der(&low), der(&middle)]).collect::<Vec<_>>())
    };
    // 6 + 2 for the leaf, then 6 and 1 for its issuer.
    assert_eq!(behind_liars(6), prints(&[&low, &middle]));
    // 7 + 2, then 7.
    assert_eq!(behind_liars(7), prints(&[&low]));
}
