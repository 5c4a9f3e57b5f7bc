use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::*;
use crate::testing::core;
use crate::testing::log::Log;

/// A day: what waits for it does not happen in a test.
const NEVER: Duration = Duration::from_secs(86_400);

const SETTINGS: Settings = Settings { flush_interval: NEVER, retry_delay: Duration::ZERO, ..Settings::DEFAULT };

type Answers = Box<dyn FnMut(usize) -> Attempt + Send>;

/// Keeps what it is given, one list for each attempt.
#[derive(Clone)]
struct Shelf {
    attempts: Arc<Mutex<Vec<Vec<String>>>>,
    answers: Arc<Mutex<Answers>>,
    /// Each attempt takes a permit for good.
    permits: Arc<Semaphore>,
}

impl Shelf {
    fn answering(answers: impl FnMut(usize) -> Attempt + Send + 'static) -> Self {
        let answers: Answers = Box::new(answers);
        let permits = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Self { attempts: Arc::default(), answers: Arc::new(Mutex::new(answers)), permits }
    }

    fn accepting() -> Self {
        Self::answering(|_| Attempt::Delivered)
    }

    /// Nothing is delivered until the test adds permits.
    fn closed() -> Self {
        Self { permits: Arc::new(Semaphore::new(0)), ..Self::accepting() }
    }

    fn attempts(&self) -> Vec<Vec<String>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn wait_for(&self, attempts: usize) -> Vec<Vec<String>> {
        for _ in 0..4000 {
            if self.attempts().len() >= attempts {
                return self.attempts();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{attempts} attempts were expected, there are {:?}", self.attempts());
    }
}

impl Deliver for Shelf {
    type Payload = Vec<String>;

    fn pack<'r>(&mut self, records: impl ExactSizeIterator<Item = &'r [u8]>) -> Vec<String> {
        let promised = records.len();
        let records: Vec<String> = records.map(|record| String::from_utf8_lossy(record).into_owned()).collect();
        assert_eq!(records.len(), promised);
        records
    }

    async fn send(&mut self, payload: &Vec<String>) -> Attempt {
        let number = {
            let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
            attempts.push(payload.clone());
            attempts.len()
        };
        self.permits.acquire().await.unwrap().forget();
        (self.answers.lock().unwrap_or_else(PoisonError::into_inner))(number)
    }
}

/// A sink whose task runs on the test's own thread, and a core.
struct Rig {
    sink: Arc<Sink>,
    env: CoreEnv,
    running: tokio::task::JoinHandle<()>,
}

impl Rig {
    fn new(settings: Settings, shelf: &Shelf) -> Self {
        Self::named("other", settings, shelf)
    }

    fn named(plugin: &'static str, settings: Settings, shelf: &Shelf) -> Self {
        let (env, _drain) = core();
        let (sink, courier) = Sink::new(&env.services, plugin, settings, shelf.clone());
        Self { sink, env, running: tokio::spawn(courier.run()) }
    }

    fn stage(&self) -> Rc<Stage> {
        Stage::new(self.sink.clone(), &self.env)
    }

