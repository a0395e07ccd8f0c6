//! `reclaim image slim`.

use std::collections::BTreeSet;

use reclaim_model::{ImageParts, Part, PruneRequest};

use super::prune::{self, Interaction};
use crate::args::Globals;
use crate::args::image::SlimArgs;
use crate::exit::{CommandError, Exit};
use crate::text::report::Change;

pub(crate) async fn run(globals: &Globals, args: &SlimArgs) -> Result<Exit, CommandError> {
    let request = request(globals, args)?;
    let interaction = Interaction {
        change: Change::Slim,
        warning: "free the parts of images above",
        dry_run: args.dry_run,
        force: args.force,
        format: args.format,
        how: &args.how,
    };
    prune::carry_out(globals, &request, &interaction).await
}

fn request(globals: &Globals, args: &SlimArgs) -> Result<PruneRequest, CommandError> {
    let (namespace, is_explicit) = globals.namespace()?;
    let (filters, conditions) = args.conditions.divided()?;
    let parts = ImageParts {
        parts: parts(args),
        names: args.which.images.clone(),
        filters,
        platforms: args.named_platforms.clone(),
        docker_layers: args.docker_layers,
        mirrored_layers: args.mirrored_layers,
    };
    Ok(PruneRequest::new(namespace, parts)
        .with_conditions(conditions)
        .may_lack_namespace(!is_explicit)
        .lift_protection(args.how.lift_protection))
}

/// Returns the parts that the options name, or snapshots if they name none: these cost the least to
/// have again.
fn parts(args: &SlimArgs) -> BTreeSet<Part> {
    let named = Part::ALL.into_iter().filter(|part| match part {
        Part::BuildHistory => args.build_history,
        Part::Snapshots => args.snapshots,
        Part::Layers => args.layers,
        Part::Platforms => args.platforms,
    });
    let named: BTreeSet<Part> = named.collect();
    if named.is_empty() {
        return BTreeSet::from([Part::Snapshots]);
    }
    named
}
