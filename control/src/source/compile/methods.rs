//! Where `grpc_method_router` can do nothing: it knows methods by the client's path, which has a listen path in front there.

use engine::model::Proxy;
use plugins::PluginSet;

const PLUGIN: &str = "grpc_method_router";
/// So many proxies a warning names.
const NAMED_MAX: usize = 5;

/// A warning per config of the plugin that runs on proxies which strip a listen path; the set's lists are those of `proxies`.
pub fn behind_a_path(proxies: &[&Proxy], plugins: &PluginSet) -> Vec<String> {
    let routers = (0..).zip(&plugins.rows).filter(|(_, row)| row.spec.name() == PLUGIN);
    let warning = |(number, row): (u32, &plugins::PluginRow)| {
        let runs = |list: &[u32]| list.contains(&number);
        let stripping: Vec<&str> = std::iter::zip(proxies, &plugins.by_proxy)
            .filter(|(proxy, list)| strips(proxy) && runs(&plugins.lists[**list as usize]))
            .map(|(proxy, _)| &*proxy.id)
            .collect();
        (!stripping.is_empty()).then(|| {
            format!(
                "Plugin '{PLUGIN}' (id={}): paths name no method on {}, which strip their listen_path; there '/' or \
                 'strip_listen_path: false' is needed",
                row.id,
                named(&stripping)
            )
        })
    };
    routers.filter_map(warning).collect()
}

fn strips(proxy: &Proxy) -> bool {
    proxy.strip_listen_path && proxy.listen_path.as_deref().is_some_and(|path| path != "/")
}

fn named(ids: &[&str]) -> String {
    let shown: Vec<String> = ids.iter().take(NAMED_MAX).map(|id| format!("'{id}'")).collect();
    match ids.len().saturating_sub(NAMED_MAX) {
        0 => format!("proxies {}", shown.join(", ")),
        more => format!("proxies {} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use plugins::catalog::{ConfiguredPlugin, ProxyAttachment, Scope, compile};
    use serde_json::json;

    use super::*;

    fn proxy(id: &str, fields: serde_json::Value) -> Proxy {
        let mut proxy = json!({"id": id, "backend_scheme": "http", "backend_host": "b", "backend_port": 80});
        let fields = fields.as_object().expect("fields").clone();
        proxy.as_object_mut().expect("an object").extend(fields);
        serde_json::from_value(proxy).expect("a proxy")
    }

    fn warnings(proxies: &[Proxy], scope: Scope) -> Vec<String> {
        let proxies: Vec<&Proxy> = proxies.iter().collect();
        let config = ConfiguredPlugin {
            id: "methods".into(),
            name: PLUGIN.into(),
            config: json!({"allow_methods": []}),
            scope,
            enabled: true,
            priority_override: None,
        };
        let attached =
            |proxy: &&Proxy| ProxyAttachment { proxy_id: proxy.id.clone(), attached: vec!["methods".into()] };
        let attachments: Vec<ProxyAttachment> = proxies.iter().map(attached).collect();
        let (plugins, _) = compile(&[config], &attachments).expect("a plugin");
        behind_a_path(&proxies, &plugins)
    }

    #[test]
    fn proxies_that_strip_a_path_are_named() {
        let proxies = [
            proxy("root", json!({"listen_path": "/"})),
            proxy("kept", json!({"listen_path": "/kept", "strip_listen_path": false})),
            proxy("hosts", json!({"hosts": ["a.b"]})),
            proxy("shop", json!({"listen_path": "/shop"})),
        ];
        assert_eq!(
            warnings(&proxies, Scope::Global),
            ["Plugin 'grpc_method_router' (id=methods): paths name no method on proxies 'shop', which strip their \
              listen_path; there '/' or 'strip_listen_path: false' is needed"]
        );
        assert!(warnings(&proxies, Scope::Proxy("root".into())).is_empty(), "it does not run on the others");
    }

    #[test]
    fn a_warning_has_an_end_however_many_proxies_there_are() {
        let proxies: Vec<Proxy> =
            (0..1000).map(|number| proxy(&format!("p{number}"), json!({"listen_path": "/p"}))).collect();
        let said = warnings(&proxies, Scope::Group);
        assert!(said.len() == 1 && said[0].contains("'p4' and 995 more"), "{said:?}");
    }
}
