//! `[protect]`: images that stay, whichever request selects them, unless it lifts the protection.
//!
//! Images that a node needs are protected by name. The sandbox image of pods is named in containerd's
//! own configuration, which the engine reads for each plan.

use reclaim_maintenance::settings;
use reclaim_maintenance::settings::Text;
use reclaim_model::{Digest, LabelFilter, Namespace, Pattern, Protection};

use super::InvalidSetting;

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

settings! {
    pub(super) struct ProtectSection in "protect" {
        /// Images that are not removed, by name as containerd stores it or as Docker shows it.
        references: Vec<Text<Pattern>> = Vec::new(),
            accepts "globs, or ~ and a regular expression";
        /// Images that are not removed, by target digest.
        digests: Vec<Text<Digest>> = Vec::new(), accepts "digests";
        /// Images that are not removed, by a label of the record or of the image config.
        labels: Vec<String> = Vec::new(), accepts "KEY or KEY=VALUE";
        /// Namespaces in which no image is removed.
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

/// Checks the section.
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
        pod_images_everywhere: infrastructure == Infrastructure::Protected,
    };
    Ok((protection, infrastructure))
}

fn globs<const N: usize>(texts: [&str; N]) -> [Pattern; N] {
    texts.map(|text| text.parse().expect("a glob"))
}
