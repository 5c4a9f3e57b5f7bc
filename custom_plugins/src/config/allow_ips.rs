use std::fmt;

use engine::model::AddressPolicy;

/// `FERRUM_BACKEND_ALLOW_IPS`: which addresses may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendAllowIps {
    Private,
    Public,
    Both,
}

impl BackendAllowIps {
    pub(crate) fn of(policy: AddressPolicy) -> Self {
        match policy {
            AddressPolicy::Private => BackendAllowIps::Private,
            AddressPolicy::Public => BackendAllowIps::Public,
            AddressPolicy::Both => BackendAllowIps::Both,
        }
    }
}

impl fmt::Display for BackendAllowIps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BackendAllowIps::Private => "private",
            BackendAllowIps::Public => "public",
            BackendAllowIps::Both => "both",
        })
    }
}
