//! `ip_restriction`: lets clients through or not by their address (plugins sheet §2.5).

mod networks;

use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;

use self::networks::{Networks, Rule};
use super::BuiltIn;
use crate::config::{Key, Keys, Null, Parsed, key};
use crate::{CoreEnv, Flow, Phases, Plugin, Protocols, RequestContext, Specs};

const NOT_ALLOWED: &str = r#"{"error":"IP address not allowed"}"#;
const DENIED: &str = r#"{"error":"IP address denied"}"#;

/// One set of rules for all cores, which only read it.
#[derive(Clone, Debug)]
pub struct IpRestriction {
    rules: Arc<Rules>,
}

#[derive(Debug)]
struct Rules {
    allow: Networks,
    deny: Networks,
    mode: Mode,
}

/// Which check comes first, and so which of the two answers an address gets that fails both.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Mode {
    AllowFirst,
    DenyFirst,
}

impl BuiltIn for IpRestriction {
    const NAME: &'static str = "ip_restriction";
    const PRIORITY: u16 = 150;
    const PROTOCOLS: Protocols = Protocols::ALL;
    const KEYS: &'static [Key] = &[
        key("allow", "string[]", "`[]`", "addresses and networks; if there are any, no other address passes"),
        key("deny", "string[]", "`[]`", "addresses and networks that do not pass, even if they are allowed"),
        key(
            "mode",
            "string",
            "`allow_first`",
            "`allow_first` or `deny_first`: which list is looked at first, and so which answer an address gets that neither \
             lets through",
        ),
    ];

    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>> {
        let mut keys = Keys::open(Self::NAME, Self::KEYS, config, Null::Unset)?;
        let says_nothing = |key| keys.value(key).is_none_or(|value| value.as_array().is_some_and(Vec::is_empty));
        if ["allow", "deny"].into_iter().all(says_nothing) {
            keys.error(format!("{}: 'allow' or 'deny' must have an entry", Self::NAME));
        }
        let (allow, deny) = (networks(&mut keys, "allow"), networks(&mut keys, "deny"));
        let mode = match keys.text("mode") {
            None | Some("allow_first") => Mode::AllowFirst,
            Some("deny_first") => Mode::DenyFirst,
            Some(text) => {
                keys.refuse("mode", format_args!("must be 'allow_first' or 'deny_first' (got '{text}')"));
                Mode::AllowFirst
            }
        };
        keys.finish(Self { rules: Arc::new(Rules { allow, deny, mode }) })
    }
}

fn networks(keys: &mut Keys<'_>, key: &str) -> Networks {
    let mut rules = Vec::new();
    for text in keys.texts(key).into_iter().map(str::trim) {
        if text.is_empty() {
            keys.refuse(key, "has a blank entry");
            continue;
        }
        let Some(rule) = Rule::parse(text) else {
            keys.refuse(key, format_args!("has '{text}', which is neither an IP address nor a network in CIDR form"));
            continue;
        };
        if rule.is_ipv4_mapped() {
            keys.warn_of(key, format_args!("has '{text}', which no client has: it is IPv4, write it so"));
        }
        rules.push(rule);
    }
    Networks::new(rules)
}

impl Rules {
    /// What an address is told that does not pass.
    fn judge(&self, address: std::net::IpAddr) -> Option<&'static str> {
        let is_foreign = || !self.allow.is_empty() && !self.allow.contains(address);
        let is_denied = || self.deny.contains(address);
        match self.mode {
            Mode::AllowFirst if is_foreign() => Some(NOT_ALLOWED),
            Mode::AllowFirst => is_denied().then_some(DENIED),
            Mode::DenyFirst if is_denied() => Some(DENIED),
            Mode::DenyFirst => is_foreign().then_some(NOT_ALLOWED),
        }
    }
}

impl Specs for IpRestriction {
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

impl Plugin for IpRestriction {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn phases(&self) -> Phases {
        Phases::RECEIVED
    }

