//! What is to be fetched of one image: of the manifests that are here, and of those that are absent and
//! requested.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reclaim_model::{Child, Digest, FetchedContent, NotRestored, Platform};
use reclaim_plan::{AbsentManifest, Lacking, PresentManifest, is_platform};
use reclaim_store::{blocking, manifest_children};

use super::content::in_memory;
use super::labels::Children;
use super::{Restoring, failed};
use crate::retry::retry;

/// The parts of an image.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) all: Vec<Part>,
}

/// A manifest with what it lists.
#[derive(Debug)]
pub(super) struct Part {
    manifest: Digest,
    config: Digest,
    layers: Vec<Child>,
    /// What is not in the content store.
    missing: Vec<Child>,
    /// How many labels are to be written.
    labels: usize,
    /// If the manifest is absent.
    new: Option<NewManifest>,
}

#[derive(Debug)]
struct NewManifest {
    absent: AbsentManifest,
    config: Child,
    body: Arc<[u8]>,
}

impl Parts {
    /// Returns what is not in the content store, each blob once.
    pub(super) fn missing(&self) -> BTreeMap<Digest, Child> {
        let missing = self.all.iter().flat_map(|part| &part.missing);
        missing.map(|it| (it.digest.clone(), it.clone())).collect()
    }

    /// Returns what the labels refer to, each blob once: what is to be here at the end.
    pub(super) fn blobs(&self) -> BTreeMap<Digest, Child> {
        let listed = self.all.iter().flat_map(|part| {
            let new = part.new.iter();
            let new = new.flat_map(|new| [new.absent.entry(), &new.config]);
            part.layers.iter().chain(new)
        });
        listed.map(|it| (it.digest.clone(), it.clone())).collect()
    }

    /// Returns the bytes of the manifests that are to be written.
    pub(super) fn bodies(&self) -> BTreeMap<Digest, Arc<[u8]>> {
        let new = self.all.iter().filter_map(|part| {
            let new = part.new.as_ref()?;
            Some((part.manifest.clone(), Arc::clone(&new.body)))
        });
        new.collect()
    }

    /// Returns how many labels are to be written.
    pub(super) fn labels(&self) -> usize {
        self.all.iter().map(|part| part.labels).sum()
    }
}

impl Part {
    fn of_present(manifest: PresentManifest) -> Self {
        Self {
            manifest: manifest.digest,
            config: manifest.config,
            layers: manifest.layers,
            missing: manifest.missing,
            labels: manifest.labels,
            new: None,
        }
    }

    /// Whether it can be labelled: a new manifest only if all that it lists is here, so that no
    /// platform appears without its layers.
    pub(super) fn is_ready(&self, here: &BTreeSet<Digest>) -> bool {
        self.new.is_none()
            || self
                .missing
                .iter()
                .all(|child| here.contains(&child.digest))
    }

    /// Returns the blobs that get labels, and what each lists.
    pub(super) fn labelled(&self) -> Vec<(&Digest, Children<'_>)> {
        let of_manifest = Children::Manifest {
            config: &self.config,
            layers: self.layers.iter().map(|layer| &layer.digest).collect(),
            is_new: self.new.is_some(),
        };
        let of_index = self.new.as_ref().map(|new| {
            let entries = new.absent.entries.iter();
            let children = Children::Index {
                entries: entries.map(|entry| &entry.digest).collect(),
                position: new.absent.position,
            };
            (&new.absent.index, children)
        });
        let mut labelled = vec![(&self.manifest, of_manifest)];
        labelled.extend(of_index);
        labelled
    }
}

/// Content that was fetched, or would be.
pub(super) trait FromChild {
    /// Makes it of a descriptor.
    fn from_child(child: Child) -> Self;
}

impl FromChild for FetchedContent {
    fn from_child(child: Child) -> Self {
        Self {
            digest: child.digest,
            bytes: child.size,
        }
    }
}

impl Restoring<'_> {
    /// Returns what is to be fetched of an image.
    pub(super) async fn parts(&self, image: &Lacking) -> Result<Parts, NotRestored> {
        let wanted = &self.request.platforms;
        let is_wanted = |platform: Option<&Platform>| {
            wanted.is_empty()
                || platform.is_some_and(|it| wanted.iter().any(|wanted| is_platform(wanted, it)))
        };
        let present = image.present.iter();
        let present = present.filter(|manifest| {
            is_wanted(manifest.platform.as_ref())
                && (!manifest.missing.is_empty() || manifest.labels > 0)
        });
        let mut all: Vec<Part> = present.cloned().map(Part::of_present).collect();
        if wanted.is_empty() {
            return Ok(Parts { all });
        }
        let mut platforms: Vec<&Platform> = wanted.iter().collect();
        let found = image.present.iter().filter_map(|it| it.platform.as_ref());
        let found: Vec<&Platform> = found.collect();
        platforms.retain(|wanted| !found.iter().any(|it| is_platform(wanted, it)));
        for absent in &image.absent {
            let store = &self.engine.store;
            let reading = retry(|| store.index_entries(self.namespace(), &absent.index));
            let entries = reading.await.map_err(|error| failed(&error))?;
            let mut entries = entries.unwrap_or_default().into_iter();
            let entry = entries.find(|it| it.digest == absent.entry().digest);
            let Some(platform) = entry.and_then(|entry| entry.platform) else {
                continue;
            };
            if wanted.iter().any(|wanted| is_platform(wanted, &platform)) {
                platforms.retain(|wanted| !is_platform(wanted, &platform));
                all.push(self.absent(image, absent).await?);
            }
        }
        match platforms.first() {
            Some(platform) => Err(NotRestored::NoPlatform(platform.to_string())),
            None => Ok(Parts { all }),
        }
    }

    /// Fetches a manifest that is absent, to see what it lists.
    async fn absent(&self, image: &Lacking, absent: &AbsentManifest) -> Result<Part, NotRestored> {
        let entry = absent.entry();
        if image.repositories.is_empty() {
            return Err(NotRestored::NoRegistry(image.name.clone()));
        }
        let fetching = in_memory(self, &image.repositories, entry);
        let body: Arc<[u8]> = self.unless_cancelled(fetching).await?.into();
        let (digest, bytes) = (entry.digest.clone(), Arc::clone(&body));
        let children = blocking(move || manifest_children(&digest, &bytes)).await;
        let mut children = children.map_err(NotRestored::Unreadable)?.into_iter();
        let Some(config) = children.next() else {
            return Err(NotRestored::Unreadable(format!(
                "{} lists nothing",
                entry.digest
            )));
        };
        let layers: Vec<Child> = children.collect();
        let mut missing = Vec::new();
        for child in [entry, &config].into_iter().chain(&layers) {
            let store = &self.engine.store;
            let looking = retry(|| store.has_content(self.namespace(), &child.digest));
            if !looking.await.map_err(|error| failed(&error))? {
                missing.push(child.clone());
            }
        }
        missing.sort_by(|a, b| a.digest.cmp(&b.digest));
        missing.dedup_by(|a, b| a.digest == b.digest);
        Ok(Part {
            manifest: entry.digest.clone(),
            config: config.digest.clone(),
            // Those of the config and of the index, too.
            labels: layers.len() + 2,
            layers,
            missing,
            new: Some(NewManifest {
                absent: absent.clone(),
                config,
                body,
            }),
        })
    }
}
