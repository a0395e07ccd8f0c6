//! Explanations.

use reclaim_model::{Answer, HolderPath, ImageVerdict, Outlook, Thing};

use super::moment;
use super::things::holders;
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
