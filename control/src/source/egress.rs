//! Which addresses may be called (`FERRUM_BACKEND_ALLOW_IPS`). Names are judged when they are resolved; an address that stands in
//! the configuration is never looked up, so it is judged where the configuration is read.

use engine::model::AddressPolicy;

/// Which of these hosts may not be called.
pub(super) fn denials(hosts: &[String], policy: AddressPolicy) -> Vec<String> {
    hosts.iter().filter_map(|host| policy.denial(host.parse().ok()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_held_against_the_policy_and_names_are_not() {
        let denied = |host: &str, policy| denials(&[host.to_owned()], policy);
        let text = |ip: &str, policy: &str| [format!("IP {ip} denied by FERRUM_BACKEND_ALLOW_IPS={policy} policy")];
        for private in ["127.0.0.1", "169.254.169.254", "::1"] {
            assert_eq!(denied(private, AddressPolicy::Public), text(private, "public"));
            assert!(denied(private, AddressPolicy::Private).is_empty());
        }
        for public in ["8.8.8.8", "2001:4860:4860::8888"] {
            assert_eq!(denied(public, AddressPolicy::Private), text(public, "private"));
            assert!(denied(public, AddressPolicy::Public).is_empty());
        }
        for any in ["127.0.0.1", "8.8.8.8"] {
            assert!(denied(any, AddressPolicy::Both).is_empty());
        }
        assert!(denied("logs.example.com", AddressPolicy::Public).is_empty());
    }
}
