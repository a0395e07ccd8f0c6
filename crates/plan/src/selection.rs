//! Evaluating the images of a namespace by what a request selects.

use std::collections::BTreeSet;

use reclaim_model::{
    Container, KeepReason, Named, PruneFilters, ResolvedConditions, ResolvedRequest, RuleImages,
    Selection,
};

use crate::facts::Facts;
use crate::named::named;
use crate::project;
use crate::rule;
use crate::select::{Verdict, select};

/// Evaluates every image as a request selects; the verdicts are in the order of the images.
///
/// `registered` are the containers that the facts were collected with.
pub(crate) fn evaluate(
    facts: &Facts<'_>,
    registered: &[Container],
    request: &ResolvedRequest,
) -> (Vec<Verdict>, Vec<Named>) {
    match &request.selection {
        Selection::Filters(filters) => {
            let conditions = request.conditions.as_ref();
            (unused(facts, filters, conditions), Vec::new())
        }
        Selection::Named(images) => named(facts, registered, images),
        Selection::Project(images) => project::evaluate(facts, registered, images),
        Selection::Rule(images) => (by_policy(facts, images), Vec::new()),
        // No record goes.
        Selection::Parts(_) => {
            let keep = Verdict::Keep(KeepReason::NothingToFree, BTreeSet::new());
            (vec![keep; facts.graph.namespace.images.len()], Vec::new())
        }
    }
}

/// Evaluates every image as a prune with these filters and conditions does.
pub(crate) fn unused(
    facts: &Facts<'_>,
    filters: &PruneFilters,
    conditions: Option<&ResolvedConditions>,
) -> Vec<Verdict> {
    match conditions {
        Some(conditions) => rule::evaluate(facts, filters, conditions.into()),
        None => select(facts, filters),
    }
}

/// Evaluates every image as a policy does.
pub(crate) fn by_policy(facts: &Facts<'_>, images: &RuleImages) -> Vec<Verdict> {
    rule::evaluate(facts, &images.filters, images.into())
}
