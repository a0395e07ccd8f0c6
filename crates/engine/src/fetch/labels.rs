//! The labels by which containerd's collector goes from a manifest or an index to what it lists.
//!
//! Pulls write `.config`, `.l.N` for layers and `.m.N` for manifests, each with its own count;
//! BuildKit, the classic builder and Docker's migration write `.N`, the position among all. A label that
//! is missing gets the form of those that are there.
//!
//! Source: containerd `core/images/handlers.go`, `SetChildrenMappedLabels`, and `mediatypes.go`,
//! `ChildGCLabels`; BuildKit `exporter/containerimage/writer.go`.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::Digest;

const PREFIX: &str = "containerd.io/gc.ref.content.";

/// What a blob lists.
#[derive(Debug, Clone)]
pub(super) enum Children<'c> {
    /// Of a manifest: the config and the layers. With `is_new` the config gets a label, too.
    Manifest {
        config: &'c Digest,
        layers: Vec<&'c Digest>,
        is_new: bool,
    },
    /// Of an index: all entries, and the one that gets a label.
    Index {
        entries: Vec<&'c Digest>,
        position: usize,
    },
}

/// Labels to be written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) labels: BTreeMap<String, String>,
}

/// Returns the labels that a blob lacks for those of its children that are `here`. No key is one that
/// the blob has.
pub(super) fn missing(
    present: &BTreeMap<String, String>,
    children: &Children<'_>,
    here: &BTreeSet<Digest>,
) -> Added {
    let referenced: BTreeSet<&str> = present
        .iter()
        .filter(|(key, _)| key.starts_with(PREFIX))
        .map(|(_, value)| &**value)
        .collect();
    let lacks =
        |digest: &Digest| here.contains(digest) && !referenced.contains(&*digest.to_string());
    let mut added = Added::default();
    let mut add = |wanted: Vec<String>, digest: &Digest| {
        // If other labels have the keys, any that is free does.
        let spare = (0..).map(|number| format!("{PREFIX}restored.{number}"));
        let mut keys = wanted.into_iter().chain(spare);
        let is_free = |key: &String| !present.contains_key(key) && !added.labels.contains_key(key);
        if let Some(key) = keys.find(is_free) {
            added.labels.insert(key, digest.to_string());
        }
    };
    match children {
        Children::Manifest {
            config,
            layers,
            is_new,
        } => {
            if *is_new && lacks(config) {
                add(vec![format!("{PREFIX}config")], config);
            }
            let is_numbered = is_numbered(present, &[*config]) || is_numbered(present, layers);
            for (index, layer) in layers.iter().enumerate() {
                if lacks(layer) {
                    let numbered = format!("{PREFIX}{}", index + 1);
                    let typed = format!("{PREFIX}l.{index}");
                    add(ordered(is_numbered, numbered, typed), layer);
                }
            }
        }
        Children::Index { entries, position } => {
            if lacks(entries[*position]) {
                let numbered = format!("{PREFIX}{position}");
                let typed = format!("{PREFIX}m.{position}");
                let is_numbered = is_numbered(present, entries);
                add(ordered(is_numbered, numbered, typed), entries[*position]);
            }
        }
    }
    added
}

fn ordered(is_numbered: bool, numbered: String, typed: String) -> Vec<String> {
    if is_numbered {
        vec![numbered, typed]
    } else {
        vec![typed, numbered]
    }
}

/// Whether the labels of these children are numbers alone.
fn is_numbered(present: &BTreeMap<String, String>, children: &[&Digest]) -> bool {
    let children: BTreeSet<String> = children.iter().map(ToString::to_string).collect();
    present.iter().any(|(key, value)| {
        let number = key.strip_prefix(PREFIX);
        let is_number = number.is_some_and(|number| number.parse::<usize>().is_ok());
        is_number && children.contains(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::Sha256([byte; 32])
    }

    fn labels(pairs: &[(&str, u8)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, byte)| (format!("{PREFIX}{key}"), digest(*byte).to_string()))
            .collect()
    }

    /// A manifest with config 0 and these layers, of which all are here but 9.
    fn of_manifest(
        present: &[(&str, u8)],
        layers: &[u8],
        is_new: bool,
    ) -> BTreeMap<String, String> {
        let config = digest(0);
        let layers: Vec<Digest> = layers.iter().map(|byte| digest(*byte)).collect();
        let here = layers
            .iter()
            .chain([&config])
            .filter(|it| **it != digest(9));
        let here = here.cloned().collect();
        let children = Children::Manifest {
            config: &config,
            layers: layers.iter().collect(),
            is_new,
        };
        missing(&labels(present), &children, &here).labels
    }

    #[test]
    fn a_label_has_the_form_of_the_others() {
        let pulled = of_manifest(&[("config", 0)], &[1, 2, 1], false);
        assert_eq!(pulled, labels(&[("l.0", 1), ("l.1", 2), ("l.2", 1)]));
        let built = of_manifest(&[("0", 0), ("2", 2)], &[1, 2, 3], false);
        assert_eq!(built, labels(&[("1", 1), ("3", 3)]));
        let odd = of_manifest(&[], &[1], false);
        assert_eq!(odd, labels(&[("l.0", 1)]));
        let new = of_manifest(&[], &[1], true);
        assert_eq!(new, labels(&[("config", 0), ("l.0", 1)]));
    }

    #[test]
    fn no_other_label_changes_and_nothing_absent_gets_one() {
        assert_eq!(
            of_manifest(&[("config", 0), ("x", 1)], &[1], false),
            labels(&[])
        );
        assert_eq!(of_manifest(&[("config", 0)], &[9], false), labels(&[]));
        let taken = of_manifest(&[("config", 0), ("l.0", 7), ("1", 7)], &[1], false);
        assert_eq!(taken, labels(&[("restored.0", 1)]));
    }

    #[test]
    fn an_index_gets_the_label_of_one_entry() {
        let entries = [digest(1), digest(2), digest(3)];
        let here = BTreeSet::from([digest(2), digest(3)]);
        let children = Children::Index {
            entries: entries.iter().collect(),
            position: 1,
        };
        let added = |present: &[(&str, u8)]| missing(&labels(present), &children, &here).labels;
        assert_eq!(added(&[("m.0", 1)]), labels(&[("m.1", 2)]));
        assert_eq!(added(&[("0", 1)]), labels(&[("1", 2)]));
        assert_eq!(added(&[("m.1", 2)]), labels(&[]));
    }
}
