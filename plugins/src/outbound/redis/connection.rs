//! The task of one connection: opens it, carries what is asked and said, and opens it again.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use engine::buffer::{Buffer, Unsent};
use engine::core::foreign;
use engine::net::{ConnectOptions, Receiver, Sender, Stream, sleep};
use engine::tls::{ClientConfig, ServerName, Session};
use futures_util::future::{Either, select};

use super::command::command;
use super::link::{Desk, said};
use super::reply::{self, REPLY_BYTES_MAX, Reply};
use super::{Endpoint, WAIT_MAX};
use crate::outbound::Services;

/// What is held of replies that are not whole.
const HELD_BYTES_MAX: usize = 2 * REPLY_BYTES_MAX;

/// Idle time before the kernel asks whether the peer is still there. PINGs find out sooner, unless they are rare.
const KEEPALIVE: Duration = Duration::from_secs(60);

thread_local! {
    /// TLS as plugins offer it, without a protocol's name, and what it was made from.
    static CONFIG: RefCell<Option<(Arc<ClientConfig>, Arc<ClientConfig>)>> = const { RefCell::new(None) };
}

/// Runs until the link is dropped.
pub(super) async fn keep(desk: Rc<Desk>) {
    while !desk.is_closed() {
        let reason = session(&desk).await;
        if desk.is_closed() {
            return;
        }
        desk.went_away(&reason);
        desk.pause(desk.endpoint.health_interval).await;
    }
}

/// From the attempt to connect to the failure, which it gives.
async fn session(desk: &Desk) -> String {
    let stream = match opened(desk).await {
        Ok(stream) => stream,
        Err(reason) => return reason,
    };
    desk.came_up();
    let (receiver, sender) = (stream.receiver, stream.sender);
    let reading = pin!(read(desk, receiver));
    let writing = pin!(write(desk, sender));
    let watching = pin!(watch(desk));
    match select(reading, select(writing, watching)).await {
        Either::Left((reason, _)) | Either::Right((Either::Left((reason, _)) | Either::Right((reason, _)), _)) => {
            reason
        }
    }
}

/// Connects within the connect timeout. Those who wait for it wait no longer than they would for a reply.
async fn opened(desk: &Desk) -> Result<Stream, String> {
    let (endpoint, services) = (&desk.endpoint, &desk.services);
    let (opening, timeout) = (Box::pin(open(endpoint, services)), pin!(sleep(endpoint.connect_timeout)));
    let mut opening = select(opening, timeout);
    loop {
        match select(&mut opening, pin!(desk.due())).await {
            Either::Left((Either::Left((opened, _)), _)) => return opened,
            Either::Left((Either::Right(_), _)) => {
                return Err(format!("no connection within {} s", endpoint.connect_timeout.as_secs()));
            }
            Either::Right(_) if desk.is_closed() => return Err("it is not needed any more".to_owned()),
            Either::Right(_) if desk.is_overdue() => {
                desk.went_away(&format!("no connection within {} s", WAIT_MAX.as_secs()))
            }
            Either::Right(_) => {}
        }
    }
}

async fn open(endpoint: &Endpoint, services: &Services) -> Result<Stream, String> {
    let address = resolved(endpoint, services).await?;
    let options = ConnectOptions { keepalive: Some(KEEPALIVE) };
    let stream = Stream::connect(address, &options).await.map_err(|error| format!("connect to {address}: {error}"))?;
    let stream = if endpoint.is_tls { sealed(stream, endpoint, services).await? } else { stream };
    introduced(stream, endpoint).await
}

async fn resolved(endpoint: &Endpoint, services: &Services) -> Result<SocketAddr, String> {
    let looking = services.names.resolve(endpoint.host.clone());
    let found =
        foreign(services.runtime.spawn(looking)).await.map_err(|_| "the lookup was broken off".to_owned())??;
    let ip = found.first().ok_or_else(|| format!("{} has no address", endpoint.host))?;
    Ok(SocketAddr::new(*ip, endpoint.port))
}

async fn sealed(stream: Stream, endpoint: &Endpoint, services: &Services) -> Result<Stream, String> {
    let config = services.options.tls.as_ref().map(config).ok_or("TLS cannot be used with these settings")?;
    let name =
        ServerName::try_from(endpoint.host.clone()).map_err(|_| "its name cannot be in a certificate".to_owned())?;
    let session = Session::client(config, name).map_err(|error| error.to_string())?;
    let (stream, _) = stream.sealed(session).await.map_err(|error| format!("TLS: {error}"))?;
    Ok(stream)
}

