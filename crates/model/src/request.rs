//! What a prune is asked to do.
//!
//! A request is data as it was typed. The engine resolves it once, by its own clock and time zone:
//! see [`PruneRequest::resolve`].

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    BuildHistory, FilterArgs, FilterError, FreeTarget, ImageConditions, ImageParts, NamedImages,
    Namespace, Part, ProjectImages, PruneFilters, ResolvedConditions, RuleImages, TimeContext,
};

/// Whether a run ends with the plan or carries it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Stop before anything is changed.
    DryRun,
    /// Remove.
    Apply,
}

/// Which images a request is about. `F` are its filters: as typed, or resolved.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[serde(bound(deserialize = "F: Deserialize<'de> + Default"))]
pub enum Selection<F = FilterArgs> {
    /// Unused images that the filters select: a prune. Without `dangling=false` only dangling ones.
    Filters(F),
    /// Images by name: a removal.
    Named(NamedImages),
    /// Images of a project, by its services and by labels.
    Project(ProjectImages),
    /// Parts of images whose records stay: a slim.
    Parts(ImageParts<F>),
    /// Images that a maintenance policy selects. Boxed: it is large. Never sent or stored.
    #[serde(skip)]
    Rule(Box<RuleImages>),
}

impl<F> From<ProjectImages> for Selection<F> {
    fn from(images: ProjectImages) -> Self {
        Self::Project(images)
    }
}

impl<F> From<RuleImages> for Selection<F> {
    fn from(images: RuleImages) -> Self {
        Self::Rule(Box::new(images))
    }
}

impl<F> From<NamedImages> for Selection<F> {
    fn from(images: NamedImages) -> Self {
        Self::Named(images)
    }
}

impl<F> From<ImageParts<F>> for Selection<F> {
    fn from(parts: ImageParts<F>) -> Self {
        Self::Parts(parts)
    }
}

impl From<FilterArgs> for Selection {
    fn from(filters: FilterArgs) -> Self {
        Self::Filters(filters)
    }
}

impl From<PruneFilters> for Selection<PruneFilters> {
    fn from(filters: PruneFilters) -> Self {
        Self::Filters(filters)
    }
}

/// A request to remove images of a namespace. `F` are its filters and `C` its conditions: as typed, or
/// resolved.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(bound(
    serialize = "F: Serialize, C: Serialize + Default + PartialEq",
    deserialize = "F: Deserialize<'de> + Default, C: Deserialize<'de> + Default"
))]
#[non_exhaustive]
pub struct PruneRequest<F = FilterArgs, C = ImageConditions> {
    /// The namespace.
    pub namespace: Namespace,
    /// Which images.
    pub selection: Selection<F>,
    /// What images must meet in addition, of a prune or a slim.
    #[serde(default, skip_serializing_if = "is_default")]
    pub conditions: C,
    /// How much to free: only as many of the selected images go, oldest first. Without a target
    /// all of them go. Ignored where images are named, or parts of images are freed.
    #[serde(default)]
    pub target_free: Option<FreeTarget>,
    /// Whether a prune may leave a namespace that has containers without any image. A request by
    /// name, or for a project, always may.
    #[serde(default)]
    pub may_empty_namespace: bool,
    /// Whether a namespace that does not exist counts as one without images.
    #[serde(default)]
    pub may_lack_namespace: bool,
    /// What to do with what only build history holds. It does not count towards a target, and
    /// stays where there is one.
    #[serde(default)]
    pub build_history: BuildHistory,
    /// Whether protected images go like others. The report names them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lift_protection: bool,
}

