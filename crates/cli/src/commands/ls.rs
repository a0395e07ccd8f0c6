//! `reclaim image ls`.

use reclaim_engine::ListedImage;
use reclaim_model::{KeepReason, RemoveReason};

use crate::args::image::LsArgs;
use crate::args::{Format, Globals};
use crate::backend::Backend;
use crate::exit::{CommandError, Exit};
use crate::{json, output, text};

pub(crate) async fn run(globals: &Globals, args: &LsArgs) -> Result<Exit, CommandError> {
    let (namespace, is_asked_for) = globals.namespace()?;
    let backend = Backend::connect(globals).await?;
    let list = backend.images(&namespace, !is_asked_for).await?;
    output::data(&match args.format {
        Format::Json => json::images(&namespace, &list.images),
        Format::Table if args.flat => {
            text::images::flat(&list.images, list.observed_at, globals.ids())
        }
        Format::Table => text::images::grouped(&list.images, list.observed_at, globals.ids()),
    })?;
    text::warn(&list.warnings, globals.ids());
    Ok(Exit::Done)
}

/// Returns what a prune --all would do with an image, as one word.
pub(crate) fn verdict(image: &ListedImage) -> &'static str {
    match image.verdict {
        Ok(reason) => removal(reason),
        Err(reason) => keep(reason),
    }
}

fn removal(reason: RemoveReason) -> &'static str {
    match reason {
        RemoveReason::Dangling => "dangling",
        RemoveReason::Unused => "unused",
        RemoveReason::Torn => "torn",
        // The list has no image that was named for removal.
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
        // Most do not occur: the list is that of a prune --all without filters.
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
