use std::time::{Duration, Instant};

use serde_json::json;

use super::server::{Asked, Says, Server, json as answer};
use super::*;

const ID: &str = "AKIDTEST";
const SECRET: &str = "secret-key-of-the-test";
const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", ID), ("AWS_SECRET_ACCESS_KEY", SECRET)];
const REGION: (&str, &str) = ("AWS_REGION", "eu-west-1");
const ALONE: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");

fn manager(text: &'static str) -> Server {
    Server::start(move |_| answer(200, json!({"Name": "n", "SecretString": text})))
}

fn from(server: &Server, reference: &str) -> Result<String, String> {
    let url = server.url();
    x(&[&KEYS[..], &[REGION, ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &url)]].concat(), &[("FERRUM_X_AWS", reference)])
}

/// Whose key the request is signed with.
fn signer(asked: &Asked) -> String {
    let authorization = asked.header("authorization").unwrap_or_default();
    authorization.split(['=', '/']).nth(1).unwrap_or_default().to_owned()
}

#[test]
fn a_secret_is_asked_for_by_name_or_arn_in_a_signed_request() {
    let server = manager(" whole\n");
    assert_eq!(from(&server, "prod/edge").unwrap(), " whole\n");
    let arn = "arn:aws:secretsmanager:eu-west-1:1:secret:prod/edge-AbC";
    assert_eq!(from(&server, arn).unwrap(), " whole\n");
    let asked = server.asked();
    assert_eq!(asked[0].body, json!({"SecretId": "prod/edge"}).to_string());
    assert_eq!(asked[1].body, json!({"SecretId": arn}).to_string());
    let first = &asked[0];
    assert_eq!((first.method.as_str(), first.target.as_str()), ("POST", "/"));
    assert_eq!(first.header("x-amz-target"), Some("secretsmanager.GetSecretValue"));
    assert_eq!(first.header("content-type"), Some("application/x-amz-json-1.1"));
    let authorization = first.header("authorization").unwrap();
    let day = &first.header("x-amz-date").unwrap()[..8];
    let start = format!(
        "AWS4-HMAC-SHA256 Credential={ID}/{day}/eu-west-1/secretsmanager/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature="
    );
    assert!(authorization.starts_with(&start) && authorization.len() == start.len() + 64, "{authorization}");
    assert_eq!(first.header("host"), Some(server.host().as_str()), "what was signed was sent");
}

#[test]
fn a_key_of_a_json_secret_is_a_string_or_json_text() {
    let server = manager(r#"{"s": " v ", "n": 7, "o": {"a": [true, null]}}"#);
    for (key, expected) in [("s", " v "), ("n", "7"), ("o", r#"{"a":[true,null]}"#)] {
        assert_eq!(from(&server, &format!("name#{key}")).unwrap(), expected);
    }
    let text = from(&server, "name#gone").unwrap_err();
    assert_eq!(text, "Failed to resolve FERRUM_X from AWS Secrets Manager: the secret 'name' has no key 'gone'");
    // The first # ends the name.
    assert!(from(&server, "name#a#b").unwrap_err().contains("no key 'a#b'"));
    let text = from(&manager("s3cret"), "name#k").unwrap_err();
    assert!(text.contains("is not JSON") && !text.contains("s3cret"), "{text}");
}

#[test]
fn a_binary_secret_is_an_error() {
    let server = Server::start(|_| answer(200, json!({"Name": "n", "SecretBinary": "AAEC"})));
    let text = from(&server, "name").unwrap_err();
    assert!(text.contains("'name' is binary") && !text.contains("AAEC"), "{text}");
}

#[test]
fn what_the_service_refuses_is_said_and_no_secret_is() {
    let server = Server::start(|_| {
        answer(400, json!({"__type": "ResourceNotFoundException", "Message": "Secrets Manager can't find it."}))
    });
    let text = from(&server, "name").unwrap_err();
    assert!(text.starts_with("Failed to resolve FERRUM_X from AWS Secrets Manager: "), "{text}");
    assert!(text.ends_with("400 Bad Request: ResourceNotFoundException: Secrets Manager can't find it."), "{text}");
    assert!(!text.contains(SECRET), "{text}");
}

#[test]
fn a_service_that_never_answers_is_given_up_in_time() {
    let server = Server::start(|_| Says::Nothing);
    let (url, began) = (server.url(), Instant::now());
    let base = [&KEYS[..], &[REGION, ("AWS_ENDPOINT_URL", &url), (TIMEOUT_KEY, "1")]].concat();
    let text = x(&base, &[("FERRUM_X_AWS", "name")]).unwrap_err();
    assert_eq!(text, "Timeout resolving FERRUM_X from AWS Secrets Manager after 1s");
    assert!(began.elapsed() < Duration::from_secs(8));
}

#[test]
fn keys_of_the_environment_go_before_the_profile_and_may_end() {
    let server = manager("v");
    let url = server.url();
    let base = [REGION, ("AWS_ENDPOINT_URL", &url), ("FERRUM_X_AWS", "n"), ("AWS_SHARED_CREDENTIALS_FILE", "/none")];
    x(&[&base[..], &KEYS, &[("AWS_SESSION_TOKEN", "session")]].concat(), &[]).unwrap();
    let asked = &server.asked()[0];
    assert_eq!(asked.header("x-amz-security-token"), Some("session"));
    assert!(asked.header("authorization").unwrap().contains("x-amz-date;x-amz-security-token;x-amz-target"));
}

/// The files of AWS's tools, in a folder of the test.
fn with_files(config: &str, credentials: &str, more: &[(&str, &str)]) -> Result<String, String> {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".aws");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("config"), config).unwrap();
    std::fs::write(folder.join("credentials"), credentials).unwrap();
    let home = home.path().display().to_string();
    x(&[("HOME", home.as_str()), ("FERRUM_X_AWS", "n"), ALONE], more)
}

