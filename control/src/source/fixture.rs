//! Documents and snapshots for tests.

use std::sync::{Arc, LazyLock};

use engine::model::{AddressPolicy, Document, Format, LoadOptions, load_text};
use engine::snapshot::{PoolLimits, Snapshot};
use plugins::PluginSet;
use serde_json::{Value, json};
use tokio::runtime::{Handle, Runtime};

use super::catalog::Catalog;
use super::{BackendTlsFiles, CompileOptions, Running, compile};

/// One for all tests, which lives as long as they do.
fn runtime() -> Handle {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
    RUNTIME.handle().clone()
}

pub(crate) fn document(proxies: Value, upstreams: Value) -> Document {
    let text =
        json!({"version": "1", "proxies": proxies, "consumers": [], "plugin_configs": [], "upstreams": upstreams});
    let options = LoadOptions {
        namespace: "ferrum".into(),
        max_credentials_per_type: 2,
        backend_allow_ips: AddressPolicy::Both,
        cert_expiry_warning_days: 30,
        reserved_ports: Vec::new(),
        plugins: &Catalog { runtime: runtime(), address_policy: AddressPolicy::Both },
    };
    load_text(&text.to_string(), Format::Json, &options).expect("a sound document").document
}

/// Under a policy that allows private addresses only.
pub(crate) fn compiled(document: &Document, running: Option<Running<'_>>) -> Snapshot<PluginSet> {
    let pool = PoolLimits::of_tests();
    let (namespace, address_policy) = ("ferrum".to_owned(), AddressPolicy::Private);
    let backend_tls = Arc::new(BackendTlsFiles::of_tests());
    let options =
        CompileOptions { namespace, address_policy, pool, backend_tls, cores: 2, skips_faulty_plugins: false };
    let document = Arc::new(document.clone());
    compile(&document, &options, plugins::catalog::check, 1, running).expect("it compiles").0
}

/// One to `own.example.com:80`, with these fields.
pub(crate) fn proxy(id: &str, fields: Value) -> Value {
    let mut proxy = json!({"id": id, "listen_path": format!("/{id}"), "backend_scheme": "http",
        "backend_host": "own.example.com", "backend_port": 80});
    let fields = fields.as_object().expect("fields").clone();
    proxy.as_object_mut().expect("an object").extend(fields);
    proxy
}
