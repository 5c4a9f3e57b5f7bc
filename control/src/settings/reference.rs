//! `docs/configuration.md`, printed from the table.

use std::fmt::Write;

use super::{Row, Settings};

const HEAD: &str = "# Configuration reference

Printed by `ferrum-edge docs configuration` from the table that the gateway itself reads; do not edit by hand.

A setting is an environment variable, or a line `KEY = VALUE` of the conf file. Highest rank first: command-line flag,
environment (resolved secrets included), conf file, discovered paths, default. Set but empty counts as set.

**Values.** `bool` is `true`, `false`, `1` or `0`; `tri` is `auto` or a bool; numbers are decimal without unit; a `list`
is comma-separated; `json-map` is a JSON object of strings; words are read in any case.

**Limits.** What happens to a value that does not fit:

| Mark | Meaning |
|---|---|
| `E` | the gateway does not start, in any mode |
| `M` | the modes named do not start; other modes do not look |
| `D` | the default, in silence |
| `W` | the default, with a warning |
| `–` | every text is accepted |
| `C[a..b]` | moved into the range, in silence unless it says so |

**Modes.** `proxy` is database, file, dp and mesh; `admin` is database, file, cp, dp and node_agent; `db` is database, cp
and migrate.

Any setting can come from a file: `FERRUM_X_FILE=/path` sets `FERRUM_X` to the file's text without trailing white space. Others can
come from Vault, AWS, Google Cloud or Azure: [secrets.md](secrets.md).
A name that is a setting itself, such as `FERRUM_DNS_RESOLVER_HOSTS_FILE`, is that setting and no reference.
";

/// The whole reference in Markdown.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    for (title, rows) in Settings::table() {
        let _ = write!(
            text,
            "\n## {title}\n\n| Setting | Type | Default | Limits | Modes | Effect |\n|---|---|---|---|---|---|\n"
        );
        for row in rows {
            text.push_str(&line(&row));
        }
    }
    text
}

fn line(row: &Row) -> String {
    let unit = if row.unit.is_empty() { String::new() } else { format!(", {}", row.unit) };
    let default = match row.default.as_str() {
        words if words.contains(' ') || words.contains('`') || matches!(words, "unset" | "empty") => words.to_owned(),
        value => format!("`{value}`"),
    };
    format!(
        "| `{}` | {}{unit} | {default} | {} | {} | {} |\n",
        row.name, row.type_tag, row.limits, row.modes, row.description
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_reference_is_the_generated_one() {
        let checked_in = include_str!("../../../docs/configuration.md");
        assert!(
            checked_in == reference(),
            "docs/configuration.md is stale: run `ferrum-edge docs configuration` again"
        );
    }

    #[test]
    fn every_row_of_the_reference_is_one_table_line() {
        for row in Settings::table().into_iter().flat_map(|(_, rows)| rows) {
            let text = line(&row);
            assert_eq!(text.matches('|').count(), 7, "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(row.description.ends_with('.'), "{text}");
        }
    }
}
