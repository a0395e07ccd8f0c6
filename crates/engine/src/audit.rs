//! The audit: one line in the log and one record on disk for each change.
//!
//! A run writes one line to the file before its first change and one at its end, which replaces the
//! first when the file is read. So a run that was cut off has a record, too. A record that cannot be
//! written is a warning: no run waits or fails for it.

mod file;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reclaim_model::{
    AuditImage, AuditOutcome, AuditRecord, AuditRequest, Caller, Digest, EntryPoint, ImageChange,
    Namespace, PolicyName, Report, RunId, chain,
};
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::containers::{ListChange, OwnerName};
use crate::controls::this_process;
use crate::engine::Engine;
use crate::error::RunError;
use crate::off_thread::blocking;
use crate::preview::new_run;

pub use file::{AuditError, AuditLimits, AuditLog};

/// How long a run waits for its record: a disk can hang.
const PATIENCE: Duration = Duration::from_secs(5);

/// A change that is about to be made, and its record.
#[derive(Debug)]
pub struct Audited {
    /// Without one, only the log of the process has a line.
    log: Option<Arc<AuditLog>>,
    /// Boxed, because it is in the future of each run.
    record: Box<AuditRecord>,
    begun: OnceCell<()>,
}

impl Audited {
    /// Returns a change of a program that makes it without an [`Engine`].
    pub fn new(
        log: Option<AuditLog>,
        caller: Caller,
        namespace: Namespace,
        request: AuditRequest,
    ) -> Self {
        let now = reclaim_store::now();
        let record = AuditRecord::begun(new_run(), caller, namespace, request.bounded(), now);
        Self::of(log.map(Arc::new), record)
    }

    fn of(log: Option<Arc<AuditLog>>, record: AuditRecord) -> Self {
        Self {
            log,
            record: Box::new(record),
            begun: OnceCell::new(),
        }
    }

    /// Records that the first change is about to be made. Returns once that is done, also if it is
    /// called several times at once.
    pub async fn begin(&self) {
        let writing = || write(self.log.clone(), self.record.clone());
        self.begun.get_or_init(writing).await;
    }

    /// Records the end, if it has begun.
    pub async fn end(self, now: Timestamp, finish: impl FnOnce(&mut AuditRecord)) {
        let Self {
            log,
            mut record,
            begun,
        } = self;
        if !begun.initialized() {
            return;
        }
        record.ended = Some(now);
        record.outcome = AuditOutcome::Done;
        finish(&mut record);
        log_line(&record);
        write(log, record).await;
    }

    /// Records a change that was made already, with its end alone.
    async fn made(self) {
        let now = self.record.began;
        let begun = OnceCell::new_with(Some(()));
        Self { begun, ..self }.end(now, |_| {}).await;
    }
}

async fn write(log: Option<Arc<AuditLog>>, record: Box<AuditRecord>) {
    let Some(log) = log else {
        return;
    };
    let run = record.run.clone();
    let writing = blocking(move || {
        if let Err(error) = log.add(&record) {
            let is_closed = error.kind() == ErrorKind::PermissionDenied
                && !rustix::process::geteuid().is_root();
            let error = chain(&error);
            if is_closed {
                info!(run = %record.run, %error, "cannot record the run: another user's state");
            } else {
                warn!(run = %record.run, %error, "cannot record the run for `reclaim history`");
            }
        }
    });
    wait(&run, writing).await;
}

/// Waits until a record is written, but no longer than [`PATIENCE`].
async fn wait(run: &RunId, writing: impl Future<Output = ()>) {
    if timeout(PATIENCE, writing).await.is_err() {
        warn!(%run, "recording the run takes too long; continuing without waiting for it");
    }
}

impl Engine {
    /// Records in this directory what is changed, and on whose request. Without it, only the log has
    /// a line for each run.
    #[must_use]
    pub fn with_audit(self, log: AuditLog) -> Self {
        Self {
            audit: Some(Arc::new(log)),
            ..self
        }
    }

    /// Returns the records of what was changed, if there are any.
    pub fn audit(&self) -> Option<Arc<AuditLog>> {
        self.audit.clone()
    }

    /// Returns this engine for the requests of a caller. Without one, the caller is this process.
    #[must_use]
    pub fn called_by(&self, caller: Caller) -> Self {
        Self {
            caller: Some(Arc::new(caller)),
            ..self.clone()
        }
    }

    /// Returns whose requests the engine carries out.
    pub fn caller(&self) -> Caller {
        match &self.caller {
            Some(caller) => Caller::clone(caller),
            None => this_process(EntryPoint::Embedded),
        }
    }

    /// Records a change of the containers that an owner has registered. A call that only renews a list
    /// changes nothing.
    pub async fn audit_registration(&self, owner: &OwnerName, change: ListChange) {
        let ListChange {
            namespace,
            added,
            removed,
        } = change;
        if added.is_empty() && removed.is_empty() {
            return;
        }
        let owner = owner.to_string();
        let request = AuditRequest::Containers {
            owner,
            added,
            removed,
        };
        let audited = self.audited(&new_run(), &namespace, request.bounded());
        audited.made().await;
    }

