//! One lookup, past the cache: overrides, literals, hosts file, `localhost`, then the servers.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver};

use super::order::{Kind, Order};
use super::{AddressPolicy, DnsError, DnsOptions, servers};

/// How long what no server has said is good for: a day.
const STATIC_TTL: Duration = Duration::from_secs(86_400);

/// SRV targets that are tried for an address before the answer counts as useless.
const SRV_TARGETS_MAX: usize = 16;

/// An address, and how long it is good for by its records.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) address: IpAddr,
    pub(super) ttl: Duration,
    /// What was asked; `None` for what no server has said.
    pub(super) kind: Option<Kind>,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum Failure {
    #[error("{host}: address {address} is forbidden by FERRUM_BACKEND_ALLOW_IPS")]
    Forbidden { host: String, address: IpAddr },
    #[error("{host}: {reason}")]
    NotFound { host: String, reason: String },
}

pub(super) struct Lookup {
    overrides: HashMap<String, IpAddr>,
    hosts: Hosts,
    order: Order,
    resolver: TokioResolver,
    is_allowed: AddressPolicy,
}

impl Lookup {
    pub(super) fn new(options: &DnsOptions) -> Result<Self, DnsError> {
        let mut overrides = HashMap::new();
        for (host, text) in &options.overrides {
            match text.trim().parse() {
                Ok(address) => {
                    overrides.insert(host.to_ascii_lowercase(), address);
                }
                Err(_) => tracing::warn!("FERRUM_DNS_OVERRIDES: '{host}': '{text}' is not an IP address; ignored"),
            }
        }
        Ok(Self {
            overrides,
            hosts: servers::hosts(options.hosts_file.as_deref()),
            order: Order::parse(&options.order),
            resolver: servers::resolver(options)?,
            is_allowed: options.address_policy.clone(),
        })
    }

    /// What is known without asking a server. `host` is lower-case.
    pub(super) fn known(&self, host: &str) -> Option<Result<Found, Failure>> {
        let address = self.overrides.get(host).copied().or_else(|| literal(host));
        let addresses = match address {
            Some(address) => vec![address],
            None => self.in_hosts(host)?,
        };
        Some(self.first_allowed(host, &addresses, STATIC_TTL, None))
    }

    /// Addresses of the hosts file, those of the preferred family first, and of `localhost`, which needs no file.
    fn in_hosts(&self, host: &str) -> Option<Vec<IpAddr>> {
        let name = Name::from_str(host).ok()?;
        let families = if self.order.prefers_ipv6() {
            [RecordType::AAAA, RecordType::A]
        } else {
            [RecordType::A, RecordType::AAAA]
        };
        let of = |family| self.hosts.lookup_static_host(&Query::query(name.clone(), family));
        if let Some(found) = families.into_iter().find_map(of) {
            return Some(found.answers().iter().filter_map(|record| record.data.ip_addr()).collect());
        }
        matches!(host, "localhost" | "localhost.").then(|| {
            vec![if self.order.prefers_ipv6() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }]
        })
    }

    /// `last` is the kind of question that was answered last time.
    pub(super) async fn run(&self, host: &str, last: Option<Kind>) -> Result<Found, Failure> {
        if let Some(known) = self.known(host) {
            return known;
        }
        let mut reasons = Vec::new();
        let mut asked_a = false;
        for kind in self.order.kinds(last) {
            let outcome = match kind {
                Kind::Srv => self.srv(host).await,
                Kind::A => {
                    asked_a = true;
                    self.addresses(host, RecordType::A).await
                }
                Kind::Aaaa => self.addresses(host, RecordType::AAAA).await,
                Kind::Cname => self.either_family(host, asked_a).await,
            };
            match outcome {
                Ok((addresses, ttl)) => return self.first_allowed(host, &addresses, ttl, Some(kind)),
                Err(reason) if reasons.contains(&reason) => {}
                Err(reason) => reasons.push(reason),
            }
        }
        Err(Failure::NotFound { host: host.to_owned(), reason: reasons.join("; ") })
    }

    /// The first address, if all are allowed: one forbidden address is a sign of a name that is not to be trusted.
    fn first_allowed(
        &self,
        host: &str,
        addresses: &[IpAddr],
        ttl: Duration,
        kind: Option<Kind>,
    ) -> Result<Found, Failure> {
        if let Some(forbidden) = addresses.iter().find(|address| !(self.is_allowed)(**address)) {
            return Err(Failure::Forbidden { host: host.to_owned(), address: *forbidden });
        }
        match addresses.first() {
            Some(address) => Ok(Found { address: *address, ttl, kind }),
            None => Err(Failure::NotFound { host: host.to_owned(), reason: "the answer has no address".to_owned() }),
        }
    }

    /// All addresses of one family, following aliases, and the smallest TTL on the way.
    async fn addresses(&self, host: &str, family: RecordType) -> Result<(Vec<IpAddr>, Duration), String> {
        // hickory's cache of size 0 may still hold an answer until its next clean-up.
        self.resolver.clear_lookup_cache(host, family);
        let answer = self.resolver.lookup(host, family).await.map_err(|error| format!("{family}: {error}"))?;
        let ttl = answer.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
        let addresses: Vec<IpAddr> = answer.answers().iter().filter_map(|record| record.data.ip_addr()).collect();
        if addresses.is_empty() {
            return Err(format!("{family}: the answer has no address"));
        }
        Ok((addresses, Duration::from_secs(ttl.into())))
    }

    async fn either_family(&self, host: &str, asked_a: bool) -> Result<(Vec<IpAddr>, Duration), String> {
        if !asked_a && let Ok(found) = self.addresses(host, RecordType::A).await {
            return Ok(found);
        }
        self.addresses(host, RecordType::AAAA).await
    }

    /// The addresses of the first target that has any, by priority, then weight. The port is the configuration's.
    async fn srv(&self, host: &str) -> Result<(Vec<IpAddr>, Duration), String> {
        self.resolver.clear_lookup_cache(host, RecordType::SRV);
        let answer = self.resolver.lookup(host, RecordType::SRV).await.map_err(|error| format!("SRV: {error}"))?;
        let mut targets: Vec<_> = answer
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                // A target of "." says that there is no such service (RFC 2782).
                RData::SRV(service) if !service.target.is_root() => Some((service, record.ttl)),
                _ => None,
            })
            .collect();
        targets.sort_by_key(|(service, _)| (service.priority, Reverse(service.weight)));
        for (service, ttl) in targets.into_iter().take(SRV_TARGETS_MAX) {
            if let Ok((addresses, address_ttl)) = self.either_family(&service.target.to_ascii(), false).await {
                return Ok((addresses, address_ttl.min(Duration::from_secs(ttl.into()))));
            }
        }
        Err("SRV: no target has an address".to_owned())
    }
}

/// `10.0.0.1`, `::1` or `[::1]`.
fn literal(host: &str) -> Option<IpAddr> {
    host.parse().ok().or_else(|| host.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6))
}
