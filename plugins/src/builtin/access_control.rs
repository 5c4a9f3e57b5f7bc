//! `access_control`: lets identified callers through by username or group (plugins sheet §2.21).
//!
//! A caller costs one look-up, and one for each of its groups.

use std::rc::Rc;
use std::sync::Arc;

use engine::consumers::Consumer;
use rustc_hash::FxHashSet;
use serde_json::Value;

use super::BuiltIn;
use crate::config::{Key, Keys, Null, Parsed, key};
use crate::{CoreEnv, Flow, Phases, Plugin, Protocols, RequestContext, Specs};

const LISTS: [&str; 4] = ["allowed_consumers", "disallowed_consumers", "allowed_groups", "disallowed_groups"];
/// Keys of earlier releases.
const REMOVED: [&str; 2] = ["allowed_ips", "blocked_ips"];
const IDENTITY_FLAG: &str = "allow_authenticated_identity";

const NO_CONSUMER: &str = r#"{"error":"No consumer identified"}"#;
const CONSUMER_REFUSED: &str = r#"{"error":"Consumer is not allowed"}"#;
const IDENTITY_REFUSED: &str = r#"{"error":"Identity is not allowed"}"#;

#[derive(Clone, Debug, PartialEq)]
pub struct AccessControl {
    /// One for all cores.
    rules: Arc<Rules>,
}

#[derive(Debug, Default, PartialEq)]
struct Rules {
    allowed_consumers: FxHashSet<String>,
    disallowed_consumers: FxHashSet<String>,
    allowed_groups: FxHashSet<String>,
    disallowed_groups: FxHashSet<String>,
    allows_external: bool,
}

impl Rules {
    /// Whether the caller may pass, or else the answer.
    fn judge(&self, consumer: Option<&Consumer>, external: Option<&str>) -> Result<(), (u16, &'static str)> {
        match (consumer, external) {
            (Some(consumer), _) if self.admits(consumer) => Ok(()),
            (Some(_), _) => Err((403, CONSUMER_REFUSED)),
            (None, Some(identity)) if self.allows_external => match self.disallowed_consumers.contains(identity) {
                true => Err((403, IDENTITY_REFUSED)),
                false => Ok(()),
            },
            (None, _) => Err((401, NO_CONSUMER)),
        }
    }

    /// What is disallowed goes before what is allowed; without a list of the allowed, everybody else is.
    fn admits(&self, consumer: &Consumer) -> bool {
        let is_in = |names: &FxHashSet<String>, groups: &FxHashSet<String>| {
            names.contains(&consumer.username)
                || !groups.is_empty() && consumer.acl_groups.iter().any(|group| groups.contains(group))
        };
        !is_in(&self.disallowed_consumers, &self.disallowed_groups)
            && (!self.has_allow_list() || is_in(&self.allowed_consumers, &self.allowed_groups))
    }

    fn has_allow_list(&self) -> bool {
        !(self.allowed_consumers.is_empty() && self.allowed_groups.is_empty())
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn read_list(keys: &mut Keys<'_>, name: &str) -> FxHashSet<String> {
    let list = keys.texts(name);
    if list.contains(&"") {
        keys.refuse(name, "must not hold an empty string");
    }
    list.into_iter().map(str::to_owned).collect()
}

impl BuiltIn for AccessControl {
    const NAME: &'static str = "access_control";
    const PRIORITY: u16 = 2000;
    const PROTOCOLS: Protocols = Protocols::ALL;
    const KEYS: &'static [Key] = &[
        key("allowed_consumers", "string[]", "`[]`", "usernames that pass"),
        key("disallowed_consumers", "string[]", "`[]`", "usernames that do not pass, whatever else is said of them"),
        key("allowed_groups", "string[]", "`[]`", "groups (`acl_groups` of a consumer) whose members pass"),
        key("disallowed_groups", "string[]", "`[]`", "groups whose members do not pass"),
        key(
            "allow_authenticated_identity",
            "boolean",
            "`false`",
            "callers whom an auth plugin knows and who are no consumer pass, unless `disallowed_consumers` names them; not \
             together with a list of the allowed",
        ),
    ];

    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>> {
        let mut keys = Keys::open(Self::NAME, Self::KEYS, config, Null::Refused)?;
        for removed in REMOVED {
            keys.removed(removed, "use the plugin 'ip_restriction'");
        }
        keys.refuse_unknown_but(&REMOVED);
        let [allowed_consumers, disallowed_consumers, allowed_groups, disallowed_groups] =
            LISTS.map(|name| read_list(&mut keys, name));
        let allows_external = keys.flag(IDENTITY_FLAG, false);
        let rules =
            Rules { allowed_consumers, disallowed_consumers, allowed_groups, disallowed_groups, allows_external };
        if rules.allows_external && rules.has_allow_list() {
            keys.refuse(
                IDENTITY_FLAG,
                "lets callers pass whom no list names: leave 'allowed_consumers' and 'allowed_groups' out, or it",
            );
        }
        if rules.is_empty() && !keys.has_errors() {
            let lists = LISTS.map(|name| format!("'{name}'")).join(", ");
            keys.error(format!("{}: needs an entry in {lists}, or '{IDENTITY_FLAG}: true'", Self::NAME));
        }
        keys.finish(Self { rules: Arc::new(rules) })
    }
}

impl Specs for AccessControl {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn protocols(&self) -> Protocols {
        Self::PROTOCOLS
    }