fn config(offered: &Arc<ClientConfig>) -> Arc<ClientConfig> {
    CONFIG.with(|made| {
        let mut made = made.borrow_mut();
        if let Some((from, config)) = &*made
            && Arc::ptr_eq(from, offered)
        {
            return config.clone();
        }
        let mut config = (**offered).clone();
        config.alpn_protocols.clear();
        let config = Arc::new(config);
        *made = Some((offered.clone(), config.clone()));
        config
    })
}

/// Logs in, chooses the database, and hears that Redis is there.
async fn introduced(stream: Stream, endpoint: &Endpoint) -> Result<Stream, String> {
    let mut stream = stream;
    let mut buffer = Buffer::head();
    let replies = introduction(endpoint, buffer.as_vec_mut());
    stream.sender.send(Unsent { buffer, sent: 0 }).await.0.map_err(|error| error.to_string())?;
    let mut buffer = Buffer::none();
    for _ in 0..replies {
        buffer = loop {
            match first(&buffer)? {
                Some((Reply::Error(text), _)) => return Err(said(text)),
                Some((_, length)) => {
                    buffer.consume(length);
                    break buffer;
                }
                None => buffer = more(&mut stream.receiver, buffer).await?,
            }
        };
    }
    Ok(stream)
}

/// Gives the number of replies it will have.
fn introduction(endpoint: &Endpoint, bytes: &mut Vec<u8>) -> usize {
    let mut commands = 1;
    match (&endpoint.username, &endpoint.password) {
        (None, None) => {}
        (None, Some(password)) => command(bytes, &[b"AUTH", password.as_bytes()]),
        // Without a password: a user that needs none.
        (Some(user), password) => {
            command(bytes, &[b"AUTH", user.as_bytes(), password.as_deref().unwrap_or_default().as_bytes()]);
        }
    }
    commands += usize::from(endpoint.username.is_some() || endpoint.password.is_some());
    if endpoint.database != 0 {
        command(bytes, &[b"SELECT", endpoint.database.to_string().as_bytes()]);
        commands += 1;
    }
    command(bytes, &[b"PING"]);
    commands
}

fn first(bytes: &[u8]) -> Result<Option<(Reply<'_>, usize)>, String> {
    reply::first(bytes).map_err(|_| "it does not answer as Redis does".to_owned())
}

/// Receives behind what is there.
async fn more(receiver: &mut Receiver, mut buffer: Buffer) -> Result<Buffer, String> {
    if buffer.is_empty() {
        receiver.start_idle();
    } else {
        if buffer.spare() == 0 {
            let doubled = buffer.capacity() * 2;
            if doubled > HELD_BYTES_MAX {
                return Err("it says more than was asked for".to_owned());
            }
            buffer.grow_to(doubled);
        }
        receiver.start(buffer);
    }
    match receiver.received().await {
        (Ok(0), _) => Err("it closed the connection".to_owned()),
        (Ok(_), buffer) => Ok(buffer),
        (Err(error), _) => Err(error.to_string()),
    }
}

async fn read(desk: &Desk, mut receiver: Receiver) -> String {
    let mut buffer = Buffer::none();
    loop {
        buffer = match more(&mut receiver, buffer).await {
            Ok(buffer) => buffer,
            Err(reason) => return reason,
        };
        match delivered(desk, &buffer) {
            Ok(used) => buffer.consume(used),
            Err(reason) => return reason,
        }
    }
}

/// Delivers all whole replies; gives how much of the bytes they were.
fn delivered(desk: &Desk, bytes: &[u8]) -> Result<usize, String> {
    let mut used = 0;
    while let Some((reply, length)) = first(&bytes[used..])? {
        desk.deliver(reply)?;
        used += length;
    }
    Ok(used)
}

async fn write(desk: &Desk, mut sender: Sender) -> String {
    while let Some(buffer) = desk.outgoing().await {
        if let Err(error) = sender.send(Unsent { buffer, sent: 0 }).await.0 {
            return error.to_string();
        }
    }
    sender.say_end();
    "it is not needed any more".to_owned()
}

/// Asks every health interval whether Redis is there, and ends when it leaves somebody waiting too long.
async fn watch(desk: &Desk) -> String {
    loop {
        desk.due().await;
        if desk.is_overdue() {
            return format!("no reply within {} s", WAIT_MAX.as_secs());
        }
        if desk.is_ping_due() {
            desk.ping();
        }
    }
}
