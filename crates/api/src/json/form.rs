//! What the JSON API receives and sends in addition to the model's own types.

use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use reclaim_engine::{Grace, Progress, RunError, RunOptions};
use reclaim_maintenance::{PolicyForecast, PolicyRun, RunRecord};
use reclaim_model::{
    GoDuration, ImageList, Namespace, PolicyName, PruneRequest, Report, RunId, UsageByColumn,
};
use serde::{Deserialize, Serialize};

use crate::service::{ErrorKind, RunEvent, ServiceError};

/// Why writing JSON does not fail.
pub(super) const ALWAYS_JSON: &str = "maps with text keys and no floats";

/// How many names of policies a request may have.
const MAX_NAMES: usize = 1000;

/// The longest undo window.
const MAX_UNDO_WINDOW: Duration = Duration::from_secs(720 * 60 * 60);

/// The most records a second that a request may ask for.
const MAX_PER_SECOND: u32 = 10_000;

/// A prune to carry out.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// What to remove.
    pub request: PruneRequest,
    /// How.
    #[serde(default)]
    pub options: Options,
}

/// How to carry out a prune. What is absent is as the daemon was started.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// See [`RunOptions::grace`].
    pub grace: Option<Grace>,
    /// See [`RunOptions::undo_window`].
    pub undo_window: Option<GoDuration>,
    /// See [`RunOptions::max_deletes_per_second`]; 0 is no limit.
    pub max_deletes_per_second: Option<u32>,
    /// See [`RunOptions::wait`].
    pub wait: bool,
}

impl From<&RunOptions> for Options {
    fn from(options: &RunOptions) -> Self {
        Self {
            grace: Some(options.grace),
            undo_window: Some(GoDuration(options.undo_window)),
            max_deletes_per_second: Some(options.max_deletes_per_second.unwrap_or(0)),
            wait: options.wait,
        }
    }
}

impl Options {
    /// Returns the options of the run; those of `default` where none is set.
    pub(crate) fn over(self, default: &RunOptions) -> Result<RunOptions, ServiceError> {
        let within = |field, duration: Option<GoDuration>, default, longest| match duration {
            None => Ok(default),
            Some(GoDuration(duration)) if duration <= longest => Ok(duration),
            Some(_) => {
                let longest = GoDuration(longest);
                Err(ServiceError::invalid(
                    field,
                    format!("accepted are 0s to {longest}"),
                ))
            }
        };
        Ok(RunOptions {
            grace: match self.grace {
                None => default.grace,
                Some(grace) if grace.longest() <= RunOptions::MAX_GRACE => grace,
                Some(_) => {
                    let longest = GoDuration(RunOptions::MAX_GRACE);
                    let problem = format!("accepted are auto and 0s to {longest}");
                    return Err(ServiceError::invalid("grace", problem));
                }
            },
            undo_window: within(
                "undo_window",
                self.undo_window,
                default.undo_window,
                MAX_UNDO_WINDOW,
            )?,
            max_deletes_per_second: match self.max_deletes_per_second {
                None => default.max_deletes_per_second,
                Some(0) => None,
                Some(number) if number <= MAX_PER_SECOND => Some(number),
                Some(_) => {
                    let problem = format!("accepted are 0 to {MAX_PER_SECOND}");
                    return Err(ServiceError::invalid("max_deletes_per_second", problem));
                }
            },
            wait: self.wait,
        })
    }
}

/// The query of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InNamespace {
    pub(super) namespace: Option<Namespace>,
    #[serde(default)]
    pub(super) may_lack_namespace: bool,
}

/// The query of a list of projects.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Projects {
    pub(super) namespace: Option<Namespace>,
    #[serde(default)]
    pub(super) may_lack_namespace: bool,
    #[serde(default)]
    pub(super) compatibility: bool,
}

/// The query of `why`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    pub(super) namespace: Option<Namespace>,
    pub(super) thing: String,
}

/// The images of a namespace, and when they were listed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Images {
    pub(super) observed_at: Timestamp,
    #[serde(flatten)]
    pub(super) list: ImageList,
}

