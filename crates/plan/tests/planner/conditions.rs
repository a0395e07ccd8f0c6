//! Prunes and slims with the conditions of policies.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use proptest::prelude::*;
use reclaim_model::{
    DigestFilter, ImageConditions, ImageFilters, KeepReason, LastUse, LastUses, Part, PruneRequest,
    ResolvedConditions, ResolvedRequest, RuleImages,
};
use reclaim_plan::{check, decide_again, no_longer_cut};

use crate::random::scenes;
use crate::rule::{by_policy, known, lenient, used};
use crate::world::{Outcome, World, ago, all, digest, library};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn filters(pairs: &[&str]) -> ImageFilters {
    let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
    ImageFilters::parse(&pairs).unwrap()
}

fn with(pairs: &[&str], keep_newest: usize, uses: Arc<LastUses>) -> ResolvedConditions {
    ResolvedConditions {
        filters: filters(pairs),
        keep_newest,
        uses,
    }
}

fn unused(conditions: ResolvedConditions) -> ResolvedRequest {
    ResolvedRequest::new(World::NAMESPACE.parse().unwrap(), all())
        .with_conditions(Some(conditions))
        .may_empty_namespace(true)
}

fn slim(conditions: ResolvedConditions) -> ResolvedRequest {
    let request = PruneRequest::parts(
        World::NAMESPACE.parse().unwrap(),
        [Part::Snapshots],
        Vec::<String>::new(),
    );
    let resolved = request.resolve(&reclaim_model::TimeContext {
        now: ago(SignedDuration::ZERO),
        offset: jiff::tz::Offset::UTC,
    });
    resolved.unwrap().with_conditions(Some(conditions))
}

fn two() -> World {
    let mut world = World::new();
    world.image(&library("app:1"), "APP");
    world.image(&library("other:1"), "OTHER");
    world
}

#[test]
fn each_condition_keeps_and_names_itself_as_it_is_typed() {
    let world = two();
    let app = library("app:1");
    let nothing = || known([].into());
    let digest = format!("digest={}", digest("OTHER"));
    let prefix = digest.clone()[..20].to_owned();
    for (conditions, reason, holder) in [
        (
            with(&["reference=other"], 0, nothing()),
            KeepReason::RuleFilter,
            "rule --filter reference",
        ),
        (
            with(&[&digest], 0, nothing()),
            KeepReason::RuleFilter,
            "rule --filter digest",
        ),
        (
            with(&[&prefix], 0, nothing()),
            KeepReason::RuleFilter,
            "rule --filter digest",
        ),
        (
            with(&["larger-than=1TB"], 0, nothing()),
            KeepReason::RuleFilter,
            "rule --filter larger-than",
        ),
        (
            with(&["unused-for=2h"], 0, used(&[("APP", 1)])),
            KeepReason::UsedRecently,
            "rule --filter unused-for",
        ),
        (
            with(&["unused-for=2h"], 0, nothing()),
            KeepReason::UsedRecently,
            "rule --filter unused-for, last use unknown",
        ),
        (
            with(&[], 1, nothing()),
            KeepReason::Newest,
            "rule --keep-newest",
        ),
    ] {
        let outcome = world.decide(&unused(conditions));
        assert_eq!(outcome.reason(&app), reason, "{holder}");
        assert_eq!(outcome.holders(&app), [holder]);
    }
    let met = with(
        &[
            "reference=app:*",
            "reference=other:*",
            "unused-for=1h",
            "larger-than=1B",
        ],
        0,
        used(&[("APP", 1), ("OTHER", 2)]),
    );
    assert_eq!(world.decide(&unused(met)).removed().len(), 2);
}

#[test]
fn what_policies_know_besides_does_not_count() {
    // An image that came back is spared from policies; a last copy stays for them.
    let seen = LastUse {
        first_seen: ago(SignedDuration::from_hours(9)),
        last_used: ago(SignedDuration::from_hours(9)),
        unused_since: Some(ago(SignedDuration::from_hours(9))),
        spared_until: Some(ago(SignedDuration::from_hours(-1))),
    };
    let uses = known([(digest("APP"), seen)].into());
    let outcome = two().decide(&unused(with(&["unused-for=1h"], 0, uses)));
    assert_eq!(outcome.removed(), [library("app:1")]);
}

