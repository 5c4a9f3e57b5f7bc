//! Which records are written: `RUST_LOG` or `FERRUM_LOG_LEVEL`, in the directive grammar of both.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

use super::line::CRATES;

/// The product's name in directives; it stands for all our crates.
const PRODUCT: &str = "ferrum_edge";

/// `rust_log` when it says something valid, else `level`, of which each invalid directive is left out.
pub(super) fn parse(rust_log: Option<&str>, level: &str) -> EnvFilter {
    if let Some(text) = rust_log.filter(|text| !text.trim().is_empty())
        && let Ok(filter) = EnvFilter::builder().parse(expand(text.split(',')))
    {
        return filter;
    }
    let valid = level.split(',').filter(|directive| directive.trim().parse::<Directive>().is_ok());
    // All pieces have just been parsed, and their copies differ in the crate's name only.
    EnvFilter::builder().parse(expand(valid)).unwrap_or_default()
}

/// Users know one name, the compiler several: a directive for `ferrum_edge::dns` is one for `engine::dns` and for
/// `control::dns`.
fn expand<'a>(directives: impl Iterator<Item = &'a str>) -> String {
    let mut all = Vec::new();
    for directive in directives.map(str::trim).filter(|directive| !directive.is_empty()) {
        all.push(directive.to_owned());
        let Some(rest) = directive.strip_prefix(PRODUCT) else { continue };
        if rest.is_empty() || rest.starts_with("::") || rest.starts_with(['=', '[']) {
            all.extend(CRATES.iter().map(|name| format!("{name}{rest}")));
        }
    }
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;
    use tracing_subscriber::layer::SubscriberExt;

    /// Whether ERROR of the product, INFO of DNS, INFO of access_log are admitted.
    fn admitted(rust_log: Option<&str>, level: &str) -> [bool; 3] {
        let subscriber = tracing_subscriber::registry().with(parse(rust_log, level));
        tracing::subscriber::with_default(subscriber, || {
            [
                tracing::enabled!(target: "ferrum_edge", Level::ERROR),
                tracing::enabled!(target: "control::dns", Level::INFO),
                tracing::enabled!(target: "access_log", Level::INFO),
            ]
        })
    }

    #[test]
    fn the_directive_grammar_is_that_of_the_sheet() {
        assert_eq!(admitted(None, "error"), [true, false, false]);
        assert_eq!(admitted(None, "INFO"), [true, true, true]);
        assert_eq!(admitted(None, "off"), [false, false, false]);
        assert_eq!(admitted(None, "error,access_log=info"), [true, false, true]);
        assert_eq!(admitted(None, "error, ferrum_edge=info"), [true, true, false]);
        assert_eq!(admitted(None, "error,ferrum_edge::dns=info"), [true, true, false]);
        assert_eq!(admitted(None, "error,ferrum_edge_other=info"), [true, false, false]);
    }

    #[test]
    fn a_typo_is_a_target_and_silences_the_rest() {
        assert_eq!(admitted(None, "inof"), [false, false, false]);
    }

    #[test]
    fn an_impossible_directive_is_left_out_and_the_others_stay() {
        assert_eq!(admitted(None, "info,a=b=c"), [true, true, true]);
    }

    #[test]
    fn rust_log_wins_only_when_it_is_valid_and_not_blank() {
        assert_eq!(admitted(Some("off"), "info"), [false, false, false]);
        assert_eq!(admitted(Some("a=b=c"), "info"), [true, true, true]);
        assert_eq!(admitted(Some(" "), "info"), [true, true, true]);
        assert_eq!(admitted(Some("ferrum_edge=info"), "off"), [true, true, false]);
    }
}
