//! `reclaim image ls`.

use std::collections::BTreeMap;

use reclaim_engine::no_progress;
use reclaim_model::{
    BuildHistory, KeepReason, PruneFilters, PruneRequest, RemoveReason, Selection,
};
use reclaim_plan::{ImageSize, makeup};

use crate::args::{Format, Globals, LsArgs};
use crate::exit::{CommandError, Exit};
use crate::{commands, json, output, text};

/// One line of the list.
#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) image: &'a reclaim_model::ImageRecord,
    pub(crate) size: ImageSize,
    /// What a prune --all would do with it, in a word.
    pub(crate) verdict: &'static str,
}

pub(crate) async fn run(globals: &Globals, args: &LsArgs) -> Result<Exit, CommandError> {
    let (namespace, is_asked_for) = globals.namespace()?;
    let engine = commands::connect("image ls", globals).await?;
    let request = PruneRequest {
        namespace,
        selection: Selection::Filters(PruneFilters {
            dangling: Some(false),
            ..PruneFilters::default()
        }),
        target: None,
        may_empty_namespace: true,
        may_lack_namespace: !is_asked_for,
        history: BuildHistory::Keep,
    };
    let preview = engine.preview(&request, &no_progress).await?;
    let makeup = makeup(&preview.inventory, &request.namespace);
    let bytes = engine
        .store()
        .snapshot_bytes(&request.namespace, &makeup.snapshots())
        .await?;
    let sizes = makeup.sizes(&bytes);

    let plan = &preview.plan;
    let going = plan
        .steps
        .iter()
        .map(|it| (it.image.name.as_str(), removal(it.reason)));
    let staying = plan
        .kept
        .iter()
        .map(|it| (it.name.as_str(), keep(it.reason)));
    let verdicts: BTreeMap<&str, &'static str> = going.chain(staying).collect();
    let found = preview.inventory.namespaces.get(&request.namespace);
    let lines = found
        .iter()
        .flat_map(|namespace| &namespace.images)
        .map(|image| Line {
            image,
            size: sizes[&image.target.digest],
            verdict: verdicts[image.name.as_str()],
        });
    let lines: Vec<Line<'_>> = lines.collect();
    output::data(&match args.format {
        Format::Json => json::images(&request.namespace, &lines),
        Format::Table => text::images(&lines, preview.inventory.observed_at),
    })?;
    for warning in &plan.warnings {
        output::words(&format!("warning: {warning}"));
    }
    Ok(Exit::Done)
}

fn removal(reason: RemoveReason) -> &'static str {
    match reason {
        RemoveReason::Dangling => "dangling",
        RemoveReason::Unused => "unused",
        // Nothing is named here.
        RemoveReason::Duplicate
        | RemoveReason::Named
        | RemoveReason::Replaced
        | RemoveReason::Parent => "duplicate",
    }
}

fn keep(reason: KeepReason) -> &'static str {
    match reason {
        KeepReason::InUse | KeepReason::CriGroup => "used",
        KeepReason::Pinned => "pinned",
        KeepReason::Unreadable => "unreadable",
        KeepReason::UsageUnknown => "unknown",
        // Most do not come up: the list is of a prune --all without filters.
        KeepReason::Unholdable
        | KeepReason::NotDangling
        | KeepReason::TooRecent
        | KeepReason::LabelFilter
        | KeepReason::NotNeeded
        | KeepReason::NotConfirmed
        | KeepReason::NotNamed
        | KeepReason::NotForced
        | KeepReason::Protected
        | KeepReason::RuleFilter
        | KeepReason::LastCopy
        | KeepReason::TooYoung
        | KeepReason::UsedRecently
        | KeepReason::Repulled
        | KeepReason::Newest
        | KeepReason::Capped => "kept",
    }
}