/// A request whose filters are resolved.
pub type ResolvedRequest = PruneRequest<PruneFilters, Option<ResolvedConditions>>;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl PruneRequest {
    /// Returns a request to remove the images of a namespace that have no name and no use.
    pub fn dangling(namespace: Namespace) -> Self {
        Self::new(namespace, FilterArgs::default())
    }

    /// Returns a request to remove the images of a namespace that nothing uses.
    pub fn unused(namespace: Namespace) -> Self {
        let mut filters = FilterArgs::default();
        filters.add("dangling", "false");
        Self::new(namespace, filters)
    }

    /// Returns a request to remove images by name. It may remove all images of the namespace.
    pub fn images(
        namespace: Namespace,
        names: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let images = NamedImages {
            names: names.into_iter().map(Into::into).collect(),
            ..NamedImages::default()
        };
        Self::new(namespace, images)
    }

    /// Returns a request to free parts of images: of those named, or of all without names.
    pub fn parts(
        namespace: Namespace,
        parts: impl IntoIterator<Item = Part>,
        names: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let parts = ImageParts {
            parts: parts.into_iter().collect(),
            names: names.into_iter().map(Into::into).collect(),
            filters: FilterArgs::default(),
            platforms: Vec::new(),
            docker_layers: false,
            mirrored_layers: false,
        };
        Self::new(namespace, parts)
    }

    /// Checks what can be checked without a clock: whether the filters mean anything.
    ///
    /// # Errors
    ///
    /// As [`Self::resolve`].
    pub fn check(&self, context: &TimeContext) -> Result<(), FilterError> {
        self.clone().resolve(context).map(drop)
    }

    /// Resolves the filters, whose times depend on the clock and the time zone.
    ///
    /// # Errors
    ///
    /// A [`FilterError`] if the filters mean nothing.
    pub fn resolve(self, context: &TimeContext) -> Result<ResolvedRequest, FilterError> {
        let Self {
            namespace,
            selection,
            conditions,
            target_free,
            may_empty_namespace,
            may_lack_namespace,
            build_history,
            lift_protection,
        } = self;
        let conditions = conditions.resolve().map_err(FilterError::Condition)?;
        let is_named = matches!(selection, Selection::Named(_) | Selection::Project(_));
        let is_slim = matches!(selection, Selection::Parts(_));
        let takes_conditions = is_slim || matches!(selection, Selection::Filters(_));
        if conditions.is_some() && !takes_conditions {
            return Err(FilterError::ConditionsOnNamed);
        }
        Ok(PruneRequest {
            namespace,
            selection: match selection {
                Selection::Filters(filters) => {
                    Selection::Filters(PruneFilters::from_args(&filters, context)?)
                }
                Selection::Named(images) => Selection::Named(images),
                Selection::Project(images) => Selection::Project(images),
                Selection::Parts(parts) => Selection::Parts(parts.resolve(context)?),
                Selection::Rule(images) => Selection::Rule(images),
            },
            conditions,
            // Only images can be left out of a plan to free no more than needed.
            target_free: target_free.filter(|_| !is_slim),
            may_empty_namespace: may_empty_namespace || is_named,
            may_lack_namespace,
            build_history,
            lift_protection,
        })
    }
}

impl<F, C: Default> PruneRequest<F, C> {
    /// Returns a request for a selection. Only a request by name, or for a project, may remove all
    /// images of the namespace, and the namespace has to exist.
    pub fn new(namespace: Namespace, selection: impl Into<Selection<F>>) -> Self {
        let selection = selection.into();
        Self {
            namespace,
            may_empty_namespace: matches!(selection, Selection::Named(_) | Selection::Project(_)),
            selection,
            conditions: C::default(),
            target_free: None,
            may_lack_namespace: false,
            build_history: BuildHistory::Keep,
            lift_protection: false,
        }
    }

    /// Sets what images must meet in addition.
    #[must_use]
    pub fn with_conditions(mut self, conditions: C) -> Self {
        self.conditions = conditions;
        self
    }

    /// Sets how much to free.
    #[must_use]
    pub fn with_target_free(mut self, target: impl Into<Option<FreeTarget>>) -> Self {
        self.target_free = target.into();
        self
    }

    /// Sets whether a namespace that has containers may be left without any image.
    #[must_use]
    pub fn may_empty_namespace(mut self, may: bool) -> Self {
        self.may_empty_namespace = may;
        self
    }

    /// Sets whether a namespace that does not exist counts as one without images.
    #[must_use]
    pub fn may_lack_namespace(mut self, may: bool) -> Self {
        self.may_lack_namespace = may;
        self
    }

    /// Sets whether protected images go like others.
    #[must_use]
    pub fn lift_protection(mut self, lift: bool) -> Self {
        self.lift_protection = lift;
        self
    }

    /// Sets what to do with what only build history holds.
    #[must_use]
    pub fn with_build_history(mut self, history: BuildHistory) -> Self {
        self.build_history = history;
        self
    }
}

