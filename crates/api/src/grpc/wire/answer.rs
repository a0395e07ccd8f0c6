//! Explanations.

use reclaim_engine::{Answer, Fate, Held, ImageVerdict, Thing};

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
            Ok(reason) => Verdict::Remove(proto::RemoveReason::from(*reason).into()),
            Err((reason, by)) => Verdict::Keep(proto::verdict::Keep {
                reason: proto::KeepReason::from(*reason).into(),
                holders: holders(by),
            }),
        }),
    }
}

fn of_verdict(message: proto::Verdict) -> Result<ImageVerdict, WireError> {
    Ok(
        match message
            .verdict
            .ok_or_else(|| WireError::missing("verdict"))?
        {
            Verdict::Remove(reason) => Ok(known::<proto::RemoveReason, _>("remove", reason)?),
            Verdict::Keep(keep) => Err((
                known::<proto::KeepReason, _>("keep", keep.reason)?,
                list(keep.holders)?,
            )),
        },
    )
}

impl From<&Held> for proto::Held {
    fn from(held: &Held) -> Self {
        Self {
            namespace: held.namespace.to_string(),
            holder: Some((&held.holder).into()),
            until: held.until.map(moment),
            chain: held.chain.iter().map(Into::into).collect(),
            verdict: held.verdict.as_ref().map(to_verdict),
        }
    }
}

impl TryFrom<proto::Held> for Held {
    type Error = WireError;

    fn try_from(message: proto::Held) -> Result<Self, WireError> {
        let holder = message.holder.ok_or_else(|| WireError::missing("holder"))?;
        Ok(Self {
            namespace: parsed("namespace", &message.namespace)?,
            holder: holder.try_into()?,
            until: message.until.map(timestamp).transpose()?,
            chain: list(message.chain)?,
            verdict: message.verdict.map(of_verdict).transpose()?,
        })
    }
}

impl From<&Answer> for proto::Answer {
    fn from(answer: &Answer) -> Self {
        let [prune, prune_all] = match &answer.verdicts {
            Some(verdicts) => verdicts.each_ref().map(|it| Some(to_verdict(it))),
            None => [None, None],
        };
        let mut message = Self {
            namespace: answer.namespace.to_string(),
            thing: Some((&answer.thing).into()),
            held: answer.held.iter().map(Into::into).collect(),
            prune,
            prune_all,
            warnings: answer.warnings.clone(),
            ..Self::default()
        };
        let fate = match &answer.fate {
            Fate::Held => proto::answer::Fate::Held,
            Fate::Unused => proto::answer::Fate::Unused,
            Fate::Expires(at, holder) => {
                message.expires = Some(moment(*at));
                message.expires_holder = Some(holder.into());
                proto::answer::Fate::Expires
            }
            Fate::NextCollection => proto::answer::Fate::NextCollection,
        };
        message.fate = fate.into();
        message
    }
}

impl TryFrom<proto::Answer> for Answer {
    type Error = WireError;

    fn try_from(message: proto::Answer) -> Result<Self, WireError> {
        let unknown = |_| WireError::new("fate", format!("{} is unknown here", message.fate));
        let fate = match proto::answer::Fate::try_from(message.fate).map_err(unknown)? {
            proto::answer::Fate::Unspecified => {
                return Err(WireError::new("fate", "it is not specified"));
            }
            proto::answer::Fate::Held => Fate::Held,
            proto::answer::Fate::Unused => Fate::Unused,
            proto::answer::Fate::Expires => {
                let at = message
                    .expires
                    .ok_or_else(|| WireError::missing("expires"))?;
                let holder = message.expires_holder;
                let holder = holder.ok_or_else(|| WireError::missing("expires_holder"))?;
                Fate::Expires(timestamp(at)?, holder.try_into()?)
            }
            proto::answer::Fate::NextCollection => Fate::NextCollection,
        };
        let thing = message.thing.ok_or_else(|| WireError::missing("thing"))?;
        let verdicts = message.prune.zip(message.prune_all);
        let verdicts = verdicts.map(|(prune, all)| Ok([of_verdict(prune)?, of_verdict(all)?]));
        Ok(Self {
            namespace: parsed("namespace", &message.namespace)?,
            thing: thing.try_into()?,
            held: list(message.held)?,
            verdicts: verdicts.transpose()?,
            fate,
            warnings: message.warnings,
        })
    }
}
