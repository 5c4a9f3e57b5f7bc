//! `ferrum-edge reload`: tells a running gateway to read its spec again.

use std::path::Path;

use super::paths::Host;

const PROCESS_NAME: &str = "ferrum-edge";

/// Signals the named process, or the only gateway that runs. Gives the process it signalled, or the text of the error.
pub(super) fn reload(pid: Option<u32>, host: &Host, send: impl FnOnce(u32) -> bool) -> Result<u32, String> {
    let pid = match pid {
        Some(pid) => pid,
        None => only_gateway(&gateways(&host.root.join("proc"), host.own_pid))?,
    };
    if send(pid) { Ok(pid) } else { Err(format!("Failed to send SIGHUP to PID {pid}")) }
}

fn only_gateway(pids: &[u32]) -> Result<u32, String> {
    match pids {
        [] => Err(format!("No running {PROCESS_NAME} process found. Use --pid to specify the PID.")),
        [pid] => Ok(*pid),
        _ => {
            let lines: String = pids.iter().map(|pid| format!("\n  {pid}")).collect();
            Err(format!("Found {} {PROCESS_NAME} processes. Use --pid to specify which one:{lines}", pids.len()))
        }
    }
}

/// Processes with the gateway's name, without this one, which has it too, and without those that only wait to be
/// collected. `/proc` lists processes, not their threads.
fn gateways(proc: &Path, own_pid: u32) -> Vec<u32> {
    let entries = std::fs::read_dir(proc).into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| *pid != own_pid && is_gateway(&proc.join(pid.to_string())))
        .collect();
    pids.sort_unstable();
    pids
}

fn is_gateway(process: &Path) -> bool {
    let has_name = std::fs::read_to_string(process.join("comm")).is_ok_and(|comm| comm.trim_end() == PROCESS_NAME);
    let is_zombie = || {
        let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
    };
    has_name && !is_zombie()
}

/// Sends SIGHUP; `false` if there is no such process or it belongs to somebody else.
pub(super) fn send_hangup(pid: u32) -> bool {
    let target = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    target.is_some_and(|pid| rustix::process::kill_process(pid, rustix::process::Signal::HUP).is_ok())
}

/// A process that a hang-up ends, also where this one was started with hang-ups ignored, as under nohup.
#[cfg(test)]
pub(super) fn sleeper() -> std::process::Child {
    let sleeper = std::process::Command::new("env").args(["--default-signal=HUP", "sleep", "60"]).spawn();
    let sleeper = sleeper.expect("env of GNU coreutils 8.31 or newer");
    let name = format!("/proc/{}/comm", sleeper.id());
    // From then on the signal has its default effect.
    while std::fs::read_to_string(&name).is_ok_and(|name| name.trim() != "sleep") {
        std::thread::yield_now();
    }
    sleeper
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    struct Processes(tempfile::TempDir);

    impl Processes {
        fn new(list: &[(u32, &str, char)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(dir.path().join("proc/self")).unwrap();
            for (pid, name, state) in list {
                let process = dir.path().join(format!("proc/{pid}"));
                std::fs::create_dir_all(&process).unwrap();
                std::fs::write(process.join("comm"), format!("{name}\n")).unwrap();
                std::fs::write(process.join("stat"), format!("{pid} ({name}) {state} 1 1")).unwrap();
            }
            Self(dir)
        }

        fn reload(&self) -> Result<u32, String> {
            let host = Host { root: self.0.path().to_owned(), directory: "/".into(), own_pid: 99 };
            reload(None, &host, |_| true)
        }
    }

    #[test]
    fn the_only_other_gateway_is_signalled() {
        let processes = Processes::new(&[
            (99, "ferrum-edge", 'R'),
            (7, "ferrum-edge", 'S'),
            (8, "ferrum-edge-x", 'S'),
            (9, "bash", 'S'),
            (10, "ferrum-edge", 'Z'),
        ]);
        assert_eq!(processes.reload(), Ok(7));
    }

    #[test]
    fn the_command_itself_is_not_a_gateway() {
        let text = Processes::new(&[(99, "ferrum-edge", 'R')]).reload().unwrap_err();
        assert_eq!(text, "No running ferrum-edge process found. Use --pid to specify the PID.");
    }

    #[test]
    fn several_gateways_are_listed_in_order() {
        let text = Processes::new(&[(70, "ferrum-edge", 'S'), (8, "ferrum-edge", 'S')]).reload().unwrap_err();
        assert_eq!(text, "Found 2 ferrum-edge processes. Use --pid to specify which one:\n  8\n  70");
    }

    #[test]
    fn a_signal_that_cannot_be_sent_is_an_error() {
        let host = Host { root: "/".into(), directory: "/".into(), own_pid: 99 };
        assert_eq!(reload(Some(5), &host, |_| false).unwrap_err(), "Failed to send SIGHUP to PID 5");
        assert_eq!(reload(Some(5), &host, |pid| pid == 5), Ok(5));
        // 0 would be the whole process group, and numbers past the kernel's are nobody.
        assert!(!send_hangup(0));
        assert!(!send_hangup(u32::MAX));
    }

    #[test]
    fn the_signal_is_a_hangup() {
        let mut child = sleeper();
        assert!(send_hangup(child.id()));
        assert_eq!(child.wait().unwrap().signal(), Some(1));
    }
}
