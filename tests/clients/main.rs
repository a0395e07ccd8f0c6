//! Clients of the gRPC API in other languages: the programs of `docs/engines.md`, with code that the
//! usual generators make from `proto/`, on the real daemon and a real containerd.
//!
//! Needs the generators and libraries of gRPC, which `cargo xtask test` fetches and names in
//! `RECLAIM_TEST_GRPC_PYTHON` and `RECLAIM_TEST_GRPC_GO`.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "../serve/daemon.rs"]
#[expect(dead_code, reason = "shared with others")]
mod daemon;
#[path = "../e2e/rig.rs"]
#[expect(dead_code, reason = "shared with others")]
mod rig;

mod page;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reclaim_testkit::{Layer, NewContainer, image};
use tokio::process::Command;

use daemon::Daemon;
use rig::Rig;

/// The variable with the directory of the Python packages, which contain protoc.
const PYTHON: &str = "RECLAIM_TEST_GRPC_PYTHON";

/// The variable with the directory of Go, its generators and libraries.
const GO: &str = "RECLAIM_TEST_GRPC_GO";

/// The socket that the page names.
const SOCKET: &str = "/run/reclaim/reclaim.sock";

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_python_client_prunes() {
    let directory = tempfile::tempdir().unwrap();
    link_proto(directory.path());
    let program = page::block("Python", "python");
    fs::write(directory.path().join("prune.py"), program).unwrap();
    let environment = [
        ("PYTHONPATH", required(PYTHON)),
        ("PYTHONDONTWRITEBYTECODE", "1".into()),
    ];
    prunes(&page::commands("Python"), directory.path(), &environment).await;
}

#[tokio::test]
async fn a_go_client_prunes() {
    let directory = tempfile::tempdir().unwrap();
    // Without a module proxy the libraries are Debian's, in a workspace of Go from before modules. In it
    // a package has the same path as in a module of that name.
    let module = directory.path().join("src/prune");
    fs::create_dir_all(&module).unwrap();
    link_proto(&module);
    fs::write(module.join("prune.go"), page::block("Go", "go")).unwrap();
    let usr = Path::new(&required(GO)).join("usr");
    let goroot = usr.join("lib/go-1.24");
    let path = env::var_os("PATH").unwrap();
    let programs = [
        bundled_protoc(directory.path()),
        goroot.join("bin"),
        usr.join("bin"),
    ];
    let programs = programs.into_iter().chain(env::split_paths(&path));
    let workspaces = [directory.path().to_owned(), usr.join("share/gocode")];
    let environment = [
        ("PATH", env::join_paths(programs).unwrap()),
        ("PYTHONPATH", required(PYTHON)),
        ("PYTHONDONTWRITEBYTECODE", "1".into()),
        ("GOROOT", goroot.into()),
        ("GOPATH", env::join_paths(workspaces).unwrap()),
        ("GOCACHE", usr.with_file_name("go-build").into()),
        ("GO111MODULE", "off".into()),
        ("GOTOOLCHAIN", "local".into()),
        ("CGO_ENABLED", "0".into()),
    ];
    prunes(&page::commands("Go"), &module, &environment).await;
}

/// Returns the value of a variable that names what a test needs.
fn required(variable: &str) -> OsString {
    env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} is not set; see docs/contributing.md"))
}

/// Puts `proto/` into a directory, in which the commands run.
fn link_proto(directory: &Path) {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    symlink(proto, directory.join("proto")).unwrap();
}

/// Makes a `protoc` of the one in the Python packages, which has protobuf's own `.proto` files: an
/// installed one may lack them. Returns its directory.
fn bundled_protoc(directory: &Path) -> PathBuf {
    let programs = directory.join("bin");
    fs::create_dir(&programs).unwrap();
    let protoc = programs.join("protoc");
    fs::write(
        &protoc,
        "#!/bin/sh\nexec python3 -m grpc_tools.protoc \"$@\"\n",
    )
    .unwrap();
    fs::set_permissions(&protoc, fs::Permissions::from_mode(0o755)).unwrap();
    programs
}

/// Asserts that these commands, of which the last runs a client, remove the one unused image.
async fn prunes(commands: &[String], directory: &Path, environment: &[(&str, OsString)]) {
    let rig = Rig::start().await;
    for name in ["unused:1", "used:1"] {
        let image = image(&format!("docker.io/library/{name}"));
        let image = image.layers([Layer::named(name, 900)]);
        image.build(&rig.namespace).await.unwrap();
    }
    let web = NewContainer::new("web").image("docker.io/library/used:1");
    rig.namespace.create_container(web).await.unwrap();
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;

    let (client, generators) = commands.split_last().unwrap();
    for command in generators {
        run(command, directory, environment).await;
    }
    assert!(client.contains(SOCKET), "{client}");
    let client = client.replace(SOCKET, daemon.socket().to_str().unwrap());
    let printed = run(&client, directory, environment).await;
    assert_eq!(printed, "removed docker.io/library/unused:1\n");
    let left = rig.names().await;
    assert_eq!(left, ["docker.io/library/used:1".to_owned()].into());
}

/// Runs a command by the shell, and returns what it prints.
async fn run(command: &str, directory: &Path, environment: &[(&str, OsString)]) -> String {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).current_dir(directory);
    shell.envs(environment.iter().map(|(name, value)| (name, value)));
    let output = tokio::time::timeout(PATIENCE, shell.kill_on_drop(true).output());
    let output = output.await.unwrap().unwrap();
    assert!(output.status.success(), "{command}: {output:#?}");
    String::from_utf8(output.stdout).unwrap()
}
