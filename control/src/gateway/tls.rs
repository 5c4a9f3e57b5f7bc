//! What the HTTPS listener offers, from settings and files; made again when the files change. And what the settings say about
//! TLS to backends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use engine::model::TlsFiles;
use engine::publish::Fanout;
use engine::tls::{
    ALPN_HTTP1, ALPN_HTTP2, CertificateRevocationListDer, ClientAuth, Identity, Policy, ServerConfig, ServerOptions,
    Tickets, TlsVersion, group, revocation_lists, roots, server_config, suite,
};
use time::OffsetDateTime;
use tokio::task::JoinHandle;

use super::Fatal;
use crate::settings::{self, Settings};
use crate::source::{BackendTlsDefaults, BackendTlsFiles};

const CERTIFICATE: &str = "FERRUM_FRONTEND_TLS_CERT_PATH";
const KEY: &str = "FERRUM_FRONTEND_TLS_KEY_PATH";
const CLIENT_CA: &str = "FERRUM_FRONTEND_TLS_CLIENT_CA_BUNDLE_PATH";
const CRL: &str = "FERRUM_TLS_CRL_FILE_PATH";

/// The HTTPS listener's side of TLS.
pub(super) struct FrontTls {
    files: Files,
    policy: Policy,
    tickets: Tickets,
    expiry_warning_days: u64,
    /// Of the files when they were read at start.
    stamps: Stamps,
    published: Fanout<ServerConfig>,
}

/// Size and time of change of each certificate and key; nothing for one that cannot be looked at.
type Stamps = Vec<Option<(u64, SystemTime)>>;

/// What is read at start and at each change.
struct Files {
    certificates: Vec<PathBuf>,
    keys: Vec<PathBuf>,
    client_ca: Option<PathBuf>,
    is_client_optional: bool,
    revoked: Option<PathBuf>,
}

impl FrontTls {
    /// Nothing when certificate and key are not both set: then there is no HTTPS listener.
    pub(super) fn start(settings: &Settings, cores: usize) -> Result<Option<Arc<Self>>, Fatal> {
        let listeners = &settings.listeners;
        let (Some(certificates), Some(keys)) = (&listeners.frontend_tls_cert_path, &listeners.frontend_tls_key_path)
        else {
            return Ok(None);
        };
        let asks_clients =
            !settings.tls.tls_no_verify && listeners.frontend_tls_client_auth != settings::ClientAuth::Off;
        let files = Files {
            certificates: several(certificates),
            keys: several(keys),
            client_ca: listeners.frontend_tls_client_ca_bundle_path.clone().filter(|_| asks_clients),
            is_client_optional: listeners.frontend_tls_client_auth == settings::ClientAuth::Optional,
            revoked: settings.tls.tls_crl_file_path.clone(),
        };
        let policy = policy(settings).map_err(invalid)?;
        let tickets = Tickets::new(settings.tls.tls_session_cache_size).map_err(invalid)?;
        let expiry_warning_days = settings.tls.tls_cert_expiry_warning_days;
        // Before the files are read: what changes between the two is a change.
        let stamps = files.stamps();
        let config = files.config(&policy, &tickets, expiry_warning_days).map_err(invalid)?;
        let published = Fanout::new(cores, config);
        Ok(Some(Arc::new(Self { files, policy, tickets, expiry_warning_days, stamps, published })))
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
                match self.files.config(&self.policy, &self.tickets, self.expiry_warning_days) {
                    Ok(config) => {
                        self.published.publish(&config);
                        tracing::info!("Frontend TLS certificate reloaded");
                    }
                    Err(reason) => {
                        tracing::warn!("Frontend TLS reload failed, keeping the previous certificate: {reason}")
                    }
                }
            }
        })
    }
}

fn invalid(reason: String) -> Fatal {
    Fatal::new(format!("Invalid TLS configuration: {reason}"))
}

/// What the settings say for all backends.
pub(super) fn backends(settings: &Settings) -> Result<Arc<BackendTlsFiles>, Fatal> {
    let tls = &settings.tls;
    if tls.tls_no_verify {
        tracing::warn!(
            "FERRUM_TLS_NO_VERIFY is true: no backend's certificate is verified, and no client's is asked for; for tests only"
        );
    }
    let paths = tls.backend_tls_client_cert_path.clone().zip(tls.backend_tls_client_key_path.clone());
    let defaults = BackendTlsDefaults {
        policy: policy(settings).map_err(invalid)?,
        ca_bundle: tls.tls_ca_bundle_path.clone(),
        client_paths: paths,
        revoked: revoked(tls.tls_crl_file_path.as_deref()).map_err(invalid)?,
        never_verifies: tls.tls_no_verify,
        sessions_max: tls.tls_session_cache_size,
    };
    Ok(Arc::new(BackendTlsFiles::new(defaults).map_err(invalid)?))
}

fn revoked(lists: Option<&Path>) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    lists.map_or_else(|| Ok(Vec::new()), |lists| revocation_lists(CRL, lists))
}

/// One path, or several with commas between them: one certificate each, chosen by the name a client asks for.
fn several(paths: &Path) -> Vec<PathBuf> {
    paths.to_string_lossy().split(',').map(str::trim).filter(|path| !path.is_empty()).map(PathBuf::from).collect()
}

fn policy(settings: &Settings) -> Result<Policy, String> {
    let tls = &settings.tls;
    let version = |version| match version {
        settings::TlsVersion::Tls12 => TlsVersion::Tls12,
        settings::TlsVersion::Tls13 => TlsVersion::Tls13,
    };
    let versions = (version(tls.tls_min_version), version(tls.tls_max_version));
    // Every name that the settings accept is known there.
    let suites = tls.tls_cipher_suites.resolve()?.0.iter().filter_map(|name| suite(name.token())).collect();
    let groups = tls.tls_curves.resolve()?.0.iter().filter_map(|curve| group(curve.name())).collect();
    Ok(Policy::new(versions, suites, groups, tls.tls_prefer_server_cipher_order))
}

impl Files {
    fn config(&self, policy: &Policy, tickets: &Tickets, warning_days: u64) -> Result<Arc<ServerConfig>, String> {
        if self.certificates.len() != self.keys.len() {
            return Err(format!(
                "{CERTIFICATE} names {} file(s) and {KEY} {}; each certificate needs its key, in the same order",
                self.certificates.len(),
                self.keys.len()
            ));
        }
        let mut checks = TlsFiles::new(OffsetDateTime::now_utc(), warning_days);
        let pairs = self.certificates.iter().zip(&self.keys);
        let identity = |(certificate, key): (&PathBuf, &PathBuf)| {
            Identity::load(policy, &mut checks, (CERTIFICATE, certificate), (KEY, key))
        };
        let identities = pairs.map(identity).collect::<Result<Vec<_>, _>>()?;
        let client_auth = match &self.client_ca {
            Some(bundle) if self.is_client_optional => ClientAuth::Optional(roots(&mut checks, CLIENT_CA, bundle)?),
            Some(bundle) => ClientAuth::Required(roots(&mut checks, CLIENT_CA, bundle)?),
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
        self.certificates.iter().chain(&self.keys).map(stamp).collect()
    }
}
