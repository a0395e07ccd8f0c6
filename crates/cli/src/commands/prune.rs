//! `reclaim image prune`, and what `reclaim image slim` shares with it: preview, question, run and
//! report.

use reclaim_model::{BuildHistory, Namespace, PruneRequest, Report};

use crate::args::how::HowArgs;
use crate::args::image::PruneArgs;
use crate::args::{Format, Globals, Scope};
use crate::backend::{Backend, Confirmed, Preview};
use crate::commands::namespaces;
use crate::exit::{CommandError, Exit};
use crate::text::Truncation;
use crate::text::report::Change;
use crate::{commands, output, text};

/// How a command previews, confirms and reports a run.
pub(crate) struct Interaction<'a> {
    pub(crate) change: Change,
    /// What the run will do, as the question says it.
    pub(crate) warning: &'a str,
    pub(crate) dry_run: bool,
    /// Whether the user is not asked.
    pub(crate) force: bool,
    pub(crate) format: Format,
    pub(crate) how: &'a HowArgs,
}

pub(crate) async fn run(globals: &Globals, args: &PruneArgs) -> Result<Exit, CommandError> {
    let scope = globals.scope(args.namespaces)?;
    let warning = if args.target_free.is_some() || args.conditions.are_any() {
        "remove the images above"
    } else if args.all {
        "remove all images without at least one container associated to them"
    } else {
        "remove all dangling images"
    };
    let interaction = Interaction {
        change: Change::Removal,
        warning,
        dry_run: args.dry_run,
        force: args.force,
        format: args.format,
        how: &args.how,
    };
    match scope {
        Scope::One {
            namespace,
            is_named,
        } => {
            let request = request(namespace, is_named, args)?;
            carry_out(globals, &request, &interaction).await
        }
        Scope::All => {
            let request = |namespace| request(namespace, false, args);
            namespaces::carry_out(globals, request, &interaction).await
        }
    }
}

/// Runs a request once the user has confirmed its plan, and prints the report.
pub(crate) async fn carry_out(
    globals: &Globals,
    request: &PruneRequest,
    interaction: &Interaction<'_>,
) -> Result<Exit, CommandError> {
    commands::check_filters(request)?;
    let trunc = globals.truncation();
    let backend = Backend::connect_for(globals, request).await?;
    if interaction.dry_run {
        let report = backend.plan(request).await?.report;
        print(interaction, &report, trunc)?;
        hint_if_empty(&backend, request, interaction, &report).await;
        return Ok(exit(&report));
    }
    let confirmed = if interaction.force {
        None
    } else {
        match confirm(&backend, request, interaction, trunc).await? {
            Answer::Yes(confirmed) => Some(confirmed),
            Answer::No => return Ok(Exit::Done),
        }
    };
    let pruned = commands::prune(&backend, request, confirmed.as_ref(), interaction.how);
    let (report, stopped) = pruned.await?;
    print(interaction, &report, trunc)?;
    hint_if_empty(&backend, request, interaction, &report).await;
    Ok(stopped.unwrap_or_else(|| exit(&report)))
}

/// Says where images are, if there are none here and the user did not name the namespace: such a request
/// need not find it.
async fn hint_if_empty(
    backend: &Backend,
    request: &PruneRequest,
    interaction: &Interaction<'_>,
    report: &Report,
) {
    let is_empty = report.removed.is_empty()
        && report.slimmed.is_empty()
        && report.kept.is_empty()
        && report.refused.is_empty()
        && report.failed.is_empty();
    if interaction.format == Format::Table && request.may_lack_namespace && is_empty {
        namespaces::hint(backend, interaction.change == Change::Removal).await;
    }
}

/// Returns the request for a namespace, which must exist if the user named it.
fn request(
    namespace: Namespace,
    is_named: bool,
    args: &PruneArgs,
) -> Result<PruneRequest, CommandError> {
    let (mut filters, conditions) = args.conditions.divided()?;
    // As docker's client does; a contradicting filter of the user's is then an error.
    filters.add("dangling", if args.all { "false" } else { "true" });
    let history = if args.unpin_build_history {
        BuildHistory::Unpin
    } else {
        BuildHistory::Keep
    };
    let may_empty = args.allow_empty.as_ref() == Some(&namespace);
    Ok(PruneRequest::new(namespace, filters)
        .with_conditions(conditions)
        .may_empty_namespace(may_empty)
        .with_target_free(args.target_free.clone())
        .may_lack_namespace(!is_named)
        .lift_protection(args.how.lift_protection)
        .with_build_history(history))
}

/// The answer to the confirmation prompt.
enum Answer {
    Yes(Confirmed),
    No,
}

/// Lists what changes and asks for confirmation, if anything does.
async fn confirm(
    backend: &Backend,
    request: &PruneRequest,
    interaction: &Interaction<'_>,
    trunc: Truncation,
) -> Result<Answer, CommandError> {
    let Preview { report, confirmed } = backend.plan(request).await?;
    let Interaction {
        change, warning, ..
    } = interaction;
    if change.is_any(&report) {
        output::message_lines(&text::report::before_prompt(&report, *change, trunc));
        output::messages(&text::warnings(&report.warnings, trunc));
        output::message(format!("WARNING! This will {warning}."));
        if !output::confirm("Are you sure you want to continue?")? {
            return Ok(Answer::No);
        }
    }
    Ok(Answer::Yes(confirmed))
}

fn print(
    interaction: &Interaction<'_>,
    report: &Report,
    trunc: Truncation,
) -> Result<(), CommandError> {
    let change = interaction.change;
    match interaction.format {
        Format::Json => output::json(commands::with_unfinished_warning(report))?,
        Format::Table => output::data(&text::report::text(report, change, trunc))?,
    }
    output::messages(&text::report::messages(report, change, trunc));
    Ok(())
}

pub(super) fn exit(report: &Report) -> Exit {
    if report.is_partial() {
        Exit::Partial
    } else if report.named.iter().any(|named| named.error.is_some()) {
        Exit::Failed
    } else {
        Exit::Done
    }
}
