//! Settings by name.

use std::collections::HashMap;
use std::sync::OnceLock;

static SETTINGS: OnceLock<HashMap<String, String>> = OnceLock::new();

/// Control says what it was started with: the environment with flags, secrets and `ferrum.conf` in it. The first time counts.
pub fn set_ferrum_vars(settings: impl IntoIterator<Item = (String, String)>) {
    let _ = SETTINGS.set(settings.into_iter().collect());
}

/// The value of a `FERRUM_*` setting, from the environment, else from `ferrum.conf`.
pub fn resolve_ferrum_var(key: &str) -> Option<String> {
    std::env::var(key).ok().or_else(|| SETTINGS.get()?.get(key).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_found_by_its_name() {
        set_ferrum_vars([("FERRUM_TEST_OF_A_PLUGIN".to_owned(), "1".to_owned())]);
        assert_eq!(resolve_ferrum_var("FERRUM_TEST_OF_A_PLUGIN").as_deref(), Some("1"));
        assert_eq!(resolve_ferrum_var("FERRUM_NOT_SET_BY_ANYBODY"), None);
    }
}
