//! Records of changes, and their callers.

use jiff::Timestamp;
use reclaim_model::{
    AuditImage, AuditOutcome, AuditRecord, AuditRecords, AuditRequest, Caller, EntryPoint,
    ImageChange, Peer, PeerCertificate, PeerProcess, PinAction, PinRequest, Platform, PruneRequest,
    RemoveReason, RestoreRequest,
};
use serde_json::Value;

use super::{digest, form, namespace, run_id, text};

pub(super) fn caller() -> Caller {
    Caller {
        entry_point: EntryPoint::Docker,
        peer: Peer {
            process: Some(PeerProcess {
                uid: 1,
                gid: Some(1),
                pid: Some(1),
                command: Some(text()),
            }),
            certificate: Some(PeerCertificate {
                subject: text(),
                common_name: Some(text()),
                alternative_names: vec![text()],
            }),
            host: Some([10, 0, 0, 1].into()),
        },
        policy: Some("p".parse().unwrap()),
        user_agent: Some(text()),
    }
}

pub(in crate::json_forms) fn audit_records() -> Value {
    let requests = [
        AuditRequest::of_prune(&PruneRequest::unused(namespace())),
        AuditRequest::Policy("p".parse().unwrap()),
        AuditRequest::Undo {
            run: Some(text()),
            images: vec![text()],
            without_credentials: true,
        },
        AuditRequest::Release { run: Some(text()) },
        AuditRequest::Restore(RestoreRequest {
            namespace: namespace(),
            names: vec![text()],
            platforms: vec![Platform::host()],
            may_lack_namespace: true,
            dry_run: false,
        }),
        AuditRequest::Pin(PinRequest {
            namespace: namespace(),
            action: PinAction::Pin,
            names: vec![text()],
            may_lack_namespace: true,
            wait: true,
        }),
        AuditRequest::Containers {
            owner: text(),
            added: vec![text()],
            removed: vec![text()],
        },
        AuditRequest::Docker {
            engine: text(),
            request: Box::new(PruneRequest::unused(namespace())),
        },
        AuditRequest::Recover { run: run_id() },
        AuditRequest::Long { bytes: 1 },
    ];
    let outcomes = [
        AuditOutcome::Begun,
        AuditOutcome::Done,
        AuditOutcome::Partial,
        AuditOutcome::Failed,
    ];
    let images = [
        ImageChange::Removed,
        ImageChange::Slimmed,
        ImageChange::Restored,
        ImageChange::Completed,
        ImageChange::Released,
        ImageChange::Pinned,
        ImageChange::Unpinned,
    ];
    let images = images.map(|change| AuditImage {
        name: text(),
        digest: Some(digest()),
        change,
        reason: Some(RemoveReason::Unused),
        bytes: Some(1),
    });
    let outcomes = outcomes.into_iter().cycle();
    let records = requests.into_iter().zip(outcomes);
    let records = records.map(|(request, outcome)| AuditRecord {
        run: run_id(),
        caller: caller(),
        namespace: namespace(),
        request,
        began: Timestamp::UNIX_EPOCH,
        ended: Some(Timestamp::UNIX_EPOCH),
        outcome,
        error: Some(text()),
        changed: 1,
        reclaimed_bytes: 1,
        held_until: Some(Timestamp::UNIX_EPOCH),
        images: images.to_vec(),
        images_left_out: 1,
    });
    form(AuditRecords {
        records: records.collect(),
        unreadable: 1,
    })
}
