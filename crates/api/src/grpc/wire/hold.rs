//! What is held of earlier runs.

use reclaim_engine::Hold;
use reclaim_model::{EXPIRE, GcLabels, ImageRecord, RunId, Target, parse_expiry};

use super::{WireError, list, moment, parsed, timestamp};
use crate::grpc::proto;

impl From<&Hold> for proto::Hold {
    fn from(hold: &Hold) -> Self {
        Self {
            run: hold.run.to_string(),
            started: hold.started.map(moment),
            expires: hold.expires.map(moment),
            is_abandoned: hold.is_abandoned,
            is_whole: hold.is_whole,
            records: hold.records.iter().map(Into::into).collect(),
            unpins: hold.unpins.iter().map(Into::into).collect(),
            leases: hold.leases.clone(),
        }
    }
}

impl TryFrom<proto::Hold> for Hold {
    type Error = WireError;

    fn try_from(message: proto::Hold) -> Result<Self, WireError> {
        Ok(Self {
            run: RunId(message.run),
            started: message.started.map(timestamp).transpose()?,
            expires: message.expires.map(timestamp).transpose()?,
            is_abandoned: message.is_abandoned,
            is_whole: message.is_whole,
            records: list(message.records)?,
            unpins: list(message.unpins)?,
            leases: message.leases,
        })
    }
}

impl From<&ImageRecord> for proto::HeldRecord {
    fn from(record: &ImageRecord) -> Self {
        let target = &record.target;
        Self {
            name: record.name.clone(),
            media_type: target.media_type.clone(),
            digest: target.digest.to_string(),
            size: target.size,
            annotations: target.annotations.clone().into_iter().collect(),
            labels: record.labels.clone().into_iter().collect(),
            created: record.created_at.map(moment),
        }
    }
}

impl TryFrom<proto::HeldRecord> for ImageRecord {
    type Error = WireError;

    fn try_from(message: proto::HeldRecord) -> Result<Self, WireError> {
        let labels = message.labels;
        Ok(Self {
            name: message.name,
            target: Target {
                media_type: message.media_type,
                digest: parsed("digest", &message.digest)?,
                size: message.size,
                annotations: message.annotations.into_iter().collect(),
            },
            gc: GcLabels::parse(labels.iter().map(|(key, value)| (&**key, &**value))),
            expires: labels.get(EXPIRE).and_then(|it| parse_expiry(it)),
            labels: labels.into_iter().collect(),
            created_at: message.created.map(timestamp).transpose()?,
            updated_at: None,
        })
    }
}
