//! What a policy, or a request with conditions, keeps in addition to what a prune keeps.

use std::time::Duration;

use jiff::SignedDuration;
use reclaim_model::{
    ImageFilters, LastUses, PolicyName, RegistryAnswers, ResolvedConditions, RuleImages,
};

/// The conditions that images are compared with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conditions<'r> {
    /// The policy; `None` if a request has the conditions.
    pub(super) policy: Option<&'r PolicyName>,
    pub(super) filters: &'r ImageFilters,
    /// Only images that were pulled or created, and last used, at least this long ago go.
    pub(super) min_age: Duration,
    /// Only images that are unused for this long go.
    pub(super) idle: SignedDuration,
    pub(super) keep_newest: usize,
    pub(super) uses: &'r LastUses,
    /// What registries answered; `None` if last copies go, too.
    pub(super) registries: Option<&'r RegistryAnswers>,
}

impl Conditions<'_> {
    /// Names the condition with this key of a policy, for people.
    pub(super) fn named(&self, key: &str) -> String {
        match self.policy {
            Some(policy) => format!("{policy}.{key}"),
            // As they are written on the command line.
            None => match key.strip_prefix("filters ") {
                Some(key) => format!("--filter {key}"),
                None if key.starts_with("unused_for") => {
                    format!("--filter {}", key.replacen('_', "-", 1))
                }
                None => format!("--{}", key.replacen('_', "-", 1)),
            },
        }
    }
}

impl<'r> From<&'r RuleImages> for Conditions<'r> {
    fn from(images: &'r RuleImages) -> Self {
        let rule = &images.rule;
        Self {
            policy: Some(&rule.name),
            filters: &rule.filters.images,
            min_age: rule.min_age,
            idle: rule.idle(),
            keep_newest: rule.keep_newest,
            uses: &images.uses,
            registries: (!rule.last_copies).then_some(&*images.registries),
        }
    }
}

impl<'r> From<&'r ResolvedConditions> for Conditions<'r> {
    fn from(conditions: &'r ResolvedConditions) -> Self {
        let idle = SignedDuration::try_from(conditions.filters.unused_for);
        Self {
            policy: None,
            filters: &conditions.filters,
            min_age: Duration::ZERO,
            idle: idle.unwrap_or(SignedDuration::MAX),
            keep_newest: conditions.keep_newest,
            uses: &conditions.uses,
            registries: None,
        }
    }
}
