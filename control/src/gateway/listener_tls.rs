//! What the HTTPS listeners offer, from settings and files; made again when the files change. Proxy and admin API each have their
//! own, and share nothing: a session of the one is none of the other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use engine::model::TlsFiles;
use engine::publish::Fanout;
use engine::tls::{
    ALPN_HTTP1, ALPN_HTTP2, ClientAuth, Identity, Policy, ServerConfig, ServerOptions, Tickets, roots, server_config,
};
use time::OffsetDateTime;
use tokio::task::JoinHandle;

use super::Fatal;
use super::tls::{policy, revoked};
use crate::settings::{self, Mode, Settings};

/// Sessions of admin clients without tickets; as many as there are connections.
const ADMIN_SESSIONS_MAX: usize = 1024;

/// The names of one listener's settings, and what its log lines call it.
struct Surface {
    name: &'static str,
    certificate: &'static str,
    key: &'static str,
    client_ca: &'static str,
}

const FRONTEND: Surface = Surface {
    name: "Frontend",
    certificate: "FERRUM_FRONTEND_TLS_CERT_PATH",
    key: "FERRUM_FRONTEND_TLS_KEY_PATH",
    client_ca: "FERRUM_FRONTEND_TLS_CLIENT_CA_BUNDLE_PATH",
};

const ADMIN: Surface = Surface {
    name: "Admin",
    certificate: "FERRUM_ADMIN_TLS_CERT_PATH",
    key: "FERRUM_ADMIN_TLS_KEY_PATH",
    client_ca: "FERRUM_ADMIN_TLS_CLIENT_CA_BUNDLE_PATH",
};

/// One listener's side of TLS.
pub(super) struct ListenerTls {
    files: Files,
    policy: Policy,
    sessions: Sessions,
    expiry_warning_days: u64,
    /// Of the files when they were read at start.
    stamps: Stamps,
    published: Fanout<ServerConfig>,
}

/// Size and time of change of each file; nothing for one that cannot be looked at.
type Stamps = Vec<Option<(u64, SystemTime)>>;

/// What is read at start and at each change.
struct Files {
    surface: Surface,
    certificates: Vec<PathBuf>,
    keys: Vec<PathBuf>,
    client_ca: Option<PathBuf>,
    is_client_optional: bool,
    revoked: Option<PathBuf>,
}

/// How long sessions can be resumed.
enum Sessions {
    /// Over a change of certificates.
    Kept(Tickets),
    /// Until the next change: a resumed session shows no certificate again, so one that the new authorities would refuse must not
    /// come back that way.
    PerConfiguration { sessions_max: usize },
}

impl Sessions {
    fn tickets(&self) -> Result<Tickets, String> {
        match self {
            Self::Kept(tickets) => Ok(tickets.clone()),
            Self::PerConfiguration { sessions_max } => Tickets::new(*sessions_max),
        }
    }
}

/// The proxy's. Nothing when certificate and key are not both set: then there is no HTTPS listener.
pub(super) fn frontend(settings: &Settings, cores: usize) -> Result<Option<Arc<ListenerTls>>, Fatal> {
    let listeners = &settings.listeners;
    let (Some(certificates), Some(keys)) = (&listeners.frontend_tls_cert_path, &listeners.frontend_tls_key_path) else {
        return Ok(None);
    };
    let asks_clients = !settings.tls.tls_no_verify && listeners.frontend_tls_client_auth != settings::ClientAuth::Off;
    let files = Files {
        surface: FRONTEND,
        certificates: several(certificates),
        keys: several(keys),
        client_ca: listeners.frontend_tls_client_ca_bundle_path.clone().filter(|_| asks_clients),
        is_client_optional: listeners.frontend_tls_client_auth == settings::ClientAuth::Optional,
        revoked: settings.tls.tls_crl_file_path.clone(),
    };
    let sessions_max = settings.tls.tls_session_cache_size;
    let sessions = match files.client_ca {
        Some(_) => Ok(Sessions::PerConfiguration { sessions_max }),
        None => Tickets::new(sessions_max).map(Sessions::Kept),
    };
    let started = sessions.and_then(|sessions| ListenerTls::start(settings, files, sessions, cores));
    started.map(Some).map_err(|reason| Fatal::new(format!("Invalid TLS configuration: {reason}")))
}

