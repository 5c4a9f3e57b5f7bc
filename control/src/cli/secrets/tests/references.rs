use super::*;

#[test]
fn what_is_no_reference_is_left_alone() {
    let pairs = [
        ("FERRUM_X_FILE", ""),
        ("FERRUM_Y_VAULT", ""),
        ("FERRUM_FILE", "s"),
        ("FERRUM__FILE", "s"),
        ("FERRUM_AWS", "s"),
        ("FERRUM__GCP", "s"),
        ("OTHER_X_FILE", "s"),
        ("OTHER_X_AZURE", "s"),
        ("FERRUM_X_file", "s"),
        ("FERRUM_X_vault", "secret/data/x"),
        ("FERRUM_X_ENV", "NAME"),
        ("FERRUM_DNS_RESOLVER_HOSTS_FILE", "/etc/hosts"),
    ];
    let (after, loaded) = resolved(&pairs, &[]).unwrap();
    assert_eq!(after, env(&pairs));
    assert!(loaded.is_empty());
}

#[test]
fn a_direct_value_and_a_reference_conflict_before_anything_is_read() {
    let pairs = [("FERRUM_A_FILE", "missing"), ("FERRUM_B", "direct"), ("FERRUM_B_FILE", "missing")];
    assert_eq!(
        resolved(&pairs, &[]).unwrap_err(),
        "Multiple secret sources configured for FERRUM_B: direct env var, FERRUM_B_FILE. Only one source is allowed."
    );
}

#[test]
fn two_references_conflict_and_all_sources_are_named_in_order() {
    let pairs = [
        ("FERRUM_B_AZURE", "a"),
        ("FERRUM_B_AWS", "a"),
        ("FERRUM_B", "direct"),
        ("FERRUM_B_GCP", "a"),
        ("FERRUM_B_VAULT", "a"),
        ("FERRUM_B_FILE", "a"),
    ];
    assert_eq!(
        resolved(&pairs, &[]).unwrap_err(),
        "Multiple secret sources configured for FERRUM_B: direct env var, FERRUM_B_FILE, FERRUM_B_VAULT, FERRUM_B_AWS, \
         FERRUM_B_GCP, FERRUM_B_AZURE. Only one source is allowed."
    );
    assert_eq!(
        resolved(&[("FERRUM_B_VAULT", "a"), ("FERRUM_B_AWS", "a")], &[]).unwrap_err(),
        "Multiple secret sources configured for FERRUM_B: FERRUM_B_VAULT, FERRUM_B_AWS. Only one source is allowed."
    );
}

#[test]
fn an_empty_direct_value_or_reference_does_not_conflict() {
    let pairs = [("FERRUM_B", ""), ("FERRUM_B_FILE", "s"), ("FERRUM_B_AWS", "")];
    let (env, _) = resolved(&pairs, &[("s", b"x")]).unwrap();
    assert_eq!(env["FERRUM_B"], "x");
}

#[test]
fn every_suffix_counts_as_setting_its_key() {
    for suffix in ["_FILE", "_VAULT", "_AWS", "_GCP", "_AZURE"] {
        let name = format!("FERRUM_MODE{suffix}");
        assert!(is_referenced(&env(&[(&name, "x")]), "FERRUM_MODE"), "{suffix}");
        assert!(!is_referenced(&env(&[(&name, "")]), "FERRUM_MODE"), "{suffix}");
    }
}

/// Compiled in or not, each suffix leads to the back-end or to the reason why not.
#[test]
fn a_back_end_that_is_not_in_the_build_is_named_with_what_brings_it() {
    let rows = [
        ("_VAULT", cfg!(feature = "secrets-vault"), "Vault", "secrets-vault"),
        ("_AWS", cfg!(feature = "secrets-aws"), "AWS Secrets Manager", "secrets-aws"),
        ("_GCP", cfg!(feature = "secrets-gcp"), "GCP Secret Manager", "secrets-gcp"),
        ("_AZURE", cfg!(feature = "secrets-azure"), "Azure Key Vault", "secrets-azure"),
    ];
    for (suffix, is_built, backend, feature) in rows {
        let variable = format!("FERRUM_B{suffix}");
        let pairs = [(variable.as_str(), "?"), ("AWS_PROFILE", "none"), ("GOOGLE_APPLICATION_CREDENTIALS", "/none")];
        let text = resolved(&pairs, &[]).unwrap_err();
        let refusal = format!(
            "{variable} is set, but this build of ferrum-edge cannot ask {backend}: use one with the cargo feature \
             {feature}, or unset {variable}"
        );
        assert_eq!(text == refusal, !is_built, "{text}");
    }
}

#[test]
fn the_time_limit_comes_from_environment_or_conf_file_and_bad_text_means_30() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(timeout_seconds(&env(&[]), dir.path()), 30);
    assert_eq!(timeout_seconds(&env(&[(TIMEOUT_KEY, "soon")]), dir.path()), 30);
    std::fs::write(dir.path().join("ferrum.conf"), format!("{TIMEOUT_KEY} = 7")).unwrap();
    assert_eq!(timeout_seconds(&env(&[]), dir.path()), 7);
    assert_eq!(timeout_seconds(&env(&[(TIMEOUT_KEY, "8")]), dir.path()), 8);
    std::fs::write(dir.path().join("ferrum.conf"), "broken").unwrap();
    assert_eq!(timeout_seconds(&env(&[]), dir.path()), 30);
}
