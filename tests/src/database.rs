//! Databases of one test, the cable to them, and a gateway in database mode with its admin API.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::client::RawClient;
use crate::gateway::{Gateway, GatewayBuilder};
use crate::wire::{Fault, Response};

/// Signs the admin's tokens in every test.
const ADMIN_SECRET: &str = "a secret of the admin API, long enough";

/// What an admin, an operator or a viewer shows to a gateway of [`GatewayBuilder::on_database`].
pub fn admin_token(role: &str) -> String {
    token_signed_with(ADMIN_SECRET, role)
}

/// The same, to a gateway with another secret.
pub fn token_signed_with(secret: &str, role: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let claims = json!({
        "iss": "ferrum-edge", "sub": "tests", "role": role, "iat": now, "nbf": now, "exp": now + 600, "jti": "1",
    });
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).expect("a token")
}

/// An empty database that no other test has.
#[derive(Clone, Debug)]
pub struct Database {
    /// As `FERRUM_DB_TYPE` names it.
    pub kind: &'static str,
    pub url: String,
}

impl Database {
    pub fn sqlite(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ferrum-edge-databases-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for databases");
        let path = folder.join(format!("{}.db", fresh(name)));
        Self { kind: "sqlite", url: format!("sqlite://{}?mode=rwc", path.display()) }
    }

    /// SQLite, and whichever servers `tests/peers/databases` has started.
    pub fn each(name: &str) -> Vec<Self> {
        let postgres = on_server("postgres", "FERRUM_TEST_POSTGRES_URL", name);
        let mysql = on_server("mysql", "FERRUM_TEST_MYSQL_URL", name);
        let mongodb = on_mongodb(name);
        std::iter::once(Self::sqlite(name)).chain(postgres).chain(mysql).chain(mongodb).collect()
    }

    /// Host and port of a server; none for a file.
    fn address(&self) -> Option<&str> {
        let rest = self.url.split_once("://")?.1;
        let authority = rest.split('/').next().unwrap_or_default();
        (self.kind != "sqlite").then(|| authority.rsplit('@').next().unwrap_or(authority))
    }

    /// The same database at the far end of a cable; none for a file.
    pub fn over_cable(&self) -> Option<(Self, Cable)> {
        let address = self.address()?;
        let cable = Cable::to(address);
        let mut url = self.url.replacen(address, &format!("127.0.0.1:{}", cable.port()), 1);
        if self.kind == "mongodb" {
            // Otherwise the driver goes where the server says it is.
            url.push_str("&directConnection=true");
        }
        Some((Self { kind: self.kind, url }, cable))
    }
}

fn fresh(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{name}_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A database of its own on the server that the variable names.
fn on_server(kind: &'static str, variable: &str, name: &str) -> Option<Database> {
    let Ok(server) = std::env::var(variable) else {
        eprintln!("not run: no server ({variable})");
        return None;
    };
    let name = fresh(name);
    let (base, _) = server.rsplit_once('/').expect("a URL with a database");
    let created = if kind == "postgres" {
        Command::new("psql").args([&server, "-q", "-c", &format!("CREATE DATABASE {name}")]).output()
    } else {
        let authority = base.split_once("://").expect("a URL").1;
        let (user, address) = authority.split_once('@').expect("a user");
        let (host, port) = address.split_once(':').expect("a port");
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "-h", host, "-P", port, "-u", user]).env("MYSQL_PWD", password);
        client.args(["-e", &format!("CREATE DATABASE {name}")]).output()
    };
    let created = created.expect("the database's client runs");
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    Some(Database { kind, url: format!("{base}/{name}") })
}

/// MongoDB makes a database of what is first put into it.
fn on_mongodb(name: &str) -> Option<Database> {
    let variable = "FERRUM_TEST_MONGODB_URL";
    let Ok(server) = std::env::var(variable) else {
        eprintln!("not run: no server ({variable})");
        return None;
    };
    let (place, options) = server.split_once('?').expect("a URL with a replica set");
    let (base, _) = place.rsplit_once('/').expect("a URL with a database");
    Some(Database { kind: "mongodb", url: format!("{base}/{}?{options}", fresh(name)) })
}

