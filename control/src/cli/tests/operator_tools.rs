//! A token, and documents out of databases and into them.

use super::*;

const SECRET: &str = "a secret of the tests, long enough";

#[test]
fn a_token_is_all_that_is_printed() {
    let shell = Shell::new(&[
        ("FERRUM_MODE", "file"),
        ("FERRUM_FILE_CONFIG_PATH", "x"),
        ("FERRUM_ADMIN_JWT_SECRET_FILE", "secret"),
    ]);
    let shell = shell.file("secret", SECRET);
    let outcome = shell.run("admin token --role viewer --subject ops --ttl-seconds 60");
    assert_eq!((outcome.code.as_str(), outcome.stderr.as_str()), (code(0).as_str(), ""));
    let token = outcome.stdout.strip_suffix('\n').unwrap();
    let key = jsonwebtoken::DecodingKey::from_secret(SECRET.as_bytes());
    let claims = jsonwebtoken::decode::<serde_json::Value>(token, &key, &Default::default()).unwrap().claims;
    assert_eq!((&claims["role"], &claims["sub"]), (&"viewer".into(), &"ops".into()));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
}

#[test]
fn a_token_needs_its_secret_and_nothing_of_what_a_gateway_needs() {
    let secret = ("FERRUM_ADMIN_JWT_SECRET", SECRET);
    let sets: [&[(&str, &str)]; 7] = [
        &[],
        &[("FERRUM_MODE", "file")],
        &[("FERRUM_MODE", "database")],
        &[("FERRUM_MODE", "cp")],
        &[("FERRUM_MODE", "dp")],
        &[("FERRUM_PROXY_HTTP_PORT", "many")],
        // Out of reach: neither is read.
        &[("FERRUM_DB_URL_FILE", "/nowhere/url"), ("FERRUM_REDIS_URL_VAULT", "secret/data/redis")],
    ];
    for more in sets {
        let outcome = Shell::new(&[&[secret][..], more].concat()).run("admin token --role admin");
        assert_eq!((outcome.code.as_str(), outcome.stderr.as_str()), (code(0).as_str(), ""), "{more:?}");
    }
    let shell = Shell::new(&[("FERRUM_CONF_PATH_FILE", "where")]);
    let shell = shell.file("where", "a.conf").file("a.conf", &format!("FERRUM_ADMIN_JWT_SECRET = {SECRET}"));
    assert_eq!(shell.run("admin token --role admin").stderr, "", "where the conf file is may stand elsewhere");
    let refused = |more: &[(&str, &str)]| Shell::new(more).run("admin token --role admin").stderr;
    let said = refused(&[("FERRUM_ADMIN_JWT_SECRET_FILE", "/nowhere/secret")]);
    assert!(said.starts_with("Error: Secret resolution error: Failed to read FERRUM_ADMIN_JWT_SECRET_FILE"), "{said}");
    let said = refused(&[secret, ("FERRUM_ADMIN_JWT_MAX_TTL", "long")]);
    assert!(said.starts_with("Error: Configuration error: ") && said.contains("FERRUM_ADMIN_JWT_MAX_TTL"), "{said}");
}

#[test]
fn a_token_that_would_be_refused_is_not_printed() {
    let refused = |more: &[(&str, &str)], line: &str| {
        let outcome = Shell::new(more).run(line);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (code(1), ""));
        outcome.stderr
    };
    let said = refused(&[], "admin token --role admin");
    assert!(said.starts_with("Error: FERRUM_ADMIN_JWT_SECRET is not set"), "{said}");
    let said = refused(&[("FERRUM_ADMIN_JWT_SECRET", "short")], "admin token --role admin");
    assert!(said.starts_with("Error: FERRUM_ADMIN_JWT_SECRET must be at least 32 characters (got 5)"), "{said}");
    let long = [("FERRUM_ADMIN_JWT_SECRET", SECRET), ("FERRUM_ADMIN_JWT_MAX_TTL", "60")];
    let said = refused(&long, "admin token --role admin --ttl-seconds 61");
    assert_eq!(said, "Error: --ttl-seconds 61: FERRUM_ADMIN_JWT_MAX_TTL allows at most 60\n");
    for wrong in ["admin token", "admin token --role root", "admin token --role admin --ttl-seconds soon", "admin"] {
        assert_eq!(usage_error(wrong).exit_code(), 2, "{wrong}");
    }
}

#[test]
fn an_export_goes_to_stdout_or_to_a_file_whose_name_says_the_format() {
    let shell = Shell::new(&[("FERRUM_DB_TYPE", "sqlite"), ("FERRUM_DB_URL", "sqlite::memory:")]);
    let outcome = shell.run("export --namespace a");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (code(0), "Yaml of Some(\"a\") in migrate"));
    assert_eq!(outcome.stderr, "Warning: not all\n");
    for (name, format) in [("a.yaml", "Yaml"), ("a.YML", "Yaml"), ("a.json", "Json")] {
        let outcome = shell.run(&format!("export --output {name}"));
        assert_eq!((outcome.code, outcome.stdout.as_str()), (code(0), ""));
        assert_eq!(std::fs::read_to_string(shell.path(name)).unwrap(), format!("{format} of None in migrate"));
    }
    let outcome = shell.run("export --output a.txt");
    assert!(
        outcome.code == code(1) && outcome.stderr.contains("end it with .yaml, .yml or .json"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn an_import_is_told_what_to_do() {
    let shell = Shell::new(&[("FERRUM_DB_TYPE", "sqlite"), ("FERRUM_DB_URL", "sqlite::memory:")]);
    let outcome = shell.run("import --spec a.yaml --replace --dry-run");
    let options = "ImportOptions { replaces: true, is_dry_run: true }";
    assert_eq!((outcome.code, outcome.stdout), (code(0), format!("{} {options}\n", shell.path("a.yaml"))));
    assert_eq!(usage_error("import").exit_code(), 2, "a file must be named");
    let outcome = Shell::new(&[]).run("import --spec a.yaml");
    assert!(
        outcome.code == code(1) && outcome.stderr.starts_with("Error: Configuration error: "),
        "{}",
        outcome.stderr
    );
}
