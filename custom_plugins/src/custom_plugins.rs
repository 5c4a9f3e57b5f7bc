//! The plugin files, and what is known of all of them. The build script writes this from what it finds in the folder.

include!(concat!(env!("OUT_DIR"), "/plugin_files.rs"));
