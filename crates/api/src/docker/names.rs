//! The names of an image as Docker shows them.

use std::collections::BTreeSet;

use reclaim_engine::ImageDetails;
use reclaim_model::{ImageRecord, Reference, familiar_name};

/// The placeholders for an image without a name, up to API 1.42.
const NO_TAG: &str = "<none>:<none>";
const NO_DIGEST: &str = "<none>@<none>";

/// The names of one image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Names {
    pub(super) tags: Vec<String>,
    pub(super) digests: Vec<String>,
}

impl Names {
    /// Collects the names of these records of one image, in the order of the records.
    pub(super) fn of<'a>(
        image: &ImageDetails,
        records: impl Iterator<Item = &'a ImageRecord>,
    ) -> Self {
        let mut names = Self::default();
        let digest = &image.target.digest;
        for record in records.filter(|record| !image.is_dangling_record(record)) {
            let Ok(reference) = Reference::parse_normalized(&record.name) else {
                // A client cannot request the image by this name, but it is shown.
                names.tags.push(familiar_name(&record.name));
                continue;
            };
            names.tags.push(reference.familiar());
            let repository = reference.familiar_repository();
            names.digests.push(format!("{repository}@{digest}"));
        }
        // Two records may have one repository, with other names between them.
        for list in [&mut names.tags, &mut names.digests] {
            let mut seen = BTreeSet::new();
            list.retain(|name| seen.insert(name.clone()));
        }
        names
    }

    /// Adds the placeholders if there is no name.
    pub(super) fn with_placeholders(mut self) -> Self {
        if self.tags.is_empty() && self.digests.is_empty() {
            self.tags.push(NO_TAG.to_owned());
            self.digests.push(NO_DIGEST.to_owned());
        }
        self
    }
}
