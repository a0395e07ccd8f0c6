//! Which column claims which object of a namespace.

use jiff::Timestamp;
use reclaim_model::{Column, HolderKind, KeepReason};

use crate::facts::Facts;
use crate::graph::Graph;
use crate::holdings::{Hold, Holding, holdings, of_lease};
use crate::mark::{Going, Marker, is_root_image};
use crate::select::Verdict;

/// The columns of what would stay if every removable image went, in the order of their claims.
const STAYING: [Column; 8] = [
    Column::InUse,
    Column::Pinned,
    Column::Unjudged,
    Column::Rooted,
    Column::Leased,
    Column::BuildCache,
    Column::Undo,
    Column::Spared,
];

/// The verdicts by which images go, each list in the order of the images.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdicts<'v> {
    /// Those of the whole prune.
    pub(crate) all: &'v [Verdict],
    /// Those of a prune of dangling images only, if what it frees is a column of its own.
    pub(crate) dangling: Option<&'v [Verdict]>,
}

/// Returns the column of every node of the namespace's graph.
///
/// One marker goes from column to column; a node belongs to the first column that reaches it.
pub(crate) fn claims(facts: &Facts<'_>, verdicts: Verdicts<'_>, now: Timestamp) -> Vec<Column> {
    let graph = &facts.graph;
    let going = indexes(verdicts.all, Verdict::is_removal);
    let (dangling, unused): (Vec<usize>, Vec<usize>) = going.iter().partition(|index| {
        verdicts
            .dangling
            .is_some_and(|dangling| dangling[**index].is_removal())
    });
    let held = holdings(graph, now).into_iter();
    let held: Vec<_> = held.map(|it| (column_of_holding(graph, &it), it)).collect();
    let mut claims = Claims {
        marker: Marker::new(graph).without_images(&going),
        columns: vec![Column::Pending; graph.len()],
        entered: 0,
    };
    for column in STAYING {
        for (_, holding) in held.iter().filter(|(of, _)| *of == column) {
            claims.marker.extend_all(holding);
        }
        let is_in = |verdict: &Verdict| column_of_verdict(verdict) == Some(column);
        for index in indexes(verdicts.all, is_in) {
            if is_root_image(&graph.namespace.images[index], graph.rules, now) {
                claims.marker.extend(graph.image(index), Hold::Deep);
            }
        }
        claims.enter(column);
    }
    // A layer of an unused and a dangling image goes with neither alone. Restoring the unused
    // images first leaves to the dangling ones what only they hold.
    claims.marker.restore(&Going::images(unused), now);
    claims.enter(Column::Unused);
    claims.marker.restore(&Going::images(dangling), now);
    claims.enter(Column::Dangling);
    for lease in graph.namespace.leases.iter().filter(|it| !it.is_live(now)) {
        claims.marker.extend_all(&of_lease(graph, lease));
    }
    for index in 0..graph.namespace.images.len() {
        claims.marker.extend(graph.image(index), Hold::Deep);
    }
    claims.enter(Column::Expired);
    claims.columns
}

struct Claims<'g, 'a> {
    marker: Marker<'g, 'a>,
    columns: Vec<Column>,
    /// How many of the marker's nodes have their column.
    entered: usize,
}

impl Claims<'_, '_> {
    /// Assigns everything that was reached since the last column to this one.
    fn enter(&mut self, column: Column) {
        for id in self.marker.reached_since(self.entered) {
            self.columns[*id as usize] = column;
        }
        self.entered = self.marker.n_reached();
    }
}

fn indexes(verdicts: &[Verdict], is_meant: impl Fn(&Verdict) -> bool) -> Vec<usize> {
    let verdicts = verdicts.iter().enumerate();
    let meant = verdicts.filter(|(_, verdict)| is_meant(verdict));
    meant.map(|(index, _)| index).collect()
}

fn column_of_holding(graph: &Graph<'_>, holding: &Holding) -> Column {
    match holding.holder.kind {
        HolderKind::Container
        | HolderKind::Sandbox
        | HolderKind::Image
        | HolderKind::Rule
        | HolderKind::Label
        | HolderKind::Snapshotter => Column::InUse,
        HolderKind::Content | HolderKind::Snapshot => Column::Rooted,
        HolderKind::Lease if holding.is_ours => Column::Undo,
        HolderKind::Lease => {
            let mut leases = graph.namespace.leases.iter();
            let lease = leases.find(|lease| lease.id == holding.holder.id);
            if lease.is_some_and(reclaim_model::Lease::is_build_cache) {
                Column::BuildCache
            } else {
                Column::Leased
            }
        }
    }
}

fn column_of_verdict(verdict: &Verdict) -> Option<Column> {
    let Verdict::Keep(reason, _) = verdict else {
        return None;
    };
    Some(match reason {
        KeepReason::InUse => Column::InUse,
        // The other records of the image come before it, by their own reason.
        KeepReason::Pinned
        | KeepReason::Unholdable
        | KeepReason::CriGroup
        | KeepReason::DependentStays
        | KeepReason::Protected => Column::Pinned,
        KeepReason::Unreadable | KeepReason::UsageUnknown => Column::Unjudged,
        KeepReason::NotDangling
        | KeepReason::TooRecent
        | KeepReason::LabelFilter
        | KeepReason::NotNeeded
        | KeepReason::NotConfirmed
        | KeepReason::NotNamed
        | KeepReason::NotForced
        | KeepReason::RuleFilter
        | KeepReason::LastCopy
        | KeepReason::TooYoung
        | KeepReason::UsedRecently
        | KeepReason::Repulled
        | KeepReason::Newest
        | KeepReason::Capped
        | KeepReason::SharedPart
        | KeepReason::LayersMissing
        | KeepReason::NotUnpacked
        | KeepReason::LastPlatform
        | KeepReason::DockerLayers
        | KeepReason::RegistryMirror
        | KeepReason::NothingToFree => Column::Spared,
    })
}
