//! The kubelet's pull records, which say which pods may use an image that the kubelet pulled.
//!
//! From Kubernetes 1.35 on (KEP-2535) the kubelet lets a pod use such an image only if the record
//! allows it, or the registry accepts the pod's credentials. An image without a record counts as
//! preloaded, and every pod may use it. When the kubelet collects images, it deletes the records of
//! images that are gone. So an undo after that would open a private image to every pod.
//!
//! The files are read, never written. Pull intents are not read: they belong to a name, and the
//! kubelet keeps them when the image goes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use reclaim_model::{Digest, Document, DocumentKind, Inventory, Plan};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::{KUBELET_NAMESPACE, read_text};
use crate::engine::Engine;
use crate::off_thread::{blocking, for_each_yielding};

/// Images that only some pods may use: by target, the image IDs of their pull records.
pub(crate) type RestrictedImages = BTreeMap<Digest, Vec<Digest>>;

/// The pull record of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PullRecord {
    /// The image has none, so every pod may use it.
    Missing,
    /// Every pod may use the image.
    Open,
    /// Only some pods may use the image. Also if the record is damaged, because then the kubelet
    /// requires credentials.
    Restricted,
}

impl PullRecord {
    /// Parses the record in the file of the image with this ID.
    fn parse(text: &str, id: &Digest) -> Self {
        let Ok(record) = serde_json::from_str::<PulledRecord>(text) else {
            return Self::Restricted;
        };
        if record.image_ref != id.to_string() {
            return Self::Missing;
        }
        let credentials = record.credential_mapping.unwrap_or_default();
        let is_open = |it: &Credentials| it.node_pods_accessible || it.preloaded;
        // Without an entry, the kubelet does not know who pulled the image, and requires credentials.
        if !credentials.is_empty() && credentials.values().all(is_open) {
            Self::Open
        } else {
            Self::Restricted
        }
    }
}

/// The kubelet's `ImagePulledRecord`, as far as it is needed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PulledRecord {
    #[serde(default)]
    image_ref: String,
    /// By image name without tag and digest.
    credential_mapping: Option<BTreeMap<String, Credentials>>,
}

/// The kubelet's `ImagePullCredentials`, as far as they are needed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credentials {
    #[serde(default)]
    node_pods_accessible: bool,
    #[serde(default)]
    preloaded: bool,
}

/// Returns the name of the kubelet's file about an image: its ID for a pull record.
fn file_name(image: &str) -> String {
    let hash = Digest::Sha256(Sha256::digest(image).into());
    format!("sha256-{}", hash.hex())
}

/// The directory with the kubelet's pull records.
#[derive(Debug, Clone)]
pub(crate) struct PullRecords(PathBuf);

impl PullRecords {
    /// Returns the records of a kubelet with this directory.
    pub(crate) fn of_kubelet(directory: &Path) -> Self {
        Self(directory.join("image_manager"))
    }

