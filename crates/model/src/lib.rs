#![doc = include_str!("../README.md")]
//!
//! # Time
//!
//! Functions that need the time take it as an argument. Every value can be built by hand in a test.

mod answer;
mod audit;
mod caller;
mod conditions;
mod cut;
mod digest;
mod disk_usage;
mod error;
mod filter;
pub mod form;
mod free_target;
mod freeable;
mod gap;
mod gc_conditions;
mod gc_labels;
mod held_run;
mod holder;
mod image;
mod image_filters;
mod image_list;
mod inhibitor;
mod inventory;
mod label;
mod leased;
mod left;
mod named;
mod names;
mod namespaces;
mod pin;
mod plan;
mod platform;
mod platform_layers;
mod policy;
mod printable;
mod project;
mod project_usage;
mod protection;
mod reference;
mod report;
mod request;
mod restore;
mod size;
mod snapshot_sizes;
mod sources;
mod store_map;
mod texts;
mod unrecorded;
mod until;

pub use answer::{
    Answer, Answers, HolderPath, ImageVerdict, Link, Outlook, PruneVerdicts, ReferenceKind, Thing,
    ThingKind,
};
pub use audit::{
    AuditImage, AuditOutcome, AuditQuery, AuditQueryError, AuditRecord, AuditRecords, AuditRequest,
    ImageChange,
};
pub use caller::{Caller, EntryPoint, Peer, PeerCertificate, PeerProcess};
pub use conditions::{ImageConditions, ResolvedConditions};
pub use cut::{BlobLabels, BuildHistory, Cut, CutTarget, ImageParts, Part, Pinned, Slimmed};
pub use digest::{Digest, DigestError};
pub use disk_usage::{Column, DiskUsage, ImageSize, ImageUsage, NamespaceUsage, UsageByColumn};
pub use error::chain;
pub use filter::{FilterArgs, FilterError, PRUNE_FILTER_KEYS, PruneFilters};
pub use form::{VERSION, Versioned};
pub use free_target::{FreeAmount, FreeAmountError, FreeTarget, FreeTargetError, ResolvedTarget};
pub use freeable::Freeable;
pub use gap::{Gap, List};
pub use gc_conditions::{ConditionalLabels, ConditionalRef, UsedAt};
pub use gc_labels::{
    EXPIRE, FLAT, GcLabelSet, GcLabels, GcRef, RootMark, gc_ref_kind, keys_that_attach,
    keys_that_refer, parse_expiry,
};
pub use held_run::{HeldRun, HeldRuns};
pub use holder::{Holder, HolderKind, HolderRole, shortened};
pub use image::{
    Child, Config, DANGLING_PREFIX, Document, DocumentKind, ImageRecord, MAX_DOCUMENT_DEPTH,
    Target, shown_name,
};
pub use image_filters::{DigestFilter, IMAGE_FILTER_KEYS, ImageFilterError, ImageFilters};
pub use image_list::{ImageList, ListedImage};
pub use inhibitor::{InhibitScope, Inhibitor};
pub use inventory::{
    Blob, CollectorRules, Container, ContainerSource, ContainerState, IMAGE_DIGEST_LABEL, Ingest,
    Inventory, Lease, LeaseResource, NamespaceInventory, PodImages, RUN_LABEL, Sandbox, Snapshot,
    SnapshotKind,
};
pub use label::{LabelFilter, LabelLengthError};
pub use leased::{LeaseHolding, Leased};
pub use left::{Left, LeftHolder, LeftThing};
pub use named::{Conflict, ConflictCause, Named, NamedImages, NamedRemoval, NotRemoved};
pub use names::{Namespace, NamespaceError, SnapshotId, Snapshotter};
pub use namespaces::{ByNamespace, FailedNamespace, NamespaceImages, NamespaceList};
pub use pin::{
    NotPinned, OUR_PIN_LABEL, PIN_LABEL, PIN_VALUE, Pin, PinAction, PinOutcome, PinRequest, Pins,
};
pub use plan::{
    Amount, Estimate, Freed, FreedBlob, FreedSnapshot, KeepReason, Kept, NotCounted, Plan,
    Reclaimed, RemoveReason, Step,
};
pub use platform::{Platform, PlatformError};
pub use platform_layers::PlatformLayers;
pub use policy::{
    ByteSize, ByteSizeError, Filesystem, Goal, GoalUnit, LastUse, LastUses, LocalMirrors, Pattern,
    PatternError, PolicyName, PolicyNameError, PolicyPart, PolicyPartError, PresentTarget,
    RecordTimes, RegistryAnswer, RegistryAnswers, RegistryImage, Room, Rule, RuleFilterError,
    RuleFilters, RuleImages, TargetsInUse, UseEvent, UseEventKind, Watermark, WatermarkError,
    Watermarks, WatermarksError, WrittenRecord,
};
pub use printable::{Printable, is_printable};
pub use project::{
    PROJECT_LABEL, Project, ProjectImageMode, ProjectImages, ProjectName, ProjectNameError,
    SERVICE_LABEL, Separator, Service, UnknownModeError,
};
pub use project_usage::{ProjectImage, ProjectList, ProjectUsage};
pub use protection::{NamespaceProtection, Protection, lift_warning};
pub use reference::{IdPrefix, Reference, ReferenceError, familiar_name};
pub use report::{DeleteGuard, Failed, RefuseReason, Refused, Removed, Report, Row, RunId};
pub use request::{Mode, PruneRequest, ResolvedRequest, Selection};
pub use restore::{
    CredentialsByRegistry, FetchedContent, FetchedPart, NotRestored, RegistryContent,
    RegistryCredentials, RestoreCall, RestoreOutcome, RestoreRequest, Restores,
};
pub use size::{HumanSize, HumanSizeShort};
pub use snapshot_sizes::SnapshotSizes;
pub use sources::Sources;
pub use store_map::{ManifestObjects, NamespaceMap, ObjectKind, StoreMap, StoredObject};
pub use texts::Texts;
pub use unrecorded::{OutsideRecords, Place, Unrecorded};
pub use until::{
    GoDuration, GoDurationError, LayoutError, TimeContext, UntilError, parse_go_duration,
    parse_until,
};
