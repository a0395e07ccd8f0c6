//! Tables of images.

use std::collections::BTreeMap;

use jiff::Timestamp;
use reclaim_model::{
    Digest, HumanSize, ImageList, KeepReason, ListedImage, PlatformLayers, Reference, familiar_name,
};

use crate::args::format::{ImageFields, Template};

use super::style::Style;
use super::{Table, Text, Truncation, age, shown_name};

/// Precedes the second and further names of an image.
const INDENT: &str = "  ";

const HEADS: [&str; 9] = [
    "IMAGE", "TARGET", "CONTENT", "UNPACKED", "SHARED", "CREATED", "USED", "VERDICT", "LAYERS",
];

/// The column of the verdict.
const VERDICT: usize = 7;

/// Whether a table has a column with the namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NamespaceColumn {
    /// All rows are of one namespace.
    Hidden,
    /// Before the other columns.
    Shown,
}

impl NamespaceColumn {
    /// Returns a row with the namespace, if it is shown.
    fn with<T>(self, namespace: T, row: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
        let namespace = (self == Self::Shown).then_some(namespace);
        namespace.into_iter().chain(row)
    }

    /// Adds a row with the verdict of an image.
    fn add(self, table: &mut Table, namespace: String, row: [String; 9], image: &ListedImage) {
        let verdict = VERDICT + usize::from(self == Self::Shown);
        let row = self.with(namespace, row);
        match Style::of_verdict(image) {
            Some(style) => table.add_styled_row(row, (verdict, style)),
            None => table.add_row(row),
        }
    }

    fn empty_table(self) -> Table {
        let mut table = Table::new(self.with("NAMESPACE", HEADS));
        let first = 2 + usize::from(self == Self::Shown);
        table.align_right(first..=first + 2);
        table
    }
}

/// Renders lists of images, one row for each record, sorted by the key of the image and then as in the
/// lists.
pub(crate) fn flat<K: Ord>(
    lists: &[ImageList],
    column: NamespaceColumn,
    trunc: Truncation,
    key: impl Fn(&ListedImage) -> K,
) -> Text {
    let mut table = column.empty_table();
    for (list, image) in sorted(lists, key) {
        let row = row(image, list.observed_at, trunc);
        column.add(&mut table, list.namespace.to_string(), row, image);
    }
    Text::of(&table)
}

/// Renders lists of images as a template says, in the order of [`flat`].
pub(crate) fn templated<K: Ord>(
    lists: &[ImageList],
    template: &Template<ImageFields>,
    trunc: Truncation,
    key: impl Fn(&ListedImage) -> K,
) -> Text {
    let rows = sorted(lists, key).into_iter();
    Text::templated(
        template,
        rows.map(|(list, image)| fields(list, image, trunc)),
    )
}

/// Returns all images, sorted by the key and then as in the lists.
fn sorted<K: Ord>(
    lists: &[ImageList],
    key: impl Fn(&ListedImage) -> K,
) -> Vec<(&ImageList, &ListedImage)> {
    let images = lists.iter().flat_map(|list| {
        let images = list.images.iter();
        images.map(move |image| (list, image))
    });
    let mut images: Vec<(&ImageList, &ListedImage)> = images.collect();
    images.sort_by_key(|(_, image)| key(image));
    images
}

/// Returns the fields of an image, in the order of [`ImageFields`].
fn fields(list: &ImageList, image: &ListedImage, trunc: Truncation) -> [String; 17] {
    let now = list.observed_at;
    let name = shown_name(&image.name, &image.target);
    let none = || "<none>".to_owned();
    let parsed = Reference::parse_normalized(&image.name).ok();
    let repository = parsed.as_ref().map(|it| familiar_name(&it.repository()));
    let tag = parsed
        .as_ref()
        .and_then(|it| it.tag().map(ToString::to_string));
    let at = |time: Option<Timestamp>| time.map_or("unknown".to_owned(), |at| format!("{at:.0}"));
    [
        list.namespace.to_string(),
        name,
        repository.unwrap_or_else(none),
        tag.unwrap_or_else(none),
        trunc.digest(&image.target),
        image.target.to_string(),
        HumanSize(image.size.total_bytes()).to_string(),
        HumanSize(image.size.content_bytes).to_string(),
        HumanSize(image.size.unpacked_bytes).to_string(),
        HumanSize(image.size.shared_bytes).to_string(),
        HumanSize(image.size.unique_bytes()).to_string(),
        age(image.created, now),
        at(image.created),
        used(image, now),
        at(image.last_used),
        image.verdict_word().to_owned(),
        layers(&image.layers),
    ]
}

