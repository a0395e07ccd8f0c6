//! What came of each name.

use reclaim_model::{Conflict, ConflictCause, Named, NamedRemoval, NotRemoved, Row};

use crate::grpc::proto;
use proto::conflict::Cause;
use proto::not_removed::Kind;

impl From<&Named> for proto::Named {
    fn from(named: &Named) -> Self {
        Self {
            name: named.name.clone(),
            services: named.services.clone(),
            outcome: Some(match named.outcome() {
                Ok(removal) => proto::named::Outcome::Removal(removal.into()),
                Err(error) => proto::named::Outcome::NotRemoved(error.into()),
            }),
        }
    }
}

impl From<&NamedRemoval> for proto::Removal {
    fn from(removal: &NamedRemoval) -> Self {
        Self {
            records: removal.records.clone(),
            rows: removal
                .untagged
                .iter()
                .map(|name| Row::Untagged(name.clone()))
                .chain(removal.deleted.iter().cloned().map(Row::Deleted))
                .map(|row| (&row).into())
                .collect(),
        }
    }
}

impl From<&NotRemoved> for proto::NotRemoved {
    fn from(error: &NotRemoved) -> Self {
        let mut conflict = None;
        let mut subject = String::new();
        let kind = match error {
            NotRemoved::Blank => Kind::Blank,
            NotRemoved::Reference(_) => Kind::Reference,
            NotRemoved::NoSuchImage(name) => {
                subject.clone_from(name);
                Kind::NoSuchImage
            }
            NotRemoved::Ambiguous => Kind::Ambiguous,
            NotRemoved::Conflict(found) => {
                conflict = Some(found.into());
                Kind::Conflict
            }
            NotRemoved::Changed => Kind::Changed,
            NotRemoved::Cancelled => Kind::Cancelled,
            NotRemoved::Failed(error) => {
                subject.clone_from(error);
                Kind::Failed
            }
        };
        Self {
            kind: kind.into(),
            message: error.to_string(),
            subject,
            conflict,
        }
    }
}

impl From<&Conflict> for proto::Conflict {
    fn from(conflict: &Conflict) -> Self {
        let cause = match &conflict.cause {
            ConflictCause::Referenced { container, image } => {
                Cause::ReferencedBy(proto::ReferencedBy {
                    container: container.clone(),
                    image: image.to_string(),
                })
            }
            ConflictCause::RunningContainer(id) => Cause::RunningContainer(id.clone()),
            ConflictCause::StoppedContainer(id) => Cause::StoppedContainer(id.clone()),
            ConflictCause::MultipleRepositories => Cause::MultipleRepositories(true),
            ConflictCause::Holder(holder) => Cause::Holder(holder.into()),
            ConflictCause::Pinned => Cause::Pinned(true),
            ConflictCause::Other(words) => Cause::Other(words.clone()),
        };
        Self {
            image: conflict.image.clone(),
            can_be_forced: conflict.can_be_forced,
            cause: Some(cause),
        }
    }
}
