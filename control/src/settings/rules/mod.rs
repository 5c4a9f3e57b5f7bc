//! What settings demand of each other, once each of them is a value.

mod database;
mod startup;
mod tls;

use std::net::{IpAddr, Ipv4Addr};

use super::identity::CaBackend;
use super::value::Secret;
use super::vocabulary::{MigrateAction, Mode};
use super::{Deferred, Settings, SettingsError, Sources};

/// The shortest secret that signs tokens: the output size of HMAC-SHA256.
pub(crate) const SECRET_BYTES_MIN: usize = 32;

/// Checks the combinations, in the order of the table, and settles values that depend on others.
pub(super) fn apply(
    settings: &mut Settings,
    sources: &Sources,
    warnings: &mut Vec<String>,
) -> Result<(), SettingsError> {
    required(settings)?;
    database::check(settings)?;
    tls::check(settings)?;
    mesh_words(settings)?;
    overload_pairs(settings, warnings)?;
    settle(settings, sources, warnings);
    Ok(())
}

fn required(settings: &Settings) -> Result<(), String> {
    let (admin_secret, shared_secret) =
        (settings.admin.admin_jwt_secret.as_ref(), settings.control_plane.cp_dp_grpc_jwt_secret.as_ref());
    let database_is_named = |purpose: &str| {
        present("FERRUM_DB_TYPE", settings.database.db_type.is_some(), purpose)?;
        present("FERRUM_DB_URL", settings.database.db_url.is_some(), purpose)
    };
    let has_spec = settings.file.file_config_path.is_some();
    let mode = settings.core.mode;
    match mode {
        Mode::Database | Mode::ControlPlane => {
            secret("FERRUM_ADMIN_JWT_SECRET", admin_secret, "in database/cp mode")?;
            database_is_named("in database/cp mode")?;
        }
        Mode::File => present("FERRUM_FILE_CONFIG_PATH", has_spec, "in file mode")?,
        Mode::Migrate => match settings.file.migrate_action.resolve()? {
            MigrateAction::Up | MigrateAction::Status => database_is_named("for migrate up/status action")?,
            MigrateAction::Config => present("FERRUM_FILE_CONFIG_PATH", has_spec, "for migrate config action")?,
        },
        Mode::DataPlane | Mode::Mesh | Mode::Injector | Mode::NodeAgent => {}
    }
    if matches!(mode, Mode::ControlPlane | Mode::DataPlane | Mode::Mesh) {
        secret("FERRUM_CP_DP_GRPC_JWT_SECRET", shared_secret, "in cp/dp/mesh mode")?;
    }
    if matches!(mode, Mode::DataPlane | Mode::Mesh) {
        let has_urls = !settings.control_plane.dp_cp_grpc_urls.is_empty();
        present("FERRUM_DP_CP_GRPC_URLS", has_urls, &format!("in {} mode", mode.name()))?;
    }
    Ok(())
}

fn present(key: &str, is_present: bool, purpose: &str) -> Result<(), String> {
    if is_present { Ok(()) } else { Err(format!("{key} is required {purpose}")) }
}

fn secret(key: &str, secret: Option<&Secret>, purpose: &str) -> Result<(), String> {
    match secret.map(|secret| secret.expose().len()) {
        None | Some(0) => Err(format!("{key} is required {purpose}")),
        Some(bytes) if bytes < SECRET_BYTES_MIN => {
            Err(format!("{key} must be at least {SECRET_BYTES_MIN} characters (got {bytes})"))
        }
        Some(_) => Ok(()),
    }
}

/// The two mesh words that are configuration errors, not start-up errors, of mesh mode.
fn mesh_words(settings: &Settings) -> Result<(), String> {
    if settings.core.mode != Mode::Mesh {
        return Ok(());
    }
    settings.mesh.mesh_config_protocol.resolve()?;
    match (&settings.mesh.mesh_ca_backend, settings.mesh.mesh_ca_backend.resolve()) {
        (Deferred::Given { key, raw }, Err(_)) => {
            Err(format!("Invalid {key}: '{raw}'. Expected: {}", <CaBackend as super::Value>::tag()))
        }
        _ => Ok(()),
    }
}

