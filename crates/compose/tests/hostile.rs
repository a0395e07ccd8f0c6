//! Files that are wrong, by mistake or on purpose: each is an error that names file and key.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it says"
)]

use std::fmt::Write;
use std::fs;

use proptest::prelude::*;
use reclaim_compose::{ProjectFiles, load};
use tempfile::TempDir;

/// Files by name, and the words of the error.
type Bad = (&'static [(&'static str, &'static str)], &'static str);

const MAIN: &str = "compose.yaml";

#[rustfmt::skip]
const BAD: &[Bad] = &[
    (&[(MAIN, "services: [web]")], "compose.yaml:1: services: must be a map"),
    (&[(MAIN, "services:\n  web: nginx\n")], "compose.yaml:2: services.web: must be a map"),
    (&[(MAIN, "services:\n  web:\n    image: 5\n")],
        "compose.yaml:3: services.web.image: must be a text; put 5 in quotes if it is one"),
    (&[(MAIN, "services:\n  web:\n    image: [a]\n")], "compose.yaml:3: services.web.image: must be a text"),
    (&[(MAIN, "services:\n  web:\n    ports: []\n")],
        "compose.yaml:3: services.web: has neither an image nor a build context"),
    (&[(MAIN, "services: {web: {image: a, profiles: debug}}")],
        "compose.yaml:1: services.web.profiles: must be a list of texts"),
    (&[(MAIN, "just a text")], "compose.yaml:1: must be a map"),
    (&[(MAIN, "services:\n  web: {image: a}\n  web: {image: b}\n")], "compose.yaml:3: key `web` is there already"),
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
    (&[(MAIN, "services: {a: {extends: nobody}}")], "services.a.extends: there is no service `nobody` in `"),
    (&[(MAIN, "services: {a: {extends: {file: other.yaml}}}")], "services.a.extends: must name a service"),
    (&[(MAIN, "services: {a: {extends: {file: nowhere.yaml, service: b}}}")], "nowhere.yaml`: No such file"),
    (&[(MAIN, "services: {a: {extends: {file: 'https://example.com/x.git', service: b}}}")],
        "`https://example.com/x.git` is not a file of this machine"),
    (&[(MAIN, "include: [compose.yaml]")], "compose.yaml:1: include.0: `"),
    (&[(MAIN, "include: [a.yaml]"), ("a.yaml", "include: [b.yaml]"), ("b.yaml", "include: [a.yaml]")],
        "b.yaml:1: include.0: `"),
    (&[(MAIN, "include: {path: x}")], "compose.yaml:1: include: must be a list"),
    (&[(MAIN, "include: ['oci://example.com/x']")], "include.0: `oci://example.com/x` is not a file"),
    (&[(MAIN, "include: [{env_file: x}]")], "include.0: must name a file"),
    (&[(MAIN, "name: No.Name\nservices: {}")], "compose.yaml:1: name: invalid project name \"No.Name\""),
    (&[(MAIN, "services: {}"), (".env", "A=1\nB='x\n")], ".env:2: unterminated quoted value 'x"),
    (&[(MAIN, "services: {}"), (".env", "no name here\n")], ".env:1: `no name here` is no name of a variable"),
    (&[("other.yaml", "services: {}")], "no compose.yaml, compose.yml, docker-compose.yml"),
];

/// Reads the project of a directory, and says what is wrong with it.
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
fn what_is_wrong_is_named() {
    for (files, said) in BAD {
        let files: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(name, it)| (*name, it.as_bytes()))
            .collect();
        let error = error(&directory(&files));
        assert!(error.contains(said), "{said}\n{error}");
    }
}

#[test]
fn what_is_no_text_is_refused() {
    let said = error(&directory(&[(
        MAIN,
        b"services: {web: {image: \"\xff\xfe\"}}",
    )]));
    assert!(
        said.ends_with("compose.yaml: is not UTF-8 from byte 25 on"),
        "{said}"
    );
    let said = error(&directory(&[(MAIN, &[0; 64])]));
    assert!(said.contains("compose.yaml"), "{said}");
    // One with a mark at its beginning is one all the same.
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
    let said = error(&directory(&[(MAIN, text.as_bytes())]));
    assert!(
        said.ends_with("compose.yaml: is larger than the 1048576 bytes that are accepted"),
        "{said}"
    );
}

/// Written out, this would be two to the thousandth services.
#[test]
fn anchors_that_double_are_counted_once() {
    let mut text = "x0: &x0 {image: acme/x}\n".to_owned();
    for level in 1..1000 {
        let below = level - 1;
        writeln!(text, "x{level}: &x{level} {{a: *x{below}, b: *x{below}}}").unwrap();
    }
    text.push_str("services: *x999\n");
    let said = error(&directory(&[(MAIN, text.as_bytes())]));
    assert!(
        said.contains("services.a: has neither an image nor a build context"),
        "{said}"
    );
    let keys: Vec<String> = (0..50).map(|it| format!("k{it}: v")).collect();
    let merges = "*x,".repeat(10_000);
    let text = format!(
        "x: &x {{{}}}\nservices: {{web: {{<<: [{merges}]}}}}",
        keys.join(", ")
    );
    let said = error(&directory(&[(MAIN, text.as_bytes())]));
    assert!(
        said.contains("has more than the 500000 values that are accepted"),
        "{said}"
    );
}

/// Each file includes the next twice.
#[test]
fn includes_that_double_end() {
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
    let said = error(&directory(&files));
    assert!(
        said.contains("includes or extends more than the 1000 files accepted"),
        "{said}"
    );
}

#[test]
fn a_service_that_is_not_there_is_named() {
    let directory = directory(&[(MAIN, b"services: {web: {image: a}, db: {image: b}}")]);
    let files = ProjectFiles {
        services: vec!["wbe".to_owned()],
        working_directory: directory.path().to_owned(),
        ..ProjectFiles::default()
    };
    let error = load(&files).unwrap_err().to_string();
    assert_eq!(error, "no such service: wbe; the project has db, web");
}

/// Pieces of which files are made, in any order.
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
    /// Any file is a project or an error.
    #[test]
    fn no_file_is_too_strange(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60)) {
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
