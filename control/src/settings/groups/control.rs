//! Where configuration comes from and who may change it: admin, database, file, control plane.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::super::addresses::{AllowedNetworks, EVERY_IPV4};
use super::super::check::{Deferred, any, mode_start, settings_group, strict};
use super::super::value::Secret;
use super::super::vocabulary::{DbTlsMode, MigrateAction};

settings_group! {
    /// The admin API.
    AdminSettings "Admin API" {
        /// Plaintext admin listener; 0 = off.
        admin_http_port: u16 = 9000, "port", "admin", strict();
        /// Admin HTTPS; only with certificate and key. 0 does not switch it off.
        admin_https_port: u16 = 9443, "port", "database, file, cp, dp", strict();
        /// Where the admin API is bound. In node_agent mode `127.0.0.1` unless this or the allow list is set.
        admin_bind_address: IpAddr = EVERY_IPV4, "", "admin", strict().note("no host names");
        /// Peers that may connect; empty = everybody. Others are closed without a byte.
        admin_allowed_cidrs: Deferred<AllowedNetworks> = Deferred::Default(AllowedNetworks::default()), "", "admin", mode_start().note("one bad entry is fatal");
        /// PEM chain of admin HTTPS. Without the key, admin HTTPS is off.
        admin_tls_cert_path: Option<PathBuf> = None, "", "database, file, cp, dp", any().note("loaded at mode start");
        /// PEM private key of admin HTTPS.
        admin_tls_key_path: Option<PathBuf> = None, "", "database, file, cp, dp", any().note("loaded at mode start");
        /// When set, admin clients must present a certificate that chains to this bundle.
        admin_tls_client_ca_bundle_path: Option<PathBuf> = None, "", "database, file, cp, dp", any().note("loaded at mode start");
        /// Do not ask admin clients for certificates, even with a CA bundle.
        admin_tls_no_verify: bool = false, "", "database, file, cp, dp", strict();
        /// HS256 secret of admin tokens; at least 32 bytes where it is required.
        admin_jwt_secret: Option<Secret> = None, "", "admin", any().note("empty = missing");
        /// Issuer that admin tokens must name.
        admin_jwt_issuer: String = "ferrum-edge".to_owned(), "", "admin", any();
        /// Longest life of an admin token; 0 = not checked.
        admin_jwt_max_ttl: u64 = 3600, "s", "admin", strict();
        /// Refuse mutations; file, dp and node_agent always do.
        admin_read_only: bool = false, "", "database, cp", strict();
        /// Store an audit event for every successful mutation.
        admin_audit_enabled: bool = false, "", "database, cp", strict();
        /// Body limit of `POST /restore`; more is 413.
        admin_restore_max_body_size_mib: usize = 100, "MiB", "database, cp", strict();
        /// Body limit of `POST` and `PUT /api-specs`; more is 413.
        admin_spec_max_body_size_mib: usize = 25, "MiB", "database, cp", strict();
    }
}

settings_group! {
    /// The configuration database.
    DatabaseSettings "Database" {
        /// Back-end family: `postgres`, `mysql`, `sqlite` or `mongodb`, lower case.
        db_type: Option<String> = None, "", "db", any();
        /// URL of the primary, such as `sqlite:///data/f.db?mode=rwc`.
        db_url: Option<Secret> = None, "", "db", any();
        /// How often changes are polled.
        db_poll_interval: u64 = 30, "s", "database, cp", strict().at_least(1).saying_so();
        /// Full JSON configuration that a gateway starts from when no database answers.
        db_config_backup_path: Option<PathBuf> = None, "", "database", any();
        /// Databases tried in order when the primary does not answer; same type and TLS settings.
        db_failover_urls: Vec<Secret> = Vec::new(), "", "database, cp", any();
        /// Replica that SQL polling reads from; writes stay on the primary.
        db_read_replica_url: Option<Secret> = None, "", "database, cp", any();
        /// Warn about slower queries; 0 = log all.
        db_slow_query_threshold_ms: Option<u64> = None, "ms", "database, cp", strict().default_text("unset = off");
        /// Rows per page of a full load.
        db_full_load_page_size: u64 = 10_000, "rows", "database, cp (SQL)", strict().clamp(100, 100_000);
        /// Connections of the pool.
        db_pool_max_connections: u32 = 32, "", "database, cp (SQL)", strict().at_least(1);
        /// Idle connections that are kept; above the maximum it warns and means the maximum.
        db_pool_min_connections: u32 = 1, "", "database, cp (SQL)", strict();
        /// Time limit for a pooled connection.
        db_pool_acquire_timeout_seconds: u64 = 30, "s", "database, cp (SQL)", strict();
        /// Idle connections are closed after this.
        db_pool_idle_timeout_seconds: u64 = 600, "s", "database, cp (SQL)", strict();
        /// Connections are recycled after this.
        db_pool_max_lifetime_seconds: u64 = 300, "s", "database, cp (SQL)", strict();
        /// Time limit for a new TCP connection; 0 = the OS default.
        db_pool_connect_timeout_seconds: u64 = 10, "s", "database, cp (SQL)", strict();
        /// Time limit of a statement; 0 = off.
        db_pool_statement_timeout_seconds: u64 = 30, "s", "database, cp (PostgreSQL, MySQL)", strict().at_most(3600).saying_so();
        /// TLS policy of database connections; unset adds nothing to the URLs.
        db_tls_mode: Option<DbTlsMode> = None, "", "db", strict();
        /// CA of the server; only with `verify-ca` and `verify-full`.
        db_tls_ca_cert_path: Option<PathBuf> = None, "", "db", any();
        /// Client certificate for database mTLS; MongoDB takes a combined PEM here.
        db_tls_client_cert_path: Option<PathBuf> = None, "", "db", any();
        /// Key of the client certificate.
        db_tls_client_key_path: Option<PathBuf> = None, "", "db", any();
        /// MongoDB database name. The path of the URL names where users are kept.
        mongo_database: String = "ferrum".to_owned(), "", "db (MongoDB)", any();
        /// MongoDB application name; overrides the URL's.
        mongo_app_name: Option<String> = None, "", "db (MongoDB)", any();
        /// MongoDB replica set; overrides the URL's. Without either, changes are not made in transactions.
        mongo_replica_set: Option<String> = None, "", "db (MongoDB)", any();
        /// MongoDB authentication mechanism: `SCRAM-SHA-256`, `SCRAM-SHA-1`, `MONGODB-X509` or `PLAIN`; overrides the URL's.
        mongo_auth_mechanism: Option<String> = None, "", "db (MongoDB)", any().default_text("negotiated").note("checked at connect");
        /// Time limit for finding a MongoDB server. At its default, a limit of the URL holds.
        mongo_server_selection_timeout_seconds: u64 = 30, "s", "db (MongoDB)", strict();
        /// Time limit for connecting to a MongoDB server; 0 = none. At its default, a limit of the URL holds.
        mongo_connect_timeout_seconds: u64 = 10, "s", "db (MongoDB)", strict();
    }
}

