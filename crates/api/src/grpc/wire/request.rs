//! Requests.

use std::time::Duration;

use jiff::tz::TimeZone;
use prost_types::Duration as DurationMessage;
use reclaim_engine::RunOptions;
use reclaim_model::{
    BuildHistory, FilterArgs, NamedImages, Namespace, Project, ProjectImages, PruneFilters,
    PruneRequest, Selection, Service, TimeContext,
};

use super::{WireError, parsed};
use crate::grpc::proto;
use proto::selection::Which;

/// The longest duration of an option.
const MAX_DURATION: Duration = Duration::from_secs(720 * 60 * 60);

/// How many records a second is as many as can be.
const MAX_PER_SECOND: u32 = 10_000;

impl proto::Request {
    /// Reads the request; `namespace` is meant where it names none.
    pub(in crate::grpc) fn read(self, namespace: &Namespace) -> Result<PruneRequest, WireError> {
        let namespace = namespace_or(namespace, &self.namespace)?;
        let selection = self.selection.and_then(|it| it.which);
        let selection = match selection.ok_or_else(|| WireError::missing("selection"))? {
            Which::Filters(filters) => Selection::Filters(filters.read()?),
            Which::Named(named) => Selection::Named(named.into()),
            Which::Project(project) => Selection::Project(project.try_into()?),
        };
        if !self.allow_empty.is_empty() && self.allow_empty != namespace.as_str() {
            let problem = format!("accepted is only the request's namespace, `{namespace}`");
            return Err(WireError::new("allow_empty", problem));
        }
        let is_named = matches!(selection, Selection::Named(_) | Selection::Project(_));
        let target = match self.target_free.as_str() {
            "" => None,
            text => Some(parsed("target_free", text)?),
        };
        Ok(PruneRequest {
            may_empty_namespace: is_named || !self.allow_empty.is_empty(),
            may_lack_namespace: self.may_lack_namespace,
            history: if self.unpin_build_history {
                BuildHistory::Unpin
            } else {
                BuildHistory::Keep
            },
            namespace,
            selection,
            target,
        })
    }
}

/// Reads a namespace; `namespace` is meant where there is none.
pub(in crate::grpc) fn namespace_or(
    namespace: &Namespace,
    text: &str,
) -> Result<Namespace, WireError> {
    match text {
        "" => Ok(namespace.clone()),
        text => parsed("namespace", text),
    }
}

impl proto::Filters {
    fn read(self) -> Result<PruneFilters, WireError> {
        let failed = |error| WireError::new("filters", error);
        let mut args = FilterArgs::default();
        for filter in &self.filters {
            args.add_pair(filter).map_err(failed)?;
        }
        args.add("dangling", if self.all { "false" } else { "true" });
        let now = reclaim_engine::now();
        let context = TimeContext {
            now,
            offset: TimeZone::system().to_offset(now),
        };
        PruneFilters::from_args(&args, &context).map_err(failed)
    }
}

impl From<proto::NamedImages> for NamedImages {
    fn from(message: proto::NamedImages) -> Self {
        Self {
            names: message.names,
            force: message.force,
            prune_parents: message.prune_parents,
        }
    }
}

impl From<ProjectImages> for proto::ProjectImages {
    fn from(images: ProjectImages) -> Self {
        let services = images.project.services.into_iter();
        let services = services.map(|(name, service)| {
            let image = service.image.unwrap_or_default();
            (name, proto::project_images::Service { image })
        });
        Self {
            project: images.project.name.to_string(),
            services: services.collect(),
            from_containers: images.from_containers,
            mode: images.mode.to_string(),
            remove_orphans: images.remove_orphans,
            only: images
                .services
                .map(|names| proto::project_images::ServiceNames {
                    names: names.into_iter().collect(),
                }),
        }
    }
}

impl TryFrom<proto::ProjectImages> for ProjectImages {
    type Error = WireError;

    fn try_from(message: proto::ProjectImages) -> Result<Self, WireError> {
        let services = message.services.into_iter().map(|(name, service)| {
            let image = Some(service.image).filter(|it| !it.is_empty());
            (name, Service { image })
        });
        Ok(Self {
            project: Project {
                name: parsed("project", &message.project)?,
                services: services.collect(),
            },
            from_containers: message.from_containers,
            mode: parsed("mode", &message.mode)?,
            remove_orphans: message.remove_orphans,
            services: message.only.map(|only| only.names.into_iter().collect()),
        })
    }
}

/// Reads how to go about a run; `otherwise` is meant where nothing is said.
pub(in crate::grpc) fn run_options(
    message: Option<proto::Options>,
    otherwise: &RunOptions,
) -> Result<RunOptions, WireError> {
    let message = message.unwrap_or_default();
    let per_second = match message.max_deletes_per_second {
        None => otherwise.max_deletes_per_second,
        Some(0) => None,
        Some(number) if number <= MAX_PER_SECOND => Some(number),
        Some(_) => {
            let problem = format!("accepted are 0 to {MAX_PER_SECOND}");
            return Err(WireError::new("max_deletes_per_second", problem));
        }
    };
    Ok(RunOptions {
        grace: duration(
            "grace",
            message.grace,
            otherwise.grace,
            RunOptions::MAX_GRACE,
        )?,
        undo_window: duration(
            "undo_window",
            message.undo_window,
            otherwise.undo_window,
            MAX_DURATION,
        )?,
        max_deletes_per_second: per_second,
        wait: message.wait,
    })
}

/// Writes how to go about a run.
pub(in crate::grpc) fn options(options: &RunOptions) -> proto::Options {
    let message = |duration: Duration| DurationMessage {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    };
    proto::Options {
        grace: Some(message(options.grace)),
        undo_window: Some(message(options.undo_window)),
        max_deletes_per_second: Some(options.max_deletes_per_second.unwrap_or(0)),
        wait: options.wait,
    }
}

/// Reads a duration that is not negative, and not longer than `longest`.
fn duration(
    field: &'static str,
    message: Option<DurationMessage>,
    otherwise: Duration,
    longest: Duration,
) -> Result<Duration, WireError> {
    let Some(message) = message else {
        return Ok(otherwise);
    };
    let duration = Duration::try_from(message).ok();
    let duration = duration.filter(|it| *it <= longest);
    duration.ok_or_else(|| {
        let longest = if longest == MAX_DURATION {
            "720h"
        } else {
            "1m"
        };
        WireError::new(field, format!("accepted are 0s to {longest}"))
    })
}
