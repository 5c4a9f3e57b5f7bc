//! The merging table of resources sheet §6.5 and what goes with it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::*;

fn plugin(id: &str, name: &str, scope: Scope) -> ConfiguredPlugin {
    ConfiguredPlugin {
        id: id.into(),
        name: name.into(),
        config: json!({}),
        scope,
        enabled: true,
        priority_override: None,
    }
}

fn global(id: &str, name: &str) -> ConfiguredPlugin {
    plugin(id, name, Scope::Global)
}

fn own(id: &str, name: &str) -> ConfiguredPlugin {
    plugin(id, name, Scope::Proxy("p".into()))
}

fn group(id: &str, name: &str) -> ConfiguredPlugin {
    plugin(id, name, Scope::Group)
}

fn at(priority: u16, plugin: ConfiguredPlugin) -> ConfiguredPlugin {
    ConfiguredPlugin { priority_override: Some(priority), ..plugin }
}

fn proxy(id: &str, attached: &[&str]) -> ProxyAttachment {
    ProxyAttachment { proxy_id: id.into(), attached: attached.iter().map(|id| (*id).to_owned()).collect() }
}

/// Ids of what runs on proxy `p`.
fn effective(plugins: &[ConfiguredPlugin], attached: &[&str]) -> Vec<String> {
    let (set, _) = compile(plugins, &[proxy("p", attached)]).unwrap();
    set.list(0).iter().map(|row| set.rows[*row as usize].id.to_string()).collect()
}

const A: &str = "key_auth";
const B: &str = "correlation_id";
const C: &str = "stdout_logging";

#[test]
fn the_sheet_s_merging_table_holds() {
    assert_eq!(effective(&[global("g1", A)], &[]), ["g1"]);
    assert_eq!(effective(&[global("g1", A), own("p1", A)], &["p1"]), ["p1"]);
    let two = [global("g1", A), global("g2", B), own("p1", A), own("p2", A)];
    assert_eq!(effective(&two, &["p2", "p1"]), ["g2", "p1", "p2"]);
    assert_eq!(effective(&[global("g1", A), group("pg1", A)], &["pg1"]), ["pg1"]);
}

#[test]
fn plugins_run_by_priority_and_an_override_moves_one() {
    let plugins = [global("log", C), global("key", A), global("id", B)];
    assert_eq!(effective(&plugins, &[]), ["id", "key", "log"]);
    let moved = [global("log", C), global("key", A), at(9001, global("id", B))];
    assert_eq!(effective(&moved, &[]), ["key", "log", "id"]);
    let (set, _) = compile(&moved, &[]).unwrap();
    assert_eq!(set.rows.iter().map(|row| row.priority).collect::<Vec<_>>(), [9000, 1200, 9001]);
}

#[test]
fn equal_priorities_keep_globals_before_own_before_groups() {
    let plugins = [at(5, group("group", A)), at(5, own("own", B)), at(5, global("global", C))];
    assert_eq!(effective(&plugins, &["group", "own"]), ["global", "own", "group"]);
}

#[test]
fn own_plugins_stand_in_document_order_and_groups_in_the_proxy_s() {
    let plugins = [group("g1", A), group("g2", A), own("o1", A), own("o2", A)];
    assert_eq!(effective(&plugins, &["g2", "o2", "g1", "o1"]), ["o1", "o2", "g2", "g1"]);
}

#[test]
fn what_is_not_attached_to_this_proxy_does_not_run() {
    let other = plugin("x", A, Scope::Proxy("q".into()));
    assert_eq!(effective(&[global("g", A), own("o", A), group("gr", A), other], &["x", "missing"]), ["g"]);
}

#[test]
fn a_disabled_plugin_is_neither_checked_nor_run_and_replaces_nothing() {
    let mut off = own("off", A);
    off.enabled = false;
    off.config = Value::Null;
    assert_eq!(effective(&[global("g", A), off], &["off"]), ["g"]);
    let mut unbuilt = global("c", "ai_federation");
    unbuilt.enabled = false;
    assert!(effective(&[unbuilt], &[]).is_empty());
}

