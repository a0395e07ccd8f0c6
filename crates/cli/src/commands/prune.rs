//! `reclaim image prune`.

use reclaim_model::{BuildHistory, FilterArgs, PruneRequest, Report};

use crate::args::image::PruneArgs;
use crate::args::{Format, Globals};
use crate::backend::{Backend, Confirmed, Preview};
use crate::exit::{CommandError, Exit};
use crate::text::Truncation;
use crate::{commands, output, text};

pub(crate) async fn run(globals: &Globals, args: &PruneArgs) -> Result<Exit, CommandError> {
    let request = request(globals, args)?;
    commands::check_filters(&request)?;
    let backend = Backend::connect_protected(globals).await?;
    if args.dry_run {
        let report = backend.plan(&request).await?.report;
        print(args.format, &report, globals.truncation())?;
        return Ok(exit(&report));
    }
    let confirmed = if args.force {
        None
    } else {
        match confirm(&backend, &request, args, globals.truncation()).await? {
            Answer::Yes(confirmed) => Some(confirmed),
            Answer::No => return Ok(Exit::Done),
        }
    };
    let pruned = commands::prune(&backend, &request, confirmed.as_ref(), &args.how);
    let (report, stopped) = pruned.await?;
    print(args.format, &report, globals.truncation())?;
    Ok(stopped.unwrap_or_else(|| exit(&report)))
}

fn request(globals: &Globals, args: &PruneArgs) -> Result<PruneRequest, CommandError> {
    let (namespace, is_explicit) = globals.namespace()?;
    let mut filters = FilterArgs::default();
    for filter in &args.filters {
        filters.add_pair(filter)?;
    }
    // As docker's client does; a contradicting filter of the user's is then an error.
    filters.add("dangling", if args.all { "false" } else { "true" });
    let may_empty = args.allow_empty.as_ref() == Some(&namespace);
    let history = if args.unpin_build_history {
        BuildHistory::Unpin
    } else {
        BuildHistory::Keep
    };
    Ok(PruneRequest::new(namespace, filters)
        .with_target_free(args.target_free.clone())
        .may_empty_namespace(may_empty)
        .may_lack_namespace(!is_explicit)
        .lift_protection(args.how.lift_protection)
        .with_build_history(history))
}

/// The answer to the confirmation prompt.
enum Answer {
    Yes(Confirmed),
    No,
}

/// Lists the images to be removed and asks for confirmation, if there are any.
async fn confirm(
    backend: &Backend,
    request: &PruneRequest,
    args: &PruneArgs,
    trunc: Truncation,
) -> Result<Answer, CommandError> {
    let Preview { report, confirmed } = backend.plan(request).await?;
    if !report.removed.is_empty() {
        output::message_lines(&text::report::before_prompt(&report, trunc));
        output::messages(&text::warnings(&report.warnings, trunc));
        let removed = if args.target_free.is_some() {
            "the images above"
        } else if args.all {
            "all images without at least one container associated to them"
        } else {
            "all dangling images"
        };
        output::message(format!("WARNING! This will remove {removed}."));
        if !output::confirm("Are you sure you want to continue?")? {
            return Ok(Answer::No);
        }
    }
    Ok(Answer::Yes(confirmed))
}

fn print(format: Format, report: &Report, trunc: Truncation) -> Result<(), CommandError> {
    match format {
        Format::Json => output::json(commands::with_unfinished_warning(report))?,
        Format::Table => output::data(&text::report::text(report, trunc))?,
    }
    output::messages(&text::report::messages(report, trunc));
    Ok(())
}

fn exit(report: &Report) -> Exit {
    if report.is_partial() {
        Exit::Partial
    } else {
        Exit::Done
    }
}
