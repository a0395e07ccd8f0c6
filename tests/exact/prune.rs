//! A random prune.

use std::collections::BTreeSet;

use reclaim_testkit::{Dice, RandomStore};

/// A prune with a random namespace and random options.
#[derive(Debug, Clone)]
pub(crate) struct RandomPrune {
    pub(crate) namespace: String,
    /// Whether a collection frees garbage first.
    pub(crate) is_collected: bool,
    scope: Vec<&'static str>,
}

impl RandomPrune {
    /// Returns the prune of a generated store, which is also that of a reduced one.
    pub(crate) fn generate(store: &RandomStore) -> Self {
        let mut dice = Dice::new(store.seed ^ 0x5155_4553_5449_4f4e);
        let distinct: BTreeSet<&str> = store
            .objects
            .iter()
            .map(|thing| &*thing.namespace)
            .collect();
        let namespaces: Vec<&str> = distinct.into_iter().collect();
        let mut scope = Vec::new();
        if dice.percent(85) {
            scope.push("--all");
        }
        // Rarely, because a filter keeps images, which leaves less to compare.
        if dice.percent(30) {
            let filters = ["until=24h", "label=tier", "label=tier=web", "label!=keep"];
            scope.extend(["--filter", *dice.pick(&filters)]);
        }
        Self {
            namespace: (*dice.pick(&namespaces)).to_owned(),
            is_collected: dice.percent(50),
            scope,
        }
    }

    /// Returns the command line without `--dry-run` or `--force`.
    pub(crate) fn arguments(&self) -> Vec<&str> {
        let namespace = &*self.namespace;
        let mut arguments = vec!["image", "prune", "--format", "json"];
        arguments.extend(["--namespace", namespace, "--allow-empty", namespace]);
        arguments.extend(&self.scope);
        arguments
    }
}
