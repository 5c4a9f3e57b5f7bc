//! The admin API with the listeners that the settings ask for.

use std::net::SocketAddr;
use std::sync::Arc;

use super::listener_tls::ListenerTls;
use super::{Fatal, options};
use crate::admin::{Admin, AdminListener, AdminSources, AdminTls};
use crate::settings::Settings;

/// The listeners, and the API behind them, which must live as long.
pub(super) struct RunningAdmin {
    pub(super) listeners: Vec<AdminListener>,
    _api: Arc<Admin>,
}

/// An admin listener that cannot bind is reported and survived (settings sheet §5.1). `tls` is what HTTPS offers, if there is any.
pub(super) fn start(
    settings: &Settings,
    mut sources: AdminSources,
    tls: Option<&ListenerTls>,
) -> Result<RunningAdmin, Fatal> {
    let allowed = settings.admin.admin_allowed_cidrs.resolve().map_err(Fatal::new)?.0;
    if !allowed.is_empty() {
        sources.allow = Arc::new(move |ip| allowed.contains(ip));
    }
    let api = Admin::new(options::admin(settings), sources);
    let address = |port| SocketAddr::new(settings.admin.admin_bind_address, port);
    let mut listeners = Vec::new();
    let http_port = settings.admin.admin_http_port;
    if http_port != 0 {
        match api.listen(address(http_port)) {
            Ok(listener) => listeners.push(listener),
            Err(error) => tracing::error!("Admin HTTP listener error: {error}"),
        }
    }
    if let Some(tls) = tls {
        let tls = AdminTls {
            config: tls.published().view(0),
            handshake_timeout: options::seconds(settings.listeners.frontend_tls_handshake_timeout_seconds),
        };
        match api.listen_tls(address(settings.admin.admin_https_port), tls) {
            Ok(listener) => {
                tracing::info!("Admin HTTPS listener on {}", listener.address());
                listeners.push(listener);
            }
            Err(error) => tracing::error!("Admin HTTPS listener error: {error}"),
        }
    }
    if listeners.is_empty() {
        tracing::warn!("The admin API cannot be reached: none of its listeners is active");
    }
    Ok(RunningAdmin { listeners, _api: api })
}
