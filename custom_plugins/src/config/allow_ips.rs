use std::fmt;

/// `FERRUM_BACKEND_ALLOW_IPS`: which addresses may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendAllowIps {
    Private,
    Public,
    Both,
}

impl BackendAllowIps {
    pub(crate) fn of(name: &str) -> Self {
        match name {
            "private" => BackendAllowIps::Private,
            "public" => BackendAllowIps::Public,
            _ => BackendAllowIps::Both,
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
