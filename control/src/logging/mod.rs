//! The process log: one JSON object a line, errors and warnings on stderr, the rest on stdout.
//!
//! No caller ever waits for a stream. A line goes into the bounded queue of its stream and a writer thread of that
//! stream writes what has gathered with one `write(2)`; a line that finds the queue full is lost and counted. The
//! stdout thread writes the cores' access records too, which come ready-made through their log rings.

mod counts;
mod filter;
mod line;
mod writer;

pub use counts::{Category, LogCounts};

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use engine::logring::LogDrain;
use tracing::subscriber::DefaultGuard;
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use writer::Stream;

/// How long the end of the process waits for a reader that takes no more lines.
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(5);

/// What the log needs to know.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// `RUST_LOG`; wins when it parses and is not blank.
    pub rust_log: Option<String>,
    /// `FERRUM_LOG_LEVEL`: a level or a comma list of directives; never refused.
    pub level: String,
    /// Lines a stream holds before it loses some.
    pub capacity: usize,
    /// Whether records are counted by level and category.
    pub counters_enabled: bool,
}

/// Why the log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("cannot open the process's standard streams for logging")]
    Stream(#[source] io::Error),
    #[error("cannot start a log writer thread: check the limit of threads (ulimit -u)")]
    Thread(#[source] io::Error),
    #[error("a log is already running in this process")]
    AlreadyRunning,
}

/// Keeps the log running. Writes what is queued, then stops, when it is finished or dropped.
pub struct LogGuard {
    stdout: Stream,
    stderr: Stream,
    counts: Arc<LogCounts>,
    /// Set only where the log is that of one thread, in tests.
    _scope: Option<DefaultGuard>,
}

/// Makes this the log of the process.
pub fn start(options: LogOptions, drains: Vec<LogDrain>) -> Result<LogGuard, LogError> {
    // A descriptor of our own, past the standard library's line buffer, so that a batch is one write.
    let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(LogError::Stream)?;
    let stderr = io::stderr().as_fd().try_clone_to_owned().map_err(LogError::Stream)?;
    let (dispatch, guard) = build(&options, drains, fs::File::from(stdout), fs::File::from(stderr))?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| LogError::AlreadyRunning)?;
    Ok(guard)
}

fn build(
    options: &LogOptions,
    drains: Vec<LogDrain>,
    stdout: impl io::Write + Send + 'static,
    stderr: impl io::Write + Send + 'static,
) -> Result<(Dispatch, LogGuard), LogError> {
    let filter = filter::parse(options.rust_log.as_deref(), &options.level);
    let counts = Arc::new(LogCounts::new(options.counters_enabled));
    let capacity = options.capacity.max(1);

    let errors = Stream::new(capacity, counts.clone());
    let output = Stream::new(capacity, counts.clone());
    let layer = JsonLines { stdout: output.queue(), stderr: errors.queue(), counts: counts.clone() };
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(filter).with(layer));

    let access_log = tracing::dispatcher::with_default(&dispatch, || {
        tracing::enabled!(target: "access_log", Level::INFO) // what the stdout_logging plugin writes under
    });
    for drain in &drains {
        drain.set_enabled(access_log);
    }
    let errors = errors.start("log-stderr", stderr, Vec::new()).map_err(LogError::Thread)?;
    let output = output.start("log-stdout", stdout, drains).map_err(LogError::Thread)?;
    Ok((dispatch, LogGuard { stdout: output, stderr: errors, counts, _scope: None }))
}

impl LogGuard {
    /// Records by level and category, shared with whoever shows them.
    pub fn counts(&self) -> Arc<LogCounts> {
        self.counts.clone()
    }

    /// Lines lost because a queue was full or a stream refused them. What a core's ring loses is in the core's counters.
    pub fn lost(&self) -> u64 {
        self.counts.lost()
    }

    /// Writes all that is queued, then stops. Cores must have handed over their last batches before.
    pub fn finish(self) {}
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.stdout.stop();
        self.stderr.stop();
        self.stdout.wait(FLUSH_WAIT_MAX);
        self.stderr.wait(FLUSH_WAIT_MAX);
    }
}

