//! What may be there once only (admin sheet §10-§13): each refusal is a 409.

use std::net::{TcpListener, UdpSocket};

use engine::model::{Consumer, Proxy, hosts_overlap};

use super::{Refusal, WriteOptions, looked_up};
use crate::store::{Resource, Store, Taken};

/// `former` is the row that the resource replaces.
pub(super) async fn check(
    store: &dyn Store,
    resource: &Resource,
    former: Option<&Resource>,
    options: &WriteOptions,
) -> Result<(), Refusal> {
    match resource {
        Resource::Proxy(proxy) => {
            let former = match former {
                Some(Resource::Proxy(former)) => Some(&**former),
                _ => None,
            };
            check_route(store, proxy).await?;
            if let Some(name) = &proxy.name
                && is_taken(store, Taken::ProxyName(name), &proxy.namespace, &proxy.id).await?
            {
                return Err(Refusal::conflict(format!("Proxy name '{name}' already exists")));
            }
            check_port(store, proxy, former, options).await
        }
        Resource::Upstream(upstream) => {
            let Some(name) = &upstream.name else { return Ok(()) };
            // Of an API spec it may be one with another id that is replaced.
            let except = former.map_or(upstream.id.as_str(), Resource::id);
            match is_taken(store, Taken::UpstreamName(name), &upstream.namespace, except).await? {
                true => Err(Refusal::conflict(format!("Upstream name '{name}' already exists"))),
                false => Ok(()),
            }
        }
        Resource::Consumer(consumer) => check_consumer(store, consumer).await,
        Resource::PluginConfig(_) => Ok(()),
    }
}

async fn is_taken(store: &dyn Store, what: Taken<'_>, namespace: &str, except: &str) -> Result<bool, Refusal> {
    Ok(looked_up(store.taken(what, namespace, except).await)?.is_some())
}

/// Databases may compare paths without case; routing does not.
async fn check_route(store: &dyn Store, proxy: &Proxy) -> Result<(), Refusal> {
    if !proxy.is_http() {
        return Ok(());
    }
    let on_path = looked_up(store.proxies_on(&proxy.namespace, proxy.listen_path.as_deref()).await)?;
    let is_in_the_way = |row: &Resource| {
        matches!(row, Resource::Proxy(other) if other.id != proxy.id && other.is_http()
            && other.listen_path == proxy.listen_path && hosts_overlap(&other.hosts, &proxy.hosts))
    };
    if on_path.iter().any(is_in_the_way) {
        return Err(Refusal::conflict("A proxy with overlapping hosts and listen_path already exists"));
    }
    Ok(())
}

/// The port of a stream proxy: not of another one, not of the gateway, and free on this host.
async fn check_port(
    store: &dyn Store,
    proxy: &Proxy,
    former: Option<&Proxy>,
    options: &WriteOptions,
) -> Result<(), Refusal> {
    let Some(port) = proxy.listen_port.filter(|_| !proxy.is_http()) else { return Ok(()) };
    if is_taken(store, Taken::ListenPort(port), &proxy.namespace, &proxy.id).await? {
        return Err(Refusal::conflict(format!("listen_port {port} is already in use by another proxy")));
    }
    if !options.has_stream_listeners {
        return Ok(());
    }
    if options.reserved_ports.contains(&port) {
        let text = format!("listen_port {port} conflicts with a gateway reserved port (proxy/admin/gRPC listener)");
        return Err(Refusal::conflict(text));
    }
    let is_datagram = proxy.scheme().is_datagram();
    let is_held = former.is_some_and(|former| {
        !former.is_http() && former.listen_port == Some(port) && former.scheme().is_datagram() == is_datagram
    });
    // Its own listener has it already.
    if is_held {
        return Ok(());
    }
    let at = (options.stream_bind_address, port);
    let bound = match is_datagram {
        true => UdpSocket::bind(at).map(drop).map_err(|error| format!("UDP bind failed: {error}")),
        false => TcpListener::bind(at).map(drop).map_err(|error| format!("TCP bind failed: {error}")),
    };
    bound.map_err(|reason| Refusal::conflict(format!("listen_port {port} is not available on the host: {reason}")))
}

/// Usernames and custom ids share one space of identities.
async fn check_consumer(store: &dyn Store, consumer: &Consumer) -> Result<(), Refusal> {
    let taken = async |what| looked_up(store.taken(what, &consumer.namespace, &consumer.id).await);
    let username = &consumer.username;
    if let Some(id) = taken(Taken::ConsumerUsername(username)).await? {
        let text = format!("A consumer with username '{username}' already exists (consumer '{id}')");
        return Err(Refusal::conflict(text));
    }
    if let Some(id) = taken(Taken::ConsumerCustomId(username)).await? {
        let text = format!("Consumer username '{username}' conflicts with custom_id of consumer '{id}'");
        return Err(Refusal::conflict(text));
    }
    if let Some(custom_id) = &consumer.custom_id {
        if let Some(id) = taken(Taken::ConsumerCustomId(custom_id)).await? {
            let text = format!("A consumer with custom_id '{custom_id}' already exists (consumer '{id}')");
            return Err(Refusal::conflict(text));
        }
        if let Some(id) = taken(Taken::ConsumerUsername(custom_id)).await? {
            let text = format!("Consumer custom_id '{custom_id}' conflicts with username of consumer '{id}'");
            return Err(Refusal::conflict(text));
        }
    }
    check_credentials(store, consumer).await
}

/// The credentials by which a consumer is found must lead to one.
pub(super) async fn check_credentials(store: &dyn Store, consumer: &Consumer) -> Result<(), Refusal> {
    let (namespace, id) = (&consumer.namespace, &consumer.id);
    for key in consumer.credential_values("keyauth", "key") {
        if is_taken(store, Taken::ApiKey(key), namespace, id).await? {
            return Err(Refusal::conflict("A consumer with this API key already exists"));
        }
    }
    for identity in consumer.credential_values("mtls_auth", "identity") {
        if is_taken(store, Taken::MtlsIdentity(identity), namespace, id).await? {
            return Err(Refusal::conflict("A consumer with this mTLS identity already exists"));
        }
    }
    Ok(())
}
