//! The pages of the plugin docs: the index, and the table of keys in each page, written from the code so that they cannot
//! disagree with it.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Entry, entries};
use crate::{Protocol, Protocols};

const HEAD: &str = "# Plugins

Every built-in plugin name, in the order in which plugins run: lower priorities first, unless a plugin config sets
`priority_override`. A plugin that is *not built yet* is known by name: a configuration that enables it is refused, and one
that sets `enabled: false` is accepted. *Keys* are those that the end-to-end tests of a plugin name, of all.

H = HTTP, G = gRPC, W = WebSocket, T = TCP (also with TLS), U = UDP (also with DTLS).

| Priority | Plugin | State | Keys | H | G | W | T | U |
|---:|---|---|---:|:-:|:-:|:-:|:-:|:-:|
";

const COLUMNS: [Protocol; 5] = [Protocol::Http, Protocol::Grpc, Protocol::WebSocket, Protocol::Tcp, Protocol::Udp];

/// The text of `docs/plugins/README.md`.
fn docs_index() -> String {
    let sources = test_sources(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/tests"));
    let mut sorted: Vec<&Entry> = entries().iter().collect();
    sorted.sort_by_key(|entry| (entry.priority, entry.name));
    let mut page = HEAD.to_owned();
    for entry in sorted {
        let name = entry.name;
        let name = if entry.is_built() { format!("[`{name}`]({name}.md)") } else { format!("`{name}`") };
        let state = if entry.is_built() { "built" } else { "not built yet" };
        let keys = if entry.is_built() { covered_keys(entry, &sources) } else { String::new() };
        // Writing to a String does not fail.
        let _ = writeln!(page, "| {} | {name} | {state} | {keys} |{}", entry.priority, marks(entry.protocols));
    }
    page
}

/// Every end-to-end test, as text.
fn test_sources(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let read = |path: PathBuf| match path.is_dir() {
        true => test_sources(&path),
        false => fs::read_to_string(path).into_iter().collect(),
    };
    paths.into_iter().flat_map(read).collect()
}

/// `covered / all`: a key counts when a test that names the plugin names the key.
fn covered_keys(entry: &Entry, sources: &[String]) -> String {
    let quoted = |text: &str| format!("\"{text}\"");
    let name = quoted(entry.name);
    let of_plugin: Vec<&String> = sources.iter().filter(|source| source.contains(&name)).collect();
    let is_covered = |key: &&crate::config::Key| of_plugin.iter().any(|source| source.contains(&quoted(key.name)));
    format!("{} / {}", entry.keys.iter().filter(is_covered).count(), entry.keys.len())
}

const KEYS_HEAD: &str = "| Key | Type | Default | Meaning |";

/// The table of a plugin's keys, as its page shows it.
fn keys_table(keys: &[crate::config::Key]) -> String {
    let mut table = format!("{KEYS_HEAD}\n|---|---|---|---|\n");
    for key in keys {
        let _ = writeln!(table, "| `{}` | {} | {} | {} |", key.name, key.kind, key.default, key.meaning);
    }
    table
}

/// Where that table stands in a page.
fn table_in(page: &str) -> Option<(usize, usize)> {
    let start = page.find(KEYS_HEAD)?;
    let length: usize =
        page[start..].split_inclusive('\n').take_while(|line| line.starts_with('|')).map(str::len).sum();
    Some((start, start + length))
}

fn marks(protocols: Protocols) -> String {
    COLUMNS.into_iter().map(|protocol| if protocols.has(protocol) { " ✓ |" } else { "  |" }).collect()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/plugins")
}

fn page(name: &str) -> String {
    let path = folder().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Pages are written instead of compared.
fn writes() -> bool {
    std::env::var_os("PLUGIN_DOCS").is_some_and(|value| value == "write")
}

/// `PLUGIN_DOCS=write cargo test -p plugins docs` writes the index, and the tables of keys.
#[test]
fn the_index_is_the_table() {
    if writes() {
        fs::write(folder().join("README.md"), docs_index()).unwrap();
    }
    assert_eq!(page("README.md"), docs_index(), "docs/plugins/README.md is out of date");
}

#[test]
fn every_built_plugin_has_a_page_with_all_its_keys() {
    for entry in entries().iter().filter(|entry| entry.is_built()) {
        let name = format!("{}.md", entry.name);
        let text = page(&name);
        let (start, end) = table_in(&text).unwrap_or_else(|| panic!("{name} has no line '{KEYS_HEAD}'"));
        if writes() {
            let text = format!("{}{}{}", &text[..start], keys_table(entry.keys), &text[end..]);
            fs::write(folder().join(&name), text).unwrap();
        }
        let text = page(&name);
        let (start, end) = table_in(&text).unwrap();
        assert_eq!(text[start..end], keys_table(entry.keys), "the keys in docs/plugins/{name} are out of date");
        assert!(text.contains(&format!("Priority {}", entry.priority)), "{name}");
    }
}
