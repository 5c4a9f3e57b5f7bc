//! Settings: every `FERRUM_*` name, its grammar, its limits and what the combinations must be.
//!
//! The table in [`groups`] is the only place where a setting is written down: the typed struct, the parser and
//! `docs/configuration.md` all come from it. A field is named after its setting, without the prefix and in lower case.
//! Nothing here looks at the process: the texts come in through [`Sources`].

mod addresses;
mod check;
mod conf;
mod cpus;
#[cfg(test)]
mod fixture;
pub mod groups;
mod identity;
mod mode_start;
mod reference;
mod rules;
mod sources;
#[cfg(test)]
mod tests;
mod value;
mod vocabulary;

pub use addresses::{AllowedNetworks, NameServers};
pub use check::{Deferred, Row, Strictness};
pub use conf::{ConfError, DEFAULT_PATH as DEFAULT_CONF_PATH};
pub use cpus::CpuList;
pub use engine::net::TrustedNetworks;
pub use identity::{
    CaBackend, CaptureMode, CidrList, FallbackMode, HboneAssertors, Ip6tables, Labels, MeshProtocol, MeshTopology,
    OutboundTrafficPolicy, PortList, Quantity, SpiffeId, TrustDomain, TrustDomains,
};
pub use mode_start::ModeStartError;
pub use reference::reference;
pub(crate) use rules::SECRET_BYTES_MIN;
pub use sources::{Sources, process_environment};
pub use value::{Gate, OptIn, Secret, Tri, Value};
pub use vocabulary::{
    AcceptSteering, BackendAllowIps, CipherSuite, CipherSuites, ClientAuth, Curve, Curves, DbTlsMode, DnsLabel,
    DnsOrder, DnsQuery, EarlyDataMethods, MigrateAction, Mode, Namespace, NodeAgentProxyMode, Port, ReactorChoice,
    TlsVersion,
};

use check::Reader;
use groups::{
    AdminSettings, ClientSettings, ControlPlaneSettings, CoreSettings, DatabaseSettings, DnsSettings, EngineSettings,
    FileSettings, GatewayIdentitySettings, Http3Settings, InjectorSettings, KernelSettings, KubernetesSettings,
    LimitSettings, ListenerSettings, MeshSettings, MetricsSettings, NodeAgentSettings, OverloadSettings, PoolSettings,
    RuntimeSettings, StreamSettings, TlsSettings,
};

/// Why settings were refused; the first error found, in the words a user sees.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(String);

impl From<String> for SettingsError {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

/// Declares the groups of [`Settings`] in the order in which they are read and printed.
macro_rules! groups {
    ($( $(#[$doc:meta])* $field:ident : $group:ident ),* $(,)?) => {
        /// Every setting, checked.
        #[derive(Debug, Clone)]
        pub struct Settings { $( $(#[$doc])* pub $field: $group, )* }

        impl Settings {
            fn read(reader: &mut Reader<'_>) -> Result<Self, String> {
                Ok(Self { $( $field: $group::read(reader)?, )* })
            }

            /// What is in force, by name and in the order of the table. Secrets are not shown.
            pub fn effective(&self) -> Vec<(String, String)> {
                [$( self.$field.effective() ),*].concat()
            }

            /// The whole table, group by group.
            pub fn table() -> Vec<(&'static str, Vec<Row>)> {
                vec![$( ($group::TITLE, $group::rows()) ),*]
            }
        }
    };
}

groups! {
    core: CoreSettings,
    engine: EngineSettings,
    listeners: ListenerSettings,
    admin: AdminSettings,
    database: DatabaseSettings,
    file: FileSettings,
    control_plane: ControlPlaneSettings,
    limits: LimitSettings,
    dns: DnsSettings,
    tls: TlsSettings,
    http3: Http3Settings,
    gateway_identity: GatewayIdentitySettings,
    mesh: MeshSettings,
    kubernetes: KubernetesSettings,
    injector: InjectorSettings,
    node_agent: NodeAgentSettings,
    stream: StreamSettings,
    client: ClientSettings,
    runtime: RuntimeSettings,
    pool: PoolSettings,
    overload: OverloadSettings,
    metrics: MetricsSettings,
    kernel: KernelSettings,
}

impl Settings {
    /// Reads and checks everything; gives the settings and the warnings to log.
    pub fn load(sources: &Sources) -> Result<(Self, Vec<String>), SettingsError> {
        // The mode is the first thing an operator gets wrong, and the message must come before any other.
        let mode = Mode::required(sources.get("FERRUM_MODE"))?;
        let mut reader = Reader::new(sources);
        let mut settings = Self::read(&mut reader)?;
        settings.core.mode = mode;
        let mut warnings = reader.warnings;
        rules::apply(&mut settings, sources, &mut warnings)?;
        Ok((settings, warnings))
    }

    /// Those of the admin API alone: who runs nothing need not have said what to run, nor with what.
    pub fn load_admin(sources: &Sources) -> Result<AdminSettings, SettingsError> {
        Ok(AdminSettings::read(&mut Reader::new(sources))?)
    }

    /// Whether a name is a setting of the table, and may be set in the conf file.
    pub fn is_known(name: &str) -> bool {
        Self::table().iter().flat_map(|(_, rows)| rows).any(|row| row.name == name || row.alias == Some(name))
    }
}