    fn read(&self, id: &Digest) -> io::Result<PullRecord> {
        let path = self.0.join("pulled").join(file_name(&id.to_string()));
        match path.symlink_metadata() {
            Ok(_) => Ok(match read_text(&path) {
                Ok(text) => PullRecord::parse(&text, id),
                Err(_) => PullRecord::Restricted,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(PullRecord::Missing),
            Err(error) => Err(error),
        }
    }

    /// Keeps only the image IDs whose record exists and restricts who may use the image. May block.
    fn restricted(&self, mut images: RestrictedImages) -> io::Result<RestrictedImages> {
        if !self.0.try_exists()? {
            return Ok(RestrictedImages::new());
        }
        for ids in images.values_mut() {
            let mut restricted = Vec::new();
            for id in ids.drain(..) {
                if self.read(&id)? == PullRecord::Restricted {
                    restricted.push(id);
                }
            }
            *ids = restricted;
        }
        images.retain(|_, ids| !ids.is_empty());
        Ok(images)
    }

    /// Returns the targets of `images` that lack a record: it is gone, or cannot be read. Without the
    /// directory the result is empty: then no kubelet with records uses the images. May block.
    fn lost(&self, images: &RestrictedImages) -> BTreeSet<Digest> {
        if matches!(self.0.try_exists(), Ok(false)) {
            return BTreeSet::new();
        }
        let is_lost = |id: &Digest| match self.read(id) {
            Ok(record) => record == PullRecord::Missing,
            Err(error) => {
                let directory = self.0.display();
                warn!(%directory, %error, "cannot read the kubelet's pull records");
                true
            }
        };
        let lost = images.iter().filter(|(_, ids)| ids.iter().any(is_lost));
        lost.map(|(target, _)| target.clone()).collect()
    }
}

impl Engine {
    /// Returns the images of a plan that only some pods may use, as far as the kubelet's pull records
    /// can be seen.
    pub(crate) async fn restricted_images(
        &self,
        plan: &Plan,
        inventory: &Inventory,
    ) -> RestrictedImages {
        let records = self.pull_records.clone();
        let Some(records) = records.filter(|_| plan.namespace.as_str() == KUBELET_NAMESPACE) else {
            return RestrictedImages::new();
        };
        let mut images = RestrictedImages::new();
        for_each_yielding(&plan.steps, |step| {
            let target = &step.image.target.digest;
            if !images.contains_key(target) {
                images.insert(target.clone(), possible_ids(inventory, target));
            }
        })
        .await;
        let restricted = blocking(move || records.restricted(images)).await;
        restricted.unwrap_or_else(|error| {
            warn!(%error, "cannot read the kubelet's pull records; an undo will restore every image");
            RestrictedImages::new()
        })
    }

    /// Returns the targets that only some pods were allowed to use, and whose pull records are gone.
    pub(crate) async fn lost_pull_records(
        &self,
        restricted: &RestrictedImages,
    ) -> BTreeSet<Digest> {
        match self.pull_records.clone() {
            Some(records) if !restricted.is_empty() => {
                let restricted = restricted.clone();
                blocking(move || records.lost(&restricted)).await
            }
            Some(_) | None => BTreeSet::new(),
        }
    }
}

/// Returns the IDs under which the kubelet may know an image: the digest of the config of its own
/// platform, which is not known here, so those of all documents.
fn possible_ids(inventory: &Inventory, target: &Digest) -> Vec<Digest> {
    let mut ids = BTreeSet::new();
    let mut pending = vec![target];
    while let Some(digest) = pending.pop() {
        if !ids.insert(digest.clone()) {
            continue;
        }
        let children = inventory.documents.get(digest).map(Document::children);
        let children = children.unwrap_or_default().iter();
        let documents = children.filter(|child| child.kind != DocumentKind::Leaf);
        pending.extend(documents.map(|child| &child.digest));
    }
    ids.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::fixture::digest;

    fn record(id: &Digest, mapping: &str) -> String {
        format!(
            r#"{{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1",
            "lastUpdatedTime":"2026-01-02T03:04:05Z","imageRef":"{id}"{mapping}}}"#
        )
    }

    /// The first is the example of KEP-2535.
    #[test]
    fn the_file_of_an_image_is_named_by_the_hash_of_its_text() {
        for (image, name) in [
            (
                "docker.io/hello-world:latest",
                "sha256-9f023ac6b143be2e542ca832efa4f162392e3f88c6e9e77b149398d19e2ad1e2",
            ),
            (
                "sha256:0000000000000000000000000000000000000000000000000000000000000000",
                "sha256-e191bc1aec7e9a1d2e95a24550e97dd2dd947b6d99ca244d85cae37f8d82c61b",
            ),
        ] {
            assert_eq!(file_name(image), name);
        }
    }

