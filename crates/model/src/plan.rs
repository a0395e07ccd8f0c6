//! The plan: which images are removed, which are kept and why, and what that frees.

use serde::{Deserialize, Serialize};

use crate::{
    Cut, Digest, Holder, ImageRecord, Leased, Named, Namespace, Pinned, ResolvedTarget, Slimmed,
    SnapshotId, SnapshotSizes, form, lift_warning,
};

/// What a prune will do to one namespace. It leaves no choice to the execution.
///
/// Invariant: every image of the namespace is either in `steps`, in `slimmed` or in `kept`, once, and
/// all are sorted by name.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where.
    pub namespace: Namespace,
    /// Records to remove.
    pub steps: Vec<Step>,
    /// Records that stay while their images lose parts.
    pub slimmed: Vec<Slimmed>,
    /// Records that stay.
    pub kept: Vec<Kept>,
    /// References that blobs lose, sorted.
    pub cuts: Vec<Cut>,
    /// Where images were named, what each name comes to.
    pub named: Vec<Named>,
    /// What the steps and the cuts free, all together.
    pub freed: Freed,
    /// What `freed` does not count.
    pub not_counted: NotCounted,
    /// What a person should know, such as things that could not be seen.
    pub warnings: Vec<String>,
    /// What it had to free, if the request has a target.
    pub target_free: Option<ResolvedTarget>,
}

/// What a plan does not count, or not for certain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotCounted {
    /// Garbage already: the next collection frees it, with or without the plan.
    #[serde(with = "form::amount")]
    pub pending: Freed,
    /// Content that the namespace releases and another namespace keeps on disk, sorted.
    #[serde(rename = "kept_elsewhere_bytes", with = "form::content_bytes")]
    pub kept_elsewhere: Freed,
    /// What only build history holds, unless the plan removes it.
    #[serde(rename = "build_history")]
    pub history: Pinned,
    /// The part of what the plan frees that something unreadable may keep.
    #[serde(skip)]
    pub doubtful: Freed,
    /// What only leases of others hold, once the plan is carried out.
    pub leased: Leased,
}

impl NotCounted {
    /// As [`Freed::measure`], of all that is listed.
    pub fn measure(&mut self, bytes: &SnapshotSizes) {
        self.pending.measure(bytes);
        self.history.freed.measure(bytes);
        self.doubtful.measure(bytes);
        self.leased.measure(bytes);
    }
}

/// One removal, with the record that was evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The record as it was observed. If it points elsewhere later, the step is refused.
    pub image: ImageRecord,
    /// Why it is removed.
    pub reason: RemoveReason,
    /// The rule that protects it, if the request lifts the protection.
    pub lifted: Option<Holder>,
}

impl Step {
    /// Returns the warning that the request lifts the protection of the image, if it does.
    pub fn warning(&self) -> Option<String> {
        Some(lift_warning(&self.image.name, self.lifted.as_ref()?))
    }
}

/// Why an image is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemoveReason {
    /// It has no usable name, and nothing uses it.
    Dangling,
    /// Nothing uses it.
    Unused,
    /// Its content is used, but another record of the same target stays for that.
    Duplicate,
    /// The request names it.
    Named,
    /// The request names it, and it is in use: it stays under Docker's name for an image without
    /// one, [`ImageRecord::without_name`].
    Replaced,
    /// It is a parent without a name, and its last child goes.
    Parent,
    /// A part of it is damaged, so that it cannot be used, and nothing uses it.
    Torn,
    /// containerd keeps it only as long as another image, and that one goes.
    Dependent,
}

/// An image that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The record's name.
    pub name: String,
    /// What it points at.
    pub target: Digest,
    /// The first reason that was found.
    pub reason: KeepReason,
    /// Who needs it, sorted; empty where the reason is not a use.
    pub holders: Vec<Holder>,
}

