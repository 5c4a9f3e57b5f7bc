//! Every plugin name, its priority and protocols, and how its config is checked.