#[test]
fn a_profile_has_keys_region_and_endpoint() {
    let server = manager("v");
    let config =
        format!("[default]\nregion = x\n[profile edge]\nregion = eu-central-1\nendpoint_url = {}\n", server.url());
    let credentials = "[default]\naws_access_key_id = OTHER\naws_secret_access_key = o\n\
                       [edge]\naws_access_key_id = FROMFILE\naws_secret_access_key = s\naws_session_token = t\n";
    with_files(&config, credentials, &[("AWS_PROFILE", "edge")]).unwrap();
    let asked = &server.asked()[0];
    assert_eq!((signer(asked).as_str(), asked.header("x-amz-security-token")), ("FROMFILE", Some("t")));
    assert!(asked.header("authorization").unwrap().contains("/eu-central-1/secretsmanager/"));
    with_files(&config, credentials, &[("AWS_DEFAULT_REGION", "y"), ("AWS_ENDPOINT_URL", &server.url())]).unwrap();
    assert_eq!(signer(&server.asked()[1]), "OTHER");
    let text = with_files(&config, credentials, &[("AWS_PROFILE", "gone")]).unwrap_err();
    assert!(text.starts_with("AWS_PROFILE: there is no AWS profile 'gone'"), "{text}");
}

#[test]
fn a_profile_that_needs_a_program_is_refused_by_name() {
    let text = with_files("[default]\nregion = r\ncredential_process = /bin/x\n", "", &[]).unwrap_err();
    assert!(text.contains("the AWS profile 'default' has 'credential_process', which is not supported"), "{text}");
}

fn sts(asked: &Asked) -> Says {
    if asked.field("Action").as_deref() != Some("AssumeRoleWithWebIdentity") {
        return answer(200, json!({"SecretString": "v"}));
    }
    if asked.field("WebIdentityToken").as_deref() != Some("the.web.token") {
        let text =
            "<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>No.</Message></Error></ErrorResponse>";
        return Says::Text(400, text.to_owned());
    }
    let text = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
                <AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>rs/+</SecretAccessKey>\
                <SessionToken>rt==</SessionToken></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";
    Says::Text(200, text.to_owned())
}

