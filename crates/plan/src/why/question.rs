//! What is asked.

use std::collections::BTreeMap;

use reclaim_model::{Container, Inventory, Namespace};

/// What is asked.
#[derive(Debug)]
pub struct Question<'a> {
    /// What was seen, with the documents behind the images of all namespaces.
    pub inventory: &'a Inventory,
    /// Containers of each namespace that only engines know of.
    pub registered: &'a BTreeMap<Namespace, Vec<Container>>,
    /// Where names and snapshots are looked for; content is looked for everywhere.
    pub namespace: &'a Namespace,
    /// A reference, a digest or the beginning of one, or a snapshot as `snapshotter/key` or key.
    pub text: &'a str,
}
