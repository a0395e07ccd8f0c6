//! Records of what was changed, and on whose request.
//!
//! The JSON form of each type is its form in `docs/json.md`, under `reclaim history --all`.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Caller, Digest, EntryPoint, Namespace, PinAction, PinRequest, PolicyName, PruneRequest,
    RemoveReason, RestoreRequest, RunId, Selection, TimeContext, UntilError, parse_until,
};

/// The longest request that a record has, in bytes of JSON.
const MAX_REQUEST: usize = 64 << 10;

/// The most bytes of images that a record has.
const MAX_IMAGES: usize = 4 << 20;

/// The bytes of an image in a record, apart from its name.
const IMAGE_BYTES: usize = 256;

/// The longest error that a record has, in characters.
const MAX_ERROR: usize = 4096;

/// Records of changes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditRecords {
    /// The records, oldest first.
    pub records: Vec<AuditRecord>,
    /// How many lines of the file cannot be read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unreadable: usize,
}

/// Which records are asked for, as typed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditQuery {
    /// Only those of this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Namespace>,
    /// Only runs that began at this time or later: an age or a date, as in the filter `until`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Only runs that began earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// A time of a query that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {source}; accepted are ages such as 12h and dates such as 2026-01-02T15:04Z")]
pub struct AuditQueryError {
    /// The field of the query.
    pub field: &'static str,
    source: UntilError,
}

/// A run that changed something, or tried to: its request, its caller and its result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// The run.
    pub run: RunId,
    /// Who requested it.
    pub caller: Caller,
    /// The namespace of the images.
    pub namespace: Namespace,
    /// The request, as typed.
    pub request: AuditRequest,
    /// When it began.
    pub began: Timestamp,
    /// When it ended; `None` while it runs, and after a crash.
    pub ended: Option<Timestamp>,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// Why it failed, or could not finish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How many images it changed.
    pub changed: usize,
    /// What it freed, in bytes.
    pub reclaimed_bytes: u64,
    /// Until when what it removed can be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<Timestamp>,
    /// The images that it changed.
    pub images: Vec<AuditImage>,
    /// How many of them are not listed, because the record would be too long.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub images_left_out: usize,
}

/// An image that a run changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditImage {
    /// Its name.
    pub name: String,
    /// The digest of its target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// What was done with it.
    pub change: ImageChange,
    /// Why it was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<RemoveReason>,
    /// The bytes of its content, which other images may share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// What was done with an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageChange {
    /// Its record was removed.
    Removed,
    /// It lost parts, and its record stays.
    Slimmed,
    /// Its record was written back.
    Restored,
    /// It has layers again that it lacked.
    Completed,
    /// It can no longer be restored.
    Released,
    /// It was pinned.
    Pinned,
    /// It was unpinned.
    Unpinned,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    /// Its end is not recorded: it is under way, or was cut off.
    Begun,
    /// It did what was requested.
    Done,
    /// It did a part.
    Partial,
    /// It failed.
    Failed,
}

/// A request that changes something.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditRequest {
    /// To remove images.
    Prune(Box<PruneRequest>),
    /// To run a policy. Its rules are in the configuration.
    Policy(PolicyName),
    /// To restore what a run removed.
    Undo {
        /// The run, or the beginning of its ID; `None` is the latest.
        run: Option<String>,
        /// The images; if the list is empty, all of the run.
        images: Vec<String>,
        /// Whether to restore private images without the kubelet's pull record, too.
        without_credentials: bool,
    },
    /// To free what a run holds.
    Release {
        /// The run, or the beginning of its ID; `None` is the latest.
        run: Option<String>,
    },
    /// To pin or unpin images.
    Pin(PinRequest),
    /// To fetch layers that images lack.
    Restore(RestoreRequest),
    /// To change which containers an owner has registered, so that their images stay.
    Containers {
        /// The owner.
        owner: String,
        /// The IDs of containers that were added, or changed.
        added: Vec<String>,
        /// The IDs of containers that were removed.
        removed: Vec<String>,
    },
    /// To remove images through a Docker Engine, which holds nothing.
    Docker {
        /// The address of the engine.
        engine: String,
        /// What to remove.
        request: Box<PruneRequest>,
    },
    /// To restore what a run removed that was cut off. Every run does so first.
    Recover {
        /// The run that was cut off.
        run: RunId,
    },
    /// Another, too long to be recorded.
    Long {
        /// Its length, in bytes of JSON.
        bytes: usize,
    },
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl PartialEq for AuditRequest {
    fn eq(&self, other: &Self) -> bool {
        serde_json::to_value(self).ok() == serde_json::to_value(other).ok()
    }
}

