//! The name servers, the search domains and the hosts file.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Hosts, Resolver, TokioResolver, system_conf};

use super::{DnsError, DnsOptions};

const PORT: u16 = 53;

pub(super) fn resolver(options: &DnsOptions) -> Result<TokioResolver, DnsError> {
    let (mut config, mut resolver_options) = system();
    let servers = parse_all(&options.servers);
    if !servers.is_empty() {
        config.name_servers = servers;
    } else if !options.servers.is_empty() {
        tracing::warn!("FERRUM_DNS_RESOLVER_ADDRESS has no usable entry; the name servers of the system are used");
    }
    // This room has a cache and a hosts file of its own, with rules that hickory's do not have.
    resolver_options.cache_size = 0;
    resolver_options.use_hosts_file = ResolveHosts::Never;
    resolver_options.try_tcp_on_error = options.try_tcp_on_error;
    resolver_options.num_concurrent_reqs = options.servers_raced;
    resolver_options.max_active_requests = options.requests_active_max;
    if let Some(timeout) = options.query_timeout {
        resolver_options.timeout = timeout;
    }
    Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(resolver_options)
        .build()
        .map_err(DnsError::Build)
}

/// `/etc/resolv.conf`. Without one, or without a server in it, the server of this host, as resolv.conf(5) has it.
fn system() -> (ResolverConfig, ResolverOpts) {
    let (mut config, options) = system_conf::read_system_conf().unwrap_or_else(|error| {
        tracing::warn!(error = %error, "The system's resolver configuration cannot be read; 127.0.0.1:53 is asked");
        (ResolverConfig::from_name_servers(Vec::new()), ResolverOpts::default())
    });
    if config.name_servers.is_empty() {
        config.name_servers.push(server(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT)));
    }
    (config, options)
}

fn parse_all(entries: &[String]) -> Vec<NameServerConfig> {
    let mut servers = Vec::new();
    for entry in entries {
        match parse(entry.trim()) {
            Some(address) => servers.push(server(address)),
            None => {
                tracing::warn!("FERRUM_DNS_RESOLVER_ADDRESS: '{entry}' is ignored; expected ip, ip:port or [ipv6]:port")
            }
        }
    }
    servers
}

fn parse(entry: &str) -> Option<SocketAddr> {
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    entry
        .parse::<SocketAddr>()
        .ok()
        .or_else(|| Some(SocketAddr::new(entry.parse::<IpAddr>().ok().or_else(bracketed)?, PORT)))
        .filter(|address| address.port() != 0)
}

fn server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

/// The hosts file of the settings, or that of the system where there is none or it cannot be read.
pub(super) fn hosts(path: Option<&Path>) -> Hosts {
    if let Some(path) = path {
        match read(path) {
            Ok(hosts) => return hosts,
            Err(error) => tracing::warn!(
                error = %error,
                "FERRUM_DNS_RESOLVER_HOSTS_FILE: '{}' cannot be read; the system's hosts file is used",
                path.display()
            ),
        }
    }
    Hosts::from_system().unwrap_or_else(|error| {
        tracing::warn!(error = %error, "The system's hosts file cannot be read; no name is taken from it");
        Hosts::default()
    })
}

fn read(path: &Path) -> io::Result<Hosts> {
    let mut hosts = Hosts::default();
    hosts.read_hosts_conf(fs::File::open(path)?)?;
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_entries_have_an_optional_port() {
        for (entry, address) in [
            ("10.0.0.1", Some("10.0.0.1:53")),
            ("10.0.0.1:5353", Some("10.0.0.1:5353")),
            ("::1", Some("[::1]:53")),
            ("[::1]", Some("[::1]:53")),
            ("[::1]:5353", Some("[::1]:5353")),
            ("10.0.0.1:0", None),
            ("dns.example", None),
            ("", None),
        ] {
            assert_eq!(parse(entry), address.map(|text| text.parse().unwrap()), "{entry}");
        }
    }

    #[test]
    fn bad_entries_are_left_out_and_the_good_ones_stay() {
        let servers = parse_all(&["nonsense".into(), " 10.0.0.1 ".into()]);
        assert_eq!(servers.len(), 1);
        assert_eq!(servers[0].ip, IpAddr::from([10, 0, 0, 1]));
        assert_eq!(servers[0].connections.len(), 2, "UDP and TCP");
    }
}