settings_group! {
    /// The spec file and one-shot migrations.
    FileSettings "File mode and migration" {
        /// The spec: `.yaml`, `.yml` or `.json`; other extensions are read as YAML.
        file_config_path: Option<PathBuf> = None, "", "file, migrate", any().note("loaded at mode start");
        /// What a migration run does.
        migrate_action: Deferred<MigrateAction> = Deferred::Default(MigrateAction::Up), "", "migrate", mode_start().note("not trimmed");
        /// Only show what `up` or `config` would do.
        migrate_dry_run: bool = false, "", "migrate", strict();
        /// Apply pending migrations of custom plugins at start.
        auto_apply_plugin_migrations: bool = false, "", "database, cp", strict();
    }
}

settings_group! {
    /// Control plane, data plane and xDS.
    ControlPlaneSettings "Control plane, data plane, xDS" {
        /// Address of the gRPC listener; port 0 = none.
        cp_grpc_listen_addr: Option<Deferred<SocketAddr>> = None, "", "cp", mode_start().default_text("cp: the admin bind address, port 50051");
        /// PEM chain of the gRPC listener. Without the key it is plaintext.
        cp_grpc_tls_cert_path: Option<PathBuf> = None, "", "cp", any().note("loaded at mode start");
        /// PEM private key of the gRPC listener.
        cp_grpc_tls_key_path: Option<PathBuf> = None, "", "cp", any().note("loaded at mode start");
        /// When set, data planes must present a certificate; ignored without certificate and key.
        cp_grpc_tls_client_ca_path: Option<PathBuf> = None, "", "cp", any().note("loaded at mode start");
        /// HS256 secret that control plane and data plane share; at least 32 bytes.
        cp_dp_grpc_jwt_secret: Option<Secret> = None, "", "cp, dp, mesh", any().note("empty = missing");
        /// Issuer of those tokens; the same on both sides.
        cp_dp_grpc_jwt_issuer: String = "ferrum-edge-cp-dp".to_owned(), "", "cp, dp, mesh", any();
        /// Updates a slow subscriber may lag behind before it gets a full snapshot.
        cp_broadcast_channel_capacity: usize = 128, "", "cp", strict().at_least(1);
        /// Serve Envoy's ADS, state of the world and delta.
        xds_enabled: bool = false, "", "cp", strict();
        /// Queue of one xDS stream.
        xds_stream_channel_capacity: usize = 32, "", "cp, mesh", strict().at_least(1);
        /// Control planes in order of preference; `https://` turns TLS on.
        dp_cp_grpc_urls: Vec<String> = Vec::new(), "", "dp, mesh", any();
        /// While on a fallback control plane, retry the first one this often; 0 = never.
        dp_cp_failover_primary_retry_secs: u64 = 300, "s", "dp, mesh", strict();
        /// CA of the control plane's certificate; unset = system roots.
        dp_grpc_tls_ca_cert_path: Option<PathBuf> = None, "", "dp, mesh", any().note("loaded at mode start");
        /// Client certificate towards the control plane; used only with its key.
        dp_grpc_tls_client_cert_path: Option<PathBuf> = None, "", "dp, mesh", any().note("loaded at mode start");
        /// Key of that certificate.
        dp_grpc_tls_client_key_path: Option<PathBuf> = None, "", "dp, mesh", any().note("loaded at mode start");
        /// Do not verify the control plane's certificate.
        dp_grpc_tls_no_verify: bool = false, "", "dp, mesh", strict();
    }
}
