//! What the page has in addition to the store: what policies would remove, and how full the disks are.

use jiff::{SignedDuration, Timestamp};
use reclaim_maintenance::settings::duration_text;
use reclaim_maintenance::{
    FilesystemForecast, FillForecast, FillSample, PolicyForecast, SchedulerHandle, Trend,
};
use reclaim_model::{AuditRecord, Report, Room, chain, shown_name};
use reclaim_page::{FillLine, FillPlot, PlannedImage, PlannedRemoval, PlotMark};

/// What the page has in addition to the store.
#[derive(Debug)]
pub struct PageParts {
    /// The changes on record; `None` if they cannot be read.
    pub records: Option<Vec<AuditRecord>>,
    /// What each policy would remove now, or why that is unknown.
    pub policies: Result<Vec<PlannedRemoval>, String>,
    /// How full each filesystem was and will be.
    pub filling: Vec<FillPlot>,
}

impl PageParts {
    /// Returns what a daemon's scheduler knows.
    pub(crate) async fn of_daemon(
        scheduler: &SchedulerHandle,
        records: Option<Vec<AuditRecord>>,
        now: Timestamp,
    ) -> Self {
        let explained = scheduler.explain(&[]).await;
        let policies = explained
            .map(|found| {
                found
                    .iter()
                    .map(|(_, forecast)| planned(forecast))
                    .collect()
            })
            .map_err(|error| format!("The policies cannot be evaluated: {}", chain(&error)));
        let forecast = scheduler.fill_forecast().await.unwrap_or_default();
        let samples =
            |filesystem: &FilesystemForecast| scheduler.fill_samples(&filesystem.mount_point);
        Self {
            records,
            policies,
            filling: fill_plots(&forecast, samples, now),
        }
    }
}

/// Returns what a policy would remove, for the page.
pub fn planned(forecast: &PolicyForecast) -> PlannedRemoval {
    let reports = || forecast.namespaces.iter().map(|step| &step.now);
    let wanted = forecast.wanted.iter().map(|it| format!("too full: {it}"));
    let inhibited = forecast
        .inhibitors
        .iter()
        .map(|it| format!("inhibited: {it}"));
    let warnings = forecast.warnings.iter().map(|it| format!("warning: {it}"));
    let rules = forecast.rules.iter().cloned();
    PlannedRemoval {
        title: format!("policy {}", forecast.policy),
        notes: rules
            .chain(wanted)
            .chain(inhibited)
            .chain(warnings)
            .collect(),
        images: reports().flat_map(images).collect(),
        bytes: reports()
            .map(|report| report.estimate.0.total_bytes())
            .fold(0, u64::saturating_add),
    }
}

fn images(report: &Report) -> impl Iterator<Item = PlannedImage> {
    let namespace = report.namespace.to_string();
    let of = move |name: String, why: String| PlannedImage {
        namespace: namespace.clone(),
        name,
        why,
    };
    let part = report.part.map_or("parts", |part| part.text());
    let removed = report.removed.iter().map(|image| {
        let name = shown_name(&image.name, &image.target);
        (name, image.reason.text().to_owned())
    });
    let slimmed = report.slimmed.iter().map(move |image| {
        let name = shown_name(&image.name, &image.target);
        (name, format!("stays, and loses its {part}"))
    });
    removed.chain(slimmed).map(move |(name, why)| of(name, why))
}

/// Returns how full each filesystem was and will be, for the page. The times of samples are monotonic: the
/// last one is about now.
pub fn fill_plots(
    forecast: &FillForecast,
    samples: impl Fn(&FilesystemForecast) -> Vec<FillSample>,
    now: Timestamp,
) -> Vec<FillPlot> {
    let plots = forecast.filesystems.iter().map(|filesystem| {
        let samples = samples(filesystem);
        let newest = samples.last().map(|sample| sample.at);
        let wall = |at: Timestamp| {
            let ago = newest.map_or(SignedDuration::ZERO, |newest| newest.duration_since(at));
            now.checked_sub(ago).unwrap_or(now)
        };
        let points = samples.iter().map(|it| (wall(it.at), it.left_bytes));
        let line = FillLine {
            name: "used".to_owned(),
            points: points.collect(),
        };
        let marks = filesystem.high_marks.iter().map(|mark| PlotMark {
            name: format!("high mark of policy {}", mark.policy),
            left_bytes: mark.left_bytes,
        });
        FillPlot {
            mount_point: filesystem.mount_point.display().to_string(),
            total_bytes: filesystem.total_bytes,
            lines: if samples.is_empty() {
                Vec::new()
            } else {
                vec![line]
            },
            marks: marks.collect(),
            removals: Vec::new(),
            note: note(filesystem),
        }
    });
    plots.collect()
}

fn note(filesystem: &FilesystemForecast) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let room = Room {
        total: filesystem.total_bytes,
        left: filesystem.left_bytes,
    };
    let used = room.used_percent();
    match (filesystem.trend, filesystem.full_in_seconds) {
        (Trend::Growing, Some(seconds)) if seconds >= 2 * DAY => {
            format!("{used}% used, full in {} days at this rate.", seconds / DAY)
        }
        (Trend::Growing, Some(seconds)) => {
            let rounded = seconds.next_multiple_of(MINUTE);
            let time = duration_text(std::time::Duration::from_secs(rounded));
            format!("{used}% used, full in {time} at this rate.")
        }
        (Trend::Steady, _) => format!("{used}% used, not filling."),
        (Trend::Growing | Trend::Unknown, _) => format!("{used}% used, no forecast yet."),
    }
}
