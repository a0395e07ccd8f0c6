//! A plan, read by the names of the fixture.

use std::collections::BTreeMap;

use reclaim_model::{Amount, Digest, ImageRecord, Inventory, KeepReason, Plan, RemoveReason, Row};
use reclaim_plan::rows;

/// The decision on a world.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) plan: Plan,
    inventory: Inventory,
    names: BTreeMap<String, String>,
}

impl Outcome {
    pub(crate) fn new(plan: Plan, inventory: Inventory, names: BTreeMap<String, String>) -> Self {
        Self {
            plan,
            inventory,
            names,
        }
    }

    /// Names of the records that go.
    pub(crate) fn removed(&self) -> Vec<&str> {
        let steps = self.plan.steps.iter();
        steps.map(|step| step.image.name.as_str()).collect()
    }

    /// Why a record goes; it must.
    #[track_caller]
    pub(crate) fn removal(&self, name: &str) -> RemoveReason {
        let step = self.plan.steps.iter().find(|it| it.image.name == name);
        step.unwrap_or_else(|| panic!("`{name}` stays")).reason
    }

    /// Why a record stays; it must.
    #[track_caller]
    pub(crate) fn reason(&self, name: &str) -> KeepReason {
        let kept = self.plan.kept.iter().find(|it| it.name == name);
        kept.unwrap_or_else(|| panic!("`{name}` goes")).reason
    }

    /// Who needs a record that stays.
    #[track_caller]
    pub(crate) fn holders(&self, name: &str) -> Vec<String> {
        let kept = self.plan.kept.iter().find(|it| it.name == name);
        let kept = kept.unwrap_or_else(|| panic!("`{name}` goes"));
        kept.holders.iter().map(ToString::to_string).collect()
    }

    /// Names of the blobs that leave the disk, sorted by name.
    pub(crate) fn blobs(&self) -> Vec<&str> {
        let blobs = self.plan.freed.blobs.iter();
        let mut names: Vec<_> = blobs.map(|blob| self.name_of(&blob.digest)).collect();
        names.sort_unstable();
        names
    }

    /// Names of the snapshots that go, sorted by name: stacks of layers, or plain keys.
    pub(crate) fn snapshots(&self) -> Vec<&str> {
        let snapshots = self.plan.freed.snapshots.iter();
        let keys = snapshots.map(|snapshot| &*snapshot.id.key);
        let mut names: Vec<_> = keys
            .map(|key| self.names.get(key).map_or(key, |name| name))
            .collect();
        names.sort_unstable();
        names
    }

    /// How much is freed.
    pub(crate) fn amount(&self) -> Amount {
        self.plan.freed.amount()
    }

    /// Docker's rows as text, blobs by their names.
    pub(crate) fn rows(&self) -> Vec<String> {
        let images: Vec<&ImageRecord> = self.plan.steps.iter().map(|it| &it.image).collect();
        let released = &self.plan.not_counted.kept_elsewhere.blobs;
        let rows = rows(images, &self.inventory, &self.plan.freed.blobs, released);
        let text = rows.iter().map(|row| match row {
            Row::Untagged(name) => format!("untagged: {name}"),
            Row::Deleted(digest) => format!("deleted: {}", self.name_of(digest)),
        });
        text.collect()
    }

    fn name_of(&self, digest: &Digest) -> &str {
        let digest = digest.to_string();
        let name = self.names.get(&digest);
        name.unwrap_or_else(|| panic!("`{digest}` is not of this world"))
    }
}
