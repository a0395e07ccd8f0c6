//! Explanations.

use reclaim_model::{Answer, HolderPath, ImageVerdict, Outlook, PruneVerdicts, Thing};

use super::enums::known;
use super::things::holders;
use super::{WireError, list, moment, parsed, timestamp};
use crate::grpc::proto;
use proto::verdict::Verdict;

impl From<&Thing> for proto::Thing {
    fn from(thing: &Thing) -> Self {
        Self {
            kind: proto::ThingKind::from(thing.kind).into(),
            id: thing.id.clone(),
        }
    }
}

impl TryFrom<proto::Thing> for Thing {
    type Error = WireError;

    fn try_from(message: proto::Thing) -> Result<Self, WireError> {
        Ok(Self {
            kind: known::<proto::ThingKind, _>("kind of a thing", message.kind)?,
            id: message.id,
        })
    }
}

fn to_verdict(verdict: &ImageVerdict) -> proto::Verdict {
    proto::Verdict {
        verdict: Some(match verdict {
            ImageVerdict::Remove { reason } => {
                Verdict::Remove(proto::RemoveReason::from(*reason).into())
            }
            ImageVerdict::Keep {
                reason,
                holders: by,
            } => Verdict::Keep(proto::verdict::Keep {
                reason: proto::KeepReason::from(*reason).into(),
                holders: holders(by),
            }),
        }),
    }
}

fn of_verdict(message: proto::Verdict) -> Result<ImageVerdict, WireError> {
    let verdict = message.verdict;
    Ok(
        match verdict.ok_or_else(|| WireError::missing("verdict"))? {
            Verdict::Remove(reason) => ImageVerdict::Remove {
                reason: known::<proto::RemoveReason, _>("remove", reason)?,
            },
            Verdict::Keep(keep) => ImageVerdict::Keep {
                reason: known::<proto::KeepReason, _>("keep", keep.reason)?,
                holders: list(keep.holders)?,
            },
        },
    )
}

impl From<&HolderPath> for proto::Held {
    fn from(held: &HolderPath) -> Self {
        Self {
            namespace: held.namespace.to_string(),
            holder: Some((&held.holder).into()),
            until: held.until.map(moment),
            chain: held.chain.iter().map(Into::into).collect(),
            verdict: held.prune_all.as_ref().map(to_verdict),
        }
    }
}

impl TryFrom<proto::Held> for HolderPath {
    type Error = WireError;

    fn try_from(message: proto::Held) -> Result<Self, WireError> {
        let holder = message.holder.ok_or_else(|| WireError::missing("holder"))?;
        Ok(Self {
            namespace: parsed("namespace", &message.namespace)?,
            holder: holder.try_into()?,
            until: message.until.map(timestamp).transpose()?,
            chain: list(message.chain)?,
            prune_all: message.verdict.map(of_verdict).transpose()?,
        })
    }
}

impl From<&Answer> for proto::Answer {
    fn from(answer: &Answer) -> Self {
        let verdicts = answer.verdicts.as_ref();
        let mut message = Self {
            namespace: answer.namespace.to_string(),
            thing: Some((&answer.thing).into()),
            held: answer.holders.iter().map(Into::into).collect(),
            prune: verdicts.map(|verdicts| to_verdict(&verdicts.prune)),
            prune_all: verdicts.map(|verdicts| to_verdict(&verdicts.prune_all)),
            warnings: answer.warnings.clone(),
            ..Self::default()
        };
        let fate = match &answer.outlook {
            Outlook::Held => proto::answer::Fate::Held,
            Outlook::Unused => proto::answer::Fate::Unused,
            Outlook::Expires { at, holder } => {
                message.expires = Some(moment(*at));
                message.expires_holder = Some(holder.into());
                proto::answer::Fate::Expires
            }
            Outlook::NextCollection => proto::answer::Fate::NextCollection,
        };
        message.fate = fate.into();
        message
    }
}

impl TryFrom<proto::Answer> for Answer {
    type Error = WireError;

    fn try_from(message: proto::Answer) -> Result<Self, WireError> {
        let unknown = |_| WireError::new("fate", format!("{} is unknown here", message.fate));
        let outlook = match proto::answer::Fate::try_from(message.fate).map_err(unknown)? {
            proto::answer::Fate::Unspecified => {
                return Err(WireError::new("fate", "it is not specified"));
            }
            proto::answer::Fate::Held => Outlook::Held,
            proto::answer::Fate::Unused => Outlook::Unused,
            proto::answer::Fate::Expires => {
                let at = message
                    .expires
                    .ok_or_else(|| WireError::missing("expires"))?;
                let holder = message.expires_holder;
                let holder = holder.ok_or_else(|| WireError::missing("expires_holder"))?;
                Outlook::Expires {
                    at: timestamp(at)?,
                    holder: holder.try_into()?,
                }
            }
            proto::answer::Fate::NextCollection => Outlook::NextCollection,
        };
        let thing = message.thing.ok_or_else(|| WireError::missing("thing"))?;
        let verdicts = message.prune.zip(message.prune_all);
        let verdicts = verdicts.map(|(prune, prune_all)| {
            Ok(PruneVerdicts {
                prune: of_verdict(prune)?,
                prune_all: of_verdict(prune_all)?,
            })
        });
        Ok(Self {
            namespace: parsed("namespace", &message.namespace)?,
            thing: thing.try_into()?,
            holders: list(message.held)?,
            verdicts: verdicts.transpose()?,
            outlook,
            warnings: message.warnings,
        })
    }
}
