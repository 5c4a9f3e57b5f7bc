//! The index page of the plugin docs, written from the table so that it cannot disagree with it.

use std::fmt::Write;

use super::{Entry, entries};
use crate::{Protocol, Protocols};

const HEAD: &str = "# Plugins

Every built-in plugin name, in the order in which plugins run: lower priorities first, unless a plugin config sets
`priority_override`. A plugin that is *not built yet* is known by name: a configuration that enables it is refused, and one
that sets `enabled: false` is accepted.

H = HTTP, G = gRPC, W = WebSocket, T = TCP (also with TLS), U = UDP (also with DTLS).

| Priority | Plugin | State | H | G | W | T | U |
|---:|---|---|:-:|:-:|:-:|:-:|:-:|
";

const COLUMNS: [Protocol; 5] = [Protocol::Http, Protocol::Grpc, Protocol::WebSocket, Protocol::Tcp, Protocol::Udp];

/// The text of `docs/plugins/README.md`.
pub fn docs_index() -> String {
    let mut sorted: Vec<&Entry> = entries().iter().collect();
    sorted.sort_by_key(|entry| (entry.priority, entry.name));
    let mut page = HEAD.to_owned();
    for entry in sorted {
        let name = entry.name;
        let name = if entry.is_built() { format!("[`{name}`]({name}.md)") } else { format!("`{name}`") };
        let state = if entry.is_built() { "built" } else { "not built yet" };
        // Writing to a String does not fail.
        let _ = writeln!(page, "| {} | {name} | {state} |{}", entry.priority, marks(entry.protocols));
    }
    page
}

fn marks(protocols: Protocols) -> String {
    COLUMNS.into_iter().map(|protocol| if protocols.has(protocol) { " ✓ |" } else { "  |" }).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::builtin::BuiltIn;
    use crate::builtin::correlation_id::CorrelationId;
    use crate::builtin::grpc_method_router::GrpcMethodRouter;
    use crate::builtin::grpc_web::GrpcWeb;
    use crate::builtin::key_auth::KeyAuth;
    use crate::builtin::stdout_logging::StdoutLogging;

    fn page(name: &str) -> String {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/plugins").join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// `PLUGIN_DOCS=write cargo test -p plugins index` writes the page instead of comparing it.
    #[test]
    fn the_index_is_the_table() {
        if std::env::var_os("PLUGIN_DOCS").is_some_and(|value| value == "write") {
            let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/plugins/README.md");
            fs::write(path, docs_index()).unwrap();
        }
        assert_eq!(page("README.md"), docs_index(), "docs/plugins/README.md is out of date");
    }

    fn check_page<S: BuiltIn>() {
        let text = page(&format!("{}.md", S::NAME));
        assert!(text.contains(&format!("Priority {}", S::PRIORITY)), "{}", S::NAME);
        for key in S::KEYS {
            assert!(text.contains(&format!("| `{key}` |")), "{}: {key}", S::NAME);
        }
    }

    #[test]
    fn every_built_plugin_has_a_page_with_all_its_keys() {
        check_page::<CorrelationId>();
        check_page::<GrpcMethodRouter>();
        check_page::<GrpcWeb>();
        check_page::<KeyAuth>();
        check_page::<StdoutLogging>();
        assert_eq!(entries().iter().filter(|entry| entry.is_built()).count(), 5, "a new plugin needs its page here");
    }
}