impl AuditRequest {
    /// Records a request to remove images.
    pub fn of_prune(request: &PruneRequest) -> Self {
        match &request.selection {
            Selection::Rule(images) => Self::Policy(images.rule.name.clone()),
            Selection::Filters(_)
            | Selection::Named(_)
            | Selection::Project(_)
            | Selection::Parts(_) => Self::Prune(Box::new(request.clone())).bounded(),
        }
    }

    /// Returns the request, or its length if it is too long for a record.
    #[must_use]
    pub fn bounded(self) -> Self {
        let bytes = serde_json::to_vec(&self).map_or(usize::MAX, |json| json.len());
        if bytes <= MAX_REQUEST {
            self
        } else {
            Self::Long { bytes }
        }
    }

    /// Returns what was requested, in a word for tables and the log.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Prune(request) | Self::Docker { request, .. } => match &request.selection {
                Selection::Named(_) => "remove",
                Selection::Project(_) => "project prune",
                Selection::Parts(_) => "slim",
                Selection::Filters(_) | Selection::Rule(_) => "prune",
            },
            Self::Policy(_) => "policy",
            Self::Undo { .. } => "undo",
            Self::Release { .. } => "release",
            Self::Pin(request) => match request.action {
                PinAction::Pin => "pin",
                PinAction::Unpin | PinAction::UnpinAny => "unpin",
            },
            Self::Restore(_) => "restore",
            Self::Containers { .. } => "register",
            Self::Recover { .. } => "recover",
            Self::Long { .. } => "a long request",
        }
    }
}

impl AuditOutcome {
    /// Returns its name in JSON and in the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Partial => "partial",
            Self::Failed => "failed",
        }
    }
}

impl ImageChange {
    /// Returns its name in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Slimmed => "slimmed",
            Self::Restored => "restored",
            Self::Completed => "completed",
            Self::Released => "released",
            Self::Pinned => "pinned",
            Self::Unpinned => "unpinned",
        }
    }
}

impl AuditRecord {
    /// Returns the record of a run that begins at this moment.
    pub fn begun(
        run: RunId,
        caller: Caller,
        namespace: Namespace,
        request: AuditRequest,
        began: Timestamp,
    ) -> Self {
        Self {
            run,
            caller,
            namespace,
            request,
            began,
            ended: None,
            outcome: AuditOutcome::Begun,
            error: None,
            changed: 0,
            reclaimed_bytes: 0,
            held_until: None,
            images: Vec::new(),
            images_left_out: 0,
        }
    }

    /// Sets the images, as many as fit into a record, and how many there are.
    pub fn set_images(&mut self, images: impl IntoIterator<Item = AuditImage>) {
        let mut bytes = 0_usize;
        for image in images {
            self.changed += 1;
            bytes = bytes.saturating_add(image.name.len() + IMAGE_BYTES);
            if bytes <= MAX_IMAGES {
                self.images.push(image);
            } else {
                self.images_left_out += 1;
            }
        }
    }

    /// Sets why the run failed or could not finish.
    pub fn set_error(&mut self, error: &str) {
        self.error = Some(error.chars().take(MAX_ERROR).collect());
    }

    /// Returns the record with at most this many images.
    #[must_use]
    pub fn with_images(mut self, most: usize) -> Self {
        self.images_left_out += self.images.len().saturating_sub(most);
        self.images.truncate(most);
        self
    }
}

impl AuditRecords {
    /// Keeps the records that a query asks for.
    ///
    /// # Errors
    ///
    /// An [`AuditQueryError`] if a time of the query means nothing.
    pub fn matching(
        mut self,
        query: &AuditQuery,
        context: &TimeContext,
    ) -> Result<Self, AuditQueryError> {
        let parse = |field, text: &Option<String>| {
            let moment = text.as_deref().map(|text| parse_until(text, context));
            moment
                .transpose()
                .map_err(|source| AuditQueryError { field, source })
        };
        let since = parse("since", &query.since)?;
        let until = parse("until", &query.until)?;
        let namespace = query.namespace.as_ref();
        self.records.retain(|record| {
            namespace.is_none_or(|namespace| record.namespace == *namespace)
                && since.is_none_or(|since| record.began >= since)
                && until.is_none_or(|until| record.began < until)
        });
        Ok(self)
    }
}

