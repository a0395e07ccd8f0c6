//! What prunes and slims take of the words of policies, in addition to Docker's filters.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{ImageFilterError, ImageFilters, LastUses};

/// Conditions in the words of policies, as typed. An image stays if it does not meet all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageConditions {
    /// Filters as `key=value`, whose keys are [`crate::IMAGE_FILTER_KEYS`].
    pub filters: Vec<String>,
    /// How many of the newest images of each repository stay.
    pub keep_newest: usize,
}

/// Conditions, checked. No condition removes an image that would stay without it.
#[derive(Debug, Clone, Default)]
pub struct ResolvedConditions {
    /// What an image must match to go.
    pub filters: ImageFilters,
    /// How many of the newest images of each repository stay.
    pub keep_newest: usize,
    /// What is known about last use. The engine enters it before each evaluation.
    pub uses: Arc<LastUses>,
}

impl ImageConditions {
    /// Whether there is no condition.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether they depend on when images were last used. Filters that are not accepted do not count.
    pub fn need_last_use(&self) -> bool {
        let filters = ImageFilters::parse(&self.filters);
        filters.is_ok_and(|filters| filters.need_last_use())
    }

    /// Checks the filters; `None` if there is no condition.
    ///
    /// # Errors
    ///
    /// [`ImageFilterError`] for the first filter that is not accepted.
    pub fn resolve(&self) -> Result<Option<ResolvedConditions>, ImageFilterError> {
        let filters = ImageFilters::parse(&self.filters)?;
        Ok((!self.is_empty()).then(|| ResolvedConditions {
            filters,
            keep_newest: self.keep_newest,
            uses: Arc::default(),
        }))
    }
}
