//! The line of `reclaim check`, as of a monitoring plugin.
//!
//! Source of the form: Monitoring Plugins, "Development Guidelines", sections "Plugin Output" and
//! "Performance data"; Node Problem Detector, `docs/custom_plugin_monitor.md`.

use std::fmt::Write;
use std::time::Duration;

use reclaim_maintenance::{FilesystemForecast, FillForecast, Trend};
use reclaim_model::{HumanSize, Printable, Room, Watermark};

/// The longest line for Node Problem Detector, in bytes: its default for `max_output_length`.
const MAX_NPD: usize = 80;

/// The result of a check; the worse is the larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CheckState {
    Ok,
    Unknown,
    Warning,
    Critical,
}

impl CheckState {
    /// Returns the exit status of a monitoring plugin.
    pub(crate) fn status(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }

    /// Returns the exit status of a plugin of Node Problem Detector.
    pub(crate) fn npd_status(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning | Self::Critical => 1,
            Self::Unknown => 3,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Unknown => "UNKNOWN",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }
}

/// When a check warns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckLimits {
    pub(crate) warn: Watermark,
    pub(crate) crit: Watermark,
    pub(crate) warn_within: Option<Duration>,
    pub(crate) crit_within: Option<Duration>,
}

/// What could be freed.
#[derive(Debug, Clone)]
pub(crate) enum CanGo {
    /// It was not read.
    Unread,
    /// Reading it failed.
    Unknown,
    /// So many bytes.
    Bytes(FreeableBytes),
}

/// How many bytes could be freed.
#[derive(Debug, Clone, Default)]
pub(crate) struct FreeableBytes {
    /// By a prune of all unused images.
    pub(crate) prune_all: u64,
    /// By the next run of each policy, in the order of the policies.
    pub(crate) policies: Vec<(String, u64)>,
}

/// A check of the filesystems.
#[derive(Debug)]
pub(crate) struct Check<'f> {
    pub(crate) state: CheckState,
    forecast: &'f FillForecast,
    limits: CheckLimits,
    /// The filesystems that the line names, and their states.
    named: Vec<(&'f FilesystemForecast, CheckState)>,
    has_daemon: bool,
}

impl<'f> Check<'f> {
    /// Evaluates what was measured. Without a daemon there is no forecast.
    pub(crate) fn new(forecast: &'f FillForecast, limits: CheckLimits, has_daemon: bool) -> Self {
        let all = forecast.filesystems.iter();
        let all = all.map(|filesystem| (filesystem, limits.state(filesystem)));
        let worst = all.clone().map(|(_, state)| state).max();
        let unmeasured = forecast.content_unmeasured.is_some() || worst.is_none();
        let at_least = if unmeasured {
            CheckState::Unknown
        } else {
            CheckState::Ok
        };
        let worst = worst.unwrap_or(CheckState::Unknown);
        let mut named: Vec<_> = all.collect();
        if worst == CheckState::Ok {
            let used = |it: &FilesystemForecast| room(it).used_percent();
            named.sort_by_key(|(filesystem, _)| std::cmp::Reverse(used(filesystem)));
            named.truncate(1);
        } else {
            named.retain(|(_, state)| *state > CheckState::Ok);
            named.sort_by_key(|(_, state)| std::cmp::Reverse(*state));
        }
        Self {
            state: worst.max(at_least),
            forecast,
            limits,
            named,
            has_daemon,
        }
    }

    /// Returns the line of a monitoring plugin.
    pub(crate) fn line(&self, can_go: &CanGo) -> String {
        let mut parts: Vec<String> = self
            .named
            .iter()
            .map(|(it, _)| format!("{} {}", it.mount_point.display(), self.fill(it)))
            .collect();
        if let Some(why) = &self.forecast.content_unmeasured {
            parts.push(format!(
                "the filesystem of content cannot be measured: {why}"
            ));
        } else if self.named.is_empty() {
            parts.push("no filesystem can be measured".to_owned());
        }
        match can_go {
            CanGo::Bytes(bytes) => parts.push(bytes.text()),
            CanGo::Unknown => parts.push("what can go is unknown".to_owned()),
            CanGo::Unread => {}
        }
        let data: Vec<String> = self
            .forecast
            .filesystems
            .iter()
            .flat_map(|it| self.limits.data(it))
            .collect();
        let data = if data.is_empty() {
            String::new()
        } else {
            format!(" | {}", data.join(" "))
        };
        line(self.state, &parts.join("; ")) + &data
    }

    /// Returns the line for Node Problem Detector. What matters most comes first, because it is cut.
    pub(crate) fn npd_line(&self) -> String {
        let text = match (self.named.first(), &self.forecast.content_unmeasured) {
            (Some((it, state)), None) => self.npd_text(it, *state),
            (Some((it, state)), Some(_)) if *state > CheckState::Ok => self.npd_text(it, *state),
            (_, Some(why)) => format!("content unmeasured: {why}"),
            (None, None) => "no filesystem can be measured".to_owned(),
        };
        npd_line(&text)
    }

