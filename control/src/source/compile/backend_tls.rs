//! TLS towards backends, from what proxies, upstreams and settings say (traffic sheet §24).

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use engine::model::{Proxy, TlsFiles, Upstream};
use engine::snapshot::{BackendSpec, Security, Snapshot};
use engine::tls::{
    BackendTls, BackendTlsInputs, CertificateRevocationListDer, ClientConfig, ClientOptions, Identity, Policy,
    RootCertStore, client_offers, public_roots, roots,
};
#[cfg(test)]
use engine::tls::{TlsVersion, group, suite};
use rustc_hash::{FxHashMap, FxHashSet};
use time::OffsetDateTime;

const CERTIFICATE: &str = "backend_tls_client_cert_path";
const KEY: &str = "backend_tls_client_key_path";
const CA: &str = "backend_tls_server_ca_cert_path";

/// What the settings say for all backends.
pub struct BackendTlsDefaults {
    pub policy: Policy,
    /// Else the public roots.
    pub ca_bundle: Option<PathBuf>,
    pub client_paths: Option<(PathBuf, PathBuf)>,
    pub revoked: Vec<CertificateRevocationListDer<'static>>,
    pub never_verifies: bool,
    pub sessions_max: usize,
}

/// Files are read when a document first names them, and stay as they were read until the process ends or the document
/// names others.
pub struct BackendTlsFiles {
    defaults: BackendTlsDefaults,
    roots: Arc<RootCertStore>,
    identity: Option<Identity>,
    known: Mutex<FxHashMap<BackendTlsInputs, Security>>,
}

impl fmt::Debug for BackendTlsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendTlsFiles").field("ca_bundle", &self.defaults.ca_bundle).finish_non_exhaustive()
    }
}

fn checks() -> TlsFiles {
    // What is near its end has been warned about when the document was checked.
    TlsFiles::new(OffsetDateTime::now_utc(), 0)
}

impl BackendTlsFiles {
    /// # Errors
    /// A file that the settings name cannot be used.
    pub fn new(defaults: BackendTlsDefaults) -> Result<Self, String> {
        let roots = match &defaults.ca_bundle {
            Some(bundle) => roots(&mut checks(), "FERRUM_TLS_CA_BUNDLE_PATH", bundle)?,
            None => public_roots(),
        };
        let pair = |(certificate, key): &(PathBuf, PathBuf)| {
            let certificate = ("FERRUM_BACKEND_TLS_CLIENT_CERT_PATH", certificate.as_path());
            let key = ("FERRUM_BACKEND_TLS_CLIENT_KEY_PATH", key.as_path());
            Identity::load(&defaults.policy, &mut checks(), certificate, key)
        };
        let identity = defaults.client_paths.as_ref().map(pair).transpose()?;
        Ok(Self { defaults, roots, identity, known: Mutex::default() })
    }

    #[cfg(test)]
    pub fn of_tests() -> Self {
        let suites =
            suite("TLS_AES_128_GCM_SHA256").into_iter().chain(suite("ECDHE-ECDSA-AES128-GCM-SHA256")).collect();
        let groups = group("X25519").into_iter().collect();
        let policy = Policy::new((TlsVersion::Tls12, TlsVersion::Tls13), suites, groups, true);
        let (revoked, never_verifies) = (Vec::new(), false);
        let (ca_bundle, client_paths, sessions_max) = (None, None, 8);
        let defaults = BackendTlsDefaults { policy, ca_bundle, client_paths, revoked, never_verifies, sessions_max };
        Self::new(defaults).expect("nothing is read")
    }

    /// What the outbound calls of plugins offer. Revocation lists do not apply to them (plugin API sheet §12.2).
    ///
    /// # Errors
    /// The settings are no TLS that could be offered.
    pub fn for_plugins(&self, offers_http2: bool) -> Result<Arc<ClientConfig>, String> {
        let inputs = BackendTlsInputs {
            ca_path: None,
            client_paths: None,
            verifies: !self.defaults.never_verifies,
            sni: None,
            san_allow_list: Vec::new(),
        };
        let options = ClientOptions {
            policy: &self.defaults.policy,
            roots: self.roots.clone(),
            identity: None,
            revoked: &[],
            sessions_max: self.defaults.sessions_max,
            inputs: &inputs,
        };
        let offers = client_offers(&options).map_err(|reason| format!("TLS of plugins' outbound calls: {reason}"))?;
        Ok(if offers_http2 { offers.either } else { offers.http1 })
    }

