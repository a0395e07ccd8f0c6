//! What a dry run names is what a real containerd frees, to the byte.
//!
//! Random stores, random prunes: for each seed a store is built, `reclaim image prune --dry-run`
//! says what will go, the same prune runs, and the store is read back. What has vanished must be
//! what was named, less what was waiting to be collected anyway; and what somebody uses must
//! still be there. What was waiting, and what should be left, is worked out by the collector of the
//! containerd in memory (`reclaim-fake`), which follows containerd's own source: so it is held
//! against the real one here, too. Half of the stores are collected before, so that nothing waits
//! and the comparison needs no oracle.
//!
//! 150 stores by default, always the same, so that what fails is the change and not the dice:
//!
//! ```text
//! RECLAIM_EXACT_STORES=5000            more of them, and half as many crossed ones
//! RECLAIM_EXACT_SEED=17                that one; with STORES, that many from there
//! RECLAIM_TEST_CONTAINERD=/path        another containerd
//! ```
//!
//! A second property needs no oracle at all: an image that is added to a store, whatever its
//! documents say of others', changes nothing for these (`added`). Both also run on crossed stores,
//! whose seeds have bit 40, 1099511627776.
//!
//! A store that fails is cut down to the few things that matter and printed. Its seed goes into
//! `regressions`, which run first. A seed means a store only as long as the generator stays as
//! it is, so what was wrong gets a test beside the code as well.

mod added;
mod campaign;
mod case;
mod check;
mod closure;
mod picture;
mod question;
mod users;

use self::campaign::Property;

#[test]
fn what_a_dry_run_names_is_what_is_freed() {
    campaign::run(Property::Freed);
}

#[test]
fn an_added_image_changes_nothing_for_others() {
    campaign::run(Property::Added);
}
