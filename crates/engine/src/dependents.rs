//! The order in which images are removed and restored of which some depend on others.
//!
//! containerd collects an image that has expired as soon as nothing leads to it, and it may collect at any
//! time. So a dependent image is removed before what it depends on, and restored after it.

use std::collections::BTreeMap;

use reclaim_model::{GcRef, ImageRecord};

/// Which of some images depend on which others of them, by position.
#[derive(Debug)]
pub(crate) struct Dependents {
    /// For each image, those that depend on it by a label.
    of: Vec<Vec<usize>>,
}

impl Dependents {
    /// Reads the labels of images. An image that depends on content or snapshots is left out: these stay as
    /// long as the hold.
    pub(crate) fn among<'i>(images: impl Iterator<Item = &'i ImageRecord> + Clone) -> Self {
        let mut of = vec![Vec::new(); images.clone().count()];
        if images.clone().all(|image| image.expires.is_none()) {
            return Self { of };
        }
        let names = images.clone().enumerate();
        let names: BTreeMap<&str, usize> = names.map(|(at, it)| (it.name.as_str(), at)).collect();
        let find = |reference: &GcRef| match reference {
            GcRef::Image(name) => names.get(&**name).copied(),
            GcRef::Content(_) | GcRef::NoContent(_) | GcRef::Snapshot(_) | GcRef::Container(_) => {
                None
            }
        };
        let expires: Vec<bool> = images.clone().map(|it| it.expires.is_some()).collect();
        for (at, image) in images.enumerate() {
            if expires[at] {
                for on in image.gc.back_refs.iter().filter_map(find) {
                    of[on].push(at);
                }
            }
            let referred_to = image.gc.refs.iter().filter_map(find);
            of[at].extend(referred_to.filter(|it| expires[*it]));
        }
        for (at, dependents) in of.iter_mut().enumerate() {
            dependents.retain(|it| *it != at);
        }
        Self { of }
    }

    /// Returns for each image those on which it depends.
    pub(crate) fn depends_on(&self) -> Vec<Vec<usize>> {
        let mut depends_on = vec![Vec::new(); self.of.len()];
        for (image, dependents) in self.of.iter().enumerate() {
            for dependent in dependents {
                depends_on[*dependent].push(image);
            }
        }
        depends_on
    }

    /// Returns the images that depend on an image.
    pub(crate) fn of(&self, image: usize) -> &[usize] {
        &self.of[image]
    }

    /// Returns all images, in groups: those of each depend on none but later ones. The last group has the
    /// images that depend on each other, too.
    pub(crate) fn removal_order(&self) -> Vec<Vec<usize>> {
        let mut waits_for: Vec<usize> = self.of.iter().map(Vec::len).collect();
        let depends_on = self.depends_on();
        let all = 0..self.of.len();
        let mut ready: Vec<usize> = all.clone().filter(|it| waits_for[*it] == 0).collect();
        let mut groups = Vec::new();
        while !ready.is_empty() {
            let mut next = Vec::new();
            for image in ready.iter().flat_map(|it| &depends_on[*it]) {
                waits_for[*image] -= 1;
                if waits_for[*image] == 0 {
                    next.push(*image);
                }
            }
            next.sort_unstable();
            groups.push(std::mem::replace(&mut ready, next));
        }
        let rest: Vec<usize> = all.filter(|it| waits_for[*it] > 0).collect();
        if !rest.is_empty() {
            groups.push(rest);
        }
        groups
    }

    /// Returns for each image the first of those with which it goes or stays.
    pub(crate) fn joined(&self) -> Vec<usize> {
        let mut joined: Vec<usize> = (0..self.of.len()).collect();
        for (image, dependents) in self.of.iter().enumerate() {
            for dependent in dependents {
                let (one, other) = (joined[image], joined[*dependent]);
                if one != other {
                    let (first, last) = (one.min(other), one.max(other));
                    for group in joined.iter_mut().filter(|it| **it == last) {
                        *group = first;
                    }
                }
            }
        }
        joined
    }
}

/// Sorts what is to be restored: what depends on an image comes after it.
pub(crate) fn in_restore_order<T>(items: Vec<T>, image: impl Fn(&T) -> &ImageRecord) -> Vec<T> {
    let groups = Dependents::among(items.iter().map(&image)).removal_order();
    if groups.len() < 2 {
        return items;
    }
    let mut items: Vec<Option<T>> = items.into_iter().map(Some).collect();
    let order = groups.into_iter().rev().flatten();
    order.filter_map(|at| items[at].take()).collect()
}

#[cfg(test)]
mod tests {
    use reclaim_model::{EXPIRE, GcLabels};

    use super::*;
    use crate::fixture::record;

    const BREF: &str = "containerd.io/gc.bref.image";

    /// A record that has expired and depends on others.
    fn dependent(name: &str, on: &[&str]) -> ImageRecord {
        let past = "2026-01-01T00:00:00Z";
        let labels = on.iter().enumerate();
        let labels = labels.map(|(at, on)| (format!("{BREF}.{at}"), (*on).to_owned()));
        let mut labels: BTreeMap<String, String> = labels.collect();
        labels.insert(EXPIRE.to_owned(), past.to_owned());
        ImageRecord {
            gc: GcLabels::parse(labels.iter().map(|(key, value)| (&**key, &**value))),
            labels,
            expires: Some(past.parse().unwrap()),
            ..record(name, '1')
        }
    }

    fn restored(images: Vec<ImageRecord>) -> Vec<String> {
        let sorted = in_restore_order(images, |it| it);
        sorted.into_iter().map(|it| it.name).collect()
    }

    #[test]
    fn dependents_go_first_and_come_back_last() {
        let images = [
            dependent("a", &["m", "b"]),
            dependent("b", &["z"]),
            record("m", '1'),
            dependent("n", &["not here", "n"]),
            record("z", '1'),
        ];
        let dependents = Dependents::among(images.iter());
        let groups = dependents.removal_order();
        assert_eq!(groups, [vec![0, 3], vec![1, 2], vec![4]]);
        assert_eq!(dependents.of(4), [1]);
        assert_eq!(dependents.joined(), [0, 0, 0, 3, 0]);
        assert_eq!(restored(images.to_vec()), ["z", "b", "m", "a", "n"]);
    }

    #[test]
    fn a_reference_of_the_other_image_does_the_same() {
        let labels = [("containerd.io/gc.ref.image.x", "a")];
        let mut on = record("b", '1');
        on.gc = GcLabels::parse(labels);
        let images = vec![dependent("a", &[]), on.clone()];
        assert_eq!(restored(images), ["b", "a"]);
        // What does not expire depends on nothing.
        let images = vec![record("a", '1'), on];
        assert_eq!(restored(images), ["a", "b"]);
    }

    #[test]
    fn images_that_depend_on_each_other_are_in_the_last_group() {
        let images = [
            dependent("a", &["b"]),
            dependent("b", &["a", "c"]),
            record("c", '1'),
            record("d", '1'),
        ];
        let groups = Dependents::among(images.iter()).removal_order();
        assert_eq!(groups, [vec![3], vec![0, 1, 2]]);
    }
}
