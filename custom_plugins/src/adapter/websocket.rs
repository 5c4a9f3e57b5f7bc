//! WebSocket messages and ends of sessions.
