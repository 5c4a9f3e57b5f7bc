//! The example that comes with the gateway, under a name of its own: the guide's stands in its place here.

#[path = "../../custom_plugins/example_plugin.rs"]
mod shipped;

pub use shipped::create_plugin;
