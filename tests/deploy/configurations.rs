//! Every configuration that the documentation and the packages show, through `reclaim config check`.

use std::process::Command;

use crate::read;

/// Checks a configuration. Returns how many policies it has.
#[track_caller]
fn checked(title: &str, text: &str) -> usize {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_reclaim"))
        .args(["config", "check", "--config"])
        .arg(&file)
        .env_clear()
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{title}: {words}\n{text}");
    let policies = words.trim().rsplit_once("enabled policies: ");
    let (_, policies) = policies.unwrap_or_else(|| panic!("{title}: {words}"));
    policies.parse().unwrap()
}

/// Returns the blocks of a page that are marked as TOML.
fn toml_blocks(page: &str) -> Vec<&str> {
    let blocks = page.split("```toml\n").skip(1);
    blocks
        .map(|block| block.split_once("```").unwrap().0)
        .collect()
}

#[test]
fn the_documentation_shows_what_is_accepted() {
    for (page, least) in [("docs/operations.md", 4), ("docs/configuration.md", 1)] {
        let text = read(page);
        let blocks = toml_blocks(&text);
        assert!(blocks.len() >= least, "{page} has {} blocks", blocks.len());
        for block in blocks {
            assert!(checked(page, block) > 0, "{page} has no policy in\n{block}");
        }
    }
}

/// The package's own file should delete nothing until it is told to.
#[test]
fn the_package_comes_without_a_policy() {
    assert_eq!(
        checked("as packaged", &read("deploy/debian/config.toml")),
        0
    );
}

/// What is commented out in it should be right once it is not, and then still only say what it
/// would do.
#[test]
fn the_examples_of_the_package_are_accepted() {
    let packaged = read("deploy/debian/config.toml");
    // A key or a section has no space behind the mark, and prose has.
    let lines = packaged.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest,
        _ => line,
    });
    let examples: Vec<&str> = lines.collect();
    let examples = examples.join("\n");
    let policies = examples.matches("\n[[policy]]").count();
    assert_eq!(policies, 2);
    assert_eq!(checked("with its examples", &examples), policies);
    assert_eq!(examples.matches("\ndry_run = true").count(), policies);
}

#[test]
fn the_manifests_come_with_policies_that_only_say_what_they_would_do() {
    for name in [
        "deploy/kubernetes/base/config.toml",
        "deploy/kubernetes/overlays/turns/config.toml",
    ] {
        let text = read(name);
        assert_eq!(checked(name, &text), 1);
        assert_eq!(text.matches("\ndry_run = true").count(), 1, "{name}");
    }
}
