//! Fuzz targets for the parsers of untrusted bytes.
//!
//! Each target accepts any bytes. It must not panic, and what it parses must mean the same when it is
//! encoded and parsed again. `fuzz/` has a cargo-fuzz target for each, with a small corpus; the tests
//! have a bounded run of all targets without coverage.

#![expect(
    clippy::missing_panics_doc,
    reason = "a target panics if a property does not hold"
)]

mod stores;

use http::Method;
use jiff::Timestamp;
use jiff::tz::Offset;
use reclaim_api::docker::{Route, filters_of_query, route};
use reclaim_model::{FilterArgs, PruneFilters, Reference, TimeContext, familiar_name, parse_until};
use reclaim_oci::{Document, Kind, LabelKeys, Limits, digest_of, read};

pub use stores::stores;

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of the target and of its corpus.
    pub name: &'static str,
    /// Runs the target on an input.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 6] = [
    Target {
        name: "filters",
        run: filters,
    },
    Target {
        name: "references",
        run: references,
    },
    Target {
        name: "until",
        run: until,
    },
    Target {
        name: "documents",
        run: documents,
    },
    Target {
        name: "stores",
        run: stores,
    },
    Target {
        name: "requests",
        run: requests,
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

/// JSON documents of filters: encoding and decoding again gives the same filters, with the same meaning
/// or the same error.
pub fn filters(bytes: &[u8]) {
    if let Some(Ok(args)) = text(bytes).map(FilterArgs::from_json) {
        check_round_trip(&args);
    }
}

fn check_round_trip(args: &FilterArgs) {
    let again = FilterArgs::from_json(&args.to_json()).expect("encoded filters are valid");
    assert_eq!(again, *args);
    let meaning = PruneFilters::from_args(args, &context());
    assert_eq!(PruneFilters::from_args(&again, &context()), meaning);
}

/// Names of images: the full form parses to itself, and ends with the familiar form.
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
    // The familiar form may name another image: as in Docker, `docker.io/a.b/c` is shown as `a.b/c`.
    assert!(full.ends_with(&reference.familiar()), "{full}");
}

/// Times and ages: parsing is deterministic.
pub fn until(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let moment = parse_until(text, &context());
    assert_eq!(parse_until(text, &context()), moment);
}

/// Manifests, indexes and configurations: parsing is deterministic, children fit the kind of document,
/// and labels are within the limit.
pub fn documents(bytes: &[u8]) {
    let digest = digest_of(bytes);
    let size = bytes.len() as u64;
    let limits = Limits {
        max_label_bytes: 256,
        ..Limits::default()
    };
    let none = LabelKeys::default();
    let result = read(&digest, None, bytes, &limits, &none);
    assert_eq!(
        read(&digest, Some(size), bytes, &limits, &none),
        result,
        "with the right size"
    );
    assert!(
        read(&digest, Some(size + 1), bytes, &limits, &none).is_err_and(|error| error.is_torn()),
        "with another size"
    );
    let Ok(document) = result else { return };
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
            // An invalid UTF-8 byte becomes three; labels of Compose have a limit of the same size.
            assert!(kept <= 2 * 3 * limits.max_label_bytes, "{kept}");
        }
    }
}

/// Requests: a method, a path with or without a version, and a query with filters. The version and the
/// name come from the path.
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
            check_round_trip(&args);
        }
        return;
    };
    references(name.as_bytes());
    assert!(name.len() <= path.len());
}
