//! The plugins that take part in WebSocket sessions.

use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use futures_util::FutureExt;

use super::{Chain, List, list};
use crate::websocket::{Close, Direction, Message, MessageFlow, WebSocketEnd, WebSocketSession};
use crate::{Phases, Plugin};

pub(super) struct WebSocketLists {
    message: List,
    end: List,
}

impl WebSocketLists {
    pub(super) fn new(plugins: &[Rc<dyn Plugin>]) -> Option<Box<Self>> {
        let lists =
            Self { message: list(plugins, Phases::WEBSOCKET_MESSAGE), end: list(plugins, Phases::WEBSOCKET_END) };
        let is_used = !(lists.message.is_empty() && lists.end.is_empty());
        is_used.then(|| Box::new(lists))
    }
}

/// A plugin panicked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Panicked;

impl Chain {
    pub fn takes_part_in_websocket(&self) -> bool {
        self.websocket.is_some()
    }

    /// Whether plugins see the messages of sessions, so that these have to be put together.
    pub fn sees_websocket_messages(&self) -> bool {
        self.websocket.as_ref().is_some_and(|lists| !lists.message.is_empty())
    }

    pub fn hears_websocket_end(&self) -> bool {
        self.websocket.as_ref().is_some_and(|lists| !lists.end.is_empty())
    }

    /// Shows the message to the plugins, each what the one before made of it. A Close as the answer ends the session.
    ///
    /// # Errors
    /// A plugin panicked, which is no matter of other sessions.
    pub async fn on_websocket_message(
        &self,
        session: &WebSocketSession<'_>,
        direction: Direction,
        message: Message,
    ) -> Result<Message, Panicked> {
        let mut message = message;
        for plugin in self.websocket.iter().flat_map(|lists| &lists.message) {
            let asked = AssertUnwindSafe(ask(&**plugin, session, direction, &message)).catch_unwind().await;
            let Ok(replacement) = asked else {
                tracing::error!(plugin = plugin.name(), "a plugin panicked at a WebSocket message; the session ends");
                return Err(Panicked);
            };
            match replacement {
                None => {}
                Some(Message::Close(close)) => return Ok(Message::Close(sendable(&**plugin, close))),
                Some(replacement) if can_replace(&message, &replacement) => message = replacement,
                Some(_) => warn_of_replacement(&**plugin, session),
            }
        }
        Ok(message)
    }

    /// Tells the plugins that a session has ended. Answers how many of them panicked.
    pub fn on_websocket_end(&self, end: &WebSocketEnd<'_>) -> u64 {
        let mut panics = 0;
        for plugin in self.websocket.iter().flat_map(|lists| &lists.end) {
            if std::panic::catch_unwind(AssertUnwindSafe(|| plugin.on_websocket_end(end))).is_err() {
                tracing::error!(plugin = plugin.name(), "a plugin panicked at the end of a WebSocket session");
                panics += 1;
            }
        }
        panics
    }
}

/// What one plugin puts in the place of the message, if anything.
async fn ask(
    plugin: &dyn Plugin,
    session: &WebSocketSession<'_>,
    direction: Direction,
    message: &Message,
) -> Option<Message> {
    let mut flow = plugin.on_websocket_message(session, direction, message);
    loop {
        match flow {
            MessageFlow::Pass => return None,
            MessageFlow::Replace(replacement) => return Some(replacement),
            MessageFlow::Wait(future) => flow = future.await,
        }
    }
}

fn can_replace(message: &Message, replacement: &Message) -> bool {
    const CONTROL_BYTES_MAX: usize = 125;
    match (message, replacement) {
        (Message::Text(_) | Message::Binary(_), Message::Text(_) | Message::Binary(_)) => true,
        (Message::Ping(_), Message::Ping(bytes)) | (Message::Pong(_), Message::Pong(bytes)) => {
            bytes.len() <= CONTROL_BYTES_MAX
        }
        _ => false,
    }
}

fn warn_of_replacement(plugin: &dyn Plugin, session: &WebSocketSession<'_>) {
    if !session.has_warned.replace(true) {
        tracing::warn!(
            plugin = plugin.name(),
            proxy_id = %session.upgrade.proxy().id,
            connection_id = session.connection_id,
            "a plugin put another kind of message in the place of a WebSocket message, or a control message that is too \
             long; the original goes on"
        );
    }
}

