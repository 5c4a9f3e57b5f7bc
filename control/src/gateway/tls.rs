//! What the settings say about TLS in every direction, and about TLS to backends.

use std::path::Path;
use std::sync::Arc;

use engine::tls::{CertificateRevocationListDer, Policy, TlsVersion, group, revocation_lists, suite};

use super::Fatal;
use crate::settings::{self, Settings};
use crate::source::{BackendTlsDefaults, BackendTlsFiles};

const CRL: &str = "FERRUM_TLS_CRL_FILE_PATH";

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

pub(super) fn revoked(lists: Option<&Path>) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    lists.map_or_else(|| Ok(Vec::new()), |lists| revocation_lists(CRL, lists))
}

pub(super) fn policy(settings: &Settings) -> Result<Policy, String> {
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
