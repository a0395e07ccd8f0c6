//! `reclaim image prune`.

use jiff::tz::TimeZone;
use reclaim_api::grpc::{HostRequest, HostSelection};
use reclaim_model::{BuildHistory, FilterArgs, PruneFilters, PruneRequest, Report, TimeContext};

use crate::args::image::PruneArgs;
use crate::args::{Format, Globals};
use crate::backend::{Asked, Backend, Confirmed, Shown};
use crate::exit::{CommandError, Exit};
use crate::text::Ids;
use crate::{commands, json, output, text};

pub(crate) async fn run(globals: &Globals, args: &PruneArgs) -> Result<Exit, CommandError> {
    let direct = request(globals, args)?;
    let asked = Asked {
        host: host_request(&direct, args),
        direct,
    };
    let backend = Backend::connect(globals).await?;
    if args.dry_run {
        let report = backend.plan(&asked).await?.report;
        print(args.format, &report, globals.ids())?;
        return Ok(exit(&report));
    }
    let confirmed = if args.force {
        None
    } else {
        match ask(&backend, &asked, args, globals.ids()).await? {
            Answer::Yes(confirmed) => Some(confirmed),
            Answer::No => return Ok(Exit::Done),
        }
    };
    let pruned = commands::prune(&backend, &asked, confirmed.as_ref(), &args.how);
    let (report, stopped) = pruned.await?;
    print(args.format, &report, globals.ids())?;
    Ok(stopped.unwrap_or_else(|| exit(&report)))
}

/// Returns the request for a daemon, with the filters as typed: the daemon resolves times by its own
/// clock.
fn host_request(request: &PruneRequest, args: &PruneArgs) -> HostRequest {
    HostRequest {
        namespace: request.namespace.clone(),
        selection: HostSelection::Filters {
            all: args.all,
            filters: args.filters.clone(),
        },
        target_free: args.target_free,
        may_empty_namespace: request.may_empty_namespace,
        may_lack_namespace: request.may_lack_namespace,
        unpin_build_history: args.unpin_build_history,
    }
}

fn request(globals: &Globals, args: &PruneArgs) -> Result<PruneRequest, CommandError> {
    let (namespace, is_asked_for) = globals.namespace()?;
    let mut filters = FilterArgs::default();
    for filter in &args.filters {
        filters.add_pair(filter)?;
    }
    // As docker's client does, so that a contradicting filter is an error.
    filters.add("dangling", if args.all { "false" } else { "true" });
    let now = reclaim_engine::now();
    let context = TimeContext {
        now,
        offset: TimeZone::system().to_offset(now),
    };
    Ok(
        PruneRequest::new(namespace, PruneFilters::from_args(&filters, &context)?)
            .with_target_free(args.target_free)
            .may_empty_namespace(args.allow_empty.as_ref() == Some(&namespace))
            .may_lack_namespace(!is_asked_for)
            .with_build_history(if args.unpin_build_history {
                BuildHistory::Unpin
            } else {
                BuildHistory::Keep
            }),
    )
}

/// The answer to the confirmation prompt.
enum Answer {
    Yes(Confirmed),
    No,
}

/// Lists the images to be removed and asks for confirmation, if there are any.
async fn ask(
    backend: &Backend,
    asked: &Asked,
    args: &PruneArgs,
    ids: Ids,
) -> Result<Answer, CommandError> {
    let Shown { report, confirmed } = backend.plan(asked).await?;
    if !report.removed.is_empty() {
        text::list_before_question(&report, ids);
        text::warn(&report.warnings, ids);
        let what = if args.target_free.is_some() {
            "the images above"
        } else if args.all {
            "all images without at least one container associated to them"
        } else {
            "all dangling images"
        };
        output::words(&format!("WARNING! This will remove {what}."));
        if !output::confirm("Are you sure you want to continue?")? {
            return Ok(Answer::No);
        }
    }
    Ok(Answer::Yes(confirmed))
}

fn print(format: Format, report: &Report, ids: Ids) -> Result<(), CommandError> {
    match format {
        Format::Json => output::data(&json::report(report))?,
        Format::Table => output::data(&text::report(report, ids))?,
    }
    text::words_after(report, ids);
    Ok(())
}

fn exit(report: &Report) -> Exit {
    if report.is_partial() {
        Exit::Partial
    } else {
        Exit::Done
    }
}
