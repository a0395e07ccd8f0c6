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
use reclaim_oci::{Document, Kind, LabelKeys, Limits, digest_of, read};

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

/// Manifests, indexes and configurations: the same bytes are always the same document, whose kind
/// has the children that it can have, and labels within the bound.
pub fn documents(bytes: &[u8]) {
    let digest = digest_of(bytes);
    let size = bytes.len() as u64;
    let limits = Limits {
        max_label_bytes: 256,
        ..Limits::default()
    };
    let none = LabelKeys::default();
    let outcome = read(&digest, None, bytes, &limits, &none);
    assert_eq!(
        read(&digest, Some(size), bytes, &limits, &none),
        outcome,
        "of the right size"
    );
    assert!(
        read(&digest, Some(size + 1), bytes, &limits, &none).is_err_and(|error| error.is_torn()),
        "of another size"
    );
    let Ok(document) = outcome else { return };
    let children = document.children().count();
    match &document {
        Document::Index(index) => {
            assert_eq!(document.kind(), Kind::Index);
            assert_eq!(children, index.manifests.len());
        }
        Document::Manifest(manifest) => {
            assert_eq!(document.kind(), Kind::Manifest);
            let n_configs = usize::from(manifest.config.is_some());
            assert_eq!(children, n_configs + manifest.layers.len());
        }
        Document::Config(config) => {
            assert_eq!(document.kind(), Kind::Config);
            assert_eq!(children, 0);
            let kept: usize = config
                .labels
                .iter()
                .map(|(key, value)| key.len() + value.len())
                .sum();
            // A byte that is not UTF-8 becomes three; Compose's labels have as much of their own.
            assert!(kept <= 2 * 3 * limits.max_label_bytes, "{kept}");
        }
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
