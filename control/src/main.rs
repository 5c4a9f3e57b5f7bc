//! The `ferrum-edge` binary.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    control::cli::main_with(control::gateway::run, control::source::validate_spec, engine::net::probe_io_uring)
}
