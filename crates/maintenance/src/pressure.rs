//! When a filesystem is too full, and how much has to be freed. Pure: measurements are passed in.

use std::fmt;
use std::iter;
use std::path::{Path, PathBuf};

use reclaim_model::{Filesystem, Goal, GoalUnit, HumanSize, Room, Watermarks};
use serde::{Deserialize, Serialize};

use crate::policy::Pressure;

/// A quantity that a mark limits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Bytes in use on the filesystem that is mounted there.
    Bytes(PathBuf),
    /// Inodes in use on the filesystem that is mounted there.
    Inodes(PathBuf),
    /// The bytes of content and snapshots of all namespaces.
    Occupied,
}

/// How much has to be freed until a low mark is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ExcessForm", into = "ExcessForm")]
pub struct Excess {
    /// The quantity that is too large.
    pub of: Measure,
    /// The excess; never zero.
    pub amount: u64,
}

/// The bytes of content and snapshots of all namespaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Occupied {
    /// All of it.
    pub all: u64,
    /// Without garbage, what only a hold keeps, and what is still being written.
    pub lasting: u64,
}

/// The JSON form of [`Excess`].
#[derive(Serialize, Deserialize)]
struct ExcessForm {
    of: Quantity,
    mount_point: Option<PathBuf>,
    amount: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Quantity {
    Bytes,
    Inodes,
    OccupiedBytes,
}

impl From<Excess> for ExcessForm {
    fn from(excess: Excess) -> Self {
        let (of, mount_point) = match excess.of {
            Measure::Bytes(place) => (Quantity::Bytes, Some(place)),
            Measure::Inodes(place) => (Quantity::Inodes, Some(place)),
            Measure::Occupied => (Quantity::OccupiedBytes, None),
        };
        Self {
            of,
            mount_point,
            amount: excess.amount,
        }
    }
}

impl From<ExcessForm> for Excess {
    fn from(form: ExcessForm) -> Self {
        let mount_point = form.mount_point.unwrap_or_default();
        Self {
            of: match form.of {
                Quantity::Bytes => Measure::Bytes(mount_point),
                Quantity::Inodes => Measure::Inodes(mount_point),
                Quantity::OccupiedBytes => Measure::Occupied,
            },
            amount: form.amount,
        }
    }
}

impl Measure {
    /// Returns the mount point of its filesystem.
    pub fn mount_point(&self) -> Option<&Path> {
        match self {
            Self::Bytes(place) | Self::Inodes(place) => Some(place),
            Self::Occupied => None,
        }
    }
}

impl fmt::Display for Excess {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = self.amount;
        match &self.of {
            Measure::Bytes(place) => {
                write!(formatter, "{} on `{}`", HumanSize(amount), place.display())
            }
            Measure::Inodes(place) => write!(formatter, "{amount} inodes on `{}`", place.display()),
            Measure::Occupied => {
                write!(formatter, "{} of content and snapshots", HumanSize(amount))
            }
        }
    }
}

impl Pressure {
    /// Returns what is above its high mark, and how much has to be freed to reach the low one.
    /// `occupied` is needed only if [`Self::needs_occupied`].
    pub fn begin(&self, filesystems: &[Filesystem], occupied: Option<Occupied>) -> Vec<Excess> {
        self.excesses(filesystems, occupied, Watermarks::needed)
    }

    /// Returns what of `begun` has not reached its low mark yet.
    pub fn remain(
        &self,
        begun: &[Excess],
        filesystems: &[Filesystem],
        occupied: Option<Occupied>,
    ) -> Vec<Excess> {
        let mut excesses = self.excesses(filesystems, occupied, Watermarks::missing);
        excesses.retain(|excess| begun.iter().any(|it| it.of == excess.of));
        excesses
    }

    /// Whether the bytes of content and snapshots have to be measured.
    pub fn needs_occupied(&self) -> bool {
        self.max_used.is_some() || self.reserved > 0
    }

    /// Returns how many bytes may be freed above the reserve; `None` without a reserve. Only
    /// [`Occupied::lasting`] counts towards it.
    pub fn spare(&self, occupied: Option<Occupied>) -> Option<u64> {
        let is_reserved = self.reserved > 0;
        let lasting = occupied.map_or(0, |it| it.lasting);
        is_reserved.then(|| lasting.saturating_sub(self.reserved))
    }