#[test]
fn all_errors_are_reported_with_name_and_id() {
    let mut wrong = global("k", A);
    wrong.config = json!({"key_location": 1});
    let plugins = [wrong, global("c", "ai_federation"), global("n", "nothing"), global("o", "oauth2_auth")];
    let unbuilt =
        "ai_federation: this plugin is known but not built yet in this release; remove it or set enabled: false";
    assert_eq!(
        compile(&plugins, &[]).err().unwrap(),
        [
            "Plugin 'key_auth' (id=k): key_auth: 'key_location' must be a string".to_owned(),
            format!("Plugin 'ai_federation' (id=c): {unbuilt}"),
            "Unknown plugin name 'nothing'".to_owned(),
            "Removed security plugin 'oauth2_auth' (plugin_config_id=o) is not supported; use 'jwks_auth' instead"
                .to_owned(),
        ]
    );
}

#[test]
fn warnings_name_the_config() {
    let mut odd = global("k", A);
    odd.config = json!({"key_names": []});
    let (_, warnings) = compile(&[odd], &[]).unwrap();
    assert_eq!(warnings, ["Plugin 'key_auth' (id=k): key_auth: unknown key 'key_names' is ignored"]);
}

#[test]
fn what_is_left_out_is_an_error_and_an_unknown_name_a_warning() {
    let mut wrong = global("r", "rate_limiting");
    wrong.config = json!({"window_seconds": 0});
    let plugins = [wrong, global("n", "nothing"), global("k", A)];
    let (set, remarks) = compile_with(&plugins, &[], Faults::LeftOut, check).unwrap();
    assert_eq!(set.rows.len(), 1, "the others run");
    assert_eq!(remarks.warnings, ["Plugin 'nothing' (id=n) is left out: Unknown plugin name 'nothing'"]);
    let said = "Plugin 'rate_limiting' (id=r) is left out: rate_limiting: 'window_seconds' must be greater than zero";
    assert_eq!(remarks.errors, [said]);
}

#[test]
fn what_secures_something_is_never_left_out() {
    let mut wrong = global("k", A);
    wrong.config = json!({"key_location": 1});
    let refused = compile_with(&[wrong, global("o", "oauth2_auth")], &[], Faults::LeftOut, check);
    assert_eq!(refused.err().unwrap().len(), 2);
}

#[test]
fn a_fingerprint_changes_with_anything_that_makes_another_instance() {
    let print = |plugin: &ConfiguredPlugin| compile(std::slice::from_ref(plugin), &[]).unwrap().0.rows[0].fingerprint;
    let base = global("k", A);
    assert_eq!(print(&base), print(&base.clone()));
    let configured = ConfiguredPlugin { config: json!({"key_location": "query:k"}), ..base.clone() };
    for other in [global("k2", A), global("k", B), at(7, base.clone()), group("k", A), configured] {
        assert_ne!(print(&base), print(&other), "{other:?}");
    }
}

#[test]
fn another_checker_may_know_more_names() {
    let custom = |name: &str, config: &Value| check(if name == "mine" { B } else { name }, config);
    let (set, _) = compile_with(&[global("m", "mine")], &[], Faults::Refused, custom).unwrap();
    assert_eq!(set.rows.len(), 1);
}

#[test]
fn a_hundred_thousand_proxies_share_their_lists() {
    let plugins = [global("g", A), global("l", C), group("pg", B), own("o", B)];
    let proxies: Vec<ProxyAttachment> = (0..100_000)
        .map(|index| match index % 2 {
            0 => proxy(&format!("p{index}"), &[]),
            _ => proxy(&format!("p{index}"), &["pg"]),
        })
        .collect();
    let start = Instant::now();
    let (set, _) = compile(&plugins, &proxies).unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(set.by_proxy.iter().step_by(2).all(|list| *list == set.by_proxy[0]));
    assert!(set.by_proxy.iter().skip(1).step_by(2).all(|list| *list == set.by_proxy[1]));
    assert_ne!(set.by_proxy[0], set.by_proxy[1]);
}
