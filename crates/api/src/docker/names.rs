//! The names of an image as Docker shows them.

use reclaim_engine::ImageDetails;
use reclaim_model::{ImageRecord, Reference, familiar_name};

/// What an image without a name is called by old clients' answers.
const NO_TAG: &str = "<none>:<none>";
const NO_DIGEST: &str = "<none>@<none>";

/// The names of one image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Names {
    pub(super) tags: Vec<String>,
    pub(super) digests: Vec<String>,
}

impl Names {
    /// Collects the names of these records of one image.
    pub(super) fn of<'a>(
        image: &ImageDetails,
        records: impl Iterator<Item = &'a ImageRecord>,
    ) -> Self {
        let mut names = Self::default();
        let digest = &image.target.digest;
        for record in records.filter(|it| !image.is_dangling_record(it)) {
            let Ok(reference) = Reference::parse_normalized(&record.name) else {
                // Nobody can ask for it by this name, but it is one.
                names.tags.push(familiar_name(&record.name));
                continue;
            };
            names.tags.push(reference.familiar());
            let repository = reference.familiar_repository();
            names.digests.push(format!("{repository}@{digest}"));
        }
        for list in [&mut names.tags, &mut names.digests] {
            list.sort();
            list.dedup();
        }
        names
    }

    /// Before API 1.43 an image without any name had words for it.
    pub(super) fn in_old_words(mut self) -> Self {
        if self.tags.is_empty() && self.digests.is_empty() {
            self.tags.push(NO_TAG.to_owned());
            self.digests.push(NO_DIGEST.to_owned());
        }
        self
    }
}
