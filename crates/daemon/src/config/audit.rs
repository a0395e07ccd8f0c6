//! `[audit]`: how much `reclaim history --all` keeps.

use reclaim_engine::AuditLimits;
use reclaim_maintenance::settings;
use reclaim_maintenance::settings::{Age, Span, Text};
use reclaim_model::ByteSize;

use super::InvalidSetting;

/// The smallest and largest file that is accepted, in bytes.
const SMALLEST: u64 = 1_000_000;
const LARGEST: u64 = 1_000_000_000;

settings! {
    pub(super) struct AuditSection in "audit" {
        /// Largest size of audit.jsonl in the state directory, which records each run that changes something, with its caller and images. The oldest records are dropped first.
        max_size: Text<ByteSize> = Text(ByteSize(16_000_000)), accepts "a size from 1MB to 1GB";
        /// Largest age of its records.
        max_age: Span<Age> = Span::of_secs(90 * 24 * 60 * 60);
    }
}

/// Checks the section.
pub(super) fn limits(section: AuditSection) -> Result<AuditLimits, InvalidSetting> {
    let AuditSection { max_size, max_age } = section;
    let ByteSize(max_bytes) = max_size.0;
    if !(SMALLEST..=LARGEST).contains(&max_bytes) {
        let problem = "accepted are 1MB to 1GB".to_owned();
        return Err(InvalidSetting::new("audit.max_size", problem));
    }
    Ok(AuditLimits {
        max_bytes,
        max_age: max_age.0,
    })
}