/// Renders lists of images, one row for each, with its other names below the first. These repeat
/// what a prune would do only if it differs. Images are sorted by the key of their first name, then by
/// namespace and that name.
pub(crate) fn grouped<K: Ord>(
    lists: &[ImageList],
    column: NamespaceColumn,
    trunc: Truncation,
    key: impl Fn(&ListedImage) -> K,
) -> Text {
    let mut groups: Vec<(&ImageList, Vec<&ListedImage>)> = Vec::new();
    for list in lists {
        let mut by_target: BTreeMap<&Digest, Vec<&ListedImage>> = BTreeMap::new();
        for image in &list.images {
            by_target.entry(&image.target).or_default().push(image);
        }
        groups.extend(by_target.into_values().map(|group| (list, group)));
    }
    for (_, group) in &mut groups {
        group.sort_by_key(|image| (rank(&image.name), &image.name));
    }
    let position = |list: &ImageList, first: &ListedImage| {
        (key(first), list.namespace.clone(), first.name.clone())
    };
    groups.sort_by_cached_key(|(list, group)| position(list, group[0]));
    let mut table = column.empty_table();
    for (list, group) in groups {
        // A record that is kept for another record of its image has no reason of its own.
        let own = group
            .iter()
            .find(|image| image.verdict != Err(KeepReason::CriGroup));
        let own = own.unwrap_or(&group[0]);
        let of_group = own.verdict_word();
        for (at, image) in group.iter().enumerate() {
            if at == 0 {
                let mut row = row(image, list.observed_at, trunc);
                of_group.clone_into(&mut row[VERDICT]);
                column.add(&mut table, list.namespace.to_string(), row, own);
                continue;
            }
            let name = format!("{INDENT}{}", shown_name(&image.name, &image.target));
            let word = image.verdict_word();
            let is_same = word == of_group || image.verdict == Err(KeepReason::CriGroup);
            let word = if is_same { "" } else { word };
            let row = [&name, "", "", "", "", "", "", word, ""];
            column.add(&mut table, String::new(), row.map(str::to_owned), image);
        }
    }
    Text::of(&table)
}

fn row(image: &ListedImage, now: Timestamp, trunc: Truncation) -> [String; 9] {
    [
        shown_name(&image.name, &image.target),
        trunc.digest(&image.target),
        HumanSize(image.size.content_bytes).to_string(),
        HumanSize(image.size.unpacked_bytes).to_string(),
        HumanSize(image.size.shared_bytes).to_string(),
        age(image.created, now),
        used(image, now),
        image.verdict_word().to_owned(),
        layers(&image.layers),
    ]
}

/// Renders when an image was last used.
fn used(image: &ListedImage, now: Timestamp) -> String {
    match image.last_used {
        Some(used) if used >= now => "now".to_owned(),
        used => age(used, now),
    }
}

/// Renders which copies of its layers an image has. Of several platforms those count of which any
/// layer is here: others were not pulled.
fn layers(platforms: &[PlatformLayers]) -> String {
    let here = platforms.iter().filter(|it| it.is_any_here());
    let here: Vec<&PlatformLayers> = here.collect();
    let counted = if here.is_empty() {
        platforms.iter().collect()
    } else {
        here
    };
    let total: usize = counted.iter().map(|it| it.total).sum();
    let packed: usize = counted.iter().map(|it| it.packed).sum();
    let is_unpacked = counted.iter().any(|it| !it.unpacked.is_empty());
    let word = if is_unpacked { "unpacked" } else { "packed" };
    match total - packed {
        _ if total == 0 => "-".to_owned(),
        0 if is_unpacked => "both".to_owned(),
        0 => word.to_owned(),
        missing if missing == total => {
            if is_unpacked {
                word.to_owned()
            } else {
                "none".to_owned()
            }
        }
        missing => format!("{word}, {missing} of {total} missing"),
    }
}

/// Returns the position of a name among those of its image: tags first, then names with a digest,
/// then names that cannot be pulled.
fn rank(name: &str) -> u8 {
    let reference = Reference::parse_normalized(name).ok();
    match reference.filter(|it| it.to_string() == name) {
        Some(reference) if reference.tag().is_some() => 0,
        Some(_) => 1,
        None => 2,
    }
}

