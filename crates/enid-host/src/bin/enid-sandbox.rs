//! Sandboxes without a daemon: what the tests of the sandbox driver launch and kill.
//!
//! `enid-sandbox launch DATA INSTANCE` prepares and starts a sandbox and then waits for ever, as a
//! daemon does; `enid-sandbox exec DATA INSTANCE COMMAND…` is `enid exec`.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use enid_host::exec;
use enid_host::sandbox::{self, InitProgram, Sandbox, Spec};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let [command, rest @ ..] = arguments.as_slice() else {
        return ExitCode::from(2);
    };
    if command == sandbox::INIT_ARGUMENT {
        return sandbox::init_main();
    }
    let [data_dir, instance, rest @ ..] = rest else {
        return ExitCode::from(2);
    };
    let Some(instance) = instance.to_str().and_then(|text| text.parse().ok()) else {
        return ExitCode::from(2);
    };
    let data_dir = Path::new(data_dir);
    match command.to_str() {
        Some("exec") => match exec::run(data_dir, instance, rest) {
            Ok(code) => ExitCode::from(code),
            Err(e) => {
                eprintln!("{e}");
                ExitCode::from(e.exit_code())
            }
        },
        Some("launch") => launch(&Sandbox::of(data_dir, instance)),
        _ => ExitCode::from(2),
    }
}

fn launch(sandbox: &Sandbox) -> ExitCode {
    let spec = Spec {
        image: "ami-00000000000000001".to_owned(),
        hostname: "ip-10-0-0-5".to_owned(),
        address: Ipv4Addr::new(10, 0, 0, 5),
        resolv_conf: "nameserver 10.0.0.2\n".to_owned(),
        authorized_key: None,
        user_data: None,
        grace: Duration::from_secs(1),
        init: InitProgram::Own,
    };
    let launched = sandbox
        .prepare()
        .and_then(|_namespace| sandbox.start(&spec));
    if let Err(e) = launched {
        eprintln!("{e}");
        return ExitCode::FAILURE;
    }
    println!("running");
    loop {
        std::thread::park();
    }
}
