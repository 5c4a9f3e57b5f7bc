//! Finds the plugin files and declares them as modules (plugin API sheet §16).
//!
//! What would become a puzzling compile error is said here first, with the file's name and the reason.

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::exit;

/// Words that cannot name a module (the Rust reference, "Keywords", edition 2024).
const KEYWORDS: &str = "abstract as async await become box break const continue crate do dyn else enum extern false final fn \
    for gen if impl in let loop macro match mod move mut override priv pub ref return self Self static struct super trait \
    true try type typeof unsafe unsized use virtual where while yield";
/// What tells that a file has migrations, character by character.
const MIGRATIONS: &str = "fn plugin_migrations()";

/// A file that becomes a module.
struct PluginFile {
    path: PathBuf,
    has_migrations: bool,
}

fn main() {
    let folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-env-changed=FERRUM_CUSTOM_PLUGINS");
    println!("cargo::rerun-if-changed={}", folder.display());
    let filter = env::var("FERRUM_CUSTOM_PLUGINS").ok();
    let mut errors = Vec::new();
    let mut files = BTreeMap::new();
    find(&folder, filter.as_deref(), &mut files, &mut errors);
    if env::var_os("CARGO_FEATURE_TEST_PLUGINS").is_some() {
        let folder = folder.join("../tests/custom_plugins");
        println!("cargo::rerun-if-changed={}", folder.display());
        // A file of the tests takes the place of one of the same name.
        find(&folder, filter.as_deref(), &mut files, &mut errors);
    }
    if !errors.is_empty() {
        for error in errors {
            println!("cargo::error={error}");
        }
        exit(1);
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("plugin_files.rs");
    fs::write(&out, generated(&files)).expect("the output folder can be written");
}

/// Adds the plugin files of one folder, not of those in it.
fn find(folder: &Path, filter: Option<&str>, files: &mut BTreeMap<String, PluginFile>, errors: &mut Vec<String>) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return errors.push(format!("{}: cannot be listed: {error}", folder.display())),
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() || path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let Some(stem) = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned) else {
            errors.push(format!("{}: the name of a plugin file must be UTF-8", path.display()));
            continue;
        };
        if stem == "mod" || filter.is_some_and(|names| !names.split(',').any(|name| name.trim() == stem)) {
            continue;
        }
        match read(&path, &stem) {
            Ok(file) => drop(files.insert(stem, file)),
            Err(reason) => errors.push(format!("{}: {reason}", path.display())),
        }
    }
}

fn read(path: &Path, stem: &str) -> Result<PluginFile, String> {
    check_name(stem)?;
    let bytes = fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    if !text.contains("create_plugin") {
        return Err(
            "a plugin file must have a function `pub fn create_plugin(config: &serde_json::Value, http_client: \
                    crate::plugins::PluginHttpClient) -> Result<Option<Arc<dyn crate::plugins::Plugin>>, String>`; \
                    a file that is no plugin belongs into a sub-folder"
                .to_owned(),
        );
    }
    let has_migrations = text.contains(MIGRATIONS);
    let is_public = |(at, _): (usize, &str)| is_behind_pub(&text[..at]);
    if has_migrations && !text.match_indices(MIGRATIONS).any(is_public) {
        return Err(format!("`{MIGRATIONS}` must be `pub`, because the gateway calls it"));
    }
    Ok(PluginFile { path: path.to_owned(), has_migrations })
}

/// The stem names the plugin, and a module.
fn check_name(stem: &str) -> Result<(), String> {
    let is_identifier = |text: &str| {
        let mut letters = text.chars();
        letters.next().is_some_and(|first| first == '_' || first.is_alphabetic())
            && letters.all(|letter| letter == '_' || letter.is_alphanumeric())
    };
    if !is_identifier(stem) || stem == "_" {
        return Err(format!(
            "'{stem}' cannot name a plugin: use letters, digits and '_', and no digit at the beginning (my_plugin.rs)"
        ));
    }
    if KEYWORDS.split_whitespace().any(|keyword| keyword == stem) {
        return Err(format!("'{stem}' cannot name a plugin: it is a keyword of Rust"));
    }
    Ok(())
}

/// Whether the text ends with `pub`, `pub(...)`, or one of them and `const`, `extern "C"` and the like.
fn is_behind_pub(text: &str) -> bool {
    let line = text.rsplit(['\n', ';', '}']).next().unwrap_or_default();
    line.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|word| word == "pub")
}

