//! The parts of a maintenance policy: names, patterns, sizes, watermarks, rules.
//!
//! The types of a configuration file are validated when they are parsed, so that an error can
//! point at the exact value. A parsed value needs no further checks.

mod byte_size;
mod filesystem;
mod name;
mod part;
mod pattern;
mod registry;
mod request;
mod rule;
mod uses;
mod watermark;

pub use byte_size::{ByteSize, ByteSizeError};
pub use filesystem::{Filesystem, Room};
pub use name::{PolicyName, PolicyNameError};
pub use part::{PolicyPart, PolicyPartError};
pub use pattern::{Pattern, PatternError};
pub use registry::{LocalMirrors, RegistryAnswer, RegistryAnswers, RegistryImage};
pub use request::{Goal, GoalUnit, LastUse, LastUses, RuleImages};
pub use rule::{Rule, RuleFilterError, RuleFilters};
pub use uses::{PresentTarget, RecordTimes, TargetsInUse, UseEvent, UseEventKind, WrittenRecord};
pub use watermark::{Watermark, WatermarkError, Watermarks, WatermarksError};