macro_rules! keep_reasons {
    ($($(#[doc = $doc:literal])+ $name:ident $key:literal $text:literal;)+) => {
        /// Why an image stays, in the order in which reasons are looked for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum KeepReason {
            $($(#[doc = $doc])+ $name,)+
        }

        impl KeepReason {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Returns the word for the reason in JSON and in metrics.
            pub fn key(self) -> &'static str {
                match self {
                    $(Self::$name => $key,)+
                }
            }

            /// Returns the reason as people read it.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

keep_reasons! {
    /// Only dangling images were asked for, and this one has a name.
    NotDangling "not_dangling" "has a name";
    /// The record is not older than `until`, or its age is unknown.
    TooRecent "too_recent" "too recent for the `until` filter";
    /// A label filter spares it, or its labels cannot be seen.
    LabelFilter "label_filter" "spared by a label filter";
    /// It carries the CRI plugin's pin, which `reclaim pin` sets too.
    Pinned "pinned" "pinned";
    /// A part of it is there but cannot be read, so what uses it is unknown.
    Unreadable "unreadable" "cannot be read";
    /// Something uses it.
    InUse "in_use" "in use";
    /// What its own labels refer to cannot be held while it is removed; see
    /// [`ImageRecord::is_holdable`].
    Unholdable "unholdable" "a label of it is too long to be held while it is removed";
    /// Something is in use that cannot be traced to an image; it may be this one.
    UsageUnknown "usage_unknown" "may be in use";
    /// Another record of the same CRI image stays.
    CriGroup "cri_group" "its other names stay";
    /// An image stays that containerd keeps only as long as this one.
    DependentStays "dependent_stays" "an image that depends on it stays";
    /// The target of the prune is met without it.
    NotNeeded "not_needed" "not needed to free as much as was asked for";
    /// It was not in the plan that was shown and confirmed.
    NotConfirmed "not_confirmed" "was not in the list that was confirmed";
    /// Images were named, and it was not.
    NotNamed "not_named" "was not named";
    /// It was given by its ID, has several names, and the request does not force.
    NotForced "not_forced" "has several names";
    /// The configuration protects it, or containerd's says that pods need it.
    Protected "protected" "protected";
    /// A filter of the policy spares it.
    RuleFilter "rule_filter" "spared by a filter";
    /// No registry is known to have it.
    LastCopy "last_copy" "no registry is known to have it";
    /// It was pulled or used less than the policy's minimum age ago.
    TooYoung "too_young" "too young";
    /// It was used too recently for the policy.
    UsedRecently "used_recently" "used too recently";
    /// It came back after it had been removed.
    Repulled "repulled" "came back after it was removed";
    /// It is among the newest of its repository.
    Newest "newest" "among the newest of its repository";
    /// The run removes no more than this.
    Capped "capped" "beyond what one run removes";
    /// Parts of images were to be freed, and it shares them with an image that must keep them.
    SharedPart "shared_part" "shares these parts with an image that keeps them";
    /// Its layers are not all there, so what was unpacked is the only copy.
    LayersMissing "layers_missing" "its layers are missing; what is unpacked is the only copy";
    /// It is not unpacked, or not in every snapshotter, so its layers are the only copy.
    NotUnpacked "not_unpacked" "not unpacked; its layers are the only copy";
    /// It is for several platforms, and none of those that stay is here.
    LastPlatform "last_platform" "no other platform of it is here";
    /// Docker needs the layers of its images to save and push them.
    DockerLayers "docker_layers" "Docker needs the layers to save and push it";
    /// A registry mirror on this machine may serve the layers to other machines.
    RegistryMirror "registry_mirror" "a registry mirror on this machine may serve its layers to others";
    /// Nothing would be freed: it has no such parts, or other images share them.
    NothingToFree "nothing_to_free" "has no such parts, or others share them";
}

impl RemoveReason {
    /// Returns the reason as people read it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Dangling => "no name, not in use",
            Self::Unused => "not in use",
            Self::Duplicate => "in use under another name",
            Self::Named => "named",
            Self::Replaced => "named; stays without a name for what needs it",
            Self::Parent => "parent without a name",
            Self::Torn => "torn, not in use",
            Self::Dependent => "goes with the image that it depends on",
        }
    }
}

/// The blobs and snapshots that are freed when all steps of a plan are done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freed {
    /// Blobs that leave the disk, sorted; none that another namespace keeps.
    pub blobs: Vec<FreedBlob>,
    /// Snapshots, sorted.
    pub snapshots: Vec<FreedSnapshot>,
    /// What is counted and not listed, because some JSON forms have the amount alone. Boxed: a
    /// report has several of these.
    #[serde(skip)]
    unlisted: Option<Box<Amount>>,
}

/// A blob that is or was freed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FreedBlob {
    /// Its identity.
    pub digest: Digest,
    /// Length in bytes.
    pub bytes: u64,
}

/// A snapshot that is or was freed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FreedSnapshot {
    /// Where it is.
    #[serde(flatten)]
    pub id: SnapshotId,
    /// Bytes that it occupies on disk by itself, as its snapshotter reports; `None` if it cannot.
    pub bytes: Option<u64>,
}

