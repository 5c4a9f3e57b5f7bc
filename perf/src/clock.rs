//! CPU time that processes have used, in nanoseconds: all threads, the exited ones and the kernel's own for the
//! process (io_uring workers) included.

use std::io;

/// `CPUCLOCK_SCHED` of the kernel's `posix-timers`: the scheduler's sum, not the tick's sampling.
const CPUCLOCK_SCHED: libc::clockid_t = 2;

/// The CPU time of process `pid` since it started.
pub fn process_cpu_ns(pid: i32) -> io::Result<u64> {
    read((!pid << 3) | CPUCLOCK_SCHED)
}

/// The CPU time of this process since it started.
pub fn own_cpu_ns() -> io::Result<u64> {
    read(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read(clock: libc::clockid_t) -> io::Result<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the kernel to write to.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_moves_the_clock_of_the_process_that_did_it() {
        let own = std::process::id() as i32;
        let before = process_cpu_ns(own).unwrap();
        let mut sum = 0u64;
        for step in 0..1_000_000u64 {
            sum = std::hint::black_box(sum.wrapping_add(step));
        }
        assert!(process_cpu_ns(own).unwrap() > before);
        assert!(own_cpu_ns().unwrap() > 0);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(process_cpu_ns(i32::MAX - 1).is_err());
    }
}