/// A run to undo.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Undo {
    /// The namespace of the run.
    pub namespace: Option<Namespace>,
    /// The run, or the beginning of its ID; without it the latest.
    pub run: Option<String>,
    /// The images to restore; without any all of them.
    pub images: Vec<String>,
    /// Whether to restore private images without the kubelet's pull record, too.
    // Left out if not set: an older daemon refuses it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub without_credentials: bool,
}

/// A run whose hold ends.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Release {
    pub(super) namespace: Option<Namespace>,
    pub(super) run: Option<String>,
}

/// The run whose hold has ended.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Released {
    pub(super) run: RunId,
}

/// Policies to run.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RunPolicies {
    pub(super) names: Vec<PolicyName>,
    pub(super) dry_run: bool,
}

/// Refuses more names of policies than anyone has policies.
pub(super) fn limit_names(number: usize, field: &str) -> Result<(), ServiceError> {
    if number <= MAX_NAMES {
        return Ok(());
    }
    let problem = format!("accepted are up to {MAX_NAMES}");
    Err(ServiceError::invalid(field, problem))
}

/// Reads the names of policies in a query: `name=a&name=b`. A bad name is not repeated in the
/// error: it may be of any length.
pub(super) fn names(query: &[(String, String)]) -> Result<Vec<PolicyName>, ServiceError> {
    limit_names(query.len(), "name")?;
    query
        .iter()
        .map(|(key, value)| match key.as_str() {
            "name" => value.parse().map_err(|_| {
                let max = PolicyName::MAX_LENGTH;
                let problem = format!("accepted are 1 to {max} letters, digits, `-` and `_`");
                ServiceError::invalid("name", problem)
            }),
            _ => Err(ServiceError::invalid("query", "accepted is `name`")),
        })
        .collect()
}

/// What policies would do now.
#[derive(Debug, Serialize, Deserialize)]
pub struct PolicyForecasts {
    /// One for each policy.
    pub policies: Vec<PolicyForecast>,
}

/// The runs of policies that the daemon remembers.
#[derive(Debug, Serialize, Deserialize)]
pub struct PolicyHistory {
    /// The runs, oldest first.
    pub runs: Vec<RunRecord>,
}

/// A line of the answer to a prune. The last one is the report or the error.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum RunLine {
    Progress(Progress),
    Report(Box<Report>),
    Error(ErrorForm),
}

impl From<RunEvent> for RunLine {
    fn from(event: RunEvent) -> Self {
        match event {
            RunEvent::Progress(progress) => Self::Progress(progress),
            RunEvent::Ended(ended) => match *ended {
                Ok(report) => Self::Report(Box::new(report)),
                Err(error) => Self::Error(ErrorForm::of(&error)),
            },
        }
    }
}

/// A line of the answer to a request to run policies.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PolicyRunLine {
    Run(Box<PolicyRun>),
    Error(ErrorForm),
}

/// The body of an answer that is an error.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Failed {
    pub(super) error: ErrorForm,
}

/// An error.
#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorForm {
    /// Its class.
    pub kind: ErrorKind,
    /// Its text, causes included.
    pub message: String,
    /// What occupies the disk, where less can be freed than was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Box<UsageByColumn>>,
}

impl ErrorForm {
    /// Returns the form of an error.
    pub(super) fn of(error: &ServiceError) -> Self {
        let usage = match error.run_error() {
            Some(RunError::TargetNotMet(unmet)) => Some(Box::new(unmet.usage.clone())),
            _ => None,
        };
        Self {
            kind: error.kind(),
            message: error.text(),
            usage,
        }
    }
}

/// Returns the status of an answer that is an error.
pub(super) fn status(error: &ServiceError) -> StatusCode {
    match error.kind() {
        ErrorKind::Busy | ErrorKind::Inhibited | ErrorKind::Check => StatusCode::CONFLICT,
        ErrorKind::TargetNotMet => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::Denied => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Other => match error.run_error() {
            Some(RunError::DiskFull(_)) => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}