/// How much: apparent bytes of content, allocated bytes of snapshots, and how many of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Sum of the blobs' lengths.
    pub content_bytes: u64,
    /// Sum of what the snapshots occupy.
    pub snapshot_bytes: u64,
    /// Number of blobs.
    pub blobs: usize,
    /// Number of snapshots.
    pub snapshots: usize,
    /// How many of them are of unknown size, and so missing in the sum: it is "at least".
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unmeasured: usize,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over references"
)]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl std::ops::Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            content_bytes: self.content_bytes.saturating_add(other.content_bytes),
            snapshot_bytes: self.snapshot_bytes.saturating_add(other.snapshot_bytes),
            blobs: self.blobs + other.blobs,
            snapshots: self.snapshots + other.snapshots,
            unmeasured: self.unmeasured + other.unmeasured,
        }
    }
}

impl Amount {
    /// Returns content and snapshots together, in bytes.
    pub fn total_bytes(self) -> u64 {
        self.content_bytes.saturating_add(self.snapshot_bytes)
    }
}

impl Freed {
    /// Returns these blobs and snapshots, which are sorted.
    pub fn new(blobs: Vec<FreedBlob>, snapshots: Vec<FreedSnapshot>) -> Self {
        Self {
            blobs,
            snapshots,
            unlisted: None,
        }
    }

    /// Returns an amount whose blobs and snapshots are unknown.
    pub(crate) fn unlisted(amount: Amount) -> Self {
        Self {
            unlisted: Some(Box::new(amount)),
            ..Self::default()
        }
    }

    /// Enters what each snapshot occupies. One that was gone leaves the list.
    pub fn measure(&mut self, bytes: &SnapshotSizes) {
        self.snapshots.retain_mut(|snapshot| {
            let measured = bytes.get(&snapshot.id);
            snapshot.bytes = measured.flatten();
            measured.is_some()
        });
    }

    /// Returns what is listed here and not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let blobs = self.blobs.iter();
        let blobs = blobs.filter(|it| other.blobs.binary_search(it).is_err());
        let snapshots = self.snapshots.iter();
        let snapshots = snapshots.filter(|it| other.snapshots.binary_search(it).is_err());
        Self::new(blobs.cloned().collect(), snapshots.cloned().collect())
    }

    /// Adds up what is listed.
    pub fn amount(&self) -> Amount {
        let listed = Amount {
            content_bytes: self.blobs.iter().map(|blob| blob.bytes).sum(),
            snapshot_bytes: self.snapshots.iter().filter_map(|it| it.bytes).sum(),
            blobs: self.blobs.len(),
            snapshots: self.snapshots.len(),
            unmeasured: self
                .snapshots
                .iter()
                .filter(|it| it.bytes.is_none())
                .count(),
        };
        listed + self.unlisted.as_deref().copied().unwrap_or_default()
    }
}

impl Plan {
    /// Returns what the steps free at least, whatever hides behind the gaps of the inventory.
    pub fn at_least(&self) -> Amount {
        let freed = self.freed.amount();
        let doubtful = self.not_counted.doubtful.amount();
        Amount {
            content_bytes: freed.content_bytes.saturating_sub(doubtful.content_bytes),
            snapshot_bytes: freed.snapshot_bytes.saturating_sub(doubtful.snapshot_bytes),
            blobs: freed.blobs.saturating_sub(doubtful.blobs),
            snapshots: freed.snapshots.saturating_sub(doubtful.snapshots),
            unmeasured: freed.unmeasured.saturating_sub(doubtful.unmeasured),
        }
    }
}

/// What a plan will free if it is carried out whole: known before the run.
///
/// It belongs to the set of steps and is not a sum over them: a layer that two images share
/// goes only with both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Estimate(pub Amount);

/// What a run freed: it was there before, was planned to go, and was gone in the list afterwards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reclaimed(pub Amount);

#[cfg(test)]
mod tests;
