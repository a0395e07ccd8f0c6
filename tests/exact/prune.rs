//! A random prune: where, which images, and whether the store is collected before.

use std::collections::BTreeSet;

use reclaim_testkit::{Dice, RandomStore};

/// What is asked of one store.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) namespace: String,
    /// Whether a collection takes the waiting garbage away first.
    pub(crate) is_collected: bool,
    scope: Vec<&'static str>,
}

impl Question {
    /// Returns the question that goes with a store as it was generated. One that is cut down
    /// later is asked the same.
    pub(crate) fn generate(store: &RandomStore) -> Self {
        let mut dice = Dice::new(store.seed ^ 0x5155_4553_5449_4f4e);
        let namespaces: BTreeSet<&str> = store.things.iter().map(|it| &*it.namespace).collect();
        let namespaces: Vec<&str> = namespaces.into_iter().collect();
        let mut scope = Vec::new();
        if dice.percent(85) {
            scope.push("--all");
        }
        // Seldom: what a filter spares is not compared.
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

    /// The command line, but for what tells a dry run from a real one.
    pub(crate) fn arguments(&self) -> Vec<&str> {
        let namespace = &*self.namespace;
        let mut arguments = vec!["image", "prune", "--format", "json"];
        arguments.extend(["--namespace", namespace, "--allow-empty", namespace]);
        arguments.extend(&self.scope);
        arguments
    }
}
