//! When built-in plugins run: lower numbers first, in every phase.

macro_rules! priorities {
    ($($name:ident $value:literal)*) => {
        $(pub const $name: u16 = $value;)*

        #[cfg(test)]
        const ALL: &[(&str, u16)] = &[$((stringify!($name), $value)),*];
    };
}

/// Of plugins that do not say.
pub const DEFAULT: u16 = 5000;

priorities! {
    OTEL_TRACING 25
    CORRELATION_ID 50
    CORS 100
    REQUEST_TERMINATION 125
    MESH_OUTBOUND_REGISTRY 130
    IP_RESTRICTION 150
    GEO_RESTRICTION 175
    BOT_DETECTION 200
    SPEC_EXPOSE 210
    SSE 250
    GRPC_WEB 260
    GRPC_METHOD_ROUTER 275
    SPIFFE_IDENTITY 940
    MTLS_AUTH 950
    JWKS_AUTH 1000
    OAUTH2_INTROSPECTION 1050
    OIDC_RELYING_PARTY 1075
    JWT_AUTH 1100
    KEY_AUTH 1200
    LDAP_AUTH 1250
    BASIC_AUTH 1300
    HMAC_AUTH 1400
    SOAP_WS_SECURITY 1500
    ACCESS_CONTROL 2000
    TCP_CONNECTION_THROTTLE 2050
    MESH_AUTHZ 2075
    OPA 2080
    ADAPTIVE_CONCURRENCY 2090
    AI_SEMANTIC_CACHE 2700
    REQUEST_DEDUPLICATION 2750
    REQUEST_SIZE_LIMITING 2800
    WS_MESSAGE_SIZE_LIMITING 2810
    GRAPHQL 2850
    RATE_LIMITING 2900
    WS_RATE_LIMITING 2910
    UDP_RATE_LIMITING 2915
    AI_PROMPT_SHIELD 2925
    WAF 2930
    FAULT_INJECTION 2940
    BODY_VALIDATOR 2950
    OPENAPI_VALIDATOR 2960
    AI_SEMANTIC_FIREWALL 2968
    AI_REQUEST_GUARD 2975
    AI_FEDERATION 2985
    MCP_GATEWAY 2992
    A2A_GATEWAY 2993
    MESH_ROUTE_DISPATCH 2995
    REQUEST_TRANSFORMER 3000
    SERVERLESS_FUNCTION 3025
    RESPONSE_MOCK 3030
    GRPC_DEADLINE 3050
    REQUEST_MIRROR 3075
    LOAD_TESTING 3080
    RESPONSE_SIZE_LIMITING 3490
    RESPONSE_CACHING 3500
    RESPONSE_TRANSFORMER 4000
    COMPRESSION 4050
    AI_RESPONSE_GUARD 4075
    SECURITY_HEADERS 4080
    AI_TOKEN_METRICS 4100
    AI_RATE_LIMITER 4200
    STDOUT_LOGGING 9000
    WS_FRAME_LOGGING 9050
    STATSD_LOGGING 9075
    HTTP_LOGGING 9100
    TCP_LOGGING 9125
    KAFKA_LOGGING 9150
    LOKI_LOGGING 9155
    UDP_LOGGING 9160
    WS_LOGGING 9175
    TRANSACTION_DEBUGGER 9200
    PROXY_ALERTS 9250
    PROMETHEUS_METRICS 9300
    API_CHARGEBACK 9350
    API_CHARGEBACK_SINK 9351
    WORKLOAD_METRICS 9360
    MESH_BPF_METRICS 9365
    ACCESS_LOG 9375
    TRANSACTION_LOG_SCHEMA 9999
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_gateway() {
        for entry in native::catalog::entries() {
            let name = entry.name.trim_start_matches('_').to_uppercase();
            let (_, priority) =
                ALL.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name} is missing"));
            assert_eq!(*priority, entry.priority, "{name}");
        }
        assert_eq!(ALL.len(), native::catalog::entries().len());
    }
}
