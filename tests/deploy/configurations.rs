//! `reclaim config check` accepts every configuration of the documentation and the packages.

use std::process::Command;

use crate::read;

/// Checks a configuration. Returns its number of policies.
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
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{title}: {stderr}\n{text}");
    let (_, n_policies) = stderr
        .trim()
        .rsplit_once("enabled policies: ")
        .unwrap_or_else(|| panic!("{title}: {stderr}"));
    n_policies.parse().unwrap()
}

/// Returns the TOML blocks of a page.
fn toml_blocks(page: &str) -> Vec<&str> {
    page.split("```toml\n")
        .skip(1)
        .map(|block| block.split_once("```").unwrap().0)
        .collect()
}

#[test]
fn configurations_in_the_documentation_are_valid() {
    for (page, least) in [("docs/operations.md", 4), ("docs/configuration.md", 1)] {
        let text = read(page);
        let blocks = toml_blocks(&text);
        assert!(blocks.len() >= least, "{page} has {} blocks", blocks.len());
        for block in blocks {
            let has_policies = checked(page, block) > 0;
            assert_eq!(
                has_policies,
                block.contains("[[policy]]"),
                "{page}:\n{block}"
            );
        }
    }
}

#[test]
fn the_packaged_configuration_has_no_policy() {
    assert_eq!(
        checked("as packaged", &read("deploy/debian/config.toml")),
        0
    );
}

/// The examples are commented out, and are dry runs.
#[test]
fn examples_in_the_packaged_configuration_are_valid() {
    let packaged = read("deploy/debian/config.toml");
    // Prose has a space after `#`; keys and sections do not.
    let lines: Vec<&str> = packaged
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest,
            _ => line,
        })
        .collect();
    let examples = lines.join("\n");
    let n_policies = examples.matches("\n[[policy]]").count();
    assert_eq!(n_policies, 2);
    assert_eq!(checked("with its examples", &examples), n_policies);
    assert_eq!(examples.matches("\ndry_run = true").count(), n_policies);
}

#[test]
fn policies_in_the_kubernetes_manifests_are_dry_runs() {
    for name in [
        "deploy/kubernetes/base/config.toml",
        "deploy/kubernetes/overlays/turns/config.toml",
    ] {
        let text = read(name);
        assert_eq!(checked(name, &text), 1);
        assert_eq!(text.matches("\ndry_run = true").count(), 1, "{name}");
    }
}
