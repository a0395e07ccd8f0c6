//! Which images are protected from removal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::{Digest, Holder, LabelFilter, Namespace, Pattern};

/// Images that stay, whichever request selects them, unless it lifts the protection.
#[derive(Debug, Clone, Default)]
pub struct Protection {
    /// By name.
    pub references: Vec<Pattern>,
    /// By target.
    pub digests: BTreeSet<Digest>,
    /// By a label of the record, or of a configuration.
    pub labels: Vec<LabelFilter>,
    /// All of these.
    pub namespaces: BTreeSet<Namespace>,
    /// Whether the images that pods need by containerd's own configuration are protected in every
    /// namespace, not only in those that the CRI plugin uses.
    pub pod_images_everywhere: bool,
}

impl Protection {
    /// Returns the key that protects an image by its name or by these labels.
    pub fn of(&self, name: &str, labels: &BTreeMap<String, String>) -> Option<String> {
        let mut patterns = self.references.iter();
        if let Some(pattern) = patterns.find(|pattern| pattern.matches(name)) {
            return Some(format!("protect.references {pattern}"));
        }
        let label = self.labels.iter().find(|label| label.matches(labels))?;
        Some(format!("protect.labels {}", label.key))
    }

    /// Returns the keys of the image labels that protect.
    pub fn label_keys(&self) -> impl Iterator<Item = &String> {
        self.labels.iter().map(|label| &label.key)
    }
}

/// What protects the images of one namespace.
#[derive(Debug, Clone, Default)]
pub struct NamespaceProtection {
    /// The protection of all namespaces.
    pub rules: Arc<Protection>,
    /// This namespace, if all of its images are protected.
    pub whole: Option<Namespace>,
    /// Whether the request lifts it: it is then reported, and keeps no image.
    pub is_lifted: bool,
}

/// Returns the warning that a request lifts the protection of an image by a rule.
pub fn lift_warning(image: &str, rule: &Holder) -> String {
    format!("image `{image}` is protected by {rule}, and the request lifts the protection")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HolderKind;

    #[test]
    fn label_keys_are_those_of_all_labels() {
        let labels = ["app", "team=a"].map(|text| LabelFilter::parse(true, text).unwrap());
        let protection = Protection {
            labels: labels.into(),
            ..Protection::default()
        };
        let keys: Vec<&str> = protection.label_keys().map(String::as_str).collect();
        assert_eq!(keys, ["app", "team"]);
    }

    #[test]
    fn the_warning_names_image_and_rule() {
        let rule = Holder::new(HolderKind::Rule, "protect.references app:*");
        let warning = lift_warning("app:1", &rule);
        assert!(
            warning.starts_with("image `app:1` is protected by "),
            "{warning}"
        );
        assert!(warning.contains("protect.references app:*"), "{warning}");
    }
}
