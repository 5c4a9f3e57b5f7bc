//! How many records were written, by level and category, and how many were lost.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::{Map, Value};
use tracing::Level;

/// What part of the product a record is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Category {
    Proxy,
    Plugin,
    Dns,
    Pool,
    Config,
    Admin,
    Mesh,
    Grpc,
    Http3,
    Other,
}

impl Category {
    pub const ALL: [Category; 10] = [
        Category::Proxy,
        Category::Plugin,
        Category::Dns,
        Category::Pool,
        Category::Config,
        Category::Admin,
        Category::Mesh,
        Category::Grpc,
        Category::Http3,
        Category::Other,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Category::Proxy => "proxy",
            Category::Plugin => "plugin",
            Category::Dns => "dns",
            Category::Pool => "pool",
            Category::Config => "config",
            Category::Admin => "admin",
            Category::Mesh => "mesh",
            Category::Grpc => "grpc",
            Category::Http3 => "http3",
            Category::Other => "other",
        }
    }

    /// The category of a target as users see it; `None` for a library's.
    fn of(target: &str) -> Option<Category> {
        let mut words = target.split("::");
        match words.next() {
            Some("ferrum_edge") => {}
            // The access and debug records are the product's too, under names of their own.
            Some("access_log" | "mesh_access_log" | "transaction_debug") => return Some(Category::Plugin),
            _ => return None,
        }
        Some(match words.next().unwrap_or_default() {
            "plugins" | "custom_plugins" => Category::Plugin,
            "dns" => Category::Dns,
            "pool" => Category::Pool,
            "source" | "settings" | "model" | "publish" => Category::Config,
            "admin" => Category::Admin,
            "mesh" => Category::Mesh,
            "grpc" => Category::Grpc,
            "http3" => Category::Http3,
            "pipeline" | "http" | "http1" | "http2" | "tcp" | "udp" | "dtls" | "websocket" | "net" | "core"
            | "router" | "balance" => Category::Proxy,
            _ => Category::Other,
        })
    }
}

const LEVELS: [Level; 5] = [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR];

fn slot(level: Level) -> usize {
    LEVELS.iter().position(|each| *each == level).unwrap_or_default()
}

/// Counted by every thread that logs; read by `/metrics/runtime`.
#[derive(Default)]
pub struct LogCounts {
    is_enabled: bool,
    cells: [[AtomicU64; 10]; 5],
    lost: AtomicU64,
}

impl LogCounts {
    pub fn new(is_enabled: bool) -> Self {
        Self { is_enabled, ..Self::default() }
    }

    pub(super) fn count(&self, level: Level, target: &str, records: u64) {
        if self.is_enabled
            && let Some(category) = Category::of(target)
        {
            self.cells[slot(level)][category as usize].fetch_add(records, Relaxed);
        }
    }

    pub(super) fn lose(&self, lines: u64) {
        self.lost.fetch_add(lines, Relaxed);
    }

    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    pub fn get(&self, level: Level, category: Category) -> u64 {
        self.cells[slot(level)][category as usize].load(Relaxed)
    }

    pub fn by_level(&self, level: Level) -> u64 {
        Category::ALL.iter().map(|category| self.get(level, *category)).sum()
    }

    /// The `logs` block of `/metrics/runtime`.
    pub fn to_json(&self) -> Value {
        let name = |level: &Level| level.as_str().to_ascii_lowercase();
        let by_level: Map<_, _> = LEVELS.iter().map(|level| (name(level), self.by_level(*level).into())).collect();
        let by_category: Map<_, _> = LEVELS
            .iter()
            .map(|level| {
                let row = Category::ALL.iter().map(|each| (each.name().to_owned(), self.get(*level, *each).into()));
                (name(level), Value::Object(row.collect()))
            })
            .collect();
        serde_json::json!({"by_level": by_level, "by_category": by_category})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_stand_at_their_number_and_follow_the_rooms() {
        for (index, category) in Category::ALL.iter().enumerate() {
            assert_eq!(*category as usize, index);
        }
        for (target, category) in [
            ("ferrum_edge", Some(Category::Other)),
            ("ferrum_edge::http1::server", Some(Category::Proxy)),
            ("ferrum_edge::source::file", Some(Category::Config)),
            ("ferrum_edge::plugins::cors", Some(Category::Plugin)),
            ("access_log", Some(Category::Plugin)),
            ("hickory_net", None),
        ] {
            assert_eq!(Category::of(target), category, "{target}");
        }
    }
}