#[cfg(test)]
mod tests {
    use reclaim_model::{ImageSize, RemoveReason};

    use super::*;

    fn platform(total: usize, packed: usize, is_unpacked: bool) -> PlatformLayers {
        PlatformLayers {
            manifest: Digest::Sha256([1; 32]),
            platform: None,
            total,
            packed,
            unpacked: is_unpacked
                .then(|| ("overlayfs".into(), total))
                .into_iter()
                .collect(),
        }
    }

    #[test]
    fn says_which_copies_of_its_layers_an_image_has() {
        let here = |packed| platform(5, packed, false);
        let unpacked = |packed| platform(5, packed, true);
        for (platforms, text) in [
            (&[][..], "-"),
            (&[platform(0, 0, false)], "-"),
            (&[here(0)], "none"),
            (&[here(5)], "packed"),
            (&[here(2)], "packed, 3 of 5 missing"),
            (&[unpacked(5)], "both"),
            (&[unpacked(0)], "unpacked"),
            (&[unpacked(2)], "unpacked, 3 of 5 missing"),
            // A platform that was not pulled does not count.
            (&[here(0), unpacked(5)], "both"),
            (&[here(5), unpacked(5)], "both"),
            (&[here(5), unpacked(0)], "unpacked, 5 of 10 missing"),
            (&[here(0), here(0)], "none"),
        ] {
            assert_eq!(layers(platforms), text, "{platforms:?}");
        }
    }

    fn image(name: &str, digit: &str, verdict: Result<RemoveReason, KeepReason>) -> ListedImage {
        ListedImage {
            name: name.to_owned(),
            target: format!("sha256:{}", digit.repeat(64)).parse().unwrap(),
            created: None,
            last_used: None,
            size: ImageSize::default(),
            layers: vec![platform(2, 1, true)],
            pinned: None,
            verdict,
        }
    }

    fn list(namespace: &str, images: Vec<ListedImage>) -> ImageList {
        ImageList {
            namespace: namespace.parse().unwrap(),
            observed_at: Timestamp::UNIX_EPOCH,
            images,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn lists_the_names_of_an_image_below_each_other() {
        let by_digest = format!("registry.k8s.io/pause@sha256:{}", "b".repeat(64));
        let id = format!("sha256:{}", "1".repeat(64));
        let unused = Ok(RemoveReason::Unused);
        let images = [
            image("docker.io/library/app:1", "a", unused),
            image("docker.io/library/app:2", "a", Err(KeepReason::InUse)),
            image("registry.k8s.io/pause:3.9", "b", unused),
            image(&by_digest, "b", unused),
            image(&id, "b", unused),
            image("docker.io/library/zoo:1", "c", Err(KeepReason::CriGroup)),
            image(&id, "c", Err(KeepReason::Pinned)),
        ];
        let lists = [list("default", images.to_vec())];
        let hidden = NamespaceColumn::Hidden;
        let text = String::from(&*grouped(&lists, hidden, Truncation::On, |_| ()));
        let cells = |line: &str| -> Vec<String> {
            let cells = line.split("  ").filter(|it| !it.trim().is_empty());
            cells.map(|it| it.trim().to_owned()).collect()
        };
        let lines: Vec<Vec<String>> = text.lines().skip(1).map(cells).collect();
        let size = ["0B"; 3];
        let whole = |name: &str, digit: &str, word: &str| -> Vec<String> {
            let target = digit.repeat(12);
            let layers = "unpacked, 1 of 2 missing";
            let row = [
                &[name, &target][..],
                &size,
                &["unknown", "unknown", word, layers],
            ]
            .concat();
            row.into_iter().map(str::to_owned).collect()
        };
        let expected = [
            whole("app:1", "a", "unused"),
            vec!["app:2".to_owned(), "used".to_owned()],
            whole("zoo:1", "c", "pinned"),
            vec![id.clone()],
            whole("registry.k8s.io/pause:3.9", "b", "unused"),
            vec![by_digest.clone()],
            vec![id.clone()],
        ];
        assert_eq!(lines, expected, "{text}");
        assert!(text.contains("\n  app:2 "), "{text}");
        let text = String::from(&*flat(&lists, hidden, Truncation::On, |_| ()));
        assert_eq!(text.lines().count(), 8, "{text}");
        assert_eq!(text.matches("0B").count(), 21, "{text}");
    }
}
