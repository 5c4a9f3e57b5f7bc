//! The form of one line (settings sheet §13).

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use time::OffsetDateTime;
use tracing::Event;
use tracing::field::{Field, Visit};

/// The crates whose module paths users see as the product's own.
pub(super) const CRATES: [&str; 5] = ["control", "engine", "protocols", "plugins", "custom_plugins"];

/// The target users see: `control::dns` and `engine::dns` are `ferrum_edge::dns`, other targets stay as they are.
pub(super) fn target(target: &str) -> Cow<'_, str> {
    let (first, rest) = target.split_once("::").unwrap_or((target, ""));
    match first {
        "plugins" | "custom_plugins" => Cow::Owned(format!("ferrum_edge::{target}")),
        "control" | "engine" | "protocols" if rest.is_empty() => Cow::Borrowed("ferrum_edge"),
        "control" | "engine" | "protocols" => Cow::Owned(format!("ferrum_edge::{rest}")),
        _ => Cow::Borrowed(target),
    }
}

/// One line with its newline.
pub(super) fn render(event: &Event<'_>, target: &str) -> Vec<u8> {
    let now = OffsetDateTime::now_utc();
    let mut text = String::with_capacity(192);
    let _ = write!(
        text,
        "{{\"timestamp\":\"{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z\",\"level\":\"{}\",\"fields\":{{",
        now.year(),
        u8::from(now.month()),
        now.day(),
        now.hour(),
        now.minute(),
        now.second(),
        now.microsecond(),
        event.metadata().level(),
    );
    event.record(&mut Fields { text: &mut text, is_first: true });
    text.push_str("},\"target\":");
    push_json(&mut text, target);
    text.push_str("}\n");
    text.into_bytes()
}

fn push_json(text: &mut String, value: &(impl serde::Serialize + ?Sized)) {
    // Strings and numbers always serialize; a float that is no number becomes null.
    text.push_str(&serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned()));
}

struct Fields<'a> {
    text: &'a mut String,
    is_first: bool,
}

impl Fields<'_> {
    fn push(&mut self, field: &Field, value: &(impl serde::Serialize + ?Sized)) {
        if !std::mem::replace(&mut self.is_first, false) {
            self.text.push(',');
        }
        push_json(self.text, field.name().trim_start_matches("r#"));
        self.text.push(':');
        push_json(self.text, value);
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_become_the_product_and_strangers_stay() {
        for (module, shown) in [
            ("control::admin::jwt", "ferrum_edge::admin::jwt"),
            ("engine", "ferrum_edge"),
            ("protocols::http1", "ferrum_edge::http1"),
            ("plugins::cors", "ferrum_edge::plugins::cors"),
            ("custom_plugins::mine", "ferrum_edge::custom_plugins::mine"),
            ("ferrum_edge", "ferrum_edge"),
            ("access_log", "access_log"),
            ("hickory_net::udp", "hickory_net::udp"),
            ("engineer::x", "engineer::x"),
        ] {
            assert_eq!(target(module), shown);
        }
    }
}
