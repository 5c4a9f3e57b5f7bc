//! What can be asked, of whom, and what is answered (admin sheet §33).

use super::Role;

/// What a request brings.
#[derive(Clone, Copy)]
pub(super) enum Body {
    /// Of this schema.
    Json(&'static str),
    /// An OpenAPI document.
    ApiSpec,
}

pub(super) struct Answer {
    pub(super) status: u16,
    /// A schema's name; `text`, `yaml` and `spec` are what they say, and nothing is no body.
    pub(super) schema: &'static str,
    pub(super) description: &'static str,
}

pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    /// None: no token is asked for.
    pub(super) role: Option<Role>,
    pub(super) query: &'static [&'static str],
    pub(super) body: Option<Body>,
    pub(super) answers: &'static [Answer],
}

impl Operation {
    /// The method and the words of the path.
    pub(super) fn id(&self) -> String {
        let words = self.path.split(['/', '-', '.', '{', '}']).filter(|word| !word.is_empty());
        std::iter::once(self.method.to_lowercase()).chain(words.map(str::to_owned)).collect::<Vec<_>>().join("_")
    }

    /// Besides those of its own.
    pub(super) fn refusals(&self) -> impl Iterator<Item = &'static Answer> {
        let is_write = self.role.is_some() && self.method != "GET";
        let (all, writes) = match (self.role, is_write) {
            (None, _) => (&[][..], &[][..]),
            (Some(_), false) => (REFUSALS, &[][..]),
            (Some(_), true) => (REFUSALS, WRITE_REFUSALS),
        };
        all.iter().chain(writes)
    }
}

const fn answer(status: u16, schema: &'static str, description: &'static str) -> Answer {
    Answer { status, schema, description }
}

/// Of everything that needs a token.
const REFUSALS: &[Answer] = &[
    answer(400, "Error", "The request, its namespace or its body is not valid"),
    answer(401, "Error", "No valid token"),
    answer(403, "Error", "The role is too low, or the API is read-only"),
    answer(404, "Error", "No such thing in this namespace"),
    answer(413, "Error", "The body is too long"),
];

const WRITE_REFUSALS: &[Answer] = &[
    answer(409, "Error", "Something else has the id, a name, a path, a port or a credential"),
    answer(500, "Error", "The database refused the change"),
    answer(503, "Error", "No database, or it is away"),
];

const NO_SOURCE: Answer = answer(503, "Error", "Neither a database nor a running configuration");
const SPEC_REFUSED: Answer = answer(422, "SpecRefusal", "The document is refused");
const SPEC_UNREADABLE: Answer = answer(400, "SpecRefusal", "The document cannot be read");
/// However it is asked for.
const SPEC_DOCUMENT: &[Answer] = &[
    answer(200, "spec", "The document"),
    answer(304, "", "As in If-None-Match"),
    answer(406, "Error", "Neither JSON nor YAML is acceptable"),
    answer(500, "Error", "What is stored is damaged"),
    NO_DATABASE,
];
const NO_DATABASE: Answer = answer(503, "Error", "No database, or it is away");