    fn build(&self, _env: &CoreEnv) -> Rc<dyn Plugin> {
        Rc::new(self.clone())
    }
}

impl Plugin for AccessControl {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn phases(&self) -> Phases {
        Phases::AUTHORIZE
    }

    fn authorize<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        match self.rules.judge(cx.consumer(), cx.external_identity.as_deref()) {
            Ok(()) => Flow::Continue,
            Err((status, json)) => Flow::reject(status, json),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{consumer, facts_with, request};
    use serde_json::json;

    const PASSES: (u16, &str) = (200, "");
    const REFUSED: (u16, &str) = (403, CONSUMER_REFUSED);

    /// Alice is in `staff` and `night shift`, bob in no group.
    fn cx(caller: Option<&str>) -> RequestContext {
        let mut cx = request("GET /", &[]);
        let mut alice = consumer("alice", json!({}));
        alice.acl_groups = vec!["staff".to_owned(), "night shift".to_owned()];
        cx.facts = facts_with([alice, consumer("bob", json!({}))], &[]);
        cx.consumer = caller.and_then(|name| cx.facts.consumers.by_identity(name));
        cx
    }

    fn judged(config: &Value, cx: &mut RequestContext) -> (u16, String) {
        match AccessControl::parse(config).unwrap().spec.authorize(cx) {
            Flow::Continue => (200, String::new()),
            Flow::Reject(rejection) => (rejection.status, String::from_utf8(rejection.body).unwrap()),
            Flow::Wait(_) => panic!("it does not wait"),
        }
    }

    #[track_caller]
    fn expect(config: Value, caller: &str, (status, body): (u16, &str)) {
        assert_eq!(judged(&config, &mut cx(Some(caller))), (status, body.to_owned()), "{caller} under {config}");
    }

    #[test]
    fn an_allow_list_lets_nobody_else_pass() {
        let config = json!({"allowed_consumers": ["alice"]});
        expect(config.clone(), "alice", PASSES);
        expect(config, "bob", REFUSED);
        expect(json!({"allowed_consumers": ["Alice", "alice "]}), "alice", REFUSED);
        expect(json!({"allowed_consumers": ["id-alice"]}), "alice", REFUSED);
    }

    #[test]
    fn a_deny_list_lets_everybody_else_pass() {
        let config = json!({"disallowed_consumers": ["alice"]});
        expect(config.clone(), "alice", REFUSED);
        expect(config, "bob", PASSES);
    }

    #[test]
    fn groups_count_like_names() {
        expect(json!({"allowed_groups": ["night shift"]}), "alice", PASSES);
        expect(json!({"allowed_groups": ["staff"]}), "bob", REFUSED);
        expect(json!({"allowed_groups": ["Staff"]}), "alice", REFUSED);
        expect(json!({"disallowed_groups": ["night shift"]}), "alice", REFUSED);
        expect(json!({"disallowed_groups": ["staff"]}), "bob", PASSES);
        let either = json!({"allowed_consumers": ["bob"], "allowed_groups": ["staff"]});
        expect(either.clone(), "alice", PASSES);
        expect(either, "bob", PASSES);
    }

    #[test]
    fn who_is_disallowed_does_not_pass_even_if_allowed() {
        expect(json!({"allowed_consumers": ["alice"], "disallowed_consumers": ["alice"]}), "alice", REFUSED);
        expect(json!({"allowed_consumers": ["alice"], "disallowed_groups": ["staff"]}), "alice", REFUSED);
        expect(json!({"allowed_groups": ["staff"], "disallowed_consumers": ["alice"]}), "alice", REFUSED);
        expect(json!({"allowed_groups": ["staff"], "disallowed_groups": ["night shift"]}), "alice", REFUSED);
    }

    #[test]
    fn without_a_consumer_nobody_passes() {
        for config in [json!({"disallowed_consumers": ["x"]}), json!({"allow_authenticated_identity": true})] {
            assert_eq!(judged(&config, &mut cx(None)), (401, NO_CONSUMER.to_owned()));
        }
        let mut external = cx(None);
        external.external_identity = Some("carol".to_owned());
        let config = json!({"allowed_consumers": ["carol"]});
        assert_eq!(judged(&config, &mut external), (401, NO_CONSUMER.to_owned()));
    }

    #[test]
    fn an_external_identity_passes_where_it_is_said_and_not_denied() {
        let mut external = cx(None);
        external.external_identity = Some("carol".to_owned());
        let passes = |config: Value, cx: &mut RequestContext| judged(&config, cx).0 == 200;
        assert!(passes(json!({"allow_authenticated_identity": true}), &mut external));
        let denied = json!({"allow_authenticated_identity": true, "disallowed_consumers": ["carol"]});
        assert_eq!(judged(&denied, &mut external), (403, IDENTITY_REFUSED.to_owned()));
        let denied_group = json!({"allow_authenticated_identity": true, "disallowed_groups": ["carol"]});
        assert!(passes(denied_group, &mut external));
    }

    #[test]
    fn a_consumer_goes_before_an_external_identity() {
        let mut both = cx(Some("alice"));
        both.external_identity = Some("carol".to_owned());
        let config = json!({"allow_authenticated_identity": true, "disallowed_consumers": ["alice"]});
        assert_eq!(judged(&config, &mut both), (403, CONSUMER_REFUSED.to_owned()));
        assert_eq!(judged(&json!({"disallowed_consumers": ["carol"]}), &mut both).0, 200);
    }

    #[test]
    fn wrong_configs_are_refused_with_key_and_reason() {
        let errors = |config: Value| AccessControl::parse(&config).unwrap_err();
        assert_eq!(errors(Value::Null), ["access_control: config must be an object"]);
        let nothing = "access_control: needs an entry in 'allowed_consumers', 'disallowed_consumers', 'allowed_groups', \
                       'disallowed_groups', or 'allow_authenticated_identity: true'";
        for config in [json!({}), json!({"allowed_groups": [], "allow_authenticated_identity": false})] {
            assert_eq!(errors(config), [nothing]);
        }
        for list in LISTS {
            let text = |reason: &str| [format!("access_control: '{list}' {reason}")];
            assert_eq!(errors(json!({ list: [""] })), text("must not hold an empty string"));
            for wrong in [json!("alice"), json!([1]), json!(null)] {
                assert_eq!(errors(json!({ list: wrong })), text("must be an array of strings"));
            }
        }
        let flag = ["access_control: 'allow_authenticated_identity' must be a boolean"];
        assert_eq!(errors(json!({"allow_authenticated_identity": "yes"})), flag);
        for removed in ["allowed_ips", "blocked_ips"] {
            let config = json!({removed: ["10.0.0.0/8"], "allowed_consumers": ["alice"]});
            let text = format!("access_control: '{removed}' was removed: use the plugin 'ip_restriction'");
            assert_eq!(errors(config), [text]);
        }
    }

    #[test]
    fn a_rule_that_would_let_more_through_than_it_says_is_refused() {
        let errors = |config: Value| AccessControl::parse(&config).unwrap_err();
        let mistyped = json!({"allow_authenticated_identity": true, "disallowed_consumer": ["mallory"]});
        assert_eq!(errors(mistyped), ["access_control: 'disallowed_consumer' is not a key of this plugin"]);
        let pointless = "access_control: 'allow_authenticated_identity' lets callers pass whom no list names: leave \
                         'allowed_consumers' and 'allowed_groups' out, or it";
        for list in ["allowed_consumers", "allowed_groups"] {
            assert_eq!(errors(json!({"allow_authenticated_identity": true, list: ["alice"]})), [pointless]);
            assert!(AccessControl::parse(&json!({"allow_authenticated_identity": false, list: ["alice"]})).is_ok());
            assert!(AccessControl::parse(&json!({"allow_authenticated_identity": true, list: []})).is_ok());
        }
    }
}