/// Describes a caller on one line. Parts of it are texts of others.
impl fmt::Display for Caller {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.entry_point {
            EntryPoint::CommandLine => "a command",
            EntryPoint::Json => "the JSON API",
            EntryPoint::Grpc => "the gRPC API",
            EntryPoint::Docker => "Docker's API",
            EntryPoint::Schedule => "the schedule",
            EntryPoint::Embedded => "a program with the engine",
        })?;
        if let Some(policy) = &self.policy {
            write!(formatter, ", policy {policy}")?;
        }
        if let Some(process) = &self.peer.process {
            write!(formatter, ", user {}", process.uid)?;
            if let Some(pid) = process.pid {
                write!(formatter, ", process {pid}")?;
            }
            if let Some(command) = &process.command {
                write!(formatter, " ({command})")?;
            }
        }
        if let Some(certificate) = &self.peer.certificate {
            write!(formatter, ", certificate {}", certificate.subject)?;
        }
        if let Some(host) = self.peer.host {
            write!(formatter, ", host {host}")?;
        }
        if let Some(agent) = &self.user_agent {
            write!(formatter, ", {agent}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> AuditRecord {
        let namespace: Namespace = "default".parse().unwrap();
        let request = AuditRequest::of_prune(&PruneRequest::unused(namespace.clone()));
        let caller = Caller::new(EntryPoint::CommandLine);
        AuditRecord::begun(
            RunId("r".to_owned()),
            caller,
            namespace,
            request,
            Timestamp::UNIX_EPOCH,
        )
    }

    fn image(name: &str) -> AuditImage {
        AuditImage {
            name: name.to_owned(),
            digest: None,
            change: ImageChange::Removed,
            reason: Some(RemoveReason::Unused),
            bytes: Some(1),
        }
    }

    #[test]
    fn a_record_is_bounded_and_counts_what_it_leaves_out() {
        let mut long = record();
        let name = "n".repeat(MAX_IMAGES / 4);
        long.set_images((0..5).map(|_| image(&name)));
        assert_eq!(
            (long.changed, long.images.len(), long.images_left_out),
            (5, 3, 2)
        );
        let short = long.with_images(1);
        assert_eq!(
            (short.changed, short.images.len(), short.images_left_out),
            (5, 1, 4)
        );
        let names = vec!["n".repeat(MAX_REQUEST)];
        let request = PruneRequest::images("default".parse().unwrap(), names);
        assert!(matches!(
            AuditRequest::of_prune(&request),
            AuditRequest::Long { .. }
        ));
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let mut record = record();
        record.set_images([image("a"), image("b\n\u{1b}")]);
        record.set_error("no space");
        let json = serde_json::to_string(&record).unwrap();
        assert!(!json.contains('\n'), "{json}");
        let read: AuditRecord = serde_json::from_str(&json).unwrap();
        assert_eq!(read, record);
        let records = AuditRecords {
            records: vec![read],
            unreadable: 0,
        };
        let context = TimeContext {
            now: Timestamp::from_second(3600).unwrap(),
            offset: jiff::tz::Offset::UTC,
        };
        let found = |namespace: &str, since: &str, until: &str| {
            let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let query = AuditQuery {
                namespace: some(namespace).map(|name| name.parse().unwrap()),
                since: some(since),
                until: some(until),
            };
            let matching = records.clone().matching(&query, &context);
            matching.map(|found| found.records.len())
        };
        for (namespace, since, until, number) in [
            ("", "", "", 1),
            ("other", "", "", 0),
            ("default", "2h", "", 1),
            ("", "1h", "59m", 1),
            ("", "59m", "", 0),
            ("", "", "1970-01-01", 0),
        ] {
            assert_eq!(
                found(namespace, since, until),
                Ok(number),
                "{since} {until}"
            );
        }
        let error = found("", "", "yesterday").unwrap_err().to_string();
        assert!(error.starts_with("until: "), "{error}");
    }
}