/// A way to a server that can be cut and mended.
pub struct Cable {
    port: u16,
    shared: Arc<CableState>,
}

struct CableState {
    is_cut: AtomicBool,
    is_over: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Cable {
    fn to(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its port").port();
        let open = Mutex::default();
        let shared = Arc::new(CableState { is_cut: AtomicBool::new(false), is_over: AtomicBool::new(false), open });
        let (state, address) = (shared.clone(), address.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if state.is_over.load(Ordering::SeqCst) {
                    return;
                }
                // A stream that is dropped here is a server that hangs up.
                if !state.is_cut.load(Ordering::SeqCst)
                    && let Ok(far) = TcpStream::connect(&address)
                {
                    state.join(stream, far);
                }
            }
        });
        Self { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends every connection, and each that is made until it is mended.
    pub fn cut(&self) {
        self.shared.is_cut.store(true, Ordering::SeqCst);
        for stream in self.shared.open.lock().expect("unpoisoned").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub fn mend(&self) {
        self.shared.is_cut.store(false, Ordering::SeqCst);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.cut();
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl CableState {
    fn join(&self, near: TcpStream, far: TcpStream) {
        let pump = |from: &TcpStream, to: &TcpStream| -> io::Result<()> {
            let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
            std::thread::spawn(move || {
                let _ = carry(&mut from, &mut to);
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            });
            Ok(())
        };
        pump(&near, &far).and_then(|()| pump(&far, &near)).expect("two directions");
        let mut open = self.open.lock().expect("unpoisoned");
        open.extend([near, far]);
        if self.is_cut.load(Ordering::SeqCst) {
            open.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        }
    }
}

fn carry(from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => to.write_all(&buffer[..count])?,
        }
    }
}

impl GatewayBuilder {
    /// In database mode, polling so rarely that only being told of a write explains that it is served.
    #[must_use]
    pub fn on_database(self, database: &Database) -> Self {
        self.of_mongodb(database)
            .env("FERRUM_MODE", "database")
            .env("FERRUM_DB_TYPE", database.kind)
            .env("FERRUM_DB_URL", &database.url)
            .env("FERRUM_DB_POLL_INTERVAL", 600)
            .env("FERRUM_ADMIN_JWT_SECRET", ADMIN_SECRET)
    }

    /// What is of MongoDB alone: the path of its URL names no database, and a server that is away is waited for.
    fn of_mongodb(self, database: &Database) -> Self {
        let path = database.url.split('?').next().and_then(|place| place.rsplit('/').next());
        match path.filter(|_| database.kind == "mongodb") {
            Some(name) => {
                self.env("FERRUM_MONGO_DATABASE", name).env("FERRUM_MONGO_SERVER_SELECTION_TIMEOUT_SECONDS", 2)
            }
            None => self,
        }
    }
}

impl Gateway {
    /// What an admin asks, on a connection of its own.
    pub fn manage(&self, method: &str, path: &str, body: &Value) -> Response {
        match self.try_manage(method, path, body) {
            Ok(response) => response,
            Err(fault) => panic!("{method} {path}: {fault:?}"),
        }
    }

    /// The same, of a gateway that may end before it answers.
    ///
    /// # Errors
    /// There is no answer.
    pub fn try_manage(&self, method: &str, path: &str, body: &Value) -> Result<Response, Fault> {
        let mut client =
            RawClient::try_connect(self.admin_port()).map_err(|_| Fault::Reset)?.with_patience(PATIENCE_OF_ADMINS);
        let (token, body) = (admin_token("admin"), body.to_string());
        client.try_send(format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))?;
        client.try_response().map_err(|(fault, _)| fault)
    }
}

/// A write may wait for a database that is away.
const PATIENCE_OF_ADMINS: Duration = Duration::from_secs(60);
