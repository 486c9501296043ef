//! Sandboxes in the kernel: launch, commands, stop and start, adoption, and what is left behind.

#![forbid(unsafe_code)]
#![expect(
    clippy::tests_outside_test_module,
    reason = "the whole file is a test program"
)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Host, PROGRAM, spec, until};
use enid_host::sandbox::{Sandbox, SandboxError, Spec, Status};
use enid_host::{clean, console};

fn launch(sandbox: &Sandbox, spec: &Spec) {
    sandbox.prepare().unwrap();
    sandbox.start(spec).unwrap();
}

fn console_text(sandbox: &Sandbox) -> String {
    String::from_utf8(console::read(sandbox.dir()).unwrap()).unwrap()
}

#[test]
fn a_command_has_its_own_streams_and_exit_code() {
    let Some(host) = Host::new() else { return };
    launch(&host.sandbox(1), &spec());

    assert_eq!(
        host.shell(1, "hostname; echo oops >&2; exit 7"),
        (Some(7), "ip-10-0-0-5\n".to_owned(), "oops\n".to_owned())
    );
    assert_eq!(host.shell(1, "kill -KILL $$").0, Some(137));
    let missing = host.exec(1).arg("no-such-command").output().unwrap();
    assert_eq!(missing.status.code(), Some(127));
    assert_eq!(missing.stderr, b"no-such-command: command not found\n");
    assert_eq!(host.exec(1).arg("/etc").status().unwrap().code(), Some(126));
    let stopped = host.exec(2).arg("true").output().unwrap();
    assert_eq!(stopped.status.code(), Some(1));
    assert!(stopped.stderr.ends_with(b"is not running\n"));

    let mut cat = host
        .exec(1)
        .arg("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = vec![b'x'; 300_000];
    let mut stdin = cat.stdin.take().unwrap();
    let sent = text.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
    let mut back = Vec::new();
    cat.stdout.take().unwrap().read_to_end(&mut back).unwrap();
    writer.join().unwrap();
    assert!(back == text);
    assert!(cat.wait().unwrap().success());
}

#[test]
fn a_signal_to_the_caller_reaches_the_command() {
    let Some(host) = Host::new() else { return };
    launch(&host.sandbox(1), &spec());
    let line = "trap 'echo told; exit 5' TERM; echo ready; while :; do sleep 0.01; done";
    let mut caller = host
        .exec(1)
        .args(["sh", "-c", line])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(caller.stdout.take().unwrap()).lines();
    assert_eq!(output.next().unwrap().unwrap(), "ready");
    let pid = i32::try_from(caller.id()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(output.next().unwrap().unwrap(), "told");
    assert_eq!(caller.wait().unwrap().code(), Some(5));

    // A caller that is killed takes the command along.
    let mut caller = host
        .exec(1)
        .args(["sleep", "1000"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    until("the command runs", || {
        host.shell(1, "pidof sleep").0 == Some(0)
    });
    caller.kill().unwrap();
    caller.wait().unwrap();
    until("the command is gone", || {
        host.shell(1, "pidof sleep").0 == Some(1)
    });
}

#[test]
fn the_host_is_out_of_reach() {
    let Some(host) = Host::new() else { return };
    launch(&host.sandbox(1), &spec());
    fs::write(host.data_dir().join("secret"), "x").unwrap();

    // What must work.
    for line in [
        "test \"$(cat /etc/hostname)\" = ip-10-0-0-5",
        "test \"$(cat /etc/resolv.conf)\" = 'nameserver 10.0.0.2'",
        "grep -q '10.0.0.5 ip-10-0-0-5' /etc/hosts",
        "echo x > /etc/enid-test-file && rm /etc/enid-test-file",
        "echo x > /dev/null && head -c 8 /dev/urandom | wc -c | grep -q 8",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
        "ip link show lo | grep -q UP",
        "test \"$(ls /sys/class/net)\" = lo",
        "test \"$(cat /proc/1/comm)\" = enid-init",
    ] {
        let (code, _, errors) = host.shell(1, line);
        assert_eq!(code, Some(0), "{line}: {errors}");
    }
    // What must not.
    let secret = host.data_dir().join("secret");
    let see_secret = format!("cat {}", secret.display());
    for line in [
        see_secret.as_str(),
        "echo x > /proc/sys/kernel/core_pattern",
        "echo b > /proc/sysrq-trigger",
        "mknod /root/disk b 8 0",
        "mount -t tmpfs none /mnt",
        "readlink /proc/1/fd/3",
        "test -e /run/netns/$(hostname)",
        "ls /sys/fs/bpf | grep .",
        "unshare --mount true",
    ] {
        assert_ne!(host.shell(1, line).0, Some(0), "{line}");
    }
    assert!(!std::path::Path::new("/etc/enid-test-file").exists());
}

#[test]
fn a_stop_keeps_the_root_filesystem_and_user_data_runs_once() {
    let Some(host) = Host::new() else { return };
    let sandbox = host.sandbox(1);
    let script = b"#!/bin/sh\necho from user data\necho run >> /root/runs\n".to_vec();
    let spec = Spec {
        user_data: Some(script),
        ..spec()
    };
    launch(&sandbox, &spec);
    until("user data has ended", || {
        console_text(&sandbox).contains("user data ended with exit code 0")
    });
    let text = console_text(&sandbox);
    let first = text.lines().next().unwrap();
    assert!(first.contains("ami-00000000000000001 runs as Enid's sandbox"));
    assert!(text.contains("\nfrom user data\n"), "{text}");

    assert_eq!(
        host.shell(1, "echo kept > /root/file; echo 1.2.3.4 x >> /etc/hosts")
            .0,
        Some(0)
    );
    sandbox.stop(Duration::from_secs(2)).unwrap();
    assert_eq!(sandbox.status().unwrap(), Status::Dead);
    assert_eq!(host.traces(), Vec::<String>::new());

    launch(&sandbox, &spec);
    assert_eq!(host.shell(1, "cat /root/file").1, "kept\n");
    sandbox.reboot(&spec).unwrap();
    assert_eq!(
        host.shell(1, "cat /root/file; tail -n 1 /etc/hosts").1,
        "kept\n1.2.3.4 x\n"
    );
    assert_eq!(host.shell(1, "cat /root/runs").1, "run\n");
    let again = sandbox.start(&spec);
    assert!(matches!(again, Err(SandboxError::Running { .. })));

    sandbox.terminate().unwrap();
    assert!(!sandbox.dir().exists());
    assert_eq!(host.traces(), Vec::<String>::new());
    sandbox.terminate().unwrap();
}

#[test]
fn a_stop_asks_first_and_then_insists() {
    let Some(host) = Host::new() else { return };
    let sandbox = host.sandbox(1);
    let start = |script: &str| {
        let user_data = Some(script.as_bytes().to_vec());
        let grace = Duration::from_millis(500);
        sandbox.prepare().unwrap();
        let spec = Spec {
            user_data,
            grace,
            ..spec()
        };
        sandbox.start(&spec).unwrap();
        until("the script runs", || {
            console_text(&sandbox).contains("up\n")
        });
    };
    start("#!/bin/sh\ntrap 'echo asked; exit 0' TERM\necho up\nwhile :; do sleep 0.01; done\n");
    sandbox.stop(Duration::from_millis(500)).unwrap();
    assert!(console_text(&sandbox).contains("asked\n"));
    sandbox.terminate().unwrap();

    start("#!/bin/sh\ntrap '' TERM\necho up\nwhile :; do sleep 0.01; done\n");
    let before = Instant::now();
    sandbox.stop(Duration::from_millis(500)).unwrap();
    assert!(before.elapsed() >= Duration::from_millis(500));
    assert_eq!(sandbox.status().unwrap(), Status::Dead);
}

#[test]
fn a_sandbox_outlives_its_launcher() {
    let Some(host) = Host::new() else { return };
    let mut launcher = Command::new(PROGRAM)
        .arg("launch")
        .arg(host.data_dir())
        .arg(host.instance(1).to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(launcher.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "running\n");
    launcher.kill().unwrap();
    launcher.wait().unwrap();
    // Nothing in the sandbox holds the launcher's streams.
    assert_eq!(output.read_line(&mut line).unwrap(), 0);

    let sandbox = host.sandbox(1);
    assert_eq!(sandbox.status().unwrap(), Status::Running);
    assert_eq!(host.shell(1, "exit 3").0, Some(3));
    let pidfd = sandbox.watch().unwrap().unwrap();
    rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).unwrap();
    let mut ended = [rustix::event::PollFd::new(
        &pidfd,
        rustix::event::PollFlags::IN,
    )];
    rustix::event::poll(&mut ended, None).unwrap();
    assert_eq!(sandbox.status().unwrap(), Status::Dead);
    sandbox.reboot(&spec()).unwrap();
    assert_eq!(host.shell(1, "exit 3").0, Some(3));
}

#[test]
fn the_console_is_written_to_from_inside_and_keeps_its_end() {
    let Some(host) = Host::new() else { return };
    let sandbox = host.sandbox(1);
    launch(&sandbox, &spec());
    let line = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); echo \"line $i\"; done > /dev/console";
    assert_eq!(host.shell(1, line).0, Some(0));
    until("the last line has arrived", || {
        console_text(&sandbox).ends_with("line 30000\n")
    });
    assert_eq!(console_text(&sandbox).len() as u64, console::KEPT);
}

#[test]
fn a_terminal_is_passed_through() {
    let Some(host) = Host::new() else { return };
    launch(&host.sandbox(1), &spec());
    let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY;
    let outer = rustix::pty::openpt(flags).unwrap();
    rustix::pty::unlockpt(&outer).unwrap();
    let inner = rustix::pty::ioctl_tiocgptpeer(&outer, flags).unwrap();
    let size = rustix::termios::Winsize {
        ws_row: 33,
        ws_col: 77,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&outer, size).unwrap();
    let line = "tty; stty size; read -r word; echo \"got $word\"; exit 9";
    let mut caller = host
        .exec(1)
        .args(["sh", "-c", line])
        .stdin(inner.try_clone().unwrap())
        .stdout(inner.try_clone().unwrap())
        .stderr(inner)
        .spawn()
        .unwrap();
    let mut outer = fs::File::from(outer);
    outer.write_all(b"hello\r").unwrap();
    let mut shown = Vec::new();
    // The kernel's word for a terminal that everyone has closed is an error.
    let _ = outer.read_to_end(&mut shown);
    let shown = String::from_utf8(shown).unwrap();
    assert_eq!(caller.wait().unwrap().code(), Some(9), "{shown}");
    assert!(shown.contains("/dev/pts/0\r\n"), "{shown}");
    assert!(shown.contains("33 77\r\n"), "{shown}");
    assert!(shown.contains("got hello\r\n"), "{shown}");
}

#[test]
fn cleaning_removes_its_own_and_nothing_else() {
    let Some(one) = Host::new() else { return };
    let Some(other) = Host::new() else { return };
    launch(&one.sandbox(1), &spec());
    launch(&one.sandbox(2), &spec());
    launch(&other.sandbox(1), &spec());

    let failures = clean::kernel(one.data_dir());
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(one.traces(), Vec::<String>::new());
    assert_eq!(one.sandbox(1).status().unwrap(), Status::Dead);
    assert!(one.sandbox(1).dir().exists());
    assert_eq!(other.sandbox(1).status().unwrap(), Status::Running);
    assert_eq!(other.shell(1, "exit 4").0, Some(4));

    // Also without the directory that says what there was.
    fs::remove_dir_all(other.data_dir().join("instances")).unwrap();
    let failures = clean::kernel(other.data_dir());
    assert!(failures.is_empty(), "{failures:?}");
    assert_eq!(other.traces(), Vec::<String>::new());
}

#[test]
fn a_root_filesystem_in_memory_survives_a_stop() {
    let Some(host) = Host::new() else { return };
    let sandbox = host.sandbox(1);
    sandbox.prepare().unwrap();
    // What the sandbox does by itself when the data directory cannot hold an overlay's layers.
    fs::create_dir(sandbox.dir().join("scratch")).unwrap();
    let plain = Spec {
        user_data: Some(b"role=web".to_vec()),
        ..spec()
    };
    launch(&sandbox, &plain);
    assert!(console_text(&sandbox).contains("is in memory"));
    until(
        "it is said that user data that is no script does not run",
        || console_text(&sandbox).contains("does not start with #!"),
    );
    assert_eq!(host.shell(1, "echo kept > /root/file").0, Some(0));
    sandbox.stop(Duration::from_secs(2)).unwrap();
    launch(&sandbox, &spec());
    assert_eq!(host.shell(1, "cat /root/file").1, "kept\n");
    sandbox.terminate().unwrap();
    assert_eq!(host.traces(), Vec::<String>::new());
}

#[test]
fn a_broken_launch_says_why_and_leaves_no_process() {
    let Some(host) = Host::new() else { return };
    let sandbox = host.sandbox(1);
    sandbox.prepare().unwrap();
    fs::remove_dir_all(sandbox.dir().join("root")).unwrap();
    fs::create_dir(sandbox.dir().join("scratch")).unwrap();
    let Err(SandboxError::Build { source, .. }) = sandbox.start(&spec()) else {
        panic!("an overlay without a mount point cannot be mounted");
    };
    assert!(
        source
            .to_string()
            .starts_with("mount an overlay over the host's root: "),
        "{source}"
    );
    assert_eq!(sandbox.status().unwrap(), Status::Dead);
    sandbox.terminate().unwrap();
    assert_eq!(host.traces(), Vec::<String>::new());
}

/// Prints how long things take; the figures are for people, the machine may be loaded.
#[test]
fn a_launch_takes_milliseconds() {
    let Some(host) = Host::new() else { return };
    for number in 0..4 {
        let sandbox = host.sandbox(number);
        let before = Instant::now();
        sandbox.prepare().unwrap();
        let prepared = before.elapsed();
        sandbox.start(&spec()).unwrap();
        let started = before.elapsed();
        let status = host.exec(number).arg("true").status().unwrap();
        assert!(status.success());
        let executed = before.elapsed();
        sandbox.terminate().unwrap();
        println!(
            "prepare {prepared:?}, start {:?}, exec {:?}, terminate {:?}",
            started - prepared,
            executed - started,
            before.elapsed() - executed
        );
        assert!(started < Duration::from_secs(5));
    }
}

#[test]
fn a_copied_data_directory_has_none_of_the_original_s_instances() {
    let Some(original) = Host::new() else { return };
    let Some(copy) = Host::new() else { return };
    let sandbox = original.sandbox(1);
    launch(&sandbox, &spec());
    // The same instance, in a directory with the same files.
    let copied = Sandbox::of(copy.data_dir(), original.instance(1));
    fs::create_dir_all(copied.dir()).unwrap();
    let name = "process.json";
    fs::copy(sandbox.dir().join(name), copied.dir().join(name)).unwrap();

    assert_eq!(copied.status().unwrap(), Status::Dead);
    let refused = copied.prepare();
    assert!(
        matches!(refused, Err(SandboxError::Foreign { .. })),
        "{refused:?}"
    );
    copied.terminate().unwrap();
    assert!(!copied.dir().exists());
    assert_eq!(sandbox.status().unwrap(), Status::Running);
    assert_eq!(original.shell(1, "hostname").1, "ip-10-0-0-5\n");
}
