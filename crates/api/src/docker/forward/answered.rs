//! The requests that are answered here, and not forwarded.

use std::fmt;
use std::str::FromStr;

use super::super::route::Route;

/// A kind of request that can be answered here instead of by the Docker Engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answered {
    /// `POST /images/prune`. Always answered here.
    Prune,
    /// `DELETE /images/{name}`
    Remove,
    /// `GET /images/json`
    List,
    /// `GET /images/{name}/json`
    Inspect,
    /// `GET /images/{name}/history`
    History,
    /// `GET /system/df`
    DiskUsage,
}

/// A text that names no [`Answered`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a kind of request that Reclaim answers; accepted are prune, remove, list, inspect, \
     history and df"
)]
pub struct UnknownAnswered(String);

impl Answered {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Prune,
        Self::Remove,
        Self::List,
        Self::Inspect,
        Self::History,
        Self::DiskUsage,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Prune => "prune",
            Self::Remove => "remove",
            Self::List => "list",
            Self::Inspect => "inspect",
            Self::History => "history",
            Self::DiskUsage => "df",
        }
    }

    /// Returns the kind of a route, if it is one of these.
    pub(super) fn of(route: &Route) -> Option<Self> {
        match route {
            Route::PruneImages => Some(Self::Prune),
            Route::RemoveImage(_) => Some(Self::Remove),
            Route::ListImages => Some(Self::List),
            Route::InspectImage(_) => Some(Self::Inspect),
            Route::ImageHistory(_) => Some(Self::History),
            Route::DiskUsage => Some(Self::DiskUsage),
            Route::Ping
            | Route::Version
            | Route::Info
            | Route::Events
            | Route::ImageAttestations(_)
            | Route::ListContainers
            | Route::InspectContainer(_)
            | Route::ListNetworks
            | Route::ListVolumes
            | Route::InspectOther(..)
            | Route::PruneOther(_)
            | Route::Unsupported
            | Route::Unknown => None,
        }
    }
}

impl fmt::Display for Answered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Answered {
    type Err = UnknownAnswered;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|kind| kind.name() == text);
        named.ok_or_else(|| UnknownAnswered(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_prints_and_names_what_it_accepts() {
        for kind in Answered::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        for text in ["", "Prune", "prune,list", "build", "images"] {
            let error = text.parse::<Answered>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is not")), "{error}");
            for kind in Answered::ALL {
                assert!(error.contains(&kind.to_string()), "{error}");
            }
        }
    }
}
