//! The page of `reclaim policy try --html`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use reclaim_api::page::{FillLine, FillPlot, PlotMark, TrialPage};
use reclaim_maintenance::{FillPoint, PolicyTrial, TriedFilesystem};

use crate::text::trial::{row_of, summary};

/// Returns the page of a trial.
pub(crate) fn page(trial: &PolicyTrial) -> TrialPage {
    let removals: BTreeSet<Timestamp> = trial.images.iter().map(|image| image.at).collect();
    let plots = trial.filesystems.iter();
    TrialPage {
        title: "Policies tried on the last weeks".to_owned(),
        summary: summary(trial).into(),
        plots: plots
            .map(|filesystem| plot(filesystem, &removals))
            .collect(),
        images: trial.images.iter().map(row_of).collect(),
        notes: trial.notes.clone(),
    }
}

fn plot(filesystem: &TriedFilesystem, removals: &BTreeSet<Timestamp>) -> FillPlot {
    let line = |name: &str, left: fn(&FillPoint) -> u64| FillLine {
        name: name.to_owned(),
        points: filesystem
            .points
            .iter()
            .map(|point| (point.at, left(point)))
            .collect(),
    };
    let marks = filesystem.marks.iter().flat_map(|mark| {
        let named = |name: &str, left_bytes| PlotMark {
            name: format!("{name} mark of policy {}", mark.policy),
            left_bytes,
        };
        [
            named("high", mark.high_left_bytes),
            named("low", mark.low_left_bytes),
        ]
    });
    FillPlot {
        mount_point: filesystem.mount_point.display().to_string(),
        total_bytes: filesystem.total_bytes,
        lines: vec![
            line("as tried", |point| point.tried_left_bytes),
            line("as it was", |point| point.recorded_left_bytes),
        ],
        marks: marks.collect(),
        removals: removals.iter().copied().collect(),
        note: String::new(),
    }
}
