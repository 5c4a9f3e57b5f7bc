//! The `ferrum-edge` binary.

use std::process::ExitCode;

use control::cli::House;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    control::cli::main_with(House {
        run: control::gateway::run,
        validate_spec: control::source::validate_spec,
        probe_io_uring: engine::net::probe_io_uring,
        export: control::transfer::export,
        import: control::transfer::import,
    })
}
