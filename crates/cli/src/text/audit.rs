//! Records of changes, as text.

use std::fmt::Write;

use reclaim_model::{AuditOutcome, AuditRecord, AuditRequest, HumanSize, RemoveReason};

use super::{Text, Truncation, count, shown_name};

/// Renders records: a line for each run, and below it a line for each image.
pub(crate) fn records(records: &[AuditRecord], trunc: Truncation) -> Text {
    let mut text = Text::default();
    for record in records {
        run(&mut text, record, records);
        for image in &record.images {
            let digest = image.digest.as_ref();
            let name = digest.map_or_else(
                || image.name.clone(),
                |digest| shown_name(&image.name, digest),
            );
            let mut line = format!("  {}: {name}", image.change.word());
            if let Some(digest) = digest {
                line.push_str(", ");
                line.push_str(&trunc.digest(digest));
            }
            if let Some(reason) = image.reason {
                line.push_str(", ");
                line.push_str(reason_text(reason));
            }
            if let Some(bytes) = image.bytes {
                write!(line, ", {}", HumanSize(bytes)).expect("a string takes any text");
            }
            text.line(line);
        }
        if record.images_left_out > 0 {
            text.line(format_args!("  and {} more", record.images_left_out));
        }
    }
    text
}

fn run(text: &mut Text, record: &AuditRecord, all: &[AuditRecord]) {
    let AuditRecord {
        run,
        caller,
        namespace,
        request,
        began,
        outcome,
        error,
        changed,
        reclaimed_bytes,
        ..
    } = record;
    let result = match outcome {
        AuditOutcome::Begun if is_recovered(record, all) => {
            "cut off; what it removed was restored".to_owned()
        }
        AuditOutcome::Begun => "its end is not recorded: under way, or cut off".to_owned(),
        AuditOutcome::Done | AuditOutcome::Partial | AuditOutcome::Failed => {
            let outcome = outcome.word();
            let images = count(*changed, "image");
            match request {
                AuditRequest::Containers {
                    owner,
                    added,
                    removed,
                } => {
                    let added = count(added.len(), "container");
                    let removed = removed.len();
                    format!("{outcome}, {added} added and {removed} removed for {owner}")
                }
                // Docker does not report what it frees.
                AuditRequest::Docker { engine, .. } => {
                    format!("{outcome}, {images} through {engine}")
                }
                AuditRequest::Prune(_)
                | AuditRequest::Policy(_)
                | AuditRequest::Undo { .. }
                | AuditRequest::Release { .. }
                | AuditRequest::Pin(_)
                | AuditRequest::Restore(_)
                | AuditRequest::Recover { .. }
                | AuditRequest::Long { .. } => {
                    format!("{outcome}, {images}, {} freed", HumanSize(*reclaimed_bytes))
                }
            }
        }
    };
    let error = error.as_ref().map(|error| format!(": {error}"));
    let error = error.unwrap_or_default();
    let word = request.word();
    text.line(format_args!(
        "{began:.0} {run} {word} in {namespace} by {caller}: {result}{error}"
    ));
}

/// Whether a later run restored what this one removed.
fn is_recovered(record: &AuditRecord, all: &[AuditRecord]) -> bool {
    all.iter().any(|other| {
        matches!(&other.request, AuditRequest::Recover { run } if *run == record.run)
            && other.outcome == AuditOutcome::Done
    })
}

fn reason_text(reason: RemoveReason) -> &'static str {
    match reason {
        RemoveReason::Dangling => "dangling",
        RemoveReason::Unused => "unused",
        RemoveReason::Duplicate => "a duplicate",
        RemoveReason::Named => "named",
        RemoveReason::Replaced => "named, in use without its name",
        RemoveReason::Parent => "a parent without a name",
        RemoveReason::Torn => "damaged",
        RemoveReason::Dependent => "dependent on another",
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use reclaim_model::{AuditImage, Caller, EntryPoint, ImageChange, Peer, PeerProcess, RunId};

    use super::*;

    fn record(run: &str, request: AuditRequest) -> AuditRecord {
        let process = PeerProcess {
            uid: 1000,
            gid: Some(1000),
            pid: Some(7),
            command: Some("a\u{1b}b".to_owned()),
        };
        let caller = Caller::new(EntryPoint::Json).with_peer(Peer {
            process: Some(process),
            ..Peer::default()
        });
        let namespace = "default".parse().unwrap();
        let run = RunId(run.to_owned());
        AuditRecord::begun(run, caller, namespace, request, Timestamp::UNIX_EPOCH)
    }

    fn release() -> AuditRequest {
        AuditRequest::Release { run: None }
    }

    #[test]
    fn a_run_is_a_line_and_each_image_another() {
        let mut done = record("r1", release());
        done.outcome = AuditOutcome::Done;
        done.reclaimed_bytes = 2_000_000;
        done.set_images([AuditImage {
            name: "docker.io/library/a:1\nforged".to_owned(),
            digest: None,
            change: ImageChange::Removed,
            reason: Some(RemoveReason::Unused),
            bytes: Some(1000),
        }]);
        let mut failed = record("r2", release());
        failed.outcome = AuditOutcome::Failed;
        failed.set_error("no space\nforged");
        let shown = records(&[done, failed], Truncation::On);
        let caller = "the JSON API, user 1000, process 7 (a\u{fffd}b)";
        assert_eq!(
            shown.lines().collect::<Vec<_>>(),
            [
                format!(
                    "1970-01-01T00:00:00Z r1 release in default by {caller}: done, 1 image, 2MB freed"
                ),
                "  removed: docker.io/library/a:1\u{fffd}forged, unused, 1kB".to_owned(),
                format!(
                    "1970-01-01T00:00:00Z r2 release in default by {caller}: failed, 0 images, 0B \
                     freed: no space\u{fffd}forged"
                ),
            ]
        );
    }

    #[test]
    fn a_run_without_an_end_says_so() {
        let begun = record("r1", release());
        let shown = |all: &[AuditRecord]| {
            records(all, Truncation::On)
                .lines()
                .next()
                .unwrap()
                .to_owned()
        };
        let under_way = shown(std::slice::from_ref(&begun));
        assert!(under_way.ends_with("under way, or cut off"), "{under_way}");
        let run = RunId("r1".to_owned());
        let mut recovered = record("r1", AuditRequest::Recover { run });
        recovered.outcome = AuditOutcome::Done;
        let cut_off = shown(&[begun, recovered]);
        assert!(
            cut_off.ends_with("cut off; what it removed was restored"),
            "{cut_off}"
        );
    }
}
