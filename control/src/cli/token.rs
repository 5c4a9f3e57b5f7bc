//! `ferrum-edge admin token`: a token for the admin API.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;

use super::paths::Host;
use super::prepare::prepare_token;
use crate::admin::{Bearer, Role, Signing};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoleName {
    Viewer,
    Operator,
    Admin,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Viewer => Self::Viewer,
            RoleName::Operator => Self::Operator,
            RoleName::Admin => Self::Admin,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct TokenArgs {
    /// What the token allows
    #[arg(long, value_enum)]
    role: RoleName,
    /// Who will use it; the audit log shows the name
    #[arg(long, default_value = "ferrum-edge admin token")]
    subject: String,
    /// How long it is good [default: 3600, or FERRUM_ADMIN_JWT_MAX_TTL if that is less]
    #[arg(long, value_name = "SECONDS")]
    ttl_seconds: Option<u64>,
    /// Settings file (FERRUM_CONF_PATH)
    #[arg(short, long, value_name = "PATH")]
    settings: Option<PathBuf>,
}

/// The token, from the settings that `run` would have. Only those of tokens count.
pub(super) fn token(arguments: TokenArgs, env: BTreeMap<String, String>, host: &Host) -> Result<String, String> {
    let admin = prepare_token(arguments.settings, env, host)?;
    let signing = Signing {
        secret: admin.admin_jwt_secret.as_ref(),
        issuer: &admin.admin_jwt_issuer,
        ttl_max_seconds: admin.admin_jwt_max_ttl,
    };
    let role = arguments.role.into();
    let bearer = Bearer { role, subject: &arguments.subject, ttl_seconds: arguments.ttl_seconds };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| "the clock is before 1970".to_owned())?;
    signing.token(&bearer, now.as_secs()).map_err(|error| error.to_string())
}