/// A pressure threshold is below its critical one. Equal ones are refused, since nothing would lie between them; a
/// swapped pair has only one sensible reading.
fn overload_pairs(settings: &mut Settings, warnings: &mut Vec<String>) -> Result<(), String> {
    let overload = &mut settings.overload;
    let pairs = [
        ("FD", &mut overload.overload_fd_pressure_threshold, &mut overload.overload_fd_critical_threshold),
        ("CONN", &mut overload.overload_conn_pressure_threshold, &mut overload.overload_conn_critical_threshold),
        ("REQ", &mut overload.overload_req_pressure_threshold, &mut overload.overload_req_critical_threshold),
    ];
    for (what, pressure, critical) in pairs {
        let pressure_key = format!("FERRUM_OVERLOAD_{what}_PRESSURE_THRESHOLD");
        let critical_key = format!("FERRUM_OVERLOAD_{what}_CRITICAL_THRESHOLD");
        if pressure == critical {
            return Err(format!("{pressure_key} ({pressure}) must be less than {critical_key} ({critical})"));
        }
        if pressure > critical {
            warnings
                .push(format!("{pressure_key} ({pressure}) is above {critical_key} ({critical}); swapping the two"));
            std::mem::swap(pressure, critical);
        }
    }
    Ok(())
}

/// Values whose limit or default is another value.
fn settle(settings: &mut Settings, sources: &Sources, warnings: &mut Vec<String>) {
    let http3 = &mut settings.http3;
    if http3.http3_coalesce_min_bytes > http3.http3_coalesce_max_bytes {
        warnings.push(format!(
            "FERRUM_HTTP3_COALESCE_MIN_BYTES ({}) is above FERRUM_HTTP3_COALESCE_MAX_BYTES; using {}",
            http3.http3_coalesce_min_bytes, http3.http3_coalesce_max_bytes
        ));
        http3.http3_coalesce_min_bytes = http3.http3_coalesce_max_bytes;
    }

    let database = &mut settings.database;
    if database.db_pool_min_connections > database.db_pool_max_connections {
        warnings.push(format!(
            "FERRUM_DB_POOL_MIN_CONNECTIONS ({}) is above FERRUM_DB_POOL_MAX_CONNECTIONS; using {}",
            database.db_pool_min_connections, database.db_pool_max_connections
        ));
        database.db_pool_min_connections = database.db_pool_max_connections;
    }

    const PING_TIMEOUT_ADVISED_SECONDS: u64 = 10;
    let ping_timeout_seconds = settings.pool.pool_http2_keep_alive_timeout_seconds;
    if ping_timeout_seconds < PING_TIMEOUT_ADVISED_SECONDS {
        warnings.push(format!(
            "FERRUM_POOL_HTTP2_KEEP_ALIVE_TIMEOUT_SECONDS ({ping_timeout_seconds}) is below \
             {PING_TIMEOUT_ADVISED_SECONDS}; a short pause of a backend will close its connections"
        ));
    }

    let route_cache = &mut settings.runtime.router_cache_max_entries;
    if *route_cache > 0 {
        *route_cache = (*route_cache).clamp(1000, 10_000_000);
    }

    let stream_text = sources.get("FERRUM_STREAM_PROXY_BIND_ADDRESS");
    if stream_text.is_some_and(|text| text.parse::<IpAddr>().is_err()) {
        settings.stream.stream_proxy_bind_address = settings.listeners.proxy_bind_address;
    }

    let is_set = |key: &str| sources.get(key).is_some_and(|text| !text.trim().is_empty());
    let node_agent_is_open = settings.core.mode == Mode::NodeAgent && settings.node_agent.node_agent_admin_enabled;
    if settings.core.mode == Mode::NodeAgent
        && !is_set("FERRUM_ADMIN_BIND_ADDRESS")
        && !is_set("FERRUM_ADMIN_ALLOWED_CIDRS")
    {
        settings.admin.admin_bind_address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        if node_agent_is_open {
            warnings.push(
                "The admin API binds 127.0.0.1 because neither FERRUM_ADMIN_BIND_ADDRESS nor \
                 FERRUM_ADMIN_ALLOWED_CIDRS is set"
                    .to_owned(),
            );
        }
    }
}