#[test]
fn a_service_account_of_kubernetes_takes_its_role() {
    let server = Server::start(sts);
    let (url, dir) = (server.url(), tempfile::tempdir().unwrap());
    let file = dir.path().join("token");
    let path = file.display().to_string();
    let pairs = [
        REGION,
        ALONE,
        ("AWS_ENDPOINT_URL_STS", &url),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &url),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/edge"),
        ("AWS_ROLE_SESSION_NAME", "pod-1"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &path),
        ("FERRUM_X_AWS", "n"),
    ];
    let text = x(&pairs, &[]).unwrap_err();
    assert!(text.contains(&format!("the web identity token '{path}' cannot be read: ")), "{text}");
    std::fs::write(&file, "another").unwrap();
    let text = x(&pairs, &[]).unwrap_err();
    assert!(
        text.contains("'arn:aws:iam::1:role/edge' cannot be taken") && text.ends_with("InvalidIdentityToken: No."),
        "{text}"
    );
    std::fs::write(&file, "the.web.token\n").unwrap();
    assert_eq!(x(&pairs, &[]).unwrap(), "v");
    let asked = server.asked();
    let [.., taken, signed] = asked.as_slice() else { panic!("two requests at least") };
    let fields = ["RoleArn", "RoleSessionName", "Version"].map(|name| taken.field(name).unwrap());
    assert_eq!(fields, ["arn:aws:iam::1:role/edge", "pod-1", "2011-06-15"]);
    assert_eq!((signer(signed).as_str(), signed.header("x-amz-security-token")), ("ASIAROLE", Some("rt==")));
}

fn metadata_keys(id: &str) -> Says {
    answer(200, json!({"AccessKeyId": id, "SecretAccessKey": "s", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}))
}

#[test]
fn a_container_has_its_role_from_the_endpoint_it_is_given() {
    let server = Server::start(|asked| match asked.target.as_str() {
        "/role" if asked.header("authorization") == Some("the-token") => metadata_keys("ASIATASK"),
        "/role" => answer(401, json!({"message": "who is this"})),
        _ => answer(200, json!({"SecretString": "v"})),
    });
    let (url, role) = (server.url(), format!("{}/role", server.url()));
    let base = [
        REGION,
        ALONE,
        ("AWS_ENDPOINT_URL", &url),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &role),
        ("FERRUM_X_AWS", "n"),
    ];
    assert_eq!(x(&base, &[("AWS_CONTAINER_AUTHORIZATION_TOKEN", "the-token")]).unwrap(), "v");
    assert_eq!(signer(&server.asked()[1]), "ASIATASK");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "the-token\n").unwrap();
    let path = file.display().to_string();
    assert_eq!(x(&base, &[("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &path)]).unwrap(), "v");
    let text = x(&base, &[]).unwrap_err();
    assert!(text.ends_with("401 Unauthorized: who is this"), "{text}");
}

#[test]
fn an_instance_has_region_and_role_from_its_metadata() {
    let server = Server::start(|asked| {
        let has_token = asked.header("x-aws-ec2-metadata-token") == Some("imds");
        let text = |text: &str| Says::Text(200, text.to_owned());
        match (asked.method.as_str(), asked.target.as_str()) {
            ("PUT", "/latest/api/token") if asked.header("x-aws-ec2-metadata-token-ttl-seconds").is_some() => {
                text("imds")
            }
            ("GET", "/latest/meta-data/placement/region") if has_token => text("us-east-2"),
            ("GET", "/latest/meta-data/iam/security-credentials/") if has_token => text("edge-role"),
            ("GET", "/latest/meta-data/iam/security-credentials/edge-role") if has_token => metadata_keys("ASIANODE"),
            ("POST", "/") => answer(200, json!({"SecretString": "v"})),
            _ => Says::Text(404, String::new()),
        }
    });
    let url = server.url();
    let pairs =
        [("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str()), ("AWS_ENDPOINT_URL", &url), ("FERRUM_X_AWS", "n")];
    assert_eq!(x(&pairs, &[]).unwrap(), "v");
    let asked = server.asked();
    let last = asked.last().unwrap();
    assert_eq!(signer(last), "ASIANODE");
    assert!(last.header("authorization").unwrap().contains("/us-east-2/secretsmanager/"));
}

#[test]
fn what_is_missing_is_said_with_where_it_was_looked_for() {
    let text = x(&[ALONE, ("FERRUM_X_AWS", "n")], &KEYS).unwrap_err();
    assert!(text.contains("no AWS region: set AWS_REGION"), "{text}");
    let text = x(&[ALONE, REGION, ("FERRUM_X_AWS", "n")], &[("AWS_ACCESS_KEY_ID", ID)]).unwrap_err();
    assert!(text.contains("no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"), "{text}");
    let nobody = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1");
    let text = x(&[nobody, REGION, ("FERRUM_X_AWS", "n")], &[]).unwrap_err();
    assert!(text.contains("no AWS credentials") && text.contains("cannot ask http://127.0.0.1:1"), "{text}");
}
