//! Enumerations, one to one.

use reclaim_maintenance::{PolicyOutcome, Trigger};
use reclaim_model::{
    Column, ContainerState, DeleteGuard, EntryPoint, HolderKind, HolderRole, KeepReason, Mode,
    Part, Pin, PolicyPart, ReferenceKind, RemoveReason, ThingKind,
};

use crate::grpc::proto;

/// Converts an enumeration to the one of the protocol whose variants have the same names.
macro_rules! mirrored {
    ($model:ty, $message:ty, [$($variant:ident),+ $(,)?]) => {
        impl From<$model> for $message {
            fn from(value: $model) -> Self {
                match value {
                    $(<$model>::$variant => Self::$variant,)+
                }
            }
        }
    };
}

mirrored!(
    EntryPoint,
    proto::EntryPoint,
    [CommandLine, Json, Grpc, Docker, Schedule, Embedded]
);

mirrored!(Pin, proto::Pin, [Ours, Others]);

mirrored!(
    HolderKind,
    proto::HolderKind,
    [
        Container,
        Lease,
        Snapshot,
        Content,
        Sandbox,
        Image,
        Rule,
        Label,
        Snapshotter,
    ]
);

mirrored!(
    HolderRole,
    proto::HolderRole,
    [
        Container,
        StoppedContainer,
        Pull,
        UnfinishedPull,
        BuildCache,
        LeakedImageMount
    ]
);

mirrored!(
    RemoveReason,
    proto::RemoveReason,
    [
        Dangling, Unused, Duplicate, Named, Replaced, Parent, Torn, Dependent
    ]
);

mirrored!(
    KeepReason,
    proto::KeepReason,
    [
        NotDangling,
        TooRecent,
        LabelFilter,
        Pinned,
        Unreadable,
        InUse,
        UsageUnknown,
        CriGroup,
        NotNeeded,
        NotConfirmed,
        NotNamed,
        NotForced,
        Protected,
        RuleFilter,
        LastCopy,
        TooYoung,
        UsedRecently,
        Repulled,
        Newest,
        Capped,
        Unholdable,
        DependentStays,
        SharedPart,
        LayersMissing,
        NotUnpacked,
        LastPlatform,
        DockerLayers,
        RegistryMirror,
        NothingToFree,
    ]
);

mirrored!(
    Part,
    proto::Part,
    [BuildHistory, Snapshots, Layers, Platforms]
);

mirrored!(
    PolicyPart,
    proto::PolicyPart,
    [Snapshots, Layers, Platforms, BuildHistory, Images]
);

mirrored!(Mode, proto::Mode, [DryRun, Apply]);

mirrored!(Trigger, proto::Trigger, [Schedule, Demand]);

mirrored!(
    PolicyOutcome,
    proto::Outcome,
    [
        Nothing, Done, Capped, Partial, Unmet, Busy, Failed, Inhibited
    ]
);

mirrored!(DeleteGuard, proto::DeleteGuard, [Server, ReadFirst]);

mirrored!(
    Column,
    proto::Column,
    [
        InUse, Pinned, Unjudged, Rooted, Leased, BuildCache, Undo, Spared, Unused, Dangling,
        Elsewhere, Expired, Pending, Unknown, Ingest, Orphaned,
    ]
);

mirrored!(
    ThingKind,
    proto::ThingKind,
    [
        Image, Index, Manifest, Config, Content, Snapshot, Container, Absent
    ]
);

mirrored!(
    ReferenceKind,
    proto::ReferenceKind,
    [
        Label, BackLabel, Root, Lease, Container, Parent, Target, Name, PartOf
    ]
);

impl From<proto::container::State> for ContainerState {
    fn from(state: proto::container::State) -> Self {
        match state {
            proto::container::State::Unspecified => Self::Unknown,
            proto::container::State::Running => Self::Running,
            proto::container::State::Stopped => Self::Stopped,
        }
    }
}

impl From<ContainerState> for proto::container::State {
    fn from(state: ContainerState) -> Self {
        match state {
            ContainerState::Unknown => Self::Unspecified,
            ContainerState::Running => Self::Running,
            ContainerState::Stopped => Self::Stopped,
        }
    }
}
