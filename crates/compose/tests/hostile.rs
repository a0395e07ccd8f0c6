//! Invalid and hostile files: each is an error with file and key.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it says"
)]

use std::fmt::Write;
use std::fs;

use proptest::prelude::*;
use reclaim_compose::{ProjectFiles, load};
use tempfile::TempDir;

/// Files by name, and a part of the error's text.
type Bad = (&'static [(&'static str, &'static str)], &'static str);

const MAIN: &str = "compose.yaml";

#[rustfmt::skip]
const BAD: &[Bad] = &[
    (&[(MAIN, "services: [web]")], "compose.yaml:1: services: must be a map"),
    (&[(MAIN, "services:\n  web: nginx\n")], "compose.yaml:2: services.web: must be a map"),
    (&[(MAIN, "services:\n  web:\n    image: 5\n")],
        "compose.yaml:3: services.web.image: must be a string; put the value in quotes"),
    (&[(MAIN, "services:\n  web:\n    image: [a]\n")], "compose.yaml:3: services.web.image: must be a string"),
    (&[(MAIN, "services:\n  web:\n    ports: []\n")],
        "compose.yaml:3: services.web: has neither an image nor a build context"),
    (&[(MAIN, "services: {web: {image: a, profiles: debug}}")],
        "compose.yaml:1: services.web.profiles: must be a list of strings"),
    (&[(MAIN, "just a text")], "compose.yaml:1: must be a map"),
    (&[(MAIN, "services:\n  web: {image: a}\n  web: {image: b}\n")], "compose.yaml:3: duplicate key `web`"),
    (&[(MAIN, "services:\n  web:\n\t- x")], "compose.yaml:3: is not YAML: "),
    (&[(MAIN, "services:\n  web:\n    image: acme/web:${TAG:?say which}\n")],
        "compose.yaml:3: services.web.image: required variable TAG is missing a value: say which"),
    (&[(MAIN, "services:\n  web:\n    image: ${TAG\n")],
        "compose.yaml:3: services.web.image: invalid interpolation format"),
    (&[(MAIN, "services:\n  a: {extends: b}\n  b: {extends: {service: c}}\n  c: {extends: a}\n")],
        "services.a.extends: services extend each other in a circle: a in "),
    (&[(MAIN, "services: {a: {extends: a}}")], "services.a.extends: services extend each other in a circle"),
    (&[(MAIN, "services: {a: {extends: {file: other.yaml, service: b}}}"),
       ("other.yaml", "services: {b: {extends: {file: compose.yaml, service: a}}}")],
        "services.a.extends: services extend each other in a circle"),
    (&[(MAIN, "services: {a: {extends: b}}")], "services.a.extends: service `b` does not exist in `"),
    (&[(MAIN, "services: {a: {extends: {file: other.yaml}}}")], "services.a.extends: must name a service"),
    (&[(MAIN, "services: {a: {extends: {file: nowhere.yaml, service: b}}}")], "nowhere.yaml`: No such file"),
    (&[(MAIN, "services: {a: {extends: {file: 'https://example.com/x.git', service: b}}}")],
        "`https://example.com/x.git` is not a local file"),
    (&[(MAIN, "include: [compose.yaml]")], "compose.yaml:1: include.0: `"),
    (&[(MAIN, "include: [a.yaml]"), ("a.yaml", "include: [b.yaml]"), ("b.yaml", "include: [a.yaml]")],
        "b.yaml:1: include.0: `"),
    (&[(MAIN, "include: {path: x}")], "compose.yaml:1: include: must be a list"),
    (&[(MAIN, "include: ['oci://example.com/x']")], "include.0: `oci://example.com/x` is not a local file"),
    (&[(MAIN, "include: [{env_file: x}]")], "include.0: must name a file"),
    (&[(MAIN, "name: No.Name\nservices: {}")], "compose.yaml:1: name: invalid project name \"No.Name\""),
    (&[(MAIN, "services: {}"), (".env", "A=1\nB='x\n")], ".env:2: unterminated quoted value; expected ' at its end"),
    (&[(MAIN, "services: {}"), (".env", "no name here\n")], ".env:1: no variable name; expected NAME=value"),
    (&[("other.yaml", "services: {}")], "no compose.yaml, compose.yml, docker-compose.yml"),
];

/// Reads the project of a directory, and returns the text of the error.
fn error(directory: &TempDir) -> String {
    let files = ProjectFiles {
        working_directory: directory.path().to_owned(),
        ..ProjectFiles::default()
    };
    let error = load(&files).unwrap_err();
    reclaim_model::chain(&error)
}

fn directory(files: &[(&str, &[u8])]) -> TempDir {
    let directory = tempfile::Builder::new()
        .prefix("project")
        .tempdir()
        .unwrap();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    directory
}