/// Query parameters: name, what it is for, JSON schema.
pub(super) const PARAMETERS: &[(&str, &str, &str)] = &[
    ("offset", "Rows to skip.", r#"{"type": "integer", "minimum": 0, "default": 0}"#),
    (
        "limit",
        "Rows at most; absent: all that follow, or the endpoint's default.",
        r#"{"type": "integer", "minimum": 1}"#,
    ),
    (
        "resources",
        "Kinds to include, comma-separated: proxies, consumers, plugin_configs, upstreams.",
        r#"{"type": "string"}"#,
    ),
    ("confirm", "Must be true: what is there is replaced.", r#"{"type": "string", "enum": ["true"]}"#),
    ("actor", "Events of this subject.", r#"{"type": "string"}"#),
    ("action", "Events of this kind.", r#"{"type": "string"}"#),
    ("resource_type", "Events of this kind of resource.", r#"{"type": "string"}"#),
    ("resource_id", "Events of this resource.", r#"{"type": "string"}"#),
    ("start", "Not before, RFC 3339.", r#"{"type": "string", "format": "date-time"}"#),
    ("end", "Not after, RFC 3339.", r#"{"type": "string", "format": "date-time"}"#),
    ("proxy_id", "Of this proxy.", r#"{"type": "string"}"#),
    ("spec_version", "Begins with.", r#"{"type": "string"}"#),
    ("title_contains", "In any case.", r#"{"type": "string"}"#),
    ("updated_since", "RFC 3339.", r#"{"type": "string", "format": "date-time"}"#),
    ("has_tag", "Exactly this tag.", r#"{"type": "string"}"#),
    (
        "sort_by",
        "",
        r#"{"type": "string", "enum": ["updated_at", "title", "operation_count", "created_at"], "default": "updated_at"}"#,
    ),
    ("order", "", r#"{"type": "string", "enum": ["desc", "asc"], "default": "desc"}"#),
];

const PAGE: &[&str] = &["offset", "limit"];

/// Reads that need no more than a token.
const fn read(path: &'static str, summary: &'static str, answers: &'static [Answer]) -> Operation {
    Operation { method: "GET", path, summary, role: Some(Role::Viewer), query: &[], body: None, answers }
}

const fn open(path: &'static str, summary: &'static str, answers: &'static [Answer]) -> Operation {
    Operation { method: "GET", path, summary, role: None, query: &[], body: None, answers }
}

const fn write(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    role: Role,
    body: Option<Body>,
    answers: &'static [Answer],
) -> Operation {
    Operation { method, path, summary, role: Some(role), query: &[], body, answers }
}

/// The five calls of a kind of resource.
macro_rules! crud {
    ($path:literal, $schema:literal, $list:literal, $what:literal, $role:expr) => {
        [
            Operation {
                query: PAGE,
                ..read($path, concat!("List ", $what, "s"), &[answer(200, $list, "A page"), NO_SOURCE])
            },
            write(
                "POST",
                $path,
                concat!("Create a ", $what),
                $role,
                Some(Body::Json($schema)),
                &[answer(201, $schema, "As stored")],
            ),
            read(concat!($path, "/{id}"), concat!("Get a ", $what), &[answer(200, $schema, "It"), NO_SOURCE]),
            write(
                "PUT",
                concat!($path, "/{id}"),
                concat!("Replace a ", $what),
                $role,
                Some(Body::Json($schema)),
                &[answer(200, $schema, "As stored")],
            ),
            write(
                "DELETE",
                concat!($path, "/{id}"),
                concat!("Delete a ", $what),
                $role,
                None,
                &[answer(204, "", "It is gone")],
            ),
        ]
    };
}

static PROXIES: [Operation; 5] = crud!("/proxies", "Proxy", "ProxyPage", "proxy", Role::Operator);
static UPSTREAMS: [Operation; 5] = crud!("/upstreams", "Upstream", "UpstreamPage", "upstream", Role::Operator);
static CONFIGS: [Operation; 5] =
    crud!("/plugins/config", "PluginConfig", "PluginConfigPage", "plugin config", Role::Operator);
static CONSUMERS: [Operation; 5] = crud!("/consumers", "Consumer", "ConsumerPage", "consumer", Role::Admin);

const CREDENTIALS: &str = "/consumers/{id}/credentials/{type}";

static OTHERS: [Operation; 32] = [
    open(
        "/health",
        "Whether the gateway is ready and its database answers",
        &[answer(200, "Health", "Ready, perhaps degraded"), answer(503, "Health", "Starting")],
    ),
    open(
        "/status",
        "The same as /health",
        &[answer(200, "Health", "Ready, perhaps degraded"), answer(503, "Health", "Starting")],
    ),
    open(
        "/overload",
        "How loaded the gateway is",
        &[
            answer(200, "Object", "Normal, or under pressure"),
            answer(503, "Object", "Critical: connections or requests are refused"),
        ],
    ),
    open("/metrics", "Metrics in Prometheus' text format", &[answer(200, "text", "All families")]),
    read("/openapi.yaml", "This description", &[answer(200, "yaml", "OpenAPI 3.1")]),
    read("/metrics/runtime", "What the gateway does now", &[answer(200, "Object", "A snapshot")]),
    read("/admin/metrics", "Rates, pools and counters", &[answer(200, "Object", "A snapshot")]),
    read("/plugins", "Names of plugins that this gateway knows", &[answer(200, "Names", "All of them")]),
    read(
        "/namespaces",
        "Namespaces that have resources",
        &[answer(200, "Names", "All of them"), answer(500, "Error", "The database failed")],
    ),
    read("/cluster", "Control and data planes", &[answer(200, "Object", "As this mode knows them")]),
    read(
        "/backend-capabilities",
        "Which HTTP versions backends speak",
        &[answer(200, "Any", "All that are known"), answer(503, "Error", "This gateway has no backends")],
    ),
    write(
        "POST",
        "/backend-capabilities/refresh",
        "Ask the backends again",
        Role::Operator,
        None,
        &[answer(200, "Any", "What was asked"), answer(202, "Any", "They are being asked")],
    ),
    write(
        "PUT",
        CREDENTIALS,
        "Replace a consumer's credentials of a type",
        Role::Admin,
        Some(Body::Json("Credentials")),
        &[answer(200, "Consumer", "Its consumer")],
    ),
    write(
        "POST",
        CREDENTIALS,
        "Add a credential",
        Role::Admin,
        Some(Body::Json("Object")),
        &[answer(200, "Consumer", "Its consumer")],
    ),
    write(
        "DELETE",
        CREDENTIALS,
        "Delete all credentials of a type",
        Role::Admin,
        None,
        &[answer(204, "", "They are gone, or were not there")],
    ),
    write(
        "DELETE",
        "/consumers/{id}/credentials/{type}/{index}",
        "Delete one credential",
        Role::Admin,
        None,
        &[answer(200, "Consumer", "Its consumer")],
    ),
    write(
        "POST",
        "/batch",
        "Create many resources",
        Role::Admin,
        Some(Body::Json("Resources")),
        &[
            answer(201, "Created", "All were created"),
            answer(207, "Created", "Some kinds were not created; errors says why"),
            answer(400, "ValidationErrors", "Nothing was created"),
        ],
    ),
    Operation {
        role: Some(Role::Admin),
        query: &["resources"],
        ..read(
            "/backup",
            "All resources of a namespace, secrets included",
            &[answer(200, "Backup", "All of them"), NO_SOURCE],
        )
    },
    Operation {
        query: &["confirm"],
        ..write(
            "POST",
            "/restore",
            "Replace all resources of a namespace",
            Role::Admin,
            Some(Body::Json("Resources")),
            &[
                answer(200, "Restored", "All were restored"),
                answer(207, "Restored", "Some kinds were not restored; errors says why"),
                answer(400, "ValidationErrors", "Nothing was changed"),
            ],
        )
    },
    Operation {
        role: Some(Role::Admin),
        query: &["actor", "action", "resource_type", "resource_id", "start", "end", "offset", "limit"],
        ..read("/audit", "What admins have changed, newest first", &[answer(200, "AuditEvents", "A page"), NO_DATABASE])
    },
    Operation {
        query: &[
            "limit",
            "offset",
            "proxy_id",
            "spec_version",
            "title_contains",
            "updated_since",
            "has_tag",
            "sort_by",
            "order",
        ],
        ..read("/api-specs", "List API specs", &[answer(200, "ApiSpecs", "A page"), NO_DATABASE])
    },
    write(
        "POST",
        "/api-specs",
        "Make a proxy and what it needs from an OpenAPI document",
        Role::Admin,
        Some(Body::ApiSpec),
        &[answer(201, "ApiSpecStored", "All was made"), SPEC_REFUSED, SPEC_UNREADABLE],
    ),
    read("/api-specs/{id}", "The document as it was given, or converted", SPEC_DOCUMENT),
    read("/api-specs/by-proxy/{proxy_id}", "The document that owns a proxy", SPEC_DOCUMENT),
    write(
        "PUT",
        "/api-specs/{id}",
        "Replace a document and what it owns",
        Role::Admin,
        Some(Body::ApiSpec),
        &[answer(200, "ApiSpecStored", "All is as the document says"), SPEC_REFUSED, SPEC_UNREADABLE],
    ),
    write(
        "DELETE",
        "/api-specs/{id}",
        "Delete a document and what it owns",
        Role::Admin,
        None,
        &[answer(204, "", "All is gone")],
    ),
    read("/mesh/egress-scope", "Services that sidecars may reach", INACTIVE),
    read("/mesh/service-graph", "Who calls whom", INACTIVE),
    read("/mesh/federation", "Trust domains", INACTIVE),
    read("/mesh/runtime-overlay", "Routes of the mesh", INACTIVE),
    read("/node-waypoint/identities", "Identities on this node", INACTIVE),
    read("/service-waypoint/services", "Services of this waypoint", INACTIVE),
];
const INACTIVE: &[Answer] = &[answer(404, "Error", "Not active in this gateway")];

/// All of them, by what they are about.
pub(super) fn all() -> impl Iterator<Item = &'static Operation> {
    [&OTHERS[..], &PROXIES, &UPSTREAMS, &CONFIGS, &CONSUMERS].into_iter().flatten()
}
