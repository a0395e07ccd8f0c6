//! A private containerd starts and ends with its test.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::panic;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use reclaim_testkit::{Containerd, Layer, image};

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn directory(containerd: &Containerd) -> std::path::PathBuf {
    let socket = containerd.socket();
    socket
        .parent()
        .expect("a socket is in a directory")
        .to_owned()
}

#[tokio::test]
async fn answers_and_is_removed_on_drop() {
    let containerd = Containerd::start().await;
    let pid = containerd.pid().unwrap();
    let directory = directory(&containerd);
    assert!(containerd.version().at_least(1, 6));
    assert!(containerd.log().contains("containerd successfully booted"));
    assert!(containerd.address().len() < 100);
    assert!(is_alive(pid));
    drop(containerd);
    assert!(!is_alive(pid));
    assert!(!directory.exists());
}

#[test]
fn is_removed_on_a_panic() {
    let (sender, receiver) = mpsc::channel();
    let test = thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let outcome = panic::catch_unwind(|| {
            runtime.block_on(async {
                let containerd = Containerd::start().await;
                let namespace = containerd.namespace("default");
                let built = image("app").layers([Layer::random(1, 10)]);
                built.unpack("native").build(&namespace).await.unwrap();
                let seen = (containerd.pid().unwrap(), directory(&containerd));
                sender.send(seen).unwrap();
                panic!("like a failing assertion");
            });
        });
        assert!(outcome.is_err());
    });
    test.join().unwrap();
    let (pid, directory) = receiver.recv().unwrap();
    assert!(!is_alive(pid));
    assert!(!directory.exists());
}

#[test]
fn outlives_the_thread_that_started_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let handle = runtime.handle().clone();
    let starter = thread::spawn(move || handle.block_on(Containerd::start()));
    let containerd = starter.join().unwrap();
    let answer = runtime.block_on(containerd.namespaces());
    assert_eq!(answer.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn keeps_its_state_across_a_restart_and_a_crash() {
    let mut containerd = Containerd::start().await;
    let namespace = containerd.namespace("default");
    let built = image("app").layers([Layer::random(1, 10)]);
    built.build(&namespace).await.unwrap();
    let before = namespace.images().await.unwrap();
    let first = containerd.pid();

    containerd.restart().await;
    assert_ne!(containerd.pid(), first);
    assert_eq!(namespace.images().await.unwrap(), before);

    containerd.kill().await;
    assert_eq!(containerd.pid(), None);
    assert!(namespace.images().await.is_err());
    containerd.restart().await;
    assert_eq!(namespace.images().await.unwrap(), before);
}

#[tokio::test]
async fn applies_options() {
    let containerd = Containerd::builder()
        .log_level("info")
        .collector_option("schedule_delay", "\"1ms\"")
        .on_disk()
        .extra_config(
            "[plugins.\"io.containerd.metadata.v1.bolt\"]\ncontent_sharing_policy = \"isolated\"",
        )
        .start()
        .await;
    assert!(!containerd.log().contains("level=debug"));
    assert!(containerd.root().starts_with("/tmp"));
}

/// The environment variable that marks the process that the test below kills.
const VICTIM: &str = "RECLAIM_TESTKIT_VICTIM";

/// A killed test runs no destructor; the kernel must end its containerd.
#[test]
fn ends_when_the_test_process_is_killed() {
    let name = "ends_when_the_test_process_is_killed";
    if env::var_os(VICTIM).is_some() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let containerd = runtime.block_on(Containerd::start());
        let directory = directory(&containerd);
        println!(
            "\n{VICTIM} {} {}",
            containerd.pid().unwrap(),
            directory.display()
        );
        loop {
            thread::park();
        }
    }
    let mut victim = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let line = lines
        .map(Result::unwrap)
        .find(|line| line.starts_with(VICTIM))
        .unwrap();
    let [_, pid, directory] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("the victim printed `{line}`");
    };
    let raw = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    let pidfd = rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty()).unwrap();
    victim.kill().unwrap();
    victim.wait().unwrap();
    // A pidfd becomes readable when its process ends.
    let mut fds = [rustix::event::PollFd::new(
        &pidfd,
        rustix::event::PollFlags::IN,
    )];
    let limit = rustix::event::Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    assert_eq!(rustix::event::poll(&mut fds, Some(&limit)).unwrap(), 1);
    fs::remove_dir_all(directory).unwrap();
}
