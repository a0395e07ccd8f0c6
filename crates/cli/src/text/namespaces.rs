//! Text about several namespaces.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use reclaim_model::{
    Amount, Digest, HumanSize, Mode, Namespace, NamespaceImages, NamespaceList, Report,
};

use super::{Text, count, total};

/// How many namespaces the hint names.
const NAMED: usize = 5;

/// Renders where images are, those with the most images first; `None` if there are no images.
/// `takes_all` is whether the command takes --all-namespaces.
pub(crate) fn hint(list: &NamespaceList, takes_all: bool) -> Option<String> {
    let with_images = list.namespaces.iter().filter(|it| it.images != Some(0));
    let mut with_images: Vec<&NamespaceImages> = with_images.collect();
    if with_images.iter().all(|it| it.images.is_none()) {
        return None;
    }
    with_images.sort_by_key(|it| (Reverse(it.images), &it.namespace));
    let (named, others) = with_images.split_at(with_images.len().min(NAMED));
    let mut places: Vec<String> = Vec::new();
    for (at, NamespaceImages { namespace, images }) in named.iter().enumerate() {
        let images = images.map_or("images".to_owned(), |images| match (at, images) {
            (0, 1) => "1 image".to_owned(),
            (0, _) => format!("{images} images"),
            (_, _) => images.to_string(),
        });
        places.push(format!("{images} in {namespace}"));
    }
    if !others.is_empty() {
        places.push(format!(
            "more in {}",
            count(others.len(), "other namespace")
        ));
    }
    let all = if takes_all { " or -A" } else { "" };
    let places = places.join(", ");
    Some(format!("hint: {places}: use -n NAME{all}"))
}

/// What runs in several namespaces free together.
#[derive(Debug, Default)]
pub(crate) struct Total {
    namespaces: usize,
    images: usize,
    bytes: Amount,
    /// What is in no single estimate, because another namespace keeps it: it goes with the last of them.
    shared: BTreeMap<Digest, u64>,
}

impl Total {
    /// Adds what one namespace frees.
    pub(crate) fn add(&mut self, report: &Report) {
        self.namespaces += 1;
        self.images += report.removed.len();
        let bytes = match report.mode {
            Mode::DryRun => report.estimate.0,
            Mode::Apply => report.reclaimed.0,
        };
        self.bytes = self.bytes + bytes;
        for blob in &report.not_counted.kept_elsewhere.blobs {
            self.shared.insert(blob.digest.clone(), blob.bytes);
        }
    }

    /// Renders what would be freed.
    pub(crate) fn estimate(&self) -> String {
        let images = count(self.images, "image");
        let namespaces = count(self.namespaces, "namespace");
        let bytes = total(self.bytes);
        let shared: u64 = self.shared.values().sum();
        let more = if shared > 0 {
            format!(
                ", and up to {} more that namespaces share",
                HumanSize(shared)
            )
        } else {
            String::new()
        };
        format!("{images} in {namespaces}, {bytes}{more}")
    }

    /// Renders what was freed. What namespaces shared counts where the last of them was pruned.
    pub(crate) fn reclaimed(&self) -> String {
        let namespaces = count(self.namespaces, "namespace");
        format!(
            "Total reclaimed space of {namespaces}: {}",
            total(self.bytes)
        )
    }
}

/// Renders the part of an output that is about one namespace.
pub(crate) fn section(namespace: &Namespace, text: &Text) -> Text {
    let mut section = Text::default();
    section.line(format_args!("Namespace {namespace}:"));
    section.append(text);
    section.blank();
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(counts: &[(&str, Option<u64>)]) -> NamespaceList {
        let namespaces = counts.iter().map(|(name, images)| NamespaceImages {
            namespace: name.parse().unwrap(),
            images: *images,
        });
        NamespaceList {
            namespaces: namespaces.collect(),
        }
    }

    #[test]
    fn says_where_images_are() {
        for (counts, expected) in [
            (&[][..], None),
            (&[("default", Some(0)), ("broken", None)], None),
            (&[("moby", Some(1))], Some("1 image in moby")),
            (
                &[("k8s.io", Some(31)), ("moby", Some(42)), ("none", Some(0))],
                Some("42 images in moby, 31 in k8s.io"),
            ),
            (
                &[("a", Some(1)), ("b", None)],
                Some("1 image in a, images in b"),
            ),
            (
                &[
                    ("a", Some(1)),
                    ("b", Some(2)),
                    ("c", Some(3)),
                    ("d", Some(4)),
                    ("e", Some(4)),
                    ("f", Some(6)),
                    ("g", Some(7)),
                ],
                Some("7 images in g, 6 in f, 4 in d, 4 in e, 3 in c, more in 2 other namespaces"),
            ),
        ] {
            let list = list(counts);
            for (takes_all, options) in [(true, "use -n NAME or -A"), (false, "use -n NAME")] {
                let expected = expected.map(|places| format!("hint: {places}: {options}"));
                assert_eq!(hint(&list, takes_all), expected);
            }
        }
    }
}
