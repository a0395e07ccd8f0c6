//! `reclaim image rm`.

use reclaim_model::{Mode, Named, NamedImages, NotRemoved, PruneRequest, Report};

use crate::args::image::RmArgs;
use crate::args::{Format, Globals};
use crate::backend::Backend;
use crate::exit::{CommandError, Exit};
use crate::{commands, output, text};

pub(crate) async fn run(globals: &Globals, args: &RmArgs) -> Result<Exit, CommandError> {
    let (namespace, is_explicit) = globals.namespace()?;
    let images = NamedImages {
        names: args.images.clone(),
        force: args.force,
        prune_parents: !args.no_prune,
    };
    let request = PruneRequest::new(namespace, images)
        .may_lack_namespace(!is_explicit)
        .lift_protection(args.how.lift_protection);
    let backend = Backend::connect_protected(globals).await?;
    let mode = if args.dry_run {
        Mode::DryRun
    } else {
        Mode::Apply
    };
    let (report, stopped) = commands::run_or_preview(&backend, &request, mode, &args.how).await?;
    match args.format {
        Format::Json => output::json(commands::with_unfinished_warning(&report))?,
        Format::Table => output::data(&text::named::removals(&report, globals.truncation()))?,
    }
    for error in report.named.iter().filter_map(|named| named.error.as_ref()) {
        output::message(format!("error: {error}"));
    }
    output::messages(&text::report::notes(&report, globals.truncation()));
    Ok(stopped.unwrap_or_else(|| exit(&report, args.force)))
}

fn exit(report: &Report, force: bool) -> Exit {
    let is_failure = |named: &Named| match &named.error {
        None => false,
        // As for docker, --force makes a missing image no error.
        Some(NotRemoved::NoSuchImage(_) | NotRemoved::Ambiguous) => !force,
        Some(
            NotRemoved::Blank
            | NotRemoved::Reference(_)
            | NotRemoved::Conflict(_)
            | NotRemoved::Changed
            | NotRemoved::Cancelled
            | NotRemoved::NoSuchPlatform { .. }
            | NotRemoved::Failed(_),
        ) => true,
    };
    let is_unfinished = report.unfinished.is_some() || !report.stranded.is_empty();
    if report.mode == Mode::Apply && is_unfinished {
        Exit::Partial
    } else if report.named.iter().any(is_failure) {
        Exit::Failed
    } else {
        Exit::Done
    }
}
