//! Which core gets a new connection.

use std::io;
use std::os::fd::AsRawFd;
use std::str::FromStr;

/// `FERRUM_ACCEPT_STEERING`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Steering {
    /// The kernel's hash of addresses and ports.
    #[default]
    Hash,
    /// The core whose CPU received the packet; for hosts whose interrupts are spread over the same CPUs.
    Cpu,
    /// As `Hash`, but a core that is busier than the others hands the connection over before reading a byte.
    Balance,
}

impl FromStr for Steering {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "hash" => Ok(Self::Hash),
            "cpu" => Ok(Self::Cpu),
            "balance" => Ok(Self::Balance),
            _ => Err(()),
        }
    }
}

/// Lets the receiving CPU choose the socket of the group: `cpus[i]` is the CPU of the core that bound the i-th socket.
/// Packets that arrive on any other CPU go to socket `cpu % cores`.
pub fn steer_by_cpu(socket: &impl AsRawFd, cpus: &[usize]) -> io::Result<()> {
    let program = cpu_program(cpus);
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    // SAFETY: the program outlives the call; the kernel copies and checks it.
    #[allow(unsafe_code)]
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Classic BPF: load the CPU number, return the index of the socket whose core runs there.
fn cpu_program(cpus: &[usize]) -> Vec<libc::sock_filter> {
    /// SKF_AD_OFF + SKF_AD_CPU, from linux/filter.h.
    const CPU_NUMBER: u32 = (-0x1000_i32 + 36) as u32;
    const LOAD_ABSOLUTE: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN_CONSTANT: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const RETURN_ACCUMULATOR: u16 = (libc::BPF_RET | libc::BPF_A) as u16;
    const MODULO: u16 = (libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };

    let mut program = vec![step(LOAD_ABSOLUTE, 0, 0, CPU_NUMBER)];
    // The kernel takes 4096 instructions; no host has 2000 cores in one listener group.
    for (index, cpu) in cpus.iter().enumerate().take(2000) {
        program.push(step(JUMP_IF_EQUAL, 0, 1, *cpu as u32));
        program.push(step(RETURN_CONSTANT, 0, 0, index as u32));
    }
    program.push(step(MODULO, 0, 0, cpus.len().max(1) as u32));
    program.push(step(RETURN_ACCUMULATOR, 0, 0, 0));
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{ListenOptions, bind};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_connection_arrives_at_the_core_of_its_cpu() {
        let options = |port| ListenOptions {
            address: ([127, 0, 0, 1], port).into(),
            backlog: 16,
            reuse_port: true,
            fast_open_queue: None,
        };
        let first = bind(&options(0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let second = bind(&options(port)).unwrap();
        // Loopback packets are received on the CPU that sent them: with this list always the second socket.
        let cpus = core_affinity::get_core_ids().unwrap();
        let mut list: Vec<usize> = vec![usize::from(u16::MAX)];
        list.push(cpus[0].id);
        steer_by_cpu(&first, &list).unwrap();
        core_affinity::set_for_current(cpus[0]);
        for _ in 0..8 {
            let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let accepted = |listener: &TcpListener| listener.accept().is_ok();
            assert!(accepted(&second));
            assert!(!accepted(&first));
        }
    }
}
