//! How long the cores' event loops take to get to something new.
//!
//! Every interval a no-op is posted to each core, which says when it got it. A core that has not answered yet counts
//! with the time since the question, so that one starved loop shows up while it starves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::core::{Mail, PostBox};
use engine::counters::{CoreCounters, Counters};
use tokio::task::JoinHandle;

use crate::overload::{DescriptorUse, EngineGauges, Gauges};

struct Question {
    asked: Instant,
    answered: Arc<AtomicBool>,
}

pub(super) struct ProbedGauges {
    engine: EngineGauges,
    counters: Counters,
    boxes: Vec<PostBox>,
    questions: Mutex<Vec<Option<Question>>>,
}

/// Ends with its handle.
pub(super) struct Probing(JoinHandle<()>);

impl Drop for Probing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ProbedGauges {
    pub(super) fn new(counters: Counters, boxes: Vec<PostBox>) -> Self {
        let questions = Mutex::new(boxes.iter().map(|_| None).collect());
        Self { engine: EngineGauges::new(counters.clone()), counters, boxes, questions }
    }

    pub(super) fn start(self: &Arc<Self>, interval: Duration) -> Probing {
        let this = self.clone();
        Probing(tokio::spawn(async move {
            loop {
                this.ask();
                tokio::time::sleep(interval).await;
            }
        }))
    }

    fn ask(&self) {
        let mut questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        for (question, post_box) in questions.iter_mut().zip(&self.boxes) {
            if question.as_ref().is_some_and(|open| !open.answered.load(Ordering::Acquire)) {
                continue;
            }
            let (asked, answered) = (Instant::now(), Arc::new(AtomicBool::new(false)));
            post_box.post(Mail::Probe { asked, answered: answered.clone() });
            *question = Some(Question { asked, answered });
        }
    }
}

impl Gauges for ProbedGauges {
    fn descriptors(&self) -> DescriptorUse {
        self.engine.descriptors()
    }

    fn descriptors_max(&self) -> u64 {
        self.engine.descriptors_max()
    }

    fn connections(&self) -> u64 {
        self.engine.connections()
    }

    fn requests(&self) -> u64 {
        self.engine.requests()
    }

    fn loop_delay_us(&self) -> u64 {
        let questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        let open = questions.iter().flatten().filter(|question| !question.answered.load(Ordering::Acquire));
        let waiting = open.map(|question| question.asked.elapsed().as_micros() as u64).max().unwrap_or(0);
        let answered = self.counters.cores().map(|core: &CoreCounters| core.loop_delay_us.get()).max().unwrap_or(0);
        waiting.max(answered)
    }

    fn port_exhaustions(&self) -> u64 {
        self.engine.port_exhaustions()
    }
}
