//! The priority and protocol matrix (plugins sheet §1.14), one line per plugin in the order of admin sheet §16.

use super::Entry;
use crate::builtin::bot_detection::BotDetection;
use crate::builtin::correlation_id::CorrelationId;
use crate::builtin::cors::Cors;
use crate::builtin::grpc_method_router::GrpcMethodRouter;
use crate::builtin::grpc_web::GrpcWeb;
use crate::builtin::ip_restriction::IpRestriction;
use crate::builtin::key_auth::KeyAuth;
use crate::builtin::prometheus_metrics::PrometheusMetrics;
use crate::builtin::request_size_limiting::RequestSizeLimiting;
use crate::builtin::request_termination::RequestTermination;
use crate::builtin::stdout_logging::StdoutLogging;
use crate::{Protocol, Protocols};

const ALL: Protocols = Protocols::ALL;
/// HTTP, gRPC and WebSocket.
const HGW: Protocols = Protocols::HTTP_FAMILY;
const HG: Protocols = Protocols::of(&[Protocol::Http, Protocol::Grpc]);
const H: Protocols = Protocols::HTTP_ONLY;
const G: Protocols = Protocols::of(&[Protocol::Grpc]);
const W: Protocols = Protocols::of(&[Protocol::WebSocket]);
const T: Protocols = Protocols::of(&[Protocol::Tcp]);
const U: Protocols = Protocols::of(&[Protocol::Udp]);
/// Never runs on traffic.
const NONE: Protocols = Protocols::of(&[]);

pub(super) static ENTRIES: &[Entry] = &[
    Entry::unbuilt("transaction_log_schema", 9999, NONE),
    Entry::built::<StdoutLogging>(),
    Entry::unbuilt("http_logging", 9100, ALL),
    Entry::unbuilt("tcp_logging", 9125, ALL),
    Entry::unbuilt("kafka_logging", 9150, ALL),
    Entry::unbuilt("ws_logging", 9175, ALL),
    Entry::unbuilt("transaction_debugger", 9200, ALL),
    Entry::unbuilt("jwks_auth", 1000, HGW),
    Entry::unbuilt("jwt_auth", 1100, HGW),
    Entry::built::<KeyAuth>(),
    Entry::unbuilt("basic_auth", 1300, HGW),
    Entry::unbuilt("ldap_auth", 1250, HGW),
    Entry::unbuilt("hmac_auth", 1400, HGW),
    Entry::unbuilt("mtls_auth", 950, ALL),
    Entry::unbuilt("spiffe_identity", 940, ALL),
    Entry::unbuilt("mesh_authz", 2075, ALL),
    Entry::unbuilt("mesh_outbound_registry", 130, HGW),
    Entry::unbuilt("compression", 4050, H),
    Entry::built::<Cors>(),
    Entry::unbuilt("access_control", 2000, ALL),
    Entry::unbuilt("tcp_connection_throttle", 2050, T),
    Entry::built::<IpRestriction>(),
    Entry::built::<BotDetection>(),
    Entry::built::<CorrelationId>(),
    Entry::unbuilt("request_transformer", 3000, HG),
    Entry::unbuilt("response_transformer", 4000, HG),
    Entry::unbuilt("mesh_route_dispatch", 2995, HGW),
    Entry::unbuilt("graphql", 2850, H),
    Entry::built::<GrpcMethodRouter>(),
    Entry::unbuilt("grpc_deadline", 3050, G),
    Entry::built::<GrpcWeb>(),
    Entry::unbuilt("rate_limiting", 2900, ALL),
    Entry::built::<RequestSizeLimiting>(),
    Entry::unbuilt("response_size_limiting", 3490, HG),
    Entry::unbuilt("body_validator", 2950, HG),
    Entry::built::<RequestTermination>(),
    Entry::unbuilt("response_caching", 3500, H),
    Entry::unbuilt("response_mock", 3030, HGW),
    Entry::unbuilt("serverless_function", 3025, HG),
    Entry::built::<PrometheusMetrics>(),
    Entry::unbuilt("proxy_alerts", 9250, ALL),
    Entry::unbuilt("otel_tracing", 25, ALL),
    Entry::unbuilt("ai_token_metrics", 4100, HG),
    Entry::unbuilt("ai_request_guard", 2975, HG),
    Entry::unbuilt("ai_rate_limiter", 4200, HG),
    Entry::unbuilt("ai_prompt_shield", 2925, HG),
    Entry::unbuilt("ai_response_guard", 4075, HG),
    Entry::unbuilt("ai_semantic_cache", 2700, H),
    Entry::unbuilt("ai_federation", 2985, HG),
    Entry::unbuilt("ws_message_size_limiting", 2810, W),
    Entry::unbuilt("ws_frame_logging", 9050, W),
    Entry::unbuilt("ws_rate_limiting", 2910, W),
    Entry::unbuilt("udp_rate_limiting", 2915, U),
    Entry::unbuilt("udp_logging", 9160, ALL),
    Entry::unbuilt("statsd_logging", 9075, ALL),
    Entry::unbuilt("loki_logging", 9155, ALL),
    Entry::unbuilt("sse", 250, H),
    Entry::unbuilt("request_mirror", 3075, HG),
    Entry::unbuilt("load_testing", 3080, H),
    Entry::unbuilt("geo_restriction", 175, ALL),
    Entry::unbuilt("request_deduplication", 2750, H),
    Entry::unbuilt("soap_ws_security", 1500, H),
    Entry::unbuilt("spec_expose", 210, H),
    Entry::unbuilt("api_chargeback", 9350, ALL),
    Entry::unbuilt("workload_metrics", 9360, ALL),
    Entry::unbuilt("__mesh_bpf_metrics", 9365, NONE),
    Entry::unbuilt("fault_injection", 2940, ALL),
    Entry::unbuilt("access_log", 9375, ALL),
    // The later line's names.
    Entry::unbuilt("oauth2_introspection", 1050, HGW),
    Entry::unbuilt("oidc_relying_party", 1075, HGW),
    Entry::unbuilt("opa", 2080, H),
    Entry::unbuilt("adaptive_concurrency", 2090, HGW),
    Entry::unbuilt("waf", 2930, HGW),
    Entry::unbuilt("openapi_validator", 2960, H),
    Entry::unbuilt("ai_semantic_firewall", 2968, H),
    Entry::unbuilt("mcp_gateway", 2992, HG),
    Entry::unbuilt("a2a_gateway", 2993, HG),
    Entry::unbuilt("security_headers", 4080, HGW),
    Entry::unbuilt("api_chargeback_sink", 9351, ALL),
];
