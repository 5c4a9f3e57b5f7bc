use super::*;

#[test]
fn a_reference_sets_its_base_name_and_disappears() {
    let (env, loaded) = resolved(&[("FERRUM_ADMIN_JWT_SECRET_FILE", "s")], &[("s", b"  a b\t\r\n\n")]).unwrap();
    assert_eq!(env.get("FERRUM_ADMIN_JWT_SECRET").unwrap(), "  a b");
    assert!(!env.contains_key("FERRUM_ADMIN_JWT_SECRET_FILE"));
    assert_eq!(loaded, [("FERRUM_ADMIN_JWT_SECRET".to_owned(), "file".to_owned())]);
}

#[test]
fn a_made_up_name_is_as_good_as_a_setting() {
    let (env, _) = resolved(&[("FERRUM_MY_TOKEN_FILE", "s")], &[("s", b"t")]).unwrap();
    assert_eq!(env.get("FERRUM_MY_TOKEN").unwrap(), "t");
}

#[test]
fn a_file_that_cannot_be_read_or_is_empty_names_key_and_path() {
    let text = resolved(&[("FERRUM_B_FILE", "gone")], &[]).unwrap_err();
    assert!(text.starts_with("Failed to read FERRUM_B_FILE from 'gone': "), "{text}");
    let text = resolved(&[("FERRUM_B_FILE", "bin")], &[("bin", &[0xff])]).unwrap_err();
    assert!(text.starts_with("Failed to read FERRUM_B_FILE from 'bin': "), "{text}");
    let text = resolved(&[("FERRUM_B_FILE", "blank")], &[("blank", b" \n\t\n")]).unwrap_err();
    assert!(text.contains("FERRUM_B_FILE") && text.contains("is empty after trimming"), "{text}");
}

#[test]
fn a_file_that_never_answers_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let mut env = env(&[("FERRUM_B_FILE", "pipe"), (TIMEOUT_KEY, "0")]);
    let text = resolve(&mut env, dir.path()).unwrap_err().to_string();
    assert_eq!(text, "Timeout resolving FERRUM_B from file after 0s");
}