    fn excesses(
        &self,
        filesystems: &[Filesystem],
        occupied: Option<Occupied>,
        needed: impl Fn(Watermarks, u64, u64) -> u64,
    ) -> Vec<Excess> {
        let of_room = |marks: Option<Watermarks>, room: Room, of: Measure| {
            // A filesystem that makes inodes on demand reports zero of them.
            let marks = marks.filter(|_| room.total > 0);
            let amount = marks.map_or(0, |marks| needed(marks, room.total, room.left));
            Excess { of, amount }
        };
        let rooms = filesystems.iter().flat_map(|it| {
            let place = || it.mount_point.clone();
            [
                of_room(self.bytes, it.bytes, Measure::Bytes(place())),
                of_room(self.inodes, it.inodes, Measure::Inodes(place())),
            ]
        });
        let above = self.max_used.zip(occupied);
        let occupied = above.map(|(max, occupied)| Excess {
            of: Measure::Occupied,
            amount: occupied.all.saturating_sub(max),
        });
        let excesses = rooms.chain(occupied);
        excesses.filter(|excess| excess.amount > 0).collect()
    }
}

/// Returns what is still to be freed of `missing`, given the bytes that are freed and not yet visible.
/// While bytes of a filesystem are on their way, its inodes are as well.
pub fn outstanding(missing: &[Excess], late: &[Excess]) -> Vec<Excess> {
    let late_on = |place: &PathBuf| {
        let mut late = late.iter();
        let found = late.find(|late| late.of == Measure::Bytes(place.clone()));
        found.map_or(0, |late| late.amount)
    };
    let excesses = missing.iter().map(|excess| Excess {
        of: excess.of.clone(),
        amount: match &excess.of {
            Measure::Bytes(place) => excess.amount.saturating_sub(late_on(place)),
            Measure::Inodes(place) if late_on(place) > 0 => 0,
            Measure::Inodes(_) | Measure::Occupied => excess.amount,
        },
    });
    excesses.filter(|excess| excess.amount > 0).collect()
}

/// Returns what is still to be freed after a step freed so much towards the goals of these excesses.
pub(crate) fn reduced(excesses: &[Excess], towards_goals: &[u64]) -> Vec<Excess> {
    let freed = towards_goals.iter().copied().chain(iter::repeat(0));
    let reduced = excesses.iter().zip(freed).map(|(excess, freed)| Excess {
        of: excess.of.clone(),
        amount: excess.amount.saturating_sub(freed),
    });
    reduced.filter(|excess| excess.amount > 0).collect()
}

