//! The binary: command line, configuration, wiring. No logic.

#![forbid(unsafe_code)]

mod cli;
mod client;
mod cmd;
mod config;
mod keys;
mod paths;
mod pcapng;
mod printer;
mod wiring;

use std::process::ExitCode;

/// Answers of a megabyte are made and dropped all the time; the system's allocator gives each back
/// to the kernel and takes it anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // An instance's first process is this program as well, under a name that no user types.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|first| first == enid_host::sandbox::INIT_ARGUMENT)
    {
        return enid_host::sandbox::init_main();
    }
    cli::main()
}
