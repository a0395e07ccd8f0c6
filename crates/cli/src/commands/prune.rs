//! `reclaim image prune`.

use jiff::tz::TimeZone;
use reclaim_engine::{Controls, Engine, Preview, no_progress};
use reclaim_model::{BuildHistory, FilterArgs, PruneFilters, PruneRequest, Report, TimeContext};

use crate::args::{Format, Globals, PruneArgs};
use crate::exit::{CommandError, Exit};
use crate::progress::with_bar;
use crate::signals::stop_on_signals;
use crate::{commands, json, output, text};

pub(crate) async fn run(globals: &Globals, args: &PruneArgs) -> Result<Exit, CommandError> {
    let request = request(globals, args)?;
    let engine = commands::connect(globals).await?;
    if args.dry_run {
        let preview = with_bar(async |bar| {
            engine
                .preview(&request, &|progress| bar.show(progress))
                .await
        });
        let report = preview.await?.report();
        print(args.format, &report)?;
        return Ok(exit(&report));
    }
    let confirmed = if args.force {
        None
    } else {
        match ask(&engine, &request, args).await? {
            Answer::Yes(preview) => Some(preview),
            Answer::No => return Ok(Exit::Done),
        }
    };
    let options = args.how.options();
    let stop = stop_on_signals()?;
    let report = with_bar(async |bar| {
        let progress = |progress| bar.show(progress);
        let controls = Controls {
            options: &options,
            progress: &progress,
            cancel: &stop.token,
        };
        engine.prune(&request, confirmed.as_deref(), controls).await
    });
    let report = report.await?;
    print(args.format, &report)?;
    Ok(stop.cut_short(&report).unwrap_or_else(|| exit(&report)))
}

fn request(globals: &Globals, args: &PruneArgs) -> Result<PruneRequest, CommandError> {
    let (namespace, is_asked_for) = globals.namespace()?;
    let mut filters = FilterArgs::default();
    for filter in &args.filters {
        filters.add_pair(filter)?;
    }
    // As docker's client does; a contradicting filter of the user's is then an error.
    filters.add("dangling", if args.all { "false" } else { "true" });
    let now = reclaim_engine::now();
    let context = TimeContext {
        now,
        offset: TimeZone::system().to_offset(now),
    };
    Ok(PruneRequest {
        selection: PruneFilters::from_args(&filters, &context)?.into(),
        may_empty_namespace: args.allow_empty.as_ref() == Some(&namespace),
        may_lack_namespace: !is_asked_for,
        history: if args.unpin_build_history {
            BuildHistory::Unpin
        } else {
            BuildHistory::Keep
        },
        target: args.target_free,
        namespace,
    })
}

/// What came of the question. Boxed: the preview holds the whole inventory.
enum Answer {
    Yes(Box<Preview>),
    No,
}

/// Lists what will go and asks. There is no question where there is nothing to remove.
async fn ask(
    engine: &Engine,
    request: &PruneRequest,
    args: &PruneArgs,
) -> Result<Answer, CommandError> {
    let preview = engine.preview(request, &no_progress).await?;
    if !preview.plan.steps.is_empty() {
        text::list_before_question(&preview.report());
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
    Ok(Answer::Yes(Box::new(preview)))
}

fn print(format: Format, report: &Report) -> Result<(), CommandError> {
    match format {
        Format::Json => output::data(&json::report(report))?,
        Format::Table => output::data(&text::report(report))?,
    }
    text::words_after(report);
    Ok(())
}

fn exit(report: &Report) -> Exit {
    if report.failed.is_empty() && report.unfinished.is_none() {
        Exit::Done
    } else {
        Exit::Partial
    }
}