/// The admin API's. A failure ends the start, but in file mode, where the gateway goes on without (settings sheet §7.2).
pub(super) fn admin(settings: &Settings) -> Result<Option<Arc<ListenerTls>>, Fatal> {
    let admin = &settings.admin;
    let (Some(certificate), Some(key)) = (&admin.admin_tls_cert_path, &admin.admin_tls_key_path) else {
        return Ok(None);
    };
    let files = Files {
        surface: ADMIN,
        certificates: vec![certificate.clone()],
        keys: vec![key.clone()],
        client_ca: admin.admin_tls_client_ca_bundle_path.clone().filter(|_| !admin.admin_tls_no_verify),
        is_client_optional: false,
        revoked: settings.tls.tls_crl_file_path.clone(),
    };
    let sessions_max = settings.tls.tls_session_cache_size.min(ADMIN_SESSIONS_MAX);
    // One reader: the listener's accept loop.
    match ListenerTls::start(settings, files, Sessions::PerConfiguration { sessions_max }, 1) {
        Ok(tls) => Ok(Some(tls)),
        Err(reason) if settings.core.mode == Mode::File => {
            tracing::warn!("Invalid admin TLS configuration: {reason}; the gateway goes on without admin HTTPS");
            Ok(None)
        }
        Err(reason) => Err(Fatal::new(format!("Invalid admin TLS configuration: {reason}"))),
    }
}

impl ListenerTls {
    fn start(settings: &Settings, files: Files, sessions: Sessions, readers: usize) -> Result<Arc<Self>, String> {
        let policy = policy(settings)?;
        let expiry_warning_days = settings.tls.tls_cert_expiry_warning_days;
        // Before the files are read: what changes between the two is a change.
        let stamps = files.stamps();
        let config = files.config(&policy, &sessions.tickets()?, expiry_warning_days)?;
        let published = Fanout::new(readers, config);
        Ok(Arc::new(Self { files, policy, sessions, expiry_warning_days, stamps, published }))
    }

    pub(super) fn published(&self) -> &Fanout<ServerConfig> {
        &self.published
    }

    /// Looks at the files again and again. Faulty ones change nothing, and are not tried again until they have changed.
    pub(super) fn start_watching(self: Arc<Self>, every: Duration) -> JoinHandle<()> {
        let mut seen = self.stamps.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let stamps = self.files.stamps();
                if stamps == seen {
                    continue;
                }
                seen = stamps;
                let name = self.files.surface.name;
                match self.read_again() {
                    Ok(config) => {
                        self.published.publish(&config);
                        tracing::info!("{name} TLS certificate reloaded");
                    }
                    Err(reason) => {
                        tracing::warn!("{name} TLS reload failed, keeping the previous certificate: {reason}")
                    }
                }
            }
        })
    }

    fn read_again(&self) -> Result<Arc<ServerConfig>, String> {
        self.files.config(&self.policy, &self.sessions.tickets()?, self.expiry_warning_days)
    }
}

/// One path, or several with commas between them: one certificate each, chosen by the name a client asks for.
fn several(paths: &Path) -> Vec<PathBuf> {
    paths.to_string_lossy().split(',').map(str::trim).filter(|path| !path.is_empty()).map(PathBuf::from).collect()
}

impl Files {
    fn config(&self, policy: &Policy, tickets: &Tickets, warning_days: u64) -> Result<Arc<ServerConfig>, String> {
        let Surface { certificate: certificate_setting, key: key_setting, client_ca: client_ca_setting, .. } =
            self.surface;
        if self.certificates.len() != self.keys.len() {
            return Err(format!(
                "{certificate_setting} names {} file(s) and {key_setting} {}; each certificate needs its key, in the same order",
                self.certificates.len(),
                self.keys.len()
            ));
        }
        let mut checks = TlsFiles::new(OffsetDateTime::now_utc(), warning_days);
        let pairs = self.certificates.iter().zip(&self.keys);
        let identity = |(certificate, key): (&PathBuf, &PathBuf)| {
            Identity::load(policy, &mut checks, (certificate_setting, certificate), (key_setting, key))
        };
        let identities = pairs.map(identity).collect::<Result<Vec<_>, _>>()?;
        let client_auth = match &self.client_ca {
            Some(bundle) if self.is_client_optional => {
                ClientAuth::Optional(roots(&mut checks, client_ca_setting, bundle)?)
            }
            Some(bundle) => ClientAuth::Required(roots(&mut checks, client_ca_setting, bundle)?),
            None => ClientAuth::Off,
        };
        let revoked = revoked(self.revoked.as_deref())?;
        for warning in &checks.warnings {
            tracing::warn!("{warning}");
        }
        let alpn = vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()];
        server_config(ServerOptions { policy, identities, client_auth, revoked, alpn, tickets })
    }

    fn stamps(&self) -> Stamps {
        let stamp = |path: &PathBuf| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.len(), file.modified().ok()?))
        };
        let who_may = self.client_ca.iter().chain(&self.revoked);
        self.certificates.iter().chain(&self.keys).chain(who_may).map(stamp).collect()
    }
}
