//! What is held of earlier runs.

use reclaim_engine::Hold;
use reclaim_model::ImageRecord;

use super::moment;
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
