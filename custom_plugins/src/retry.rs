//! Why the gateway could not talk to a backend or client.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! error_classes {
    ($($variant:ident $name:literal)*) => {
        /// Never set for an ordinary answer of a backend, whatever its status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorClass {
            $($variant,)*
        }

        impl ErrorClass {
            pub const fn as_str(&self) -> &'static str {
                match self {
                    $(ErrorClass::$variant => $name,)*
                }
            }
        }

        impl From<engine::counters::ErrorClass> for ErrorClass {
            fn from(class: engine::counters::ErrorClass) -> Self {
                match class {
                    $(engine::counters::ErrorClass::$variant => ErrorClass::$variant,)*
                }
            }
        }
    };
}

error_classes! {
    ConnectionTimeout "connection_timeout"
    ConnectionRefused "connection_refused"
    ConnectionReset "connection_reset"
    ConnectionClosed "connection_closed"
    DnsLookupError "dns_lookup_error"
    TlsError "tls_error"
    ReadWriteTimeout "read_write_timeout"
    ClientDisconnect "client_disconnect"
    ProtocolError "protocol_error"
    ResponseBodyTooLarge "response_body_too_large"
    RequestBodyTooLarge "request_body_too_large"
    ConnectionPoolError "connection_pool_error"
    PortExhaustion "port_exhaustion"
    GracefulRemoteClose "graceful_remote_close"
    DispatchPolicyRejected "dispatch_policy_rejected"
    RequestError "request_error"
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_class_is_its_json_name_and_the_gateway_s() {
        for class in engine::counters::ErrorClass::ALL {
            let documented = ErrorClass::from(class);
            assert_eq!(documented.as_str(), class.name());
            assert_eq!(documented.to_string(), class.name());
            assert_eq!(serde_json::to_value(documented).unwrap(), class.name());
        }
    }
}
