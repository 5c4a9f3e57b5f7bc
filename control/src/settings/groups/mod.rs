//! The table of settings. Each row is a setting; the file it stands in is its group in the reference.

mod backend;
mod control;
mod front;
mod mesh;
mod runtime;

pub use backend::{DnsSettings, Http3Settings, PoolSettings, StreamSettings, TlsSettings};
pub use control::{AdminSettings, ControlPlaneSettings, DatabaseSettings, FileSettings};
pub use front::{ClientSettings, CoreSettings, DEFAULT_HMAC_SECRET, LimitSettings, ListenerSettings};
pub use mesh::{GatewayIdentitySettings, InjectorSettings, KubernetesSettings, MeshSettings, NodeAgentSettings};
pub use runtime::{EngineSettings, KernelSettings, MetricsSettings, OverloadSettings, RuntimeSettings};
