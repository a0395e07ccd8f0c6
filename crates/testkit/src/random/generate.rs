//! Generates a store from a seed.
//!
//! The generator works like a real host: a *registry* has images that share layers, manifests and
//! configs; each namespace pulls some of them, wholly or partly; records are named and renamed;
//! engines create snapshots, containers and leases. At the end random objects get labels of every
//! kind that containerd's collector follows.

mod draft;
mod holders;
mod pull;
mod records;
mod registry;
mod snapshots;
mod sprinkle;

use self::draft::Draft;
use self::registry::Registry;
use super::dice::Dice;
use super::hostile::CROSSED;
use super::store::RandomStore;

/// The namespaces; a store has the first few.
const NAMESPACES: [&str; 3] = ["default", "k8s.io", "moby"];

/// The snapshotters that every tested containerd has.
const SNAPSHOTTERS: [&str; 2] = ["native", "overlayfs"];

/// A time long before every test.
pub(super) const PAST: &str = "2021-02-03T04:05:06Z";

/// A time long after every test.
const FUTURE: &str = "2099-02-03T04:05:06Z";

impl RandomStore {
    /// Returns the store of a seed. With the bit [`CROSSED`] it is the store of the seed without the
    /// bit, with additional crossed images.
    pub fn generate(seed: u64) -> Self {
        let mut dice = Dice::new(seed & !CROSSED);
        let registry = Registry::generate(&mut dice);
        // Often one, because with several most content is held by another namespace.
        let n_namespaces = *dice.pick(&[1, 1, 2, 3]);
        let mut draft = Draft::new(dice);
        for namespace in &NAMESPACES[..n_namespaces] {
            draft.enter(namespace);
            let pulled = pull::pull_some(&mut draft, &registry);
            records::name(&mut draft, &pulled);
            records::name_missing_content(&mut draft, &registry);
            snapshots::add_some(&mut draft);
            holders::add_containers(&mut draft, &pulled);
            holders::add_docker_containers(&mut draft, &pulled);
            holders::add_leases(&mut draft, &registry);
            holders::add_sandbox_and_ingest(&mut draft);
        }
        for namespace in &NAMESPACES[..n_namespaces] {
            draft.enter(namespace);
            sprinkle::sprinkle(&mut draft, &registry);
        }
        let mut store = Self {
            seed,
            objects: draft.into_objects(),
        };
        if seed & CROSSED != 0 {
            store.cross();
        }
        store
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::store::ObjectKind;

    #[test]
    fn is_deterministic() {
        assert_eq!(RandomStore::generate(3), RandomStore::generate(3));
        assert_ne!(RandomStore::generate(3), RandomStore::generate(4));
    }

    #[test]
    fn some_stores_have_attestations() {
        let marked =
            |bytes: &[u8]| String::from_utf8_lossy(bytes).contains("vnd.docker.reference.type");
        let is_attested = |store: &RandomStore| {
            let mut objects = store.objects.iter();
            objects.any(
                |object| matches!(&object.kind, ObjectKind::Blob { bytes, .. } if marked(bytes)),
            )
        };
        assert!((0..50).any(|seed| is_attested(&RandomStore::generate(seed))));
    }

    #[test]
    fn a_few_hundred_stores_cover_everything() {
        let stores: String = (0..300)
            .map(|seed| RandomStore::generate(seed).to_string())
            .collect();
        for wanted in [
            "blob ",
            "index",
            "nested index",
            "unreadable",
            "native/",
            "overlayfs/",
            "Active",
            "View",
            "Committed",
            "image `docker.io/library/",
            "image `moby-dangling@",
            "image `:`",
            "image `sha256:",
            "container ",
            "lease ",
            "ingest ",
            "sandbox ",
            " images/",
            " ingests/",
            "gc.flat=",
            "gc.expire=2021",
            "gc.expire=2099",
            "gc.expire=soon",
            "gc.root=",
            "gc.rooted=",
            "gc.ref.content.",
            "gc.ref.content/",
            "gc.ref.contents=",
            "gc.ref.snapshot.native",
            "gc.ref.snapshot.overlayfs/",
            "gc.ref.image",
            "gc.bref.container",
            "gc.bref.content",
            "gc.bref.image",
            "gc.bref.snapshot.",
            "gc.cond.snapshot",
            "gc.cond.value-usedat",
            "io.cri-containerd.pinned=pinned",
            "io.cri-containerd.image=managed",
        ] {
            assert!(stores.contains(wanted), "no `{wanted}`");
        }
    }
}
