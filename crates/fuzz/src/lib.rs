//! What is fed to the readers of foreign bytes, and what must hold whatever comes.
//!
//! Each target takes any bytes. It must not panic, and what it reads must mean the same when it is
//! written and read again. `fuzz/` has a cargo-fuzz target for each, with a small corpus; a bounded
//! run of them all, without coverage, is among the tests.

#![expect(
    clippy::missing_panics_doc,
    reason = "to panic is how a target says that something does not hold"
)]

use http::Method;
use jiff::Timestamp;
use jiff::tz::Offset;
use reclaim_api::docker::{Route, filters_of_query, route};
use reclaim_model::{FilterArgs, PruneFilters, Reference, TimeContext, familiar_name, parse_until};
use reclaim_oci::{Document, Kind, Limits, digest_of, read};

/// A reader with a name.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name, which is that of its corpus.
    pub name: &'static str,
    /// Feeds it.
    pub feed: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 5] = [
    Target {
        name: "filters",
        feed: filters,
    },
    Target {
        name: "references",
        feed: references,
    },
    Target {
        name: "until",
        feed: until,
    },
    Target {
        name: "documents",
        feed: documents,
    },
    Target {
        name: "requests",
        feed: requests,
    },
];

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn context() -> TimeContext {
    TimeContext {
        now: Timestamp::UNIX_EPOCH,
        offset: Offset::UTC,
    }
}

/// Documents of filters: what is decoded is the same when it is encoded and decoded again, and has
/// the same meaning or the same fault.
pub fn filters(bytes: &[u8]) {
    if let Some(Ok(args)) = text(bytes).map(FilterArgs::from_json) {
        decoded(&args);
    }
}

fn decoded(args: &FilterArgs) {
    let again = FilterArgs::from_json(&args.to_json()).expect("what was encoded is a document");
    assert_eq!(again, *args);
    let meaning = PruneFilters::from_args(args, &context());
    assert_eq!(PruneFilters::from_args(&again, &context()), meaning);
}

/// Names of images: the full form is read as itself, and the familiar one is its end.
pub fn references(bytes: &[u8]) {
    let Some(name) = text(bytes) else { return };
    // Any text may be the name of a record.
    let shown = familiar_name(name);
    assert_eq!(shown.is_empty(), name.is_empty());
    let Ok(reference) = Reference::parse_normalized(name) else {
        return;
    };
    let full = reference.to_string();
    assert_eq!(
        Reference::parse_normalized(&full).as_ref(),
        Ok(&reference),
        "{full}"
    );
    // It may mean another image, or none: as in Docker, `docker.io/a.b/c` is shown as `a.b/c`.
    assert!(full.ends_with(&reference.familiar()), "{full}");
}

/// Moments and ages: read twice they are the same.
pub fn until(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let moment = parse_until(text, &context());
    assert_eq!(parse_until(text, &context()), moment);
}

/// Manifests, indexes and configurations: within the limits, whatever they say of themselves.
pub fn documents(bytes: &[u8]) {
    let digest = digest_of(bytes);
    let limits = Limits::default();
    for kind in [Kind::Index, Kind::Manifest, Kind::Config] {
        let Ok(document) = read(kind, &digest, None, bytes, &limits) else {
            continue;
        };
        assert!(document.children().count() <= limits.max_children);
        if let Document::Config(config) = &document {
            assert!(config.labels.len() <= limits.max_labels);
        }
        let size = bytes.len() as u64;
        assert!(read(kind, &digest, Some(size + 1), bytes, &limits).is_err());
    }
}

/// Requests: a method, a path with a version or without, a query with filters. A name is never
/// lost on the way, and nothing but a name comes out of a path.
pub fn requests(bytes: &[u8]) {
    let Some(line) = text(bytes) else { return };
    let (method, target) = line.split_once(' ').unwrap_or(("GET", line));
    let Ok(method) = Method::from_bytes(method.as_bytes()) else {
        return;
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (version, found) = route(&method, path);
    if let Some(version) = version {
        assert!(path.contains(&version.to_string()), "{path}");
    }
    let (Route::InspectImage(name) | Route::ImageHistory(name) | Route::RemoveImage(name)) = found
    else {
        if let Ok(args) = filters_of_query(query.as_bytes()) {
            decoded(&args);
        }
        return;
    };
    references(name.as_bytes());
    assert!(name.len() <= path.len());
}
