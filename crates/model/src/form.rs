//! How values are written in JSON where the form is not that of their fields. The forms are a
//! contract, described in `docs/json.md`: a field may be added, but none is taken away or changes
//! its meaning without another [`VERSION`].

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

/// Writes and reads types as text, by their `Display` and `FromStr`.
macro_rules! as_text {
    ($($name:ty),+ $(,)?) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

as_text! {
    crate::Digest,
    crate::GoDuration,
    crate::Namespace,
    crate::PolicyName,
    crate::ProjectImageMode,
    crate::ProjectName,
}

/// The version of all JSON forms.
pub const VERSION: u32 = 1;

/// A value with the version of its form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versioned<T> {
    /// [`VERSION`].
    pub version: u32,
    /// The value, whose fields follow.
    #[serde(flatten)]
    pub value: T,
}

impl<T> Versioned<T> {
    /// Returns the value in the current version.
    pub fn new(value: T) -> Self {
        Self {
            version: VERSION,
            value,
        }
    }
}

/// [`Mode`](crate::Mode) as `dry_run`.
pub mod dry_run {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::Mode;

    /// Writes `dry_run`.
    ///
    /// # Errors
    ///
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(mode: &Mode, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(*mode == Mode::DryRun)
    }

    /// Reads `dry_run`.
    ///
    /// # Errors
    ///
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Mode, D::Error> {
        let is_dry_run = bool::deserialize(deserializer)?;
        Ok(if is_dry_run {
            Mode::DryRun
        } else {
            Mode::Apply
        })
    }
}

/// [`Freed`](crate::Freed) as its [`Amount`](crate::Amount), without the lists.
pub(crate) mod amount {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::{Amount, Freed};

    pub(crate) fn serialize<S: Serializer>(
        freed: &Freed,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        freed.amount().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Freed, D::Error> {
        Amount::deserialize(deserializer).map(Freed::unlisted)
    }
}

/// The blobs of a [`Freed`](crate::Freed) as their bytes.
pub(crate) mod content_bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::{Amount, Freed};

    pub(crate) fn serialize<S: Serializer>(
        freed: &Freed,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(freed.amount().content_bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Freed, D::Error> {
        let content_bytes = u64::deserialize(deserializer)?;
        Ok(Freed::unlisted(Amount {
            content_bytes,
            ..Amount::default()
        }))
    }
}

/// [`Cut`](crate::Cut)s in two lists: `unpinned` for those of build history, which have the form of
/// the time when there were no others, and `cuts`.
pub(crate) mod cuts {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::{Cut, CutTarget, Digest, Part, SnapshotId};

    #[derive(Serialize, Deserialize)]
    struct Unpinned {
        config: Digest,
        #[serde(flatten)]
        snapshot: SnapshotId,
    }

    #[derive(Serialize, Deserialize)]
    struct Lists {
        unpinned: Vec<Unpinned>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        cuts: Vec<Cut>,
    }

    pub(crate) fn serialize<S: Serializer>(cuts: &[Cut], serializer: S) -> Result<S::Ok, S::Error> {
        let mut lists = Lists {
            unpinned: Vec::new(),
            cuts: Vec::new(),
        };
        for cut in cuts {
            match (cut.part, &cut.target) {
                (Part::BuildHistory, CutTarget::Snapshot(snapshot)) => {
                    lists.unpinned.push(Unpinned {
                        config: cut.blob.clone(),
                        snapshot: snapshot.clone(),
                    });
                }
                _ => lists.cuts.push(cut.clone()),
            }
        }
        lists.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Cut>, D::Error> {
        let Lists { unpinned, cuts } = Lists::deserialize(deserializer)?;
        let unpinned = unpinned.into_iter().map(|unpinned| Cut {
            part: Part::BuildHistory,
            blob: unpinned.config,
            target: CutTarget::Snapshot(unpinned.snapshot),
        });
        let mut all: Vec<Cut> = unpinned.chain(cuts).collect();
        all.sort_unstable();
        Ok(all)
    }
}

/// An error with a code for scripts, `problem`.
pub(crate) trait Problem: std::fmt::Display {
    /// Returns the code.
    fn problem(&self) -> &'static str;
}

/// What went wrong with one name: a code (`problem`) and a text (`message`) for those who read, and
/// the value itself (`error`). Without an error the first two are null.
pub(crate) mod problem {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Problem;

    #[derive(Serialize)]
    struct Written<'e, E> {
        problem: Option<&'static str>,
        message: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'e E>,
    }

    #[derive(Deserialize)]
    struct Read<E> {
        #[serde(default = "Option::default")]
        error: Option<E>,
    }

    #[expect(clippy::ref_option, reason = "serde passes references")]
    pub(crate) fn serialize<E: Problem + Serialize, S: Serializer>(
        error: &Option<E>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let error = error.as_ref();
        let written = Written {
            problem: error.map(Problem::problem),
            message: error.map(ToString::to_string),
            error,
        };
        written.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, E: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<E>, D::Error> {
        Ok(Read::deserialize(deserializer)?.error)
    }
}

/// A reason as a text (`reason`) and as the value itself (`cause`).
pub(crate) mod cause {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::RefuseReason;

    #[derive(Serialize)]
    struct Written<'r> {
        reason: String,
        cause: &'r RefuseReason,
    }

    #[derive(Deserialize)]
    struct Read {
        cause: RefuseReason,
    }

    pub(crate) fn serialize<S: Serializer>(
        reason: &RefuseReason,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let written = Written {
            reason: reason.to_string(),
            cause: reason,
        };
        written.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<RefuseReason, D::Error> {
        Ok(Read::deserialize(deserializer)?.cause)
    }
}