#[test]
fn of_two_images_the_newer_stays_and_comes_back_if_it_became_the_newest() {
    let mut world = World::new();
    for (hours, target) in [(1, "NEW"), (2, "OLD")] {
        let name = library(&format!("app:{}", target.to_lowercase()));
        world.image(&name, target);
        let record = world.here().images.last_mut().unwrap();
        record.created_at = Some(ago(SignedDuration::from_hours(hours)));
        record.updated_at = None;
    }
    let request = unused(with(&[], 1, Arc::default()));
    let old = library("app:old");
    assert_eq!(world.decide(&request).removed(), [old.as_str()]);
    let removed = BTreeSet::from([old.as_str()]);
    let kept = |world: &World| {
        let decision = decide_again(&world.inventory(), &[], &request, &removed);
        let mut kept = decision.kept().iter();
        kept.any(|kept| kept.name == old)
    };
    assert!(!kept(&world));
    // Another process removed the newer one meanwhile.
    world.here().images.retain(|image| image.name == old);
    assert!(kept(&world));
}

/// Conditions at random, and a policy with the same.
fn settings() -> impl Strategy<Value = (Vec<&'static str>, usize, Vec<i64>)> {
    let pairs = prop::sample::subsequence(
        vec![
            "reference=*:1",
            "reference=~a",
            "larger-than=3kB",
            "unused-for=2h",
            "unused-for=4h",
        ],
        0..=5,
    );
    (pairs, 0_usize..3, prop::collection::vec(0_i64..9, 8))
}

fn uses(world: &World, hours: &[i64]) -> Arc<LastUses> {
    let inventory = world.inventory();
    let pruned = &inventory.namespaces[&World::NAMESPACE.parse().unwrap()];
    let uses = pruned.images.iter().zip(hours.iter().cycle());
    let uses = uses.map(|(image, hours)| {
        let moment = ago(SignedDuration::from_hours(*hours));
        let known = LastUse {
            first_seen: moment,
            last_used: moment,
            unused_since: Some(moment),
            spared_until: None,
        };
        (image.target.digest.clone(), known)
    });
    known(uses.collect())
}

fn policy(conditions: &ResolvedConditions) -> RuleImages {
    let mut images = lenient();
    images.rule.filters.images = conditions.filters.clone();
    images.rule.keep_newest = conditions.keep_newest;
    images.uses = Arc::clone(&conditions.uses);
    images
}

fn names(outcome: &Outcome) -> BTreeSet<String> {
    outcome.removed().into_iter().map(str::to_owned).collect()
}

proptest! {
    #[test]
    fn a_prune_with_conditions_removes_what_a_policy_with_them_does(
        scene in scenes(),
        (pairs, keep_newest, hours) in settings(),
    ) {
        let world = scene.world();
        let conditions = with(&pairs, keep_newest, uses(&world, &hours));
        let by_policy = world.decide(&by_policy(&policy(&conditions)));
        let request = unused(conditions);
        let outcome = world.decide(&request);
        prop_assert_eq!(names(&outcome), names(&by_policy));
        prop_assert!(names(&outcome).is_subset(&names(&world.prune_all())));
        let inventory = world.inventory();
        prop_assert_eq!(check(&outcome.plan, &inventory, &world.registered, &request), Ok(()));
        // The second look agrees: nothing changed, so nothing comes back.
        let removed: BTreeSet<&str> = outcome.removed().into_iter().collect();
        let again = decide_again(&inventory, &world.registered, &request, &removed);
        let back = again.kept().iter().find(|kept| removed.contains(kept.name.as_str()));
        prop_assert_eq!(back, None);
    }

    #[test]
    fn a_slim_with_conditions_frees_what_a_policy_with_them_does(
        scene in scenes(),
        (pairs, keep_newest, hours) in settings(),
    ) {
        let world = scene.world();
        let conditions = with(&pairs, keep_newest, uses(&world, &hours));
        let policy = RuleImages {
            part: reclaim_model::PolicyPart::Snapshots,
            ..policy(&conditions)
        };
        let mut policy = policy;
        policy.rule.last_copies = true;
        let by_policy = world.decide(&by_policy(&policy));
        let request = slim(conditions);
        let outcome = world.decide(&request);
        prop_assert_eq!(&outcome.plan.cuts, &by_policy.plan.cuts);
        let again = no_longer_cut(
            world.inventory(),
            &world.registered,
            &request,
            &outcome.plan.cuts,
        );
        prop_assert_eq!(again, Vec::new());
    }
}

#[test]
fn conditions_without_words_are_none() {
    assert!(ImageConditions::default().resolve().unwrap().is_none());
    assert!(matches!(
        filters(&["digest=abc"]).digests[..],
        [DigestFilter::Prefix(_)]
    ));
    assert_eq!(filters(&["unused-for=1h"]).unused_for, HOUR);
}
