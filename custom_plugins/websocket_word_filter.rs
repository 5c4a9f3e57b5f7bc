//! Keeps words out of WebSocket messages: masks them, or closes the session.
//!
//! ```yaml
//! plugin_name: websocket_word_filter
//! config:
//!   words: [darn, blast]
//!   action: mask            # or close
//!   direction: both         # or client_to_backend, backend_to_client
//!   close_code: 1008        # of action close
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use async_trait::async_trait;
use regex::{NoExpand, Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::plugins::{Plugin, PluginHttpClient, ProxyProtocol, WS_ONLY_PROTOCOLS, WebSocketFrameDirection};

const NAME: &str = "websocket_word_filter";
/// The texts of close frames are at most 123 bytes (RFC 6455 §5.5).
const REASON: &str = "message refused";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    words: Vec<String>,
    #[serde(default)]
    action: Action,
    #[serde(default)]
    direction: Watched,
    #[serde(default = "policy_violation")]
    close_code: u16,
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Action {
    #[default]
    Mask,
    Close,
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Watched {
    #[default]
    Both,
    ClientToBackend,
    BackendToClient,
}

fn policy_violation() -> u16 {
    CloseCode::Policy.into()
}

struct WordFilter {
    words: Regex,
    config: Config,
    /// Messages that were changed or refused.
    hits: AtomicU64,
}

impl WordFilter {
    fn new(config: &Value) -> Result<Self, String> {
        let config: Config = serde_json::from_value(config.clone()).map_err(|error| format!("{NAME}: {error}"))?;
        if config.words.is_empty() || config.words.iter().any(|word| word.trim().is_empty()) {
            return Err(format!("{NAME}: 'words' must be words, at least one"));
        }
        if !CloseCode::from(config.close_code).is_allowed() {
            return Err(format!("{NAME}: 'close_code' {} may not be sent in a close frame", config.close_code));
        }
        let pattern = config.words.iter().map(|word| whole_word(word.trim())).collect::<Vec<_>>().join("|");
        let words = RegexBuilder::new(&pattern).case_insensitive(true).build();
        let words = words.map_err(|error| format!("{NAME}: 'words' are too many or too long: {error}"))?;
        Ok(Self { words, config, hits: AtomicU64::new(0) })
    }

    fn watches(&self, direction: WebSocketFrameDirection) -> bool {
        match direction {
            WebSocketFrameDirection::ClientToBackend => self.config.direction != Watched::BackendToClient,
            WebSocketFrameDirection::BackendToClient => self.config.direction != Watched::ClientToBackend,
        }
    }
}

/// The word where nothing is before or behind it that would make it another: `darn` is not in `darning`.
fn whole_word(word: &str) -> String {
    let border = |letter: Option<char>| if letter.is_some_and(char::is_alphanumeric) { r"\b" } else { "" };
    format!("{}{}{}", border(word.chars().next()), regex::escape(word), border(word.chars().next_back()))
}

#[async_trait]
impl Plugin for WordFilter {
    fn name(&self) -> &str {
        NAME
    }

    fn supported_protocols(&self) -> &'static [ProxyProtocol] {
        WS_ONLY_PROTOCOLS
    }

    fn requires_ws_frame_hooks(&self) -> bool {
        true
    }

    async fn on_ws_frame(
        &self,
        proxy_id: &str,
        connection_id: u64,
        direction: WebSocketFrameDirection,
        message: &Message,
    ) -> Option<Message> {
        let Message::Text(text) = message else { return None };
        if !self.watches(direction) || !self.words.is_match(text) {
            return None;
        }
        let hits = self.hits.fetch_add(1, Relaxed) + 1;
        tracing::debug!(proxy_id, connection_id, hits, "a message holds a refused word");
        Some(match self.config.action {
            Action::Mask => Message::text(self.words.replace_all(text, NoExpand("***")).into_owned()),
            Action::Close => {
                Message::Close(Some(CloseFrame { code: self.config.close_code.into(), reason: REASON.into() }))
            }
        })
    }
}

pub fn create_plugin(config: &Value, _http_client: PluginHttpClient) -> Result<Option<Arc<dyn Plugin>>, String> {
    Ok(Some(Arc::new(WordFilter::new(config)?)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    async fn seen(config: Value, direction: WebSocketFrameDirection, message: Message) -> Option<Message> {
        WordFilter::new(&config).unwrap().on_ws_frame("chat", 0, direction, &message).await
    }

    #[tokio::test]
    async fn whole_words_are_masked_in_any_case() {
        let to = WebSocketFrameDirection::ClientToBackend;
        let config = json!({"words": ["darn", "c++"]});
        let masked = seen(config.clone(), to, Message::text("Darn, DARN it, darning, C++!")).await;
        assert_eq!(masked, Some(Message::text("***, *** it, darning, ***!")));
        assert_eq!(seen(config.clone(), to, Message::text("fine")).await, None);
        assert_eq!(seen(config, to, Message::binary(b"darn".to_vec())).await, None);
    }

    #[tokio::test]
    async fn a_session_is_closed_with_the_code_that_is_set() {
        let config = json!({"words": ["darn"], "action": "close", "close_code": 4000});
        let closed = seen(config, WebSocketFrameDirection::BackendToClient, Message::text("darn")).await;
        match closed {
            Some(Message::Close(Some(frame))) => assert_eq!(u16::from(frame.code), 4000),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn only_the_watched_direction_is_filtered() {
        let config = json!({"words": ["darn"], "direction": "client_to_backend"});
        let back = WebSocketFrameDirection::BackendToClient;
        assert_eq!(seen(config.clone(), back, Message::text("darn")).await, None);
        let forth = WebSocketFrameDirection::ClientToBackend;
        assert!(seen(config, forth, Message::text("darn")).await.is_some());
    }

    #[test]
    fn a_filter_without_words_or_with_a_code_nobody_may_send_is_refused() {
        for (config, part) in [
            (json!({}), "missing field `words`"),
            (json!({"words": []}), "'words'"),
            (json!({"words": [" "]}), "'words'"),
            (json!({"words": ["a"], "action": "shout"}), "unknown variant `shout`"),
            (json!({"words": ["a"], "close_code": 1005}), "'close_code' 1005"),
            (json!({"words": ["a"], "wrods": 1}), "unknown field `wrods`"),
        ] {
            let told = WordFilter::new(&config).err().unwrap();
            assert!(told.starts_with("websocket_word_filter: ") && told.contains(part), "{told}");
        }
    }
}