    #[test]
    fn a_record_is_open_only_if_every_pod_may_use_the_image() {
        let id = digest('1');
        let secrets = r#"{"kubernetesSecrets":[{"uid":"u","namespace":"a","name":"n","credentialHash":"h"}]}"#;
        let accounts = r#"{"kubernetesServiceAccounts":[{"uid":"u","namespace":"a","name":"n"}]}"#;
        let open = r#"{"nodePodsAccessible":true}"#;
        let preloaded = r#"{"preloaded":true}"#;
        for (mapping, expected) in [
            (String::new(), PullRecord::Restricted),
            (
                r#","credentialMapping":null"#.to_owned(),
                PullRecord::Restricted,
            ),
            (
                r#","credentialMapping":{}"#.to_owned(),
                PullRecord::Restricted,
            ),
            (
                r#","credentialMapping":{"a":{}}"#.to_owned(),
                PullRecord::Restricted,
            ),
            (
                format!(r#","credentialMapping":{{"a":{secrets}}}"#),
                PullRecord::Restricted,
            ),
            (
                format!(r#","credentialMapping":{{"a":{accounts}}}"#),
                PullRecord::Restricted,
            ),
            (
                format!(r#","credentialMapping":{{"a":{open}}}"#),
                PullRecord::Open,
            ),
            (
                format!(r#","credentialMapping":{{"a":{preloaded},"b":{open}}}"#),
                PullRecord::Open,
            ),
            (
                format!(r#","credentialMapping":{{"a":{open},"b":{secrets}}}"#),
                PullRecord::Restricted,
            ),
            // Fields of later versions do not matter.
            (
                format!(r#","credentialMapping":{{"a":{open}}},"later":1"#),
                PullRecord::Open,
            ),
        ] {
            let text = record(&id, &mapping);
            assert_eq!(PullRecord::parse(&text, &id), expected, "{text}");
            // The kubelet ignores a record in the file of another image.
            assert_eq!(PullRecord::parse(&text, &digest('2')), PullRecord::Missing);
        }
        for damaged in ["", "{", "[]", "null", r#"{"imageRef":7}"#] {
            assert_eq!(
                PullRecord::parse(damaged, &id),
                PullRecord::Restricted,
                "{damaged}"
            );
        }
        assert_eq!(PullRecord::parse("{}", &id), PullRecord::Missing);
    }

    #[test]
    fn notes_restricted_images_and_finds_those_without_a_record() {
        let folder = tempfile::tempdir().unwrap();
        let records = PullRecords::of_kubelet(folder.path());
        let pulled = folder.path().join("image_manager/pulled");
        let ids = ['1', '2', '3', '4'].map(digest);
        let [private, damaged, open, preloaded] = &ids;
        let images = || -> RestrictedImages {
            let ids = ids.iter();
            ids.map(|id| (id.clone(), vec![digest('9'), id.clone()]))
                .collect()
        };
        // Without the kubelet's directory nothing is known.
        assert_eq!(
            records.restricted(images()).unwrap(),
            RestrictedImages::new()
        );
        assert_eq!(records.lost(&images()), BTreeSet::new());

        fs::create_dir_all(&pulled).unwrap();
        let path = |id: &Digest| pulled.join(file_name(&id.to_string()));
        fs::write(path(private), record(private, "")).unwrap();
        fs::create_dir(path(damaged)).unwrap();
        let mapping = r#","credentialMapping":{"a":{"nodePodsAccessible":true}}"#;
        fs::write(path(open), record(open, mapping)).unwrap();
        let restricted = records.restricted(images()).unwrap();
        let expected = [private, damaged].map(|id| (id.clone(), vec![id.clone()]));
        assert_eq!(restricted, RestrictedImages::from(expected));
        assert!(!restricted.contains_key(preloaded));
        assert_eq!(records.lost(&restricted), BTreeSet::new());

        // A record that is damaged since is there: the kubelet requires credentials.
        fs::write(path(private), "{").unwrap();
        fs::remove_dir(path(damaged)).unwrap();
        assert_eq!(records.lost(&restricted), BTreeSet::from([damaged.clone()]));
        fs::remove_dir_all(&pulled).unwrap();
        let all: BTreeSet<Digest> = restricted.keys().cloned().collect();
        assert_eq!(records.lost(&restricted), all);
        // It is unknown whether the records are there.
        fs::write(&pulled, "").unwrap();
        assert_eq!(records.lost(&restricted), all);
        assert!(records.restricted(images()).is_err());
        fs::remove_dir_all(folder.path().join("image_manager")).unwrap();
        assert_eq!(records.lost(&restricted), BTreeSet::new());
    }
}