/// A Close that the peers accept.
fn sendable(plugin: &dyn Plugin, close: Option<Close>) -> Option<Close> {
    let Close { code, reason } = close?;
    if !Close::is_code(code) {
        tracing::warn!(plugin = plugin.name(), code, "a plugin closed a WebSocket session with a code that is none");
        return None;
    }
    Some(Close::new(code, reason))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::AuthMode;
    use crate::testing::{ready, request};

    type Hook = Box<dyn Fn(&Message) -> MessageFlow<'static>>;

    struct Scripted {
        name: &'static str,
        hook: Hook,
        journal: Rc<RefCell<Vec<String>>>,
    }

    impl Plugin for Scripted {
        fn name(&self) -> &'static str {
            self.name
        }

        fn phases(&self) -> Phases {
            Phases::WEBSOCKET_MESSAGE.and(Phases::WEBSOCKET_END)
        }

        fn on_websocket_message<'a>(
            &'a self,
            session: &'a WebSocketSession<'_>,
            direction: Direction,
            message: &'a Message,
        ) -> MessageFlow<'a> {
            let line = format!("{} {} {} {message:?}", self.name, session.connection_id, direction.name());
            self.journal.borrow_mut().push(line);
            (self.hook)(message)
        }

        fn on_websocket_end(&self, end: &WebSocketEnd<'_>) {
            assert!(self.name != "bad", "a plugin that fails");
            self.journal.borrow_mut().push(format!("{} {}", self.name, end.duration.as_millis()));
        }
    }

    struct Plugins {
        chain: Chain,
        journal: Rc<RefCell<Vec<String>>>,
    }

    impl Plugins {
        fn new(hooks: Vec<(&'static str, Hook)>) -> Self {
            let journal = Rc::<RefCell<Vec<String>>>::default();
            let scripted = |(name, hook)| Rc::new(Scripted { name, hook, journal: journal.clone() }) as Rc<dyn Plugin>;
            let plugins: Vec<_> = hooks.into_iter().map(scripted).collect();
            Self { chain: Chain::new(&plugins, AuthMode::Single), journal }
        }

        fn ask(&self, message: Message) -> Result<Message, Panicked> {
            let cx = request("GET /", &[]);
            let session = WebSocketSession::new(7, &cx);
            ready(self.chain.on_websocket_message(&session, Direction::ClientToBackend, message))
        }
    }

    fn text(text: &str) -> Message {
        Message::Text(text.to_owned())
    }

    fn replacing(with: Message) -> Hook {
        Box::new(move |_| MessageFlow::Replace(with.clone()))
    }

    #[test]
    fn each_plugin_sees_what_the_one_before_made_of_the_message() {
        let waits: Hook = Box::new(|message| {
            let Message::Text(text) = message else { return MessageFlow::Pass };
            let text = format!("{text}!");
            MessageFlow::Wait(Box::pin(async { MessageFlow::Replace(Message::Text(text)) }))
        });
        let plugins =
            Plugins::new(vec![("a", waits), ("b", Box::new(|_| MessageFlow::Pass)), ("c", replacing(text("C")))]);
        assert!(plugins.chain.sees_websocket_messages() && plugins.chain.hears_websocket_end());
        assert_eq!(plugins.ask(text("hi")), Ok(text("C")));
        let lines = [
            "a 7 client_to_backend Text(\"hi\")",
            "b 7 client_to_backend Text(\"hi!\")",
            "c 7 client_to_backend Text(\"hi!\")",
        ];
        assert_eq!(*plugins.journal.borrow(), lines);
    }

    #[test]
    fn a_close_ends_the_session_and_is_one_that_peers_accept() {
        let plugins = Plugins::new(vec![
            ("a", Box::new(|_| MessageFlow::close(4000, &"é".repeat(100)))),
            ("b", replacing(text("never"))),
        ]);
        assert_eq!(plugins.ask(text("hi")), Ok(Message::Close(Some(Close { code: 4000, reason: "é".repeat(61) }))));
        assert_eq!(plugins.journal.borrow().len(), 1, "the one behind does not see it");
        let bare = Plugins::new(vec![("a", replacing(Message::Close(None)))]);
        assert_eq!(bare.ask(text("hi")), Ok(Message::Close(None)));
        let coded = Plugins::new(vec![("a", replacing(Message::Close(Some(Close::new(1006, "gone")))))]);
        assert_eq!(coded.ask(text("hi")), Ok(Message::Close(None)));
    }

    #[test]
    fn a_message_keeps_its_kind_but_text_and_binary_may_take_each_others_place() {
        let (ping, pong) = (|| Message::Ping(b"p".to_vec()), || Message::Pong(b"p".to_vec()));
        for (message, replacement, goes_on) in [
            (ping(), pong(), ping()),
            (pong(), ping(), pong()),
            (ping(), text("x"), ping()),
            (text("x"), ping(), text("x")),
            (ping(), Message::Ping(vec![1; 125]), Message::Ping(vec![1; 125])),
            (ping(), Message::Ping(vec![1; 126]), ping()),
            (pong(), Message::Pong(vec![1; 126]), pong()),
            (text("x"), Message::Binary(vec![1; 300]), Message::Binary(vec![1; 300])),
            (Message::Binary(vec![1]), text("y"), text("y")),
        ] {
            let plugins = Plugins::new(vec![("a", replacing(replacement.clone()))]);
            assert_eq!(plugins.ask(message.clone()), Ok(goes_on), "{message:?} by {replacement:?}");
        }
    }

    #[test]
    fn a_plugin_that_panics_is_told_apart() {
        let later: Hook = Box::new(|_| MessageFlow::Wait(Box::pin(async { panic!("later") })));
        assert_eq!(Plugins::new(vec![("a", Box::new(|_| panic!("at once")))]).ask(text("x")), Err(Panicked));
        assert_eq!(Plugins::new(vec![("a", later)]).ask(text("x")), Err(Panicked));
    }

    #[test]
    fn all_hear_of_the_end_even_if_one_panics() {
        let passes = || Box::new(|_: &Message| MessageFlow::Pass) as Hook;
        let plugins = Plugins::new(vec![("a", passes()), ("bad", passes()), ("c", passes())]);
        let cx = request("GET /", &[]);
        let session = WebSocketSession::new(0, &cx);
        let end = WebSocketEnd {
            session: &session,
            backend_target: "http://10.0.0.1:80/",
            listen_port: 8000,
            began: std::time::SystemTime::UNIX_EPOCH,
            duration: std::time::Duration::from_millis(12),
            client_to_backend: Default::default(),
            backend_to_client: Default::default(),
            direction: None,
            io_side: None,
            error_class: None,
        };
        assert_eq!(plugins.chain.on_websocket_end(&end), 1);
        assert_eq!(*plugins.journal.borrow(), ["a 12", "c 12"]);
    }

    #[test]
    fn a_chain_without_such_plugins_has_nothing_of_this() {
        let chain = Chain::new(&[], AuthMode::Single);
        assert!(!chain.takes_part_in_websocket());
        assert!(!chain.sees_websocket_messages() && !chain.hears_websocket_end());
    }
}