/// Turns events into lines and puts them into the queue of their stream.
struct JsonLines {
    stdout: Arc<writer::Queue>,
    stderr: Arc<writer::Queue>,
    counts: Arc<LogCounts>,
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for JsonLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata: &Metadata<'_> = event.metadata();
        let target = line::target(metadata.target());
        let level = *metadata.level();
        self.counts.count(level, &target, 1);
        let queue = if level <= Level::WARN { &self.stderr } else { &self.stdout };
        queue.push(|| line::render(event, &target));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::mpsc;
    use std::sync::{Condvar, Mutex};

    /// A stream that remembers every write.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Write for Paper {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(text.to_vec());
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Paper {
        fn lines(&self) -> Vec<serde_json::Value> {
            let text = self.0.lock().unwrap().concat();
            text.split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .map(|line| serde_json::from_slice(line).expect("every line is a JSON object"))
                .collect()
        }
    }

    fn options(level: &str) -> LogOptions {
        LogOptions { rust_log: None, level: level.into(), capacity: 1000, counters_enabled: true }
    }

    fn log_into(options: &LogOptions, drains: Vec<LogDrain>) -> (LogGuard, Paper, Paper) {
        let (out, err) = (Paper::default(), Paper::default());
        let (dispatch, mut guard) = build(options, drains, out.clone(), err.clone()).unwrap();
        guard._scope = Some(tracing::dispatcher::set_default(&dispatch));
        (guard, out, err)
    }

    #[test]
    fn warnings_go_to_stderr_and_the_rest_to_stdout_as_json_lines() {
        let (guard, out, err) = log_into(&options("trace"), Vec::new());
        tracing::info!(target: "ferrum_edge", mode = "file", cores = 2, "Operating mode: {}", "File");
        tracing::debug!(target: "ferrum_edge", "quiet \"quoted\"\nline");
        tracing::warn!(target: "ferrum_edge", ratio = 0.5, good = false, "careful");
        tracing::error!(target: "ferrum_edge", "broken");
        guard.finish();

        let (out, err) = (out.lines(), err.lines());
        assert_eq!(out.len(), 2);
        assert_eq!(out[0]["level"], "INFO");
        assert_eq!(out[0]["target"], "ferrum_edge");
        assert_eq!(
            out[0]["fields"],
            serde_json::json!({"message": "Operating mode: File", "mode": "file", "cores": 2})
        );
        let timestamp = out[0]["timestamp"].as_str().unwrap();
        assert_eq!((timestamp.len(), &timestamp[19..20], &timestamp[26..]), (27, ".", "Z"));
        assert_eq!(out[1]["fields"]["message"], "quiet \"quoted\"\nline");
        assert_eq!(err[0]["fields"], serde_json::json!({"message": "careful", "ratio": 0.5, "good": false}));
        assert_eq!(err[1]["level"], "ERROR");
    }

    #[test]
    fn our_crates_are_named_after_the_product() {
        let (guard, out, _) = log_into(&options("info"), Vec::new());
        tracing::info!("from this module");
        guard.finish();
        assert_eq!(out.lines()[0]["target"], "ferrum_edge::logging::tests");
    }

