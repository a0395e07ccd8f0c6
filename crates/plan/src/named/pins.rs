//! Which records are pinned together when a request names an image.

use reclaim_model::{Digest, IdPrefix, ImageRecord, NotRemoved};

use super::lookup::{Found, Meaning, lookup, no_ids};
use super::same::same_references;

/// Finds the records that a text means, as positions in a list of images sorted by name.
///
/// As for removing, a name means that record, and an ID means all records of the image. If the CRI
/// plugin manages one of them, all that it manages are included, because the plugin and the
/// kubelet treat them as one image.
///
/// # Errors
///
/// [`NotRemoved`] if the text means nothing, or too much.
pub fn pin_group(images: &[ImageRecord], text: &str) -> Result<Vec<usize>, NotRemoved> {
    group(images, no_ids, text)
}

/// As [`pin_group`], with configurations as IDs, too; see [`lookup`].
pub(crate) fn group(
    images: &[ImageRecord],
    ids: impl Fn(&IdPrefix) -> Vec<(Digest, Digest)>,
    text: &str,
) -> Result<Vec<usize>, NotRemoved> {
    let Found {
        meaning,
        record,
        all,
    } = lookup(images, |_| true, ids, text)?;
    let mut group = match (meaning, record) {
        (Meaning::Name, Some(record)) => vec![record],
        (Meaning::Repository(reference), _) => {
            let same = same_references(Some(&reference), &all, images);
            if same.is_empty() {
                return Err(NotRemoved::NoSuchImage(reference.familiar()));
            }
            same
        }
        (Meaning::Id, _) | (Meaning::Name, None) => all.clone(),
    };
    if group.iter().any(|it| images[*it].is_cri_managed()) {
        group.extend(all.iter().filter(|it| images[**it].is_cri_managed()));
    }
    group.sort_unstable();
    group.dedup();
    Ok(group)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use reclaim_model::{GcLabels, Target};

    use super::*;

    fn record(name: &str, digit: &str, labels: &[(&str, &str)]) -> ImageRecord {
        ImageRecord {
            name: name.to_owned(),
            target: Target {
                media_type: String::new(),
                digest: format!("sha256:{}", digit.repeat(64)).parse().unwrap(),
                size: 1,
                annotations: BTreeMap::new(),
            },
            labels: labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            created_at: None,
            updated_at: None,
            gc: GcLabels::default(),
            expires: None,
        }
    }

    #[test]
    fn a_name_is_one_record_and_an_image_of_the_cri_plugin_all_of_its() {
        let managed = [("io.cri-containerd.image", "managed")];
        let digest = format!("quay.io/team/pod@sha256:{}", "b".repeat(64));
        let config = format!("sha256:{}", "c".repeat(64));
        let images = [
            record("docker.io/library/app:1", "a", &[]),
            record("docker.io/library/app:2", "a", &[]),
            record("quay.io/other/pod:1", "b", &[]),
            record("quay.io/team/pod:1", "b", &managed),
            record(&digest, "b", &managed),
            record(&config, "b", &managed),
        ];
        let group = |text: &str| pin_group(&images, text);
        assert_eq!(group("app:1"), Ok(vec![0]));
        assert_eq!(group(&"a".repeat(12)), Ok(vec![0, 1]));
        assert_eq!(group("quay.io/other/pod:1"), Ok(vec![2]));
        assert_eq!(group("quay.io/team/pod:1"), Ok(vec![3, 4, 5]));
        assert_eq!(group(&digest), Ok(vec![3, 4, 5]));
        // Its ID means the whole image, whatever its names.
        assert_eq!(group(&config), Ok(vec![2, 3, 4, 5]));
        // The form that `crictl images` prints.
        assert_eq!(group(&"c".repeat(13)), Ok(vec![2, 3, 4, 5]));
        assert_eq!(group(&"c".repeat(3)).ok(), None);
        let missing = NotRemoved::NoSuchImage("gone:latest".to_owned());
        assert_eq!(group("gone"), Err(missing));
    }

    #[test]
    fn the_beginning_of_an_id_of_the_cri_plugin_comes_after_that_of_a_target() {
        let managed = [("io.cri-containerd.image", "managed")];
        let id = |digits: &str| format!("sha256:{}", &digits.repeat(64)[..64]);
        let (one, other) = (id("cccd"), id("ccce"));
        let mut images = vec![
            record("quay.io/team/pod:1", "a", &managed),
            record("quay.io/team/pod:2", "b", &managed),
            record(&one, "a", &managed),
            record(&other, "b", &managed),
        ];
        let group = |images: &[ImageRecord], text| pin_group(images, text);
        assert_eq!(group(&images, "cccd"), Ok(vec![0, 2]));
        // The prefix of two images' IDs means neither.
        let same = &"cccd".repeat(16)[..3];
        assert_eq!(group(&images, same).ok(), None);
        images.push(record(&id("cccdc"), "b", &managed));
        images.sort_by(|one, other| one.name.cmp(&other.name));
        assert_eq!(group(&images, "cccdc"), Err(NotRemoved::Ambiguous));
        // The target's digest is what Docker shows.
        images.push(record("z.io/app:1", "c", &[]));
        assert_eq!(group(&images, "cccc"), Ok(vec![images.len() - 1]));
        // A record of such a name that the CRI plugin does not manage is not an ID.
        let own = [record(&one, "a", &[])];
        assert_eq!(group(&own, "cccd").ok(), None);
    }
}