impl ResolvedRequest {
    /// Returns the keys of the image labels that the request needs.
    pub fn label_keys(&self) -> BTreeSet<String> {
        let filters = match &self.selection {
            Selection::Filters(filters) => filters.labels.as_slice(),
            Selection::Parts(parts) => parts.filters.labels.as_slice(),
            Selection::Rule(images) => images.filters.labels.as_slice(),
            Selection::Named(_) | Selection::Project(_) => &[],
        };
        filters.iter().map(|filter| filter.key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::Offset;

    use super::*;
    use crate::FreeAmount;

    fn namespace() -> Namespace {
        "default".parse().unwrap()
    }

    fn context() -> TimeContext {
        TimeContext {
            now: Timestamp::UNIX_EPOCH,
            offset: Offset::UTC,
        }
    }

    #[test]
    fn resolving_keeps_what_was_set() {
        let request = PruneRequest::unused(namespace())
            .with_target_free(FreeTarget::new(FreeAmount::Percent(10)))
            .may_empty_namespace(true)
            .may_lack_namespace(true)
            .lift_protection(true)
            .with_build_history(BuildHistory::Unpin);
        assert!(request.check(&context()).is_ok());
        let resolved = request.resolve(&context()).unwrap();
        let Selection::Filters(filters) = &resolved.selection else {
            panic!("{resolved:?}");
        };
        assert_eq!(filters.dangling, Some(false));
        assert_eq!(resolved.namespace, namespace());
        assert_eq!(
            resolved.target_free,
            Some(FreeTarget::new(FreeAmount::Percent(10)))
        );
        assert_eq!(resolved.build_history, BuildHistory::Unpin);
        assert!(resolved.may_empty_namespace && resolved.may_lack_namespace);
        assert!(resolved.lift_protection);
    }

    #[test]
    fn only_a_request_by_name_may_empty_the_namespace_by_default() {
        let dangling = PruneRequest::dangling(namespace());
        assert!(!dangling.may_empty_namespace && !dangling.may_lack_namespace);
        let named = PruneRequest::images(namespace(), ["app:1"]);
        let Selection::Named(images) = &named.selection else {
            panic!("{named:?}");
        };
        assert_eq!(images.names, ["app:1"]);
        for request in [named.clone(), named.may_empty_namespace(false)] {
            assert!(request.resolve(&context()).unwrap().may_empty_namespace);
        }
        assert!(!dangling.resolve(&context()).unwrap().may_empty_namespace);
    }

    #[test]
    fn a_slim_has_no_target() {
        let slim = PruneRequest::parts(namespace(), [Part::Layers], ["app:1"])
            .with_target_free(FreeTarget::new(FreeAmount::Percent(10)));
        let resolved = slim.resolve(&context()).unwrap();
        assert_eq!(resolved.target_free, None);
        let Selection::Parts(parts) = &resolved.selection else {
            panic!("{resolved:?}");
        };
        assert_eq!(parts.filters.dangling, Some(false));
    }

    #[test]
    fn unknown_filters_are_refused() {
        let mut filters = FilterArgs::default();
        filters.add("colour", "red");
        let request = PruneRequest::new(namespace(), filters);
        assert!(request.check(&context()).is_err());
    }

    #[test]
    fn conditions_are_checked_and_only_for_prunes_and_slims() {
        let filters = |pair: &str| ImageConditions {
            filters: vec![pair.to_owned()],
            keep_newest: 0,
        };
        let newest = ImageConditions {
            keep_newest: 2,
            ..ImageConditions::default()
        };
        let prune = PruneRequest::unused(namespace());
        let slim = PruneRequest::parts(namespace(), [Part::Layers], ["app:1"]);
        for request in [prune.clone(), slim] {
            let without = request.clone().resolve(&context()).unwrap();
            assert!(without.conditions.is_none());
            for (given, newest) in [(filters("larger-than=1kB"), 0), (newest.clone(), 2)] {
                let request = request.clone().with_conditions(given);
                let conditions = request.resolve(&context()).unwrap().conditions.unwrap();
                assert_eq!(conditions.keep_newest, newest);
            }
            for pair in [
                "",
                "reference=",
                "unused-for=",
                "until=24h",
                "unused-for=soon",
            ] {
                let request = request.clone().with_conditions(filters(pair));
                assert!(request.check(&context()).is_err(), "{pair}");
            }
        }
        let named = PruneRequest::images(namespace(), ["app:1"]).with_conditions(newest.clone());
        assert_eq!(named.check(&context()), Err(FilterError::ConditionsOnNamed));

        let form = serde_json::to_value(&prune).unwrap();
        assert_eq!(form.get("conditions"), None);
        let form = serde_json::to_value(prune.with_conditions(newest)).unwrap();
        assert_eq!(
            form["conditions"],
            serde_json::json!({"filters": [], "keep_newest": 2})
        );
        let read: PruneRequest = serde_json::from_value(form).unwrap();
        assert_eq!(read.conditions.keep_newest, 2);
    }

    #[test]
    fn needs_the_labels_of_its_filters() {
        let mut filters = FilterArgs::default();
        filters.add("label", "team=web");
        filters.add("label!", "keep");
        let request = PruneRequest::new(namespace(), filters);
        let keys = request.resolve(&context()).unwrap().label_keys();
        assert_eq!(keys, ["keep", "team"].map(str::to_owned).into());
        let named = PruneRequest::images(namespace(), ["app:1"]);
        assert!(named.resolve(&context()).unwrap().label_keys().is_empty());
    }
}