#[test]
fn an_error_names_the_file_and_the_problem() {
    for (files, expected) in BAD {
        let files: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(name, text)| (*name, text.as_bytes()))
            .collect();
        let error = error(&directory(&files));
        assert!(error.contains(expected), "{expected}\n{error}");
    }
}

#[test]
fn a_file_that_is_not_utf_8_is_refused() {
    let message = error(&directory(&[(
        MAIN,
        b"services: {web: {image: \"\xff\xfe\"}}",
    )]));
    assert!(
        message.ends_with("compose.yaml: is not UTF-8 at byte 25"),
        "{message}"
    );
    let message = error(&directory(&[(MAIN, &[0; 64])]));
    assert!(message.contains("compose.yaml"), "{message}");
    // A byte order mark is accepted.
    let marked = directory(&[(MAIN, b"\xef\xbb\xbfservices: {web: {image: a}}")]);
    let files = ProjectFiles {
        working_directory: marked.path().to_owned(),
        ..ProjectFiles::default()
    };
    assert_eq!(load(&files).unwrap().project.services.len(), 1);
}

#[test]
fn ten_megabytes_are_refused() {
    let mut text = "services:\n".to_owned();
    while text.len() < 10 << 20 {
        let number = text.len();
        writeln!(text, "  s{number}: {{image: acme/s:{number}}}").unwrap();
    }
    let message = error(&directory(&[(MAIN, text.as_bytes())]));
    assert!(
        message.ends_with("compose.yaml: is larger than 1048576 bytes"),
        "{message}"
    );
}

/// Without sharing, there would be two to the thousandth values.
#[test]
fn multiplying_anchors_are_shared() {
    let mut text = "x0: &x0 {image: acme/x}\n".to_owned();
    for level in 1..1000 {
        let below = level - 1;
        writeln!(text, "x{level}: &x{level} {{a: *x{below}, b: *x{below}}}").unwrap();
    }
    text.push_str("services: *x999\n");
    let message = error(&directory(&[(MAIN, text.as_bytes())]));
    assert!(
        message.contains("services.a: has neither an image nor a build context"),
        "{message}"
    );
    let keys: Vec<String> = (0..50).map(|number| format!("k{number}: v")).collect();
    let merges = "*x,".repeat(10_000);
    let text = format!(
        "x: &x {{{}}}\nservices: {{web: {{<<: [{merges}]}}}}",
        keys.join(", ")
    );
    let message = error(&directory(&[(MAIN, text.as_bytes())]));
    assert!(message.contains("has more than 500000 values"), "{message}");
}

/// Each file includes the next one twice.
#[test]
fn multiplying_includes_are_limited() {
    let files: Vec<(String, String)> = (0..60)
        .map(|level| {
            let next = level + 1;
            let text = format!("include: [f{next}.yaml, ./f{next}.yaml]");
            (format!("f{level}.yaml"), text)
        })
        .collect();
    let mut files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_bytes()))
        .collect();
    files.push(("f60.yaml", b"services: {}"));
    files.push((MAIN, b"include: [f0.yaml]"));
    let message = error(&directory(&files));
    assert!(
        message.contains("includes or extends more than 1000 files"),
        "{message}"
    );
}

#[test]
fn a_missing_service_is_an_error_with_the_existing_ones() {
    let directory = directory(&[(MAIN, b"services: {web: {image: a}, db: {image: b}}")]);
    let files = ProjectFiles {
        services: vec!["wbe".to_owned()],
        working_directory: directory.path().to_owned(),
        ..ProjectFiles::default()
    };
    let error = load(&files).unwrap_err().to_string();
    assert_eq!(error, "no such service: wbe; the project has db, web");
}

/// The pieces of generated files.
const PIECES: [&str; 40] = [
    "services",
    "web",
    "image",
    "build",
    "extends",
    "include",
    "profiles",
    "name",
    "service",
    "file",
    "compose.yaml",
    ":",
    ": ",
    "\n",
    "\n  ",
    "\n    ",
    "\n- ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "&a ",
    "*a",
    "<<: ",
    "!reset ",
    "!override ",
    "'",
    "\"",
    "|",
    ">",
    "#",
    "${",
    "$",
    ":-",
    "A",
    "~",
    "---\n",
    "\u{fffd}",
];

proptest! {
    #[test]
    fn any_file_is_a_project_or_an_error(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60)) {
        let text = pieces.concat();
        let project = directory(&[(MAIN, text.as_bytes()), (".env", text.as_bytes())]);
        for disabled in ["0", "1"] {
            let disable = ("COMPOSE_DISABLE_ENV_FILE".to_owned(), disabled.to_owned());
            let files = ProjectFiles {
                environment: [disable].into(),
                working_directory: project.path().to_owned(),
                ..ProjectFiles::default()
            };
            if let Err(error) = load(&files) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