    /// Drops the sink, which must be the last handle, and waits for the task.
    async fn end(self) {
        drop(self.sink);
        tokio::time::timeout(Duration::from_secs(20), self.running).await.expect("the task ends").unwrap();
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn push(stage: &Stage, records: impl IntoIterator<Item = impl std::fmt::Display>) {
    for record in records {
        stage.push(|out| out.extend_from_slice(record.to_string().as_bytes()));
    }
}

#[test]
fn a_batch_is_sent_when_it_is_full_and_not_before() {
    run(async {
        let shelf = Shelf::accepting();
        let rig = Rig::new(Settings { batch_size: 3, ..SETTINGS }, &shelf);
        let stage = rig.stage();
        push(&stage, ["a", "b"]);
        rig.env.ticks.run();
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert!(shelf.attempts().is_empty(), "two of three");
        push(&stage, ["c", "d"]);
        rig.env.ticks.run();
        assert_eq!(shelf.wait_for(1).await, [["a", "b", "c"]]);
        push(&stage, ["e", "f", "g", "h"]);
        assert_eq!(shelf.wait_for(2).await[1], ["d", "e", "f"], "in the order in which they came");
    });
}

#[test]
fn what_came_while_a_batch_was_under_way_fills_the_next_one_even_if_that_is_overdue() {
    run(async {
        let (shelf, interval) = (Shelf::closed(), Duration::from_millis(100));
        let rig = Rig::new(Settings { batch_size: 50, flush_interval: interval, ..SETTINGS }, &shelf);
        let stage = rig.stage();
        let hand_over = || {
            push(&stage, 0..30);
            rig.env.ticks.run();
        };
        hand_over();
        shelf.wait_for(1).await;
        (0..3).for_each(|_| hand_over());
        shelf.permits.add_permits(1);
        shelf.wait_for(2).await;
        hand_over();
        // Ten are left of what was received, and wait too long.
        tokio::time::sleep(2 * interval).await;
        shelf.permits.add_permits(2);
        let sizes: Vec<usize> = shelf.wait_for(4).await.iter().map(Vec::len).collect();
        assert_eq!(sizes, [30, 50, 50, 20]);
        shelf.permits.add_permits(1);
    });
}

#[test]
fn a_batch_that_is_not_full_is_sent_after_the_interval() {
    run(async {
        let shelf = Shelf::accepting();
        let rig = Rig::new(Settings { flush_interval: Duration::from_millis(100), ..SETTINGS }, &shelf);
        let stage = rig.stage();
        let started = Instant::now();
        push(&stage, ["only"]);
        rig.env.ticks.run();
        assert_eq!(shelf.wait_for(1).await, [["only"]]);
        assert!(started.elapsed() >= Duration::from_millis(100));
        assert_eq!(rig.sink.room.taken(), (0, 0));
    });
}

#[test]
fn a_record_waits_on_its_core_for_a_tick_or_for_enough_others() {
    run(async {
        let shelf = Shelf::accepting();
        let rig = Rig::new(Settings { batch_size: 4, ..SETTINGS }, &shelf);
        let stage = rig.stage();
        push(&stage, 0..3);
        assert_eq!(rig.sink.room.taken().0, 0, "nothing is shared yet");
        push(&stage, [3]);
        assert_eq!(rig.sink.room.taken().0, 4);
        push(&stage, [4]);
        rig.env.ticks.run();
        assert_eq!(rig.sink.room.taken().0, 5);
        let long = "x".repeat(CHUNK_BYTES);
        push(&stage, [&long]);
        assert_eq!(rig.sink.room.taken().0, 6, "nor does a core keep many bytes");
    });
}

#[test]
fn the_queue_holds_exactly_its_capacity_over_all_cores() {
    run(async {
        let (log, shelf) = (Log::new(), Shelf::closed());
        let settings = Settings { batch_size: 2, buffer_capacity: 7, ..SETTINGS };
        let rig = Rig::new(settings, &shelf);
        let stages = [rig.stage(), rig.stage(), rig.stage()];
        push(&stages[0], ["first", "batch"]);
        rig.env.ticks.run();
        shelf.wait_for(1).await;
        for record in 0..6 {
            push(&stages[record % 3], [record]);
        }
        rig.env.ticks.run();
        assert_eq!(rig.sink.room.taken().0, 6);
        assert!(log.warnings().is_empty());
        for record in 6..20 {
            push(&stages[record % 3], [record]);
            rig.env.ticks.run();
        }
        assert_eq!(rig.sink.room.taken().0, 7);
        assert_eq!(rig.sink.dropped.load(Relaxed), 13);
        assert_eq!(log.warnings(), ["other: the queue has buffer_capacity (7) records, more are dropped"]);
        assert_eq!(log.lines()[0]["fields"]["dropped"], 1);
        shelf.permits.add_permits(100);
        drop(stages);
        rig.end().await;
        assert_eq!(shelf.attempts().iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2, 2, 1]);
    });
}

#[test]
fn every_hundredth_drop_is_warned_of_however_they_come() {
    run(async {
        let (log, shelf) = (Log::new(), Shelf::closed());
        let rig = Rig::new(Settings { batch_size: 1, buffer_capacity: 1, ..SETTINGS }, &shelf);
        let stage = rig.stage();
        push(&stage, ["under way"]);
        shelf.wait_for(1).await;
        push(&stage, 0..252);
        let told: Vec<_> = log.lines().iter().map(|line| line["fields"]["dropped"].as_u64().unwrap()).collect();
        assert_eq!(told, [1, 100, 200]);
    });
}

#[test]
fn a_capacity_below_the_batch_size_still_sends_full_batches() {
    run(async {
        let shelf = Shelf::accepting();
        let rig = Rig::new(Settings { batch_size: 50, buffer_capacity: 3, ..SETTINGS }, &shelf);
        let stage = rig.stage();
        push(&stage, 0..3);
        assert_eq!(shelf.wait_for(1).await, [["0", "1", "2"]]);
    });
}

#[test]
fn the_queue_holds_exactly_its_bytes() {
    run(async {
        let (log, shelf) = (Log::new(), Shelf::closed());
        let rig = Rig::new(Settings { batch_size: 1, buffer_max_bytes: 40, ..SETTINGS }, &shelf);
        let stage = rig.stage();
        push(&stage, ["under way"]);
        shelf.wait_for(1).await;
        push(&stage, ["x".repeat(20), "y".repeat(20)]);
        assert_eq!(rig.sink.room.taken(), (2, 40));
        assert!(log.warnings().is_empty());
        push(&stage, ["z"]);
        assert_eq!(rig.sink.room.taken(), (2, 40));
        assert_eq!(log.warnings(), ["other: the queue has buffer_max_bytes (40), records are dropped"]);
    });
}

#[test]
fn a_record_that_is_too_long_is_dropped_alone() {
    run(async {
        let (log, shelf) = (Log::new(), Shelf::accepting());
        let rig = Rig::new(Settings { batch_size: 2, max_entry_bytes: 10, ..SETTINGS }, &shelf);
        let stage = rig.stage();
        push(&stage, ["x".repeat(10), "y".repeat(11), "z".repeat(9)]);
        assert_eq!(shelf.wait_for(1).await, [["x".repeat(10), "z".repeat(9)]]);
        assert_eq!(log.warnings(), ["other: a record is longer than max_entry_bytes (10) and is dropped"]);
    });
}

#[test]
fn three_retries_are_four_attempts_with_a_pause_between_them() {
    run(async {
        let (log, shelf) = (Log::new(), Shelf::answering(|_| Attempt::Failed("the sink answered 503".into())));
        let settings = Settings { batch_size: 1, max_retries: 3, retry_delay: Duration::from_millis(40), ..SETTINGS };
        let rig = Rig::named("udp_logging", settings, &shelf);
        let stage = rig.stage();
        let started = Instant::now();
        push(&stage, ["a"]);
        assert_eq!(shelf.wait_for(4).await, [["a"], ["a"], ["a"], ["a"]]);
        assert!(started.elapsed() >= Duration::from_millis(120));
        tokio::time::sleep(Duration::from_millis(80)).await;
        assert_eq!(shelf.attempts().len(), 4);
        assert_eq!(log.warnings(), ["udp_logging: a batch is discarded: the sink answered 503"]);
        let fields = &log.lines()[0]["fields"];
        assert_eq!((fields["records"].as_u64(), fields["attempts"].as_u64()), (Some(1), Some(4)));
        let tally = losses::tally("udp_logging");
        assert_eq!((tally.accepted(), tally.lost(Loss::SinkError)), (1, 1));
        push(&stage, ["b"]);
        assert_eq!(shelf.wait_for(5).await[4], ["b"], "the next batch has its own attempts");
    });
}

#[test]
fn a_retry_that_goes_well_delivers_the_batch_once() {
    run(async {
        let log = Log::new();
        let shelf = Shelf::answering(|number| match number {
            1 => Attempt::Failed("connection refused".into()),
            _ => Attempt::Delivered,
        });
        let rig = Rig::new(Settings { batch_size: 1, ..SETTINGS }, &shelf);
        let stage = rig.stage();
        push(&stage, ["a", "b"]);
        assert_eq!(shelf.wait_for(3).await, [["a"], ["a"], ["b"]]);
        assert!(log.warnings().is_empty());
    });
}

#[test]
fn a_batch_that_is_refused_is_not_tried_again() {
    run(async {
        let (log, shelf) = (Log::new(), Shelf::answering(|_| Attempt::Refused("the sink answered 400".into())));
        let rig = Rig::named("ws_logging", Settings { batch_size: 2, ..SETTINGS }, &shelf);
        let stage = rig.stage();
        push(&stage, 0..4);
        assert_eq!(shelf.wait_for(2).await, [["0", "1"], ["2", "3"]]);
        drop(stage);
        rig.end().await;
        assert_eq!(shelf.attempts().len(), 2);
        assert_eq!(log.warnings(), ["ws_logging: a batch is discarded: the sink answered 400"; 2]);
        assert_eq!(losses::tally("ws_logging").lost(Loss::BatchDiscard), 4);
    });
}

#[test]
fn records_go_on_arriving_while_a_batch_waits_for_its_next_attempt() {
    run(async {
        let shelf = Shelf::answering(|number| match number {
            1 => Attempt::Failed("busy".into()),
            _ => Attempt::Delivered,
        });
        let settings = Settings { batch_size: 2, retry_delay: Duration::from_millis(80), ..SETTINGS };
        let rig = Rig::new(settings, &shelf);
        let stage = rig.stage();
        push(&stage, 0..2);
        shelf.wait_for(1).await;
        push(&stage, 2..4);
        assert_eq!(shelf.wait_for(3).await[1..], [["0", "1"], ["2", "3"]]);
    });
}

#[test]
fn what_a_replaced_instance_leaves_is_sent_at_once_and_once() {
    run(async {
        let shelf = Shelf::answering(|_| Attempt::Failed("down".into()));
        let settings = Settings { batch_size: 2, retry_delay: NEVER, ..SETTINGS };
        let rig = Rig::new(settings, &shelf);
        let stages = [rig.stage(), rig.stage()];
        push(&stages[0], ["a"]);
        push(&stages[1], ["b", "c"]);
        shelf.wait_for(1).await;
        drop(stages);
        rig.end().await;
        assert_eq!(
            shelf.attempts(),
            [vec!["b", "c"], vec!["b", "c"], vec!["a"]],
            "the pause ends, and one last attempt each"
        );
    });
}

#[test]
fn at_the_end_the_gateway_waits_until_what_is_queued_is_sent() {
    run(async {
        let shelf = Shelf::closed();
        let rig = Rig::new(SETTINGS, &shelf);
        let stage = rig.stage();
        push(&stage, 0..60);
        rig.env.ticks.run();
        let services = rig.env.services.clone();
        let (started, permits) = (Instant::now(), shelf.permits.clone());
        let later = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(60)).await;
            permits.add_permits(2);
        });
        services.stop(Duration::from_secs(20)).await;
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(60) && took < Duration::from_secs(10), "{took:?}");
        assert_eq!(shelf.attempts().iter().map(Vec::len).collect::<Vec<_>>(), [50, 10]);
        later.await.unwrap();
        push(&stage, ["too late"]);
        rig.env.ticks.run();
        assert_eq!((rig.sink.dropped.load(Relaxed), rig.sink.room.taken()), (1, (0, 0)));
    });
}

#[test]
fn at_the_end_the_gateway_waits_no_longer_than_it_may_and_says_what_was_lost() {
    run(async {
        let (log, shelf) = (Log::new(), Shelf::closed());
        let rig = Rig::named("loki_logging", Settings { batch_size: 2, ..SETTINGS }, &shelf);
        let stage = rig.stage();
        push(&stage, 0..7);
        rig.env.ticks.run();
        shelf.wait_for(1).await;
        let started = Instant::now();
        rig.env.services.stop(Duration::from_millis(100)).await;
        assert!(started.elapsed() < Duration::from_millis(100) + crate::outbound::LAST_WORDS);
        let warnings = log.warnings();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert_eq!(warnings[1], "loki_logging: records are dropped, because the time to deliver them is over");
        let tally = losses::tally("loki_logging");
        assert_eq!((tally.accepted(), tally.lost(Loss::SinkError), tally.lost(Loss::Shutdown)), (7, 0, 7));
    });
}

#[test]
fn nobody_to_wait_for_is_no_wait() {
    run(async {
        let started = Instant::now();
        Services::of_tests().stop(Duration::from_secs(20)).await;
        assert!(started.elapsed() < Duration::from_secs(5));
    });
}