/// Returns the goals of removing images for these excesses.
pub fn goals(excesses: &[Excess], filesystems: &[Filesystem]) -> Vec<Goal> {
    let goals = excesses.iter().filter_map(|excess| {
        let filesystem = |place: &Path| {
            let mut filesystems = filesystems.iter();
            filesystems.find(|filesystem| filesystem.mount_point == place)
        };
        let (unit, filesystem) = match &excess.of {
            Measure::Bytes(place) => {
                let filesystem = filesystem(place)?;
                let block = filesystem.block;
                (GoalUnit::Bytes { block }, Some(filesystem))
            }
            Measure::Inodes(place) => (GoalUnit::Inodes, Some(filesystem(place)?)),
            // This measure counts content by its length, and all snapshots, wherever they are.
            Measure::Occupied => (GoalUnit::Bytes { block: 1 }, None),
        };
        Some(Goal {
            unit,
            amount: excess.amount,
            has_content: filesystem.is_none_or(|it| it.has_content),
            snapshotters: filesystem.map(|it| it.snapshotters.clone()),
        })
    });
    goals.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn filesystem(mount_point: &str, left: u64, inodes_left: u64) -> Filesystem {
        Filesystem {
            mount_point: mount_point.into(),
            block: 4096,
            bytes: Room { total: 1000, left },
            inodes: Room {
                total: 100,
                left: inodes_left,
            },
            has_content: mount_point == "/content",
            snapshotters: BTreeSet::from([mount_point.trim_start_matches('/').into()]),
        }
    }

    fn marks(high: &str, low: &str) -> Option<Watermarks> {
        Watermarks::new(high.parse().unwrap(), low.parse().unwrap()).ok()
    }

    fn occupied(all: u64) -> Occupied {
        Occupied { all, lasting: 0 }
    }

    fn pressure() -> Pressure {
        Pressure {
            bytes: marks("85%", "80%"),
            inodes: marks("90%", "50%"),
            max_used: Some(500),
            reserved: 100,
        }
    }

    #[test]
    fn begins_above_the_high_mark_and_ends_at_the_low_one() {
        let full = [
            filesystem("/content", 149, 9),
            filesystem("/other", 150, 10),
        ];
        let begun = pressure().begin(&full, Some(occupied(501)));
        let amounts: Vec<(Measure, u64)> =
            begun.iter().map(|it| (it.of.clone(), it.amount)).collect();
        assert_eq!(
            amounts,
            [
                (Measure::Bytes("/content".into()), 51),
                (Measure::Inodes("/content".into()), 41),
                (Measure::Occupied, 1),
            ]
        );
        // Between the marks only what began above the high one continues.
        let less = [
            filesystem("/content", 199, 50),
            filesystem("/other", 180, 20),
        ];
        let remaining = pressure().remain(&begun, &less, Some(occupied(500)));
        let [only] = &remaining[..] else {
            panic!("{remaining:?}")
        };
        assert_eq!(
            (only.amount, only.to_string().as_str()),
            (1, "1B on `/content`")
        );
        assert_eq!(pressure().begin(&less, Some(occupied(500))), []);
    }

    #[test]
    fn goals_count_only_what_is_on_the_filesystem() {
        let all = [filesystem("/content", 0, 100), filesystem("/other", 500, 0)];
        let goals = goals(&pressure().begin(&all, Some(occupied(700))), &all);
        let [bytes, inodes, occupied] = &goals[..] else {
            panic!("{goals:?}")
        };
        assert_eq!(bytes.unit, GoalUnit::Bytes { block: 4096 });
        assert!(
            bytes.has_content && bytes.snapshotters == Some(BTreeSet::from(["content".into()]))
        );
        assert_eq!((inodes.unit, inodes.amount), (GoalUnit::Inodes, 50));
        assert!(
            !inodes.has_content && inodes.snapshotters == Some(BTreeSet::from(["other".into()]))
        );
        assert_eq!(
            (occupied.unit, occupied.amount),
            (GoalUnit::Bytes { block: 1 }, 200)
        );
        assert!(occupied.has_content && occupied.snapshotters.is_none());
    }

    #[test]
    fn nothing_is_freed_again_for_bytes_that_are_on_their_way() {
        let excess = |of: Measure, amount| Excess { of, amount };
        let place = || PathBuf::from("/a");
        let missing = [
            excess(Measure::Bytes(place()), 50),
            excess(Measure::Inodes(place()), 7),
            excess(Measure::Bytes("/b".into()), 20),
            excess(Measure::Inodes("/b".into()), 7),
            excess(Measure::Occupied, 30),
        ];
        let late = |amount| [excess(Measure::Bytes(place()), amount)];
        assert_eq!(outstanding(&missing, &[]), missing);
        assert_eq!(outstanding(&missing, &late(50)), missing[2..]);
        let some_left = outstanding(&missing, &late(49));
        assert_eq!(some_left[0], excess(Measure::Bytes(place()), 1));
        assert_eq!(some_left[1..], missing[2..]);
    }

    #[test]
    fn the_reserve_is_never_spare() {
        let lasting = |lasting: u64| Some(Occupied { all: 500, lasting });
        assert_eq!(pressure().spare(lasting(150)), Some(50));
        assert_eq!(pressure().spare(lasting(90)), Some(0));
        assert_eq!(Pressure::default().spare(lasting(90)), None);
    }

    #[test]
    fn a_filesystem_without_fixed_inodes_is_never_short_of_them() {
        let mut endless = filesystem("/content", 1000, 0);
        endless.inodes.total = 0;
        assert_eq!(pressure().begin(&[endless], None), []);
    }
}