    /// What holds for the proxy: its upstream's, if it has one, even when that says nothing.
    pub fn security(&self, proxy: &Proxy, upstream: Option<&Upstream>) -> Security {
        if let Some(upstream) = upstream {
            return self.of_upstream(upstream);
        }
        let (certificate, key) = (&proxy.backend_tls_client_cert_path, &proxy.backend_tls_client_key_path);
        self.known_or_read(BackendTlsInputs {
            ca_path: proxy.backend_tls_server_ca_cert_path.clone(),
            client_paths: certificate.clone().zip(key.clone()),
            verifies: proxy.backend_tls_verify_server_cert && !self.defaults.never_verifies,
            sni: None,
            san_allow_list: Vec::new(),
        })
    }

    /// What holds for requests to that upstream.
    pub fn of_upstream(&self, upstream: &Upstream) -> Security {
        let (certificate, key) = (&upstream.backend_tls_client_cert_path, &upstream.backend_tls_client_key_path);
        self.known_or_read(BackendTlsInputs {
            ca_path: upstream.backend_tls_server_ca_cert_path.clone(),
            client_paths: certificate.clone().zip(key.clone()),
            verifies: upstream.backend_tls_verify_server_cert && !self.defaults.never_verifies,
            sni: upstream.backend_tls_sni.clone(),
            san_allow_list: upstream.backend_tls_san_allow_list.clone(),
        })
    }

    fn known_or_read(&self, inputs: BackendTlsInputs) -> Security {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(security) = known.get(&inputs) {
            return security.clone();
        }
        let security = match self.read(&inputs) {
            Ok(tls) => Security::Tls(tls),
            // Tried again with the next document: the file may be there then.
            Err(reason) => return Security::Broken(reason),
        };
        known.insert(inputs, security.clone());
        security
    }

    fn read(&self, inputs: &BackendTlsInputs) -> Result<BackendTls, String> {
        let own_roots = inputs.ca_path.as_ref().map(|path| roots(&mut checks(), CA, path.as_ref())).transpose()?;
        let load = |(certificate, key): &(String, String)| {
            let (certificate, key) = ((CERTIFICATE, certificate.as_ref()), (KEY, key.as_ref()));
            Identity::load(&self.defaults.policy, &mut checks(), certificate, key)
        };
        let own_identity = inputs.client_paths.as_ref().map(load).transpose()?;
        let offers = client_offers(&ClientOptions {
            policy: &self.defaults.policy,
            roots: own_roots.unwrap_or_else(|| self.roots.clone()),
            identity: own_identity.as_ref().or(self.identity.as_ref()),
            revoked: &self.defaults.revoked,
            sessions_max: self.defaults.sessions_max,
            inputs,
        })?;
        Ok(BackendTls { inputs: Arc::new(inputs.clone()), offers })
    }

    /// Lets go of what no document names any more.
    pub fn keep_used_by<P>(&self, snapshot: &Snapshot<P>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Most proxies have the backend of the one before them.
        let mut last: *const BackendSpec = std::ptr::null();
        let backends = snapshot.proxies.iter().map(|proxy| &proxy.backend).filter(|backend| {
            let is_other = Arc::as_ptr(backend) != last;
            last = Arc::as_ptr(backend);
            is_other
        });
        let of_proxies = backends.flat_map(|spec| [Some(&spec.security), spec.direct_security.as_ref()]);
        let securities = of_proxies.chain(snapshot.upstreams.iter().map(|entry| entry.security.as_ref())).flatten();
        let used: FxHashSet<&BackendTlsInputs> = securities
            .filter_map(|security| match security {
                Security::Tls(tls) => Some(&*tls.inputs),
                Security::Plain | Security::Broken(_) => None,
            })
            .collect();
        known.retain(|inputs, _| used.contains(inputs));
    }
}

/// Who is believed without proof, one line each: loud, because it is easily forgotten.
pub fn unverified_proxies<'p>(proxies: impl Iterator<Item = &'p Proxy>) -> Vec<String> {
    let unverified = proxies.filter(|proxy| proxy.upstream_id.is_none() && !proxy.backend_tls_verify_server_cert);
    unverified.map(|proxy| unverified_line("Proxy", &proxy.id)).collect()
}

pub fn unverified_upstreams(upstreams: &[Arc<Upstream>]) -> Vec<String> {
    let unverified = upstreams.iter().filter(|upstream| !upstream.backend_tls_verify_server_cert);
    unverified.map(|upstream| unverified_line("Upstream", &upstream.id)).collect()
}

fn unverified_line(kind: &str, id: &str) -> String {
    format!(
        "{kind} '{id}': backend_tls_verify_server_cert is false: whoever answers in the place of the backend is \
         believed, and can read and change everything; use backend_tls_server_ca_cert_path instead"
    )
}
