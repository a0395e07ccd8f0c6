//! Enumerations, one to one.

use reclaim_engine::{Column, ThingKind};
use reclaim_maintenance::{PolicyOutcome, Trigger};
use reclaim_model::{
    ContainerState, DeleteGuard, HolderKind, HolderRole, KeepReason, Mode, Pin, RemoveReason,
};

use super::WireError;
use crate::grpc::proto;

/// Makes both directions of an enumeration whose variants have the same names.
macro_rules! mirrored {
    ($model:ty, $message:ty, $field:literal, [$($variant:ident),+ $(,)?]) => {
        impl From<$model> for $message {
            fn from(value: $model) -> Self {
                match value {
                    $(<$model>::$variant => Self::$variant,)+
                }
            }
        }

        impl TryFrom<$message> for $model {
            type Error = WireError;

            fn try_from(value: $message) -> Result<Self, WireError> {
                match value {
                    <$message>::Unspecified => Err(WireError::new($field, "it is not specified")),
                    $(<$message>::$variant => Ok(Self::$variant),)+
                }
            }
        }
    };
}

mirrored!(Pin, proto::Pin, "pin", [Ours, Others]);

mirrored!(
    HolderKind,
    proto::HolderKind,
    "kind of a holder",
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
    "role of a holder",
    [
        Container,
        StoppedContainer,
        Pull,
        UnfinishedPull,
        BuildCache
    ]
);

mirrored!(
    RemoveReason,
    proto::RemoveReason,
    "reason of a removal",
    [Dangling, Unused, Duplicate, Named, Replaced, Parent, Torn]
);

mirrored!(
    KeepReason,
    proto::KeepReason,
    "reason to keep",
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
    ]
);

mirrored!(Mode, proto::Mode, "mode", [DryRun, Apply]);

mirrored!(Trigger, proto::Trigger, "trigger", [Schedule, Demand]);

mirrored!(
    PolicyOutcome,
    proto::Outcome,
    "outcome",
    [Nothing, Done, Capped, Partial, Unmet, Busy, Failed]
);

mirrored!(
    DeleteGuard,
    proto::DeleteGuard,
    "guard",
    [Server, ReadFirst]
);

mirrored!(
    Column,
    proto::Column,
    "column",
    [
        InUse, Pinned, Unjudged, Rooted, Leased, BuildCache, Undo, Spared, Unused, Dangling,
        Elsewhere, Expired, Pending, Unknown, Ingest, Orphaned,
    ]
);

mirrored!(
    ThingKind,
    proto::ThingKind,
    "kind of a thing",
    [
        Image, Index, Manifest, Config, Content, Snapshot, Container, Absent
    ]
);

impl From<ContainerState> for proto::container::State {
    fn from(state: ContainerState) -> Self {
        match state {
            ContainerState::Unknown => Self::Unspecified,
            ContainerState::Running => Self::Running,
            ContainerState::Stopped => Self::Stopped,
        }
    }
}

impl From<proto::container::State> for ContainerState {
    fn from(state: proto::container::State) -> Self {
        match state {
            proto::container::State::Unspecified => Self::Unknown,
            proto::container::State::Running => Self::Running,
            proto::container::State::Stopped => Self::Stopped,
        }
    }
}

/// Reads the number of an enumeration that may be newer than we are.
pub(super) fn known<M: TryFrom<i32>, T: TryFrom<M, Error = WireError>>(
    field: &'static str,
    number: i32,
) -> Result<T, WireError> {
    let message = M::try_from(number);
    let message = message.map_err(|_| WireError::new(field, format!("{number} is unknown here")));
    T::try_from(message?)
}
