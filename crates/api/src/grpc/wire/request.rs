//! Requests.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::time::Duration;

use prost_types::Duration as DurationMessage;
use reclaim_engine::Grace;
use reclaim_model::{
    BuildHistory, FilterArgs, GoDuration, ImageConditions, ImageParts, NamedImages, Namespace,
    Part, Platform, Project, ProjectImages, PruneRequest, Selection, Separator, Service,
};

use super::{WireError, parsed};
use crate::grpc::proto;
use crate::json::Options;
use proto::selection::Which;

/// The key of a filter that keeps the newest images of each repository.
const KEEP_NEWEST: &str = "keep-newest";

impl proto::Request {
    /// Reads the request, whose namespace is `default` if it names none.
    pub(in crate::grpc) fn read(self, default: &Namespace) -> Result<PruneRequest, WireError> {
        let namespace = namespace_or(default, &self.namespace)?;
        let selection = self.selection.and_then(|selection| selection.which);
        let mut conditions = ImageConditions::default();
        let selection = match selection.ok_or_else(|| WireError::missing("selection"))? {
            Which::Filters(filters) => {
                let (filters, given) = filters.read()?;
                conditions = given;
                Selection::Filters(filters)
            }
            Which::Named(named) => Selection::Named(named.into()),
            Which::Project(project) => Selection::Project(project.try_into()?),
            Which::Parts(parts) => {
                let (parts, given) = parts.read()?;
                conditions = given;
                Selection::Parts(parts)
            }
        };
        if !self.allow_empty.is_empty() && self.allow_empty != namespace.as_str() {
            let problem = format!("accepted is only the request's namespace, `{namespace}`");
            return Err(WireError::new("allow_empty", problem));
        }
        let target = match self.target_free.as_str() {
            "" => None,
            text => Some(parsed("target_free", text)?),
        };
        let history = if self.unpin_build_history {
            BuildHistory::Unpin
        } else {
            BuildHistory::Keep
        };
        Ok(PruneRequest::new(namespace, selection)
            .with_conditions(conditions)
            .with_target_free(target)
            .may_empty_namespace(!self.allow_empty.is_empty())
            .may_lack_namespace(self.may_lack_namespace)
            .with_build_history(history)
            .lift_protection(self.lift_protection))
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

/// Reads filters. How many of the newest images stay is one of them, and no field: a server that does not
/// know a filter refuses the request, and would not see a field.
fn divided(pairs: &[String]) -> Result<(FilterArgs, ImageConditions), WireError> {
    let newest = |pair: &String| {
        let (key, value) = pair.split_once('=')?;
        (key.trim() == KEEP_NEWEST).then(|| value.trim().to_owned())
    };
    let refused = |error| WireError::new("filters", error);
    let others: Vec<String> = pairs
        .iter()
        .filter(|it| newest(it).is_none())
        .cloned()
        .collect();
    let (args, mut conditions) = FilterArgs::divide(&others).map_err(refused)?;
    for value in pairs.iter().filter_map(newest) {
        let number: NonZero<u32> = parsed("filters", &value)?;
        conditions.keep_newest = conditions.keep_newest.max(number.get() as usize);
    }
    Ok((args, conditions))
}

impl proto::Filters {
    fn read(self) -> Result<(FilterArgs, ImageConditions), WireError> {
        let (mut args, conditions) = divided(&self.filters)?;
        args.add("dangling", if self.all { "false" } else { "true" });
        Ok((args, conditions))
    }
}

impl proto::ImageParts {
    fn read(self) -> Result<(ImageParts, ImageConditions), WireError> {
        let (filters, conditions) = divided(&self.filters)?;
        let unknown = || WireError::new("parts", "accepted are the parts that are not 0");
        let parts = self.parts().map(|part| match part {
            proto::Part::Unspecified => Err(unknown()),
            proto::Part::BuildHistory => Ok(Part::BuildHistory),
            proto::Part::Snapshots => Ok(Part::Snapshots),
            proto::Part::Layers => Ok(Part::Layers),
            proto::Part::Platforms => Ok(Part::Platforms),
        });
        let parts: BTreeSet<Part> = parts.collect::<Result<_, _>>()?;
        if parts.is_empty() {
            return Err(WireError::missing("parts"));
        }
        let platforms = self.platforms.into_iter().map(|platform| Platform {
            os: platform.os,
            architecture: platform.architecture,
            variant: platform.variant,
        });
        let parts = ImageParts {
            parts,
            names: self.names,
            filters,
            platforms: platforms.collect(),
            docker_layers: self.docker_layers,
            mirrored_layers: self.mirrored_layers,
        };
        Ok((parts, conditions))
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
                separator: Separator::of_compatibility(message.compatibility),
            },
            from_containers: message.from_containers,
            mode: parsed("mode", &message.mode)?,
            remove_orphans: message.remove_orphans,
            services: message.only.map(|only| only.names.into_iter().collect()),
        })
    }
}

/// Reads the options of a run.
pub(in crate::grpc) fn options(message: Option<proto::Options>) -> Result<Options, WireError> {
    let proto::Options {
        grace,
        undo_window,
        max_deletes_per_second,
        wait,
    } = message.unwrap_or_default();
    let duration = |field, message: Option<DurationMessage>| {
        let duration = message.map(Duration::try_from).transpose();
        let duration = duration.map_err(|_| WireError::new(field, "it is negative"))?;
        Ok(duration.map(GoDuration))
    };
    Ok(Options {
        grace: duration("grace", grace)?.map(|GoDuration(grace)| Grace::Fixed(grace)),
        undo_window: duration("undo_window", undo_window)?,
        max_deletes_per_second,
        wait,
    })
}
