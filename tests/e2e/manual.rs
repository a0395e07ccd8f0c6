//! What the binary says about itself for others: completions and man pages.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const RECLAIM: &str = env!("CARGO_BIN_EXE_reclaim");

/// `completions bash` should print what bash can read, and then complete commands by.
#[test]
fn bash_completes_commands() {
    let script = Command::new(RECLAIM).args(["completions", "bash"]).output();
    let script = script.unwrap();
    assert!(script.status.success(), "{script:?}");
    let ask = "\nCOMP_WORDS=(reclaim ima); COMP_CWORD=1; _reclaim reclaim ima reclaim\n\
               echo \"${COMPREPLY[@]}\"\n";
    let mut bash = Command::new("bash")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = bash.stdin.take().unwrap();
    stdin.write_all(&script.stdout).unwrap();
    stdin.write_all(ask.as_bytes()).unwrap();
    drop(stdin);
    let answer = bash.wait_with_output().unwrap();
    assert!(answer.status.success(), "{answer:?}");
    assert_eq!(String::from_utf8_lossy(&answer.stdout), "image\n");
}

/// `man-pages` should write a page for each command that `--help` lists, and for no other.
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

/// `man-pages` should name the directory that it cannot write to.
#[test]
fn names_a_directory_that_is_not_there() {
    let missing = Path::new("/nonexistent/directory");
    let output = Command::new(RECLAIM).arg("man-pages").arg(missing).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("/nonexistent/directory"), "{words}");
}

/// `health` should say that no daemon listens, and refuse an address that it cannot use.
#[test]
fn health_needs_a_daemon() {
    let health = |args: &[&str]| {
        let mut command = Command::new(RECLAIM);
        let command = command.env_clear().arg("health").args(args);
        let output = command.output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), words)
    };
    let (code, words) = health(&["--live", "--host", "unix:///nonexistent/socket"]);
    assert_eq!(code, Some(1), "{words}");
    assert!(
        words.contains("connect to the daemon at unix:///nonexistent/socket"),
        "{words}"
    );
    for usage in [&["--host", "tcp://127.0.0.1:1"], &["--timeout", "2m"]] {
        let (code, words) = health(usage);
        assert_eq!(code, Some(2), "{words}");
    }
}

/// Returns the commands below `above` that its help lists.
fn commands(above: &[&str]) -> Vec<String> {
    let help = Command::new(RECLAIM).args(above).arg("--help").output();
    let help = String::from_utf8(help.unwrap().stdout).unwrap();
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    // A line of a longer description is indented further.
    let names = lines.take_while(|line| line.starts_with("  "));
    names
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}
