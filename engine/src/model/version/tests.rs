use super::*;

fn rename(source: &mut Source) {
    if let Source::Json(value) = source {
        value["renamed"] = value["old"].take();
    }
}

const CHAIN: &[Step] = &[("0.8", "0.9", rename), ("0.9", "1", |_| {})];
const BROKEN: &[Step] = &[("0.8", "0.9", rename)];
const LOOP: &[Step] = &[("0.8", "0.9", |_| {}), ("0.9", "0.8", |_| {})];

struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("ferrum-version-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        Self(path)
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // a leftover in the temporary directory fails no test
        let _ = fs::remove_dir_all(self.0.parent().unwrap());
    }
}

#[test]
fn a_current_file_is_left_alone() {
    let file = File::new("current.yaml", "version: \"1\" # kept\nproxies: []\n");
    let migration = migrate_config(&file.0, false).unwrap();
    let path = file.0.display();
    let expected = [
        format!("Config file: {path}"),
        "Current version: 1".into(),
        "Target version: 1".into(),
        "Config file is already at the current version. No migration needed.".into(),
    ];
    assert_eq!(migration.lines(), expected);
    assert!(file.text().contains("# kept"));
}

#[test]
fn files_that_cannot_be_migrated() {
    let file = File::new("wrong.json", r#"{"version": 1}"#);
    assert_eq!(migrate_config(&file.0, false).unwrap_err().to_string(), "Config is missing required 'version' field");
    fs::write(&file.0, r#"{"version": "7"}"#).unwrap();
    let error = migrate_config(&file.0, true).unwrap_err().to_string();
    assert_eq!(error, "No config migration path from version '7' to '1'");
    fs::write(&file.0, "{").unwrap();
    assert!(matches!(migrate_config(&file.0, false), Err(MigrationError::Decode(_))));
    let missing = file.0.with_extension("none");
    let error = migrate_config(&missing, false).unwrap_err().to_string();
    assert_eq!(error, format!("Configuration file not found: {}", missing.display()));
}

#[test]
fn steps_are_applied_in_place_with_a_copy_beside() {
    let original = r#"{"version": "0.8", "old": 5}"#;
    let file = File::new("old.json", original);
    let dry = migrate_with(&file.0, true, CHAIN).unwrap();
    assert_eq!((dry.steps, dry.backup.as_ref()), (2, None));
    assert_eq!(dry.lines()[3], "Dry run: would migrate config from version 0.8 to 1 (2 step(s))");
    assert_eq!(file.text(), original);

    let migration = migrate_with(&file.0, false, CHAIN).unwrap();
    let migrated: serde_json::Value = serde_json::from_str(&file.text()).unwrap();
    assert_eq!((migrated["version"].as_str(), migrated["renamed"].as_i64()), (Some("1"), Some(5)));
    let backup = migration.backup.as_ref().unwrap();
    assert_eq!(fs::read_to_string(backup).unwrap(), original);
    let stamp = backup.to_str().unwrap().strip_prefix(&format!("{}.backup.", file.0.display())).unwrap().to_owned();
    assert!(stamp.len() == 14 && stamp.bytes().all(|byte| byte.is_ascii_digit()), "{stamp}");
    assert_eq!(migration.lines()[3], "Migrated config from version 0.8 to 1 (2 step(s))");
    assert_eq!(migration.lines()[4], format!("Backup saved to: {}", backup.display()));
}

#[test]
fn a_chain_that_ends_early_or_never_is_broken() {
    let broken = chain("0.8", BROKEN).map(|_| ()).unwrap_err();
    assert_eq!(broken, "Config migration chain broken at version '0.9' (target: '1')");
    assert!(chain("0.8", LOOP).map(|_| ()).unwrap_err().starts_with("Config migration chain broken at version"));
    assert!(chain("1", CHAIN).unwrap().is_empty());
}
