//! Completions, man pages and `health`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const RECLAIM: &str = env!("CARGO_BIN_EXE_reclaim");

/// bash loads what `completions bash` prints.
#[test]
fn bash_completes_commands() {
    let script = Command::new(RECLAIM)
        .args(["completions", "bash"])
        .output()
        .unwrap();
    assert!(script.status.success(), "{script:?}");
    let complete = "\nCOMP_WORDS=(reclaim ima); COMP_CWORD=1; _reclaim reclaim ima reclaim\n\
                    echo \"${COMPREPLY[@]}\"\n";
    let mut bash = Command::new("bash")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = bash.stdin.take().unwrap();
    stdin.write_all(&script.stdout).unwrap();
    stdin.write_all(complete.as_bytes()).unwrap();
    drop(stdin);
    let completed = bash.wait_with_output().unwrap();
    assert!(completed.status.success(), "{completed:?}");
    assert_eq!(String::from_utf8_lossy(&completed.stdout), "image\n");
}

/// `man-pages` writes a page for each command that `--help` lists, and no others.
#[test]
fn every_command_has_a_man_page() {
    let directory = tempfile::tempdir().unwrap();
    let written = Command::new(RECLAIM)
        .arg("man-pages")
        .arg(directory.path())
        .output();
    assert!(written.as_ref().unwrap().status.success(), "{written:?}");
    let pages: BTreeSet<String> = fs::read_dir(directory.path())
        .unwrap()
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut expected = BTreeSet::from(["reclaim.1".to_owned()]);
    for command in commands(&[]) {
        expected.insert(format!("reclaim-{command}.1"));
        for below in commands(&[&command]) {
            expected.insert(format!("reclaim-{command}-{below}.1"));
        }
    }
    assert_eq!(pages, expected);
    let page = fs::read_to_string(directory.path().join("reclaim-image-prune.1")).unwrap();
    assert!(page.contains(r"\-\-undo\-window"), "{page}");
}

#[test]
fn man_pages_names_a_missing_directory() {
    let missing = Path::new("/nonexistent/directory");
    let output = Command::new(RECLAIM)
        .arg("man-pages")
        .arg(missing)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("/nonexistent/directory"), "{error}");
}

/// `health` says that no daemon listens, and refuses an address that it does not support.
#[test]
fn health_needs_a_daemon() {
    let health = |args: &[&str]| {
        let output = Command::new(RECLAIM)
            .env_clear()
            .arg("health")
            .args(args)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), error)
    };
    let (code, error) = health(&["--live", "--host", "unix:///nonexistent/socket"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(
        error.contains("connect to the daemon at unix:///nonexistent/socket"),
        "{error}"
    );
    for usage in [&["--host", "tcp://127.0.0.1:1"], &["--timeout", "2m"]] {
        let (code, error) = health(usage);
        assert_eq!(code, Some(2), "{error}");
    }
}

/// Returns the subcommands that the help of a command lists.
pub(crate) fn commands(above: &[&str]) -> Vec<String> {
    let output = Command::new(RECLAIM)
        .args(above)
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.strip_prefix("  "))
        // Further lines of a description are indented more.
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}
