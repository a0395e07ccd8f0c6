//! `[protect]`: images that no policy removes.
//!
//! Images that a node needs are protected by name. The sandbox image of pods is named in containerd's
//! own configuration, which is read again before policies run.

use reclaim_engine::{SandboxImages, read_sandbox_images};
use reclaim_maintenance::settings;
use reclaim_maintenance::settings::Text;
use reclaim_model::{Digest, LabelFilter, Namespace, Pattern, Protection};

use super::{Config, InvalidSetting};

/// Images that a node needs.
const INFRASTRUCTURE: [&str; 7] = [
    "registry.k8s.io/pause:*",
    "k8s.gcr.io/pause:*",
    "*/pause:*",
    "*/mirrored-pause:*",
    "*/kube-proxy:*",
    "*/coredns:*",
    "*/reclaim:*",
];

/// Names that a sandbox image could have, which are protected if the sandbox image is unknown.
const POSSIBLE_SANDBOXES: [&str; 2] = ["*pause*", "*sandbox*"];

settings! {
    pub(super) struct ProtectSection in "protect" {
        /// Images that no policy removes, by name as containerd stores it or as Docker shows it.
        references: Vec<Text<Pattern>> = Vec::new(),
            accepts "globs, or ~ and a regular expression";
        /// Images that no policy removes, by target digest.
        digests: Vec<Text<Digest>> = Vec::new(), accepts "digests";
        /// Images that no policy removes, by a label of the record or of the image config.
        labels: Vec<String> = Vec::new(), accepts "KEY or KEY=VALUE";
        /// Namespaces in which no policy removes anything.
        namespaces: Vec<Text<Namespace>> = Vec::new(), accepts "names of namespaces";
        /// Whether to protect the images that a node needs: pause, kube-proxy, coredns, Reclaim, and the sandbox image of containerd.config.
        infrastructure: bool = true;
    }
}

/// Whether the images that a node needs are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Infrastructure {
    /// They are protected.
    Protected,
    /// They are treated like other images.
    Free,
}

/// Checks the section. The result has no sandbox images yet: see [`protection_with_sandboxes`].
pub(super) fn protection(
    section: ProtectSection,
) -> Result<(Protection, Infrastructure), InvalidSetting> {
    let ProtectSection {
        references,
        digests,
        labels,
        namespaces,
        infrastructure,
    } = section;
    let infrastructure = if infrastructure {
        Infrastructure::Protected
    } else {
        Infrastructure::Free
    };
    let mut references: Vec<Pattern> = references.into_iter().map(|pattern| pattern.0).collect();
    if infrastructure == Infrastructure::Protected {
        references.extend(globs(INFRASTRUCTURE));
    }
    let labels = labels
        .iter()
        .map(|label| LabelFilter::parse(true, label))
        .collect::<Result<_, _>>()
        .map_err(|error| InvalidSetting::new("protect.labels", error.to_string()))?;
    let protection = Protection {
        references,
        digests: digests.into_iter().map(|digest| digest.0).collect(),
        labels,
        namespaces: namespaces
            .into_iter()
            .map(|namespace| namespace.0)
            .collect(),
        sandbox_images: Vec::new(),
    };
    Ok((protection, infrastructure))
}

/// Returns the images that no policy removes, including the sandbox images that containerd's
/// configuration names, and warnings about what could not be read.
pub(crate) fn protection_with_sandboxes(config: &Config) -> (Protection, Vec<String>) {
    let mut protection = config.protection.clone();
    if config.infrastructure == Infrastructure::Free {
        return (protection, Vec::new());
    }
    let found = read_sandbox_images(&config.containerd_toml);
    if !found.is_whole() {
        protection.references.extend(globs(POSSIBLE_SANDBOXES));
    }
    let SandboxImages { names, warnings } = found;
    protection.sandbox_images.extend(names);
    (protection, warnings)
}

fn globs<const N: usize>(texts: [&str; N]) -> [Pattern; N] {
    texts.map(|text| text.parse().expect("a glob"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::config_in;
    use super::*;

    fn protects(protection: &Protection, name: &str) -> bool {
        protection.references.iter().any(|it| it.matches(name))
            || protection.sandbox_images.iter().any(|it| it == name)
    }

    #[test]
    fn protects_the_sandbox_image_or_every_possible_one_if_it_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let named = "r.example/pod-base:1";
        let text = format!("[plugins.cri]\nsandbox_image = '{named}'");
        fs::write(folder.join("containerd.toml"), text).unwrap();
        let (protection, warnings) = protection_with_sandboxes(&config_in(folder, ""));
        assert!(warnings.is_empty(), "{warnings:?}");
        assert!(protects(&protection, named));
        assert!(!protects(&protection, "r.example/my-pause-amd64:1"));
        assert!(!protects(&protection, "docker.io/library/app:1"));

        fs::write(folder.join("containerd.toml"), "[plugins").unwrap();
        let (protection, warnings) = protection_with_sandboxes(&config_in(folder, ""));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(protects(&protection, "r.example/my-pause-amd64:1"));
        assert!(protects(&protection, "r.example/pod/sandbox:1"));
        assert!(!protects(&protection, "docker.io/library/app:1"));

        let free = config_in(folder, "[protect]\ninfrastructure = false");
        let (protection, warnings) = protection_with_sandboxes(&free);
        assert!(warnings.is_empty());
        assert!(!protects(&protection, "registry.k8s.io/pause:3.10"));
    }
}
