//! A real containerd frees exactly what a dry run names, to the byte.
//!
//! Random stores and random prunes: for each seed a store is built, `reclaim image prune --dry-run`
//! names what it would remove and free, the same prune runs, and the store is read. What is gone
//! must be what was named and what was garbage before, and what is in use must still be there. The
//! collector of the in-memory containerd (`reclaim-fake`), which follows containerd's source,
//! predicts what was garbage and what is left, and is thereby compared with the real one. Half of
//! the stores are collected first: they have no garbage, and need no prediction.
//!
//! By default there are 150 stores, always the same, so that only a change of the code can make a
//! test fail:
//!
//! ```text
//! RECLAIM_EXACT_STORES=5000            another number, and half as many crossed stores
//! RECLAIM_EXACT_SEED=17                only this seed; with STORES, that many from it on
//! RECLAIM_TEST_CONTAINERD=/path        another containerd
//! ```
//!
//! A second property needs no prediction: adding an image to a store, whatever its documents say
//! about those of others, changes no result of others (`added`). Both properties are also checked
//! on crossed stores, whose seeds have bit 40, 1099511627776.
//!
//! A third one is that of slims (`slim`): what the plan names is freed, no other label changes, and
//! what an image could be started from before, it can be started from after.
//!
//! A store that fails is reduced to the parts that matter, and printed. Its seed is added to
//! `regressions`, which run first. A change of the generator changes the store of a seed, so the
//! fixed bug also gets a test next to its code.

mod added;
mod campaign;
mod case;
mod check;
mod closure;
mod contents;
mod copies;
mod prune;
mod sequences;
mod slim;
mod users;

use self::campaign::Property;

#[test]
fn a_prune_frees_exactly_what_its_dry_run_names() {
    campaign::run(Property::Freed);
}

#[test]
fn an_added_image_changes_no_result_of_others() {
    campaign::run(Property::Added);
}

#[test]
fn a_slim_frees_exactly_what_its_plan_names() {
    campaign::run(Property::Slimmed);
}
