//! Expected differences between the answers.

use crate::json_difference::Difference;

/// The page that describes every difference.
const PAGE: &str = include_str!("../../../docs/docker-api.md");

/// A difference that occurs in some request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// The case in the table of [`PAGE`].
    case: &'static str,
    /// A part of the requests.
    request: &'static str,
    /// The path of the value, `status`, or the beginning of paths if it ends in a dot.
    path: &'static str,
    /// The beginnings of both values.
    theirs: &'static str,
    mine: &'static str,
}

impl Known {
    /// Whether a difference is this one.
    pub(super) fn covers(&self, request: &str, difference: &Difference) -> bool {
        let is_path = difference.path == self.path
            || self.path.ends_with('.') && difference.path.starts_with(self.path);
        is_path
            && request.contains(self.request)
            && difference.theirs.starts_with(self.theirs)
            && difference.mine.starts_with(self.mine)
    }

    /// Whether the page has a row about it.
    pub(super) fn is_described(&self) -> bool {
        PAGE.contains(&format!("\n| {} |", self.case))
    }
}

const fn known(
    case: &'static str,
    request: &'static str,
    path: &'static str,
    [theirs, mine]: [&'static str; 2],
) -> Known {
    Known {
        case,
        request,
        path,
        theirs,
        mine,
    }
}

const ANY: [&str; 2] = ["", ""];

const CONFIG: &str = "`Container`, `ContainerConfig` of an image up to 1.44";
const DIGESTS: &str = "`RepoDigests` in the list";
const LABELS: &str = "`Labels` in the list, if an image has none";
const COUNTS: &str = "`Containers` of an image in `/system/df` and `/images/json`";
const SHARED: &str = "`SharedSize`";
const NOT_LABELS: &str = "`label!` in the list and an image without the label";
const ENV: &str = "`Config.Env` of an inspected container";
const TYPES: &str = "The error about a value of `platform` of the wrong type";
const UNTIL: &str = "Errors of `until`";
const ABSENT: &str = "`GET /images/{name}/json?platform=` of an absent platform";
const UNREAD_CREATED: &str = "`Created` in the list, if an image cannot be read";
const UNREAD_SIZE: &str = "`Size` of an inspection, if an image cannot be read";
const UNREAD_COUNT: &str = "`Containers` in the list, if an image cannot be read";
const UNREAD_HISTORY: &str = "The history of an image without its configuration";

/// All of them.
pub(super) const KNOWN: &[Known] = &[
    known(CONFIG, "/images/", ".Container", ["absent", "\"\""]),
    known(CONFIG, "/images/", ".ContainerConfig", ["absent", "null"]),
    known(DIGESTS, "/images/json", "[].RepoDigests[]", ANY),
    known(DIGESTS, "/system/df", ".Images[].RepoDigests[]", ANY),
    known(LABELS, "/images/json", "[].Labels", ["null", "{}"]),
    known(LABELS, "/system/df", ".Images[].Labels", ["null", "{}"]),
    known(COUNTS, "/images/json", "[].Containers", ["0", "1"]),
    known(COUNTS, "/system/df", ".Images[].Containers", ["0", "1"]),
    known(COUNTS, "/images/json", "[].Containers", ["1", "0"]),
    known(COUNTS, "/system/df", ".Images[].Containers", ["1", "0"]),
    known(SHARED, "/images/json?shared-size=1", "[].SharedSize", ANY),
    known(SHARED, "/system/df", ".Images[].SharedSize", ANY),
    known("`LayersSize`", "/system/df", ".LayersSize", ANY),
    known(NOT_LABELS, "label%21", "[]", ["absent", "{"]),
    known(ENV, "/containers/", ".Config.Env[]", ["", "absent"]),
    known(TYPES, "platform=", ".message", ANY),
    known(UNTIL, "until", "status", ["500", "400"]),
    known(ABSENT, "/json?platform=", "status", ["404", "200"]),
    known(UNREAD_CREATED, "/images/json", "[].Created", ["0", ""]),
    known(UNREAD_CREATED, "/system/df", ".Images[].Created", ["0", ""]),
    known(UNREAD_CREATED, "/images/json", "order", ANY),
    known(UNREAD_CREATED, "since", "[]", ["absent", "{"]),
    known(UNREAD_SIZE, "odd:without-config", ".Size", ANY),
    known(UNREAD_SIZE, "odd:without-config", ".VirtualSize", ANY),
    known(UNREAD_COUNT, "/images/json", "[].Containers", ["-1", "0"]),
    known(
        UNREAD_COUNT,
        "/system/df",
        ".Images[].Containers",
        ["-1", "0"],
    ),
    known(
        UNREAD_HISTORY,
        "odd:without-config/history",
        ".message",
        ANY,
    ),
];
