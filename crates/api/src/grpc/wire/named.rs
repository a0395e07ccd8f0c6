//! What came of each name.

use reclaim_model::{
    Conflict, ConflictCause, Named, NamedRemoval, NotRemoved, Reference, ReferenceError,
};

use super::{WireError, list, parsed};
use crate::grpc::proto;
use proto::conflict::Cause;
use proto::not_removed::Kind;

impl From<&Named> for proto::Named {
    fn from(named: &Named) -> Self {
        Self {
            name: named.name.clone(),
            services: named.services.clone(),
            outcome: Some(match &named.outcome {
                Ok(removal) => proto::named::Outcome::Removal(removal.into()),
                Err(error) => proto::named::Outcome::NotRemoved(error.into()),
            }),
        }
    }
}

impl TryFrom<proto::Named> for Named {
    type Error = WireError;

    fn try_from(message: proto::Named) -> Result<Self, WireError> {
        let outcome = message
            .outcome
            .ok_or_else(|| WireError::missing("outcome"))?;
        Ok(Self {
            outcome: match outcome {
                proto::named::Outcome::Removal(removal) => Ok(removal.try_into()?),
                proto::named::Outcome::NotRemoved(error) => Err(not_removed(error, &message.name)?),
            },
            name: message.name,
            services: message.services,
        })
    }
}

impl From<&NamedRemoval> for proto::Removal {
    fn from(removal: &NamedRemoval) -> Self {
        Self {
            records: removal.records.clone(),
            rows: removal.rows.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<proto::Removal> for NamedRemoval {
    type Error = WireError;

    fn try_from(message: proto::Removal) -> Result<Self, WireError> {
        Ok(Self {
            records: message.records,
            rows: list(message.rows)?,
        })
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

/// `name` is what was asked for: what is wrong with it is found again.
pub(super) fn not_removed(message: proto::NotRemoved, name: &str) -> Result<NotRemoved, WireError> {
    let kind = Kind::try_from(message.kind)
        .map_err(|_| WireError::new("kind", format!("{} is unknown here", message.kind)))?;
    Ok(match kind {
        Kind::Unspecified => return Err(WireError::new("kind", "it is not specified")),
        Kind::Blank => NotRemoved::Blank,
        Kind::Reference => NotRemoved::Reference(match Reference::parse_normalized(name) {
            Err(error) => error,
            Ok(_) => ReferenceError::Format(name.to_owned()),
        }),
        Kind::NoSuchImage => NotRemoved::NoSuchImage(message.subject),
        Kind::Ambiguous => NotRemoved::Ambiguous,
        Kind::Conflict => {
            let conflict = message
                .conflict
                .ok_or_else(|| WireError::missing("conflict"))?;
            NotRemoved::Conflict(conflict.try_into()?)
        }
        Kind::Changed => NotRemoved::Changed,
        Kind::Cancelled => NotRemoved::Cancelled,
        Kind::Failed => NotRemoved::Failed(message.subject),
    })
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

impl TryFrom<proto::Conflict> for Conflict {
    type Error = WireError;

    fn try_from(message: proto::Conflict) -> Result<Self, WireError> {
        let cause = message.cause.ok_or_else(|| WireError::missing("cause"))?;
        Ok(Self {
            image: message.image,
            can_be_forced: message.can_be_forced,
            cause: match cause {
                Cause::ReferencedBy(by) => ConflictCause::Referenced {
                    container: by.container,
                    image: parsed("image", &by.image)?,
                },
                Cause::RunningContainer(id) => ConflictCause::RunningContainer(id),
                Cause::StoppedContainer(id) => ConflictCause::StoppedContainer(id),
                Cause::MultipleRepositories(_) => ConflictCause::MultipleRepositories,
                Cause::Holder(holder) => ConflictCause::Holder(holder.try_into()?),
                Cause::Pinned(_) => ConflictCause::Pinned,
                Cause::Other(words) => ConflictCause::Other(words),
            },
        })
    }
}