    #[test]
    fn access_records_of_the_cores_reach_stdout_unless_the_level_hides_them() {
        let (ring, drain) = engine::logring::log_ring(4);
        let (guard, out, _) = log_into(&options("info"), vec![drain]);
        assert!(ring.is_enabled());
        ring.push(|text| text.extend_from_slice(br#"{"timestamp":"t","level":"INFO"}"#));
        ring.hand_over();
        let counts = guard.counts();
        guard.finish();
        assert_eq!(out.lines(), [serde_json::json!({"timestamp": "t", "level": "INFO"})]);
        assert_eq!(counts.get(Level::INFO, Category::Plugin), 1);

        for (level, enabled) in [("error", false), ("error,access_log=info", true), ("info,access_log=warn", false)] {
            let (ring, drain) = engine::logring::log_ring(4);
            let (_guard, ..) = log_into(&options(level), vec![drain]);
            assert_eq!(ring.is_enabled(), enabled, "{level}");
        }
    }

    #[test]
    fn records_are_counted_by_level_and_category_only_when_admitted() {
        let (guard, ..) = log_into(&options("warn"), Vec::new());
        tracing::info!(target: "ferrum_edge::admin", "hidden");
        tracing::warn!(target: "control::dns::lookup", "counted");
        tracing::error!(target: "protocols::http3", "counted");
        tracing::error!(target: "some_library", "written, but not the product's");
        let counts = guard.counts();
        assert_eq!(counts.get(Level::INFO, Category::Admin), 0);
        assert_eq!(counts.get(Level::WARN, Category::Dns), 1);
        assert_eq!(counts.get(Level::ERROR, Category::Http3), 1);
        assert_eq!(counts.by_level(Level::ERROR), 1);

        let (guard, ..) = log_into(&LogOptions { counters_enabled: false, ..options("warn") }, Vec::new());
        tracing::warn!(target: "ferrum_edge", "not counted");
        assert_eq!(guard.counts().by_level(Level::WARN), 0);
    }

    /// The log of a process is set once, so this test runs itself again in a process of its own.
    #[test]
    fn the_log_of_a_process_reaches_its_streams_before_the_process_ends() {
        const CHILD: &str = "FERRUM_TEST_LOG_CHILD";
        if std::env::var_os(CHILD).is_some() {
            let (ring, drain) = engine::logring::log_ring(4);
            let guard = start(options("info"), vec![drain]).unwrap();
            assert!(matches!(start(options("info"), Vec::new()), Err(LogError::AlreadyRunning)));
            std::thread::spawn(|| tracing::info!(target: "ferrum_edge", "from another thread")).join().unwrap();
            tracing::error!(target: "ferrum_edge", "an error");
            ring.push(|text| text.extend_from_slice(br#"{"target":"access_log"}"#));
            ring.hand_over();
            guard.finish();
            return;
        }
        let name = "logging::tests::the_log_of_a_process_reaches_its_streams_before_the_process_ends";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", name])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // The test harness writes to stdout as well, perhaps into the same line.
        assert!(out.contains(r#""fields":{"message":"from another thread"},"target":"ferrum_edge"}"#), "{out}");
        assert!(out.contains("{\"target\":\"access_log\"}\n") && !out.contains("an error"), "{out}");
        assert!(err.contains(r#""level":"ERROR","fields":{"message":"an error"}"#), "{err}");
    }

    /// A stream whose reader takes nothing until it is told to.
    struct Stuck {
        open: Arc<(Mutex<bool>, Condvar)>,
        entered: mpsc::Sender<()>,
        paper: Paper,
    }

    impl Write for Stuck {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let _ = self.entered.send(());
            let (open, opened) = &*self.open;
            drop(opened.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
            self.paper.write(text)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_queue_loses_lines_and_counts_them_and_never_blocks() {
        let open = Arc::new((Mutex::new(false), Condvar::new()));
        let (entered, first_write) = mpsc::channel();
        let paper = Paper::default();
        let stuck = Stuck { open: open.clone(), entered, paper: paper.clone() };
        let options = LogOptions { capacity: 3, ..options("info") };
        let (dispatch, mut guard) = build(&options, Vec::new(), stuck, io::sink()).unwrap();
        guard._scope = Some(tracing::dispatcher::set_default(&dispatch));

        tracing::info!(target: "ferrum_edge", "in the writer's hands");
        first_write.recv().unwrap();
        for number in 0..5 {
            tracing::info!(target: "ferrum_edge", number, "queued");
        }
        assert_eq!(guard.lost(), 2);

        *open.0.lock().unwrap() = true;
        open.1.notify_all();
        guard.finish();
        let lines = paper.lines();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[3]["fields"]["number"], 2);
        assert_eq!(paper.0.lock().unwrap().len(), 2, "what had gathered was one write");
    }

    #[test]
    fn a_broken_stream_loses_lines_and_nothing_else() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (dispatch, mut guard) = build(&options("info"), Vec::new(), Broken, io::sink()).unwrap();
        guard._scope = Some(tracing::dispatcher::set_default(&dispatch));
        tracing::info!(target: "ferrum_edge", "nobody reads");
        let counts = guard.counts();
        guard.finish();
        assert_eq!(counts.lost(), 1);
    }
}
