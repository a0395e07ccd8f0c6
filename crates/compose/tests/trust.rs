//! Files that other users can change, and files that are not a project's.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it says"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use reclaim_compose::{ComposeError, Loaded, ProjectFiles, Trusted, load};
use tempfile::TempDir;

const FILE: &str = "services: {web: {image: a}}";

/// A directory with the project in it, which this user alone can change, and a directory below it.
fn project() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    set_mode(directory.path(), 0o755);
    write(&directory.path().join("compose.yaml"), FILE);
    let below = directory.path().join("below");
    fs::create_dir(&below).unwrap();
    set_mode(&below, 0o755);
    (directory, below)
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    set_mode(path, 0o644);
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn request(working_directory: &Path) -> ProjectFiles {
    let metadata = fs::metadata(working_directory).unwrap();
    ProjectFiles {
        working_directory: working_directory.to_owned(),
        trusted: Some(Trusted {
            users: [metadata.uid()].into(),
            groups: [metadata.gid()].into(),
        }),
        ..ProjectFiles::default()
    }
}

/// Returns the warnings, each up to the effect that all of them name.
fn warnings(loaded: &Loaded) -> Vec<&str> {
    let warnings = loaded.warnings.iter();
    warnings.map(|it| it.split(", ").next().unwrap()).collect()
}

#[test]
fn files_of_this_user_are_used_without_a_warning() {
    let (directory, below) = project();
    for working_directory in [directory.path(), &below] {
        let loaded = load(&request(working_directory)).unwrap();
        assert_eq!(warnings(&loaded), Vec::<&str>::new());
    }
}

#[test]
fn a_file_that_others_can_change_is_refused_above_and_named_elsewhere() {
    let cases: [(&str, u32); 3] = [("compose.yaml", 0o666), (".env", 0o646), ("", 0o777)];
    for (name, mode) in cases {
        let (directory, below) = project();
        let changed = directory.path().join(name);
        if name == ".env" {
            write(&changed, "A=b");
        }
        set_mode(&changed, mode);
        let error = load(&request(&below)).unwrap_err();
        let (file, option) = match name {
            ".env" => (".env", "--env-file"),
            _ => ("compose.yaml", "--file"),
        };
        let path = directory.path().join(file);
        let expected = format!(
            "use `{}`: every user can change it, and it was found above the working directory; to \
             use it regardless, name it with {option}",
            path.display()
        );
        assert_eq!(error.to_string(), expected);
        let expected = format!("every user can change `{}`", path.display());
        // In the working directory, or named, it is used.
        let mut named = request(&below);
        named.files = vec![directory.path().join("compose.yaml")];
        for request in [named, request(directory.path())] {
            let loaded = load(&request).unwrap();
            assert_eq!(warnings(&loaded), [&*expected], "{name}");
        }
    }
}

#[test]
fn every_file_that_is_read_is_checked() {
    let (directory, _) = project();
    let path = |name: &str| directory.path().join(name);
    write(
        &path("compose.yaml"),
        "include: [{path: more.yaml, env_file: more.env}]\nservices: {web: {extends: {file: base.yaml, service: web}}}",
    );
    write(
        &path("compose.override.yaml"),
        "services: {web: {image: b}}",
    );
    write(&path("more.yaml"), "services: {}");
    write(&path("base.yaml"), FILE);
    write(&path("more.env"), "A=b");
    write(&path("given.env"), "A=b");
    let mut request = request(directory.path());
    request.env_files = vec![path("given.env")];
    let loaded = load(&request).unwrap();
    assert_eq!(loaded.files.len(), 6, "{:?}", loaded.files);
    assert_eq!(warnings(&loaded), Vec::<&str>::new());
    for file in &loaded.files {
        set_mode(file, 0o666);
        let expected = format!("every user can change `{}`", file.display());
        assert_eq!(warnings(&load(&request).unwrap()), [&*expected]);
        set_mode(file, 0o644);
    }
}

