//! Records of changes, and their callers.

use reclaim_model::{
    AuditImage, AuditRecord, AuditRecords, Caller, Peer, PeerCertificate, PeerProcess,
};

use super::{moment, size};
use crate::grpc::proto;

impl From<&Caller> for proto::Caller {
    fn from(caller: &Caller) -> Self {
        let Caller {
            entry_point,
            peer:
                Peer {
                    process,
                    certificate,
                    host,
                },
            policy,
            user_agent,
        } = caller;
        Self {
            entry_point: proto::EntryPoint::from(*entry_point).into(),
            process: process.as_ref().map(Into::into),
            certificate: certificate.as_ref().map(Into::into),
            host: host.map(|host| host.to_string()),
            policy: policy.as_ref().map(ToString::to_string),
            user_agent: user_agent.clone(),
        }
    }
}

impl From<&PeerProcess> for proto::PeerProcess {
    fn from(process: &PeerProcess) -> Self {
        let PeerProcess {
            uid,
            gid,
            pid,
            command,
        } = process;
        Self {
            uid: *uid,
            gid: *gid,
            pid: *pid,
            command: command.clone(),
        }
    }
}

impl From<&PeerCertificate> for proto::PeerCertificate {
    fn from(certificate: &PeerCertificate) -> Self {
        let PeerCertificate {
            subject,
            common_name,
            alternative_names,
        } = certificate;
        Self {
            subject: subject.clone(),
            common_name: common_name.clone(),
            alternative_names: alternative_names.clone(),
        }
    }
}

impl From<&AuditRecords> for proto::AuditResponse {
    fn from(found: &AuditRecords) -> Self {
        let AuditRecords {
            records,
            unreadable,
        } = found;
        Self {
            records: records.iter().map(Into::into).collect(),
            unreadable: size(*unreadable),
        }
    }
}

impl From<&AuditRecord> for proto::AuditRecord {
    fn from(record: &AuditRecord) -> Self {
        let AuditRecord {
            run,
            caller,
            namespace,
            request,
            began,
            ended,
            outcome,
            error,
            changed,
            reclaimed_bytes,
            held_until,
            images,
            images_left_out,
        } = record;
        Self {
            run: run.to_string(),
            caller: Some(caller.into()),
            namespace: namespace.to_string(),
            request: serde_json::to_string(request).expect("a request serializes to JSON"),
            began: Some(moment(*began)),
            ended: ended.map(moment),
            outcome: outcome.word().to_owned(),
            error: error.clone(),
            changed: size(*changed),
            reclaimed_bytes: *reclaimed_bytes,
            held_until: held_until.map(moment),
            images: images.iter().map(Into::into).collect(),
            images_left_out: size(*images_left_out),
        }
    }
}

impl From<&AuditImage> for proto::AuditImage {
    fn from(image: &AuditImage) -> Self {
        let AuditImage {
            name,
            digest,
            change,
            reason,
            bytes,
        } = image;
        Self {
            name: name.clone(),
            digest: digest.as_ref().map(ToString::to_string),
            change: change.word().to_owned(),
            reason: reason.map(|reason| proto::RemoveReason::from(reason).into()),
            bytes: *bytes,
        }
    }
}
