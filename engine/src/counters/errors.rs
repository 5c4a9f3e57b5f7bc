//! Why an exchange failed, in the words that logs and metrics use (traffic sheet §20).

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum ErrorClass {
    ConnectionTimeout,
    ConnectionRefused,
    ConnectionReset,
    ConnectionClosed,
    DnsLookupError,
    TlsError,
    ReadWriteTimeout,
    ClientDisconnect,
    ProtocolError,
    ResponseBodyTooLarge,
    RequestBodyTooLarge,
    ConnectionPoolError,
    PortExhaustion,
    GracefulRemoteClose,
    DispatchPolicyRejected,
    RequestError,
}

impl ErrorClass {
    pub const COUNT: usize = 16;

    pub const ALL: [ErrorClass; Self::COUNT] = [
        ErrorClass::ConnectionTimeout,
        ErrorClass::ConnectionRefused,
        ErrorClass::ConnectionReset,
        ErrorClass::ConnectionClosed,
        ErrorClass::DnsLookupError,
        ErrorClass::TlsError,
        ErrorClass::ReadWriteTimeout,
        ErrorClass::ClientDisconnect,
        ErrorClass::ProtocolError,
        ErrorClass::ResponseBodyTooLarge,
        ErrorClass::RequestBodyTooLarge,
        ErrorClass::ConnectionPoolError,
        ErrorClass::PortExhaustion,
        ErrorClass::GracefulRemoteClose,
        ErrorClass::DispatchPolicyRejected,
        ErrorClass::RequestError,
    ];

    pub fn name(self) -> &'static str {
        match self {
            ErrorClass::ConnectionTimeout => "connection_timeout",
            ErrorClass::ConnectionRefused => "connection_refused",
            ErrorClass::ConnectionReset => "connection_reset",
            ErrorClass::ConnectionClosed => "connection_closed",
            ErrorClass::DnsLookupError => "dns_lookup_error",
            ErrorClass::TlsError => "tls_error",
            ErrorClass::ReadWriteTimeout => "read_write_timeout",
            ErrorClass::ClientDisconnect => "client_disconnect",
            ErrorClass::ProtocolError => "protocol_error",
            ErrorClass::ResponseBodyTooLarge => "response_body_too_large",
            ErrorClass::RequestBodyTooLarge => "request_body_too_large",
            ErrorClass::ConnectionPoolError => "connection_pool_error",
            ErrorClass::PortExhaustion => "port_exhaustion",
            ErrorClass::GracefulRemoteClose => "graceful_remote_close",
            ErrorClass::DispatchPolicyRejected => "dispatch_policy_rejected",
            ErrorClass::RequestError => "request_error",
        }
    }

    /// Whether the application request cannot have reached the backend.
    pub fn is_pre_wire(self) -> bool {
        matches!(
            self,
            ErrorClass::ConnectionRefused
                | ErrorClass::ConnectionTimeout
                | ErrorClass::DnsLookupError
                | ErrorClass::TlsError
                | ErrorClass::PortExhaustion
                | ErrorClass::ConnectionPoolError
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_own_number_and_name() {
        for (index, class) in ErrorClass::ALL.iter().enumerate() {
            assert_eq!(*class as usize, index);
            assert_eq!(ErrorClass::ALL.iter().filter(|other| other.name() == class.name()).count(), 1);
        }
    }
}