    fn on_request_received<'a>(&'a self, cx: &'a mut RequestContext) -> Flow<'a> {
        self.rules.judge(cx.client_ip).map_or(Flow::Continue, |text| Flow::reject(403, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ready, request};
    use crate::{AuthMode, Chain};
    use serde_json::json;

    /// The answer to a client of that address; None when it passes.
    fn answer(config: &Value, address: &str) -> Option<(u16, String)> {
        let plugin: Rc<dyn Plugin> = Rc::new(IpRestriction::parse(config).unwrap().spec);
        let mut cx = request("GET /", &[("X-Forwarded-For", "192.0.2.1")]);
        cx.client_ip = address.parse().unwrap();
        let verdict = ready(Chain::new(&[plugin], AuthMode::Single).on_request_received(&mut cx));
        verdict.err().map(|rejection| (rejection.status, String::from_utf8(rejection.body).unwrap()))
    }

    fn not_allowed() -> Option<(u16, String)> {
        Some((403, r#"{"error":"IP address not allowed"}"#.to_owned()))
    }

    fn denied() -> Option<(u16, String)> {
        Some((403, r#"{"error":"IP address denied"}"#.to_owned()))
    }

    fn refused(config: Value) -> Vec<String> {
        IpRestriction::parse(&config).unwrap_err()
    }

    #[test]
    fn only_allowed_addresses_pass() {
        let config = json!({"allow": ["10.1.2.3", " 192.0.2.0/24 ", "2001:db8::/32"]});
        for address in ["10.1.2.3", "192.0.2.0", "192.0.2.255", "2001:db8:ffff::1", "::ffff:10.1.2.3"] {
            assert_eq!(answer(&config, address), None, "{address}");
        }
        for address in ["10.1.2.2", "10.1.2.4", "192.0.1.255", "192.0.3.0", "2001:db9::", "::1"] {
            assert_eq!(answer(&config, address), not_allowed(), "{address}");
        }
    }

    #[test]
    fn all_but_the_denied_pass_where_nothing_is_allowed() {
        let config = json!({"allow": [], "deny": ["10.0.0.0/8"]});
        assert_eq!(answer(&config, "10.255.0.1"), denied());
        assert_eq!(answer(&config, "::ffff:10.0.0.1"), denied());
        assert_eq!(answer(&config, "11.0.0.0"), None);
        assert_eq!(answer(&config, "::1"), None);
    }

    #[test]
    fn what_is_denied_does_not_pass_in_either_mode() {
        let config =
            |mode: &str| json!({"allow": ["10.0.0.0/8"], "deny": ["10.9.0.0/16", "172.16.0.0/12"], "mode": mode});
        for mode in ["allow_first", "deny_first"] {
            assert_eq!(answer(&config(mode), "10.8.0.1"), None);
            assert_eq!(answer(&config(mode), "10.9.0.1"), denied());
            assert_eq!(answer(&config(mode), "8.8.8.8"), not_allowed());
        }
        assert_eq!(answer(&config("allow_first"), "172.16.0.1"), not_allowed(), "it fails both checks");
        assert_eq!(answer(&config("deny_first"), "172.16.0.1"), denied());
    }

    #[test]
    fn wrong_configs_are_refused_with_key_and_reason() {
        assert_eq!(refused(json!("10.0.0.1")), ["ip_restriction: config must be an object"]);
        for nothing in [json!({}), Value::Null, json!({"allow": [], "deny": null}), json!({"mode": "deny_first"})] {
            assert_eq!(refused(nothing), ["ip_restriction: 'allow' or 'deny' must have an entry"]);
        }
        assert_eq!(
            refused(json!({"allow": "10.0.0.1", "deny": ["", "10.0.0.0/33", "localhost"], "mode": "Allow_First"})),
            [
                "ip_restriction: 'allow' must be an array of strings",
                "ip_restriction: 'deny' has a blank entry",
                "ip_restriction: 'deny' has '10.0.0.0/33', which is neither an IP address nor a network in CIDR form",
                "ip_restriction: 'deny' has 'localhost', which is neither an IP address nor a network in CIDR form",
                "ip_restriction: 'mode' must be 'allow_first' or 'deny_first' (got 'Allow_First')",
            ]
        );
        assert_eq!(refused(json!({"deny": [1]})), ["ip_restriction: 'deny' must be an array of strings"]);
        assert_eq!(refused(json!({"deny": ["::1"], "mode": 1})), ["ip_restriction: 'mode' must be a string"]);
    }

    #[test]
    fn a_rule_that_fits_no_client_is_named() {
        let config = json!({"allow": ["10.0.0.1"], "deny": ["::ffff:10.0.0.1"], "rules": []});
        assert_eq!(answer(&config, "10.0.0.1"), None, "rules are not converted");
        assert_eq!(
            IpRestriction::parse(&config).unwrap().warnings,
            [
                "ip_restriction: 'deny' has '::ffff:10.0.0.1', which no client has: it is IPv4, write it so",
                "ip_restriction: unknown key 'rules' is ignored",
            ]
        );
        assert!(IpRestriction::parse(&json!({"allow": ["::1"], "deny": null, "mode": null})).is_ok());
    }
}