/// The module `crate::custom_plugins`.
fn generated(files: &BTreeMap<String, PluginFile>) -> String {
    let mut text = String::new();
    for (name, file) in files {
        let _ = writeln!(text, "#[path = {:?}]\npub mod {name};", file.path.display().to_string());
    }
    let arms = lines(files, |name, _| {
        Some(format!("        {name:?} => {name}::create_plugin(config, http_client).created(),"))
    });
    let names = lines(files, |name, _| Some(format!("        {name:?},")));
    let migrations = lines(files, |name, file| {
        file.has_migrations.then(|| format!("        ({name:?}, {name}::plugin_migrations()),"))
    });
    let _ = write!(
        text,
        "\n/// The plugin of that file with this configuration; nothing if no file has that name.\n\
         pub fn create_custom_plugin(\n    name: &str,\n    config: &serde_json::Value,\n    \
         http_client: crate::plugins::PluginHttpClient,\n\
         ) -> Result<Option<std::sync::Arc<dyn crate::plugins::Plugin>>, String> {{\n    \
         #[allow(unused_imports)]\n    use crate::plugins::Created as _;\n    \
         let _ = (&config, &http_client);\n    match name {{\n{arms}        _ => Ok(None),\n    }}\n}}\n\n\
         /// The names of the files, sorted.\n\
         pub fn custom_plugin_names() -> Vec<&'static str> {{\n    vec![\n{names}    ]\n}}\n\n\
         /// What the plugins that have tables of their own bring for them, by name.\n\
         pub fn collect_all_custom_plugin_migrations()\n\
         -> Vec<(&'static str, Vec<crate::config::migrations::CustomPluginMigration>)> {{\n    vec![\n{migrations}    ]\n}}\n"
    );
    text
}

fn lines(files: &BTreeMap<String, PluginFile>, line: impl Fn(&str, &PluginFile) -> Option<String>) -> String {
    files.iter().filter_map(|(name, file)| line(name, file)).map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLUGIN: &str = "pub fn create_plugin() {}";

    /// What is found in a folder with these files, and what is wrong with them.
    fn found(files: &[(&str, &str)], filter: Option<&str>) -> (Vec<String>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        fs::create_dir(folder.path().join("folder.rs")).unwrap();
        let (mut plugins, mut errors) = (BTreeMap::new(), Vec::new());
        find(folder.path(), filter, &mut plugins, &mut errors);
        let short = |error: String| error.replace(&format!("{}/", folder.path().display()), "");
        (plugins.into_keys().collect(), errors.into_iter().map(short).collect())
    }

    #[test]
    fn files_are_found_by_their_names() {
        let files = [("b.rs", PLUGIN), ("a.rs", PLUGIN), ("mod.rs", "no plugin"), ("notes.txt", ""), ("c.RS", "")];
        assert_eq!(found(&files, None), (vec!["a".to_owned(), "b".to_owned()], vec![]));
    }

    #[test]
    fn the_filter_names_files_and_what_it_leaves_out_is_not_even_read() {
        let files = [("a.rs", PLUGIN), ("b.rs", PLUGIN), ("bad-name.rs", ""), ("broken.rs", "fn")];
        let names = |filter: &str| found(&files, Some(filter));
        assert_eq!(names("a"), (vec!["a".to_owned()], vec![]));
        assert_eq!(names(" b , a "), (vec!["a".to_owned(), "b".to_owned()], vec![]));
        assert_eq!(names("nobody"), (vec![], vec![]));
        assert_eq!(names(""), (vec![], vec![]));
    }

    #[test]
    fn what_the_compiler_would_stumble_over_is_named_with_its_file() {
        let told = |name: &str, text: &str| {
            let (plugins, errors) = found(&[(name, text)], None);
            assert!(plugins.is_empty() && errors.len() == 1, "{plugins:?} {errors:?}");
            errors.into_iter().next().unwrap()
        };
        for name in ["my-plugin.rs", "9lives.rs", "a.b.rs", ".x.rs", "_.rs"] {
            assert!(
                told(name, PLUGIN)
                    .starts_with(&format!("{name}: '{}' cannot name a plugin: use", &name[..name.len() - 3]))
            );
        }
        assert_eq!(told("match.rs", PLUGIN), "match.rs: 'match' cannot name a plugin: it is a keyword of Rust");
        assert!(
            told("a.rs", "fn x() {}").starts_with("a.rs: a plugin file must have a function `pub fn create_plugin(")
        );
        let hidden = format!("{PLUGIN}\nfn plugin_migrations() -> Vec<()> {{ vec![] }}");
        assert_eq!(told("a.rs", &hidden), "a.rs: `fn plugin_migrations()` must be `pub`, because the gateway calls it");
    }

    #[test]
    fn migrations_are_found_by_their_function() {
        let has = |text: &str| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.rs");
            fs::write(&path, format!("{PLUGIN}\n{text}")).unwrap();
            read(&path, "a").unwrap().has_migrations
        };
        assert!(has("pub fn plugin_migrations() -> Vec<M> {}") && has("pub(crate) fn plugin_migrations() {}"));
        assert!(!has("") && !has("pub fn plugin_migrations () {}"), "only these very characters count");
    }

    #[test]
    fn what_is_generated_names_every_file_once() {
        let file = |has_migrations| PluginFile { path: PathBuf::from("/x/a.rs"), has_migrations };
        let text = generated(&BTreeMap::from([("a".to_owned(), file(true)), ("b".to_owned(), file(false))]));
        assert!(text.contains("#[path = \"/x/a.rs\"]\npub mod a;") && text.contains("pub mod b;"));
        assert!(text.contains("(\"a\", a::plugin_migrations()),") && !text.contains("b::plugin_migrations"));
        assert!(generated(&BTreeMap::new()).contains("_ => Ok(None)"), "an empty folder is no error");
    }
}