    fn npd_text(&self, filesystem: &FilesystemForecast, state: CheckState) -> String {
        let fill = if state == CheckState::Ok {
            format!("{}% used", room(filesystem).used_percent())
        } else {
            self.fill(filesystem)
        };
        format!("{fill}: {}", filesystem.mount_point.display())
    }

    fn fill(&self, filesystem: &FilesystemForecast) -> String {
        let used = format!("{}% used", room(filesystem).used_percent());
        let forecast = match (filesystem.trend, filesystem.full_in_seconds) {
            (Trend::Growing, Some(seconds)) => {
                format!("full in {} at this rate", rough_time(seconds))
            }
            (Trend::Steady, _) => "not filling".to_owned(),
            (Trend::Growing | Trend::Unknown, _) if self.has_daemon => "no forecast yet".to_owned(),
            (Trend::Growing | Trend::Unknown, _) => {
                "no forecast without a daemon (--host)".to_owned()
            }
        };
        format!("{used}, {forecast}")
    }
}

impl CheckLimits {
    fn state(&self, filesystem: &FilesystemForecast) -> CheckState {
        let Room { total, left } = room(filesystem);
        let is_above = |mark: Watermark, within: Option<Duration>| {
            let is_soon = within
                .zip(filesystem.full_in_seconds)
                .is_some_and(|(within, full_in)| full_in <= within.as_secs());
            mark.is_exceeded(total, left) || is_soon
        };
        if is_above(self.crit, self.crit_within) {
            CheckState::Critical
        } else if is_above(self.warn, self.warn_within) {
            CheckState::Warning
        } else {
            CheckState::Ok
        }
    }

    /// Returns the performance data of a filesystem.
    fn data(&self, filesystem: &FilesystemForecast) -> Vec<String> {
        let room = room(filesystem);
        let label = label(&filesystem.mount_point.display().to_string());
        let mark = |mark: Watermark| room.total.saturating_sub(mark.left_of(room.total));
        let mut data = vec![format!(
            "'{label}'={}B;{};{};0;{}",
            room.used(),
            mark(self.warn),
            mark(self.crit),
            room.total
        )];
        if let Some(seconds) = filesystem.full_in_seconds {
            // A range that ends with a colon means: alert below it.
            let below =
                |it: Option<Duration>| it.map_or(String::new(), |it| format!("{}:", it.as_secs()));
            data.push(format!(
                "'{label} full in'={seconds}s;{};{};0",
                below(self.warn_within),
                below(self.crit_within)
            ));
        }
        data
    }
}

impl FreeableBytes {
    fn text(&self) -> String {
        let mut text = if self.prune_all > 0 {
            format!("{} can go (prune -a)", HumanSize(self.prune_all))
        } else {
            "nothing can go (prune -a)".to_owned()
        };
        for (policy, bytes) in &self.policies {
            if *bytes > 0 {
                let bytes = HumanSize(*bytes);
                write!(text, ", {bytes} by policy {policy}")
                    .expect("writing to a string does not fail");
            }
        }
        text
    }
}

/// Returns the line of a check that could not be made.
pub(crate) fn unknown_line(why: &str) -> String {
    line(CheckState::Unknown, why)
}

/// Returns a line for Node Problem Detector.
pub(crate) fn npd_line(text: &str) -> String {
    let mut text = Printable(text).to_string();
    let mut end = text.len().min(MAX_NPD);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

fn line(state: CheckState, text: &str) -> String {
    // A bar begins the performance data.
    let text = Printable(text).to_string().replace('|', "/");
    format!("DISK {}: {text}", state.word())
}

/// Returns a label of performance data, which is in single quotes.
fn label(text: &str) -> String {
    Printable(text).to_string().replace(['\'', '=', '|'], "_")
}

fn room(filesystem: &FilesystemForecast) -> Room {
    Room {
        total: filesystem.total_bytes,
        left: filesystem.left_bytes,
    }
}

/// Returns a time in the largest unit of which there are at least two.
fn rough_time(seconds: u64) -> String {
    const HOUR: u64 = 60 * 60;
    const DAY: u64 = 24 * HOUR;
    if seconds > 365 * DAY {
        "more than a year".to_owned()
    } else if seconds >= 2 * DAY {
        format!("{} days", seconds / DAY)
    } else if seconds >= 2 * HOUR {
        format!("{} hours", seconds / HOUR)
    } else {
        match seconds / 60 {
            0 => "less than a minute".to_owned(),
            1 => "1 minute".to_owned(),
            minutes => format!("{minutes} minutes"),
        }
    }
}

#[cfg(test)]
mod tests;