#[test]
fn owners_groups_and_links_count() {
    let (directory, below) = project();
    let file = directory.path().join("compose.yaml");
    let mut by_others = request(directory.path());
    by_others.trusted = Some(Trusted::default());
    let owner = fs::metadata(&file).unwrap();
    let (uid, gid) = (owner.uid(), owner.gid());
    // Root and its group are always trusted.
    if uid != 0 {
        let loaded = load(&by_others).unwrap();
        let expected = format!("user {uid} can change `{}`", file.display());
        assert_eq!(warnings(&loaded), [&*expected]);
    }
    set_mode(&file, 0o664);
    let mut own = request(directory.path());
    assert_eq!(warnings(&load(&own).unwrap()), Vec::<&str>::new());
    own.trusted.as_mut().unwrap().groups.clear();
    let group = format!("group {gid} can change `{}`", file.display());
    let expected = if gid == 0 { vec![] } else { vec![&*group] };
    assert_eq!(warnings(&load(&own).unwrap()), expected);

    // The link is in a closed directory, its target is not.
    let open = directory.path().join("open");
    fs::create_dir(&open).unwrap();
    write(&open.join("compose.yaml"), FILE);
    set_mode(&open, 0o777);
    symlink(open.join("compose.yaml"), below.join("compose.yaml")).unwrap();
    let loaded = load(&request(&below)).unwrap();
    let link = below.join("compose.yaml");
    let expected = format!("every user can change `{}`", link.display());
    assert_eq!(warnings(&loaded), [&*expected]);
    // The link is in the open directory, its target is not.
    fs::remove_file(&link).unwrap();
    fs::remove_file(open.join("compose.yaml")).unwrap();
    write(&link, FILE);
    symlink(&link, open.join("compose.yaml")).unwrap();
    let loaded = load(&request(&open)).unwrap();
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    // With the sticky bit, others cannot replace the link.
    set_mode(&open, 0o1777);
    let loaded = load(&request(&open)).unwrap();
    assert_eq!(warnings(&loaded), Vec::<&str>::new());
}

#[test]
fn devices_are_not_checked() {
    let (directory, _) = project();
    let mut request = request(directory.path());
    request.env_files = vec!["/dev/null".into()];
    assert_eq!(warnings(&load(&request).unwrap()), Vec::<&str>::new());
}

/// A link may lead to a file that only this user can read.
#[test]
fn an_error_shows_nothing_of_what_it_cannot_parse() {
    const SECRET: &str = "hunter2";
    let env: [String; 4] = [
        format!("root:$6${SECRET}:19000:0\nmachine x password {SECRET}"),
        format!("A='{SECRET}"),
        format!("A=\"{SECRET}"),
        format!("A=${{{SECRET}"),
    ];
    for text in env {
        let (directory, _) = project();
        write(&directory.path().join(".env"), &text);
        assert_says_no(SECRET, load(&request(directory.path())), &text);
    }
    let yaml: [String; 9] = [
        format!("root:$6${SECRET}:19000:0"),
        format!("services: {{web: {SECRET}}}"),
        format!("services: {{web: {{image: [{SECRET}]}}}}"),
        format!("services: {{web: {{image: '${{{SECRET}'}}}}"),
        format!("services: {{web: {{image: '${{A B{SECRET}}}'}}}}"),
        format!("services: {{web: {{image: a, profiles: {SECRET}}}}}"),
        format!("\t{SECRET}: - : ["),
        format!("%{SECRET}\n---\n&{SECRET} *{SECRET}"),
        format!("include: {SECRET}"),
    ];
    for text in yaml {
        let (directory, _) = project();
        write(&directory.path().join("compose.yaml"), &text);
        assert_says_no(SECRET, load(&request(directory.path())), &text);
    }
    let (directory, _) = project();
    write(
        &directory.path().join("compose.yaml"),
        "services: {web: {image: 271828}}",
    );
    assert_says_no("271828", load(&request(directory.path())), "a number");
}

fn assert_says_no(secret: &str, result: Result<Loaded, ComposeError>, text: &str) {
    let error = reclaim_model::chain(&result.expect_err(text));
    assert!(!error.contains(secret), "{text}\n{error}");
}

proptest! {
    /// Characters that are not in names of files, keys or texts of errors stand for the secret.
    #[test]
    fn no_text_of_an_env_file_is_shown(text in "[€ª=:'\"$\\{\\}\\\\#\n -]{0,40}") {
        let (directory, _) = project();
        write(&directory.path().join(".env"), &text);
        if let Err(error) = load(&request(directory.path())) {
            let error = reclaim_model::chain(&error);
            prop_assert!(!error.contains(['€', 'ª']), "{}", error);
        }
    }
}