    /// Returns a run that has not changed anything yet.
    pub(crate) fn audited(
        &self,
        run: &RunId,
        namespace: &Namespace,
        request: AuditRequest,
    ) -> Audited {
        let (caller, now) = (self.caller(), self.store.now());
        let record = AuditRecord::begun(run.clone(), caller, namespace.clone(), request, now);
        Audited::of(self.audit.clone(), record)
    }

    /// Records the end of a run, if it has begun.
    pub(crate) async fn audit_end(&self, audited: Audited, finish: impl FnOnce(&mut AuditRecord)) {
        audited.end(self.store.now(), finish).await;
    }
}

/// Writes the line of a run to the log.
fn log_line(record: &AuditRecord) {
    let Caller {
        entry_point,
        peer,
        policy,
        user_agent,
    } = &record.caller;
    let process = peer.process.as_ref();
    let certificate = peer.certificate.as_ref();
    info!(
        target: "audit",
        run = %record.run,
        request = record.request.word(),
        outcome = record.outcome.word(),
        namespace = %record.namespace,
        changed = record.changed,
        reclaimed_bytes = record.reclaimed_bytes,
        entry_point = entry_point.word(),
        uid = process.map(|process| process.uid),
        pid = process.and_then(|process| process.pid),
        command = process.and_then(|process| process.command.as_deref()),
        certificate = certificate.map(|certificate| certificate.subject.as_str()),
        host = peer.host.map(|host| host.to_string()),
        policy = policy.as_ref().map(PolicyName::as_str),
        user_agent = user_agent.as_deref(),
        error = record.error.as_deref(),
        "run ended"
    );
}

/// Enters the report of a prune.
pub(crate) fn enter_report(record: &mut AuditRecord, done: &Result<Report, RunError>) {
    let report = match done {
        Ok(report) => report,
        Err(error) => return enter_error(record, error),
    };
    if report.is_partial() {
        record.outcome = AuditOutcome::Partial;
    }
    if let Some(unfinished) = &report.unfinished {
        record.set_error(unfinished);
    }
    record.reclaimed_bytes = report.reclaimed.0.total_bytes();
    record.held_until = report.held_until;
    let removed = report.removed.iter().map(|image| AuditImage {
        name: image.name.clone(),
        digest: Some(image.target.clone()),
        change: ImageChange::Removed,
        reason: Some(image.reason),
        bytes: report.content_bytes.get(&image.target).copied(),
    });
    let slimmed = report.slimmed.iter();
    let slimmed = slimmed.map(|it| changed(&it.name, Some(&it.target), ImageChange::Slimmed));
    record.set_images(removed.chain(slimmed));
}

/// Enters why a run failed.
pub(crate) fn enter_error(record: &mut AuditRecord, error: &RunError) {
    record.outcome = AuditOutcome::Failed;
    record.set_error(&chain(error));
}

/// Returns an image with its change, without a reason.
pub(crate) fn changed(name: &str, digest: Option<&Digest>, change: ImageChange) -> AuditImage {
    AuditImage {
        name: name.to_owned(),
        digest: digest.cloned(),
        change,
        reason: None,
        bytes: None,
    }
}

#[cfg(test)]
mod tests {
    use std::future;

    use tokio::time::Instant;

    use super::*;

    fn audited(log: AuditLog) -> Audited {
        let namespace = "default".parse().unwrap();
        let request = AuditRequest::Release { run: None };
        Audited::new(Some(log), Caller::new(EntryPoint::Json), namespace, request)
    }

    /// A write that never ends, as on a disk that hangs.
    #[tokio::test(start_paused = true)]
    async fn no_run_waits_for_long_until_its_record_is_written() {
        let began = Instant::now();
        wait(&RunId("r".to_owned()), future::pending()).await;
        let waited = began.elapsed();
        assert!((PATIENCE..PATIENCE * 2).contains(&waited), "{waited:?}");
    }

    #[tokio::test]
    async fn no_run_fails_for_its_record() {
        let nowhere = AuditLog::new("/nowhere".as_ref(), AuditLimits::default());
        let audited = audited(nowhere);
        audited.begin().await;
        audited.end(Timestamp::UNIX_EPOCH, |_| {}).await;
    }

    #[tokio::test]
    async fn a_run_without_a_change_leaves_no_record() {
        let directory = tempfile::tempdir().unwrap();
        let log = || AuditLog::new(directory.path(), AuditLimits::default());
        audited(log()).end(Timestamp::UNIX_EPOCH, |_| {}).await;
        assert_eq!(AuditLog::read(directory.path()).unwrap().records, []);
        let changed = audited(log());
        tokio::join!(changed.begin(), changed.begin());
        let found = std::fs::read_to_string(directory.path().join("audit.jsonl")).unwrap();
        assert_eq!(found.lines().count(), 1, "{found}");
    }
}
