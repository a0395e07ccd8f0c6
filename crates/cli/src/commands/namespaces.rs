//! Commands about every namespace, and where images are if a command found none.

use std::collections::BTreeSet;
use std::time::Duration;

use reclaim_model::{
    ByNamespace, FailedNamespace, ImageFilters, ImageList, Namespace, PruneRequest, Report, chain,
};
use tokio::time::timeout;

use super::prune::{Interaction, exit};
use crate::args::image::LsArgs;
use crate::args::{Format, Globals};
use crate::backend::{Backend, Confirmed, Preview};
use crate::exit::{CommandError, Exit};
use crate::text::report::Change;
use crate::text::{Truncation, namespaces as words};
use crate::{commands, output, text};

/// How long the hint may take. Without it the command is complete, too.
const HINT_TIME: Duration = Duration::from_secs(5);

/// Says where images are, after a command that found none in a namespace that the user did not name.
/// Without an answer it says nothing.
pub(crate) async fn hint(backend: &Backend, takes_all: bool) {
    if let Ok(Ok(list)) = timeout(HINT_TIME, backend.namespaces()).await
        && let Some(hint) = words::hint(&list, takes_all)
    {
        output::message(hint);
    }
}

/// What a command did in each namespace.
struct Results<T> {
    of: ByNamespace<T>,
    exit: Exit,
}

impl<T> Results<T> {
    fn new() -> Self {
        Self {
            of: ByNamespace::default(),
            exit: Exit::Done,
        }
    }

    /// Adds a namespace for which the command failed, and prints why.
    fn fail(&mut self, namespace: Namespace, error: &CommandError) {
        self.exit = self.exit.worse(error.report_in(&namespace));
        let error = chain(error);
        self.of.failed.push(FailedNamespace { namespace, error });
    }
}

/// Lists the images of every namespace.
pub(crate) async fn ls(globals: &Globals, args: &LsArgs) -> Result<Exit, CommandError> {
    let filters = ImageFilters::parse(&args.filters)?;
    let need = super::show::need(&filters, args);
    let backend = Backend::connect_with(globals, need).await?;
    let mut results = Results::<ImageList>::new();
    for namespace in names(&backend).await? {
        match backend.images(&namespace, true).await {
            Ok(mut list) => {
                super::show::select(&mut list, &filters, need)?;
                results.of.namespaces.push(list);
            }
            Err(error) => results.fail(namespace, &error),
        }
    }
    let warnings: BTreeSet<String> = results
        .of
        .namespaces
        .iter()
        .flat_map(|list| list.warnings.iter().cloned())
        .collect();
    super::show::print_images(&mut results.of.namespaces, args, globals.truncation())?;
    if args.format.is_json() {
        output::json(&results.of)?;
    }
    output::messages(&text::warnings(&warnings, globals.truncation()));
    Ok(results.exit)
}

async fn names(backend: &Backend) -> Result<Vec<Namespace>, CommandError> {
    let list = backend.namespaces().await?.namespaces.into_iter();
    Ok(list.map(|counted| counted.namespace).collect())
}

/// Runs a request in every namespace once the user has confirmed all plans, and prints the reports.
pub(crate) async fn carry_out(
    globals: &Globals,
    request: impl Fn(Namespace) -> Result<PruneRequest, CommandError>,
    interaction: &Interaction<'_>,
) -> Result<Exit, CommandError> {
    let any = request(Globals::default_namespace()?)?;
    commands::check_filters(&any)?;
    let trunc = globals.truncation();
    let backend = Backend::connect_for(globals, &any).await?;
    let requests = names(&backend).await?.into_iter().map(request);
    let requests: Vec<PruneRequest> = requests.collect::<Result<_, _>>()?;
    let mut results = Results::new();
    if interaction.dry_run {
        for request in requests {
            match backend.plan(&request).await {
                Ok(preview) => results.add(&preview.report, interaction, trunc)?,
                Err(error) => results.fail(request.namespace, &error),
            }
        }
        return results.end(interaction);
    }
    let confirmed = if interaction.force {
        requests
            .into_iter()
            .map(|request| (request, None))
            .collect()
    } else {
        match confirm(&backend, requests, interaction, trunc, &mut results).await? {
            Some(confirmed) => confirmed,
            None => return Ok(results.exit),
        }
    };
    for (request, plan) in confirmed {
        let pruned = commands::prune(&backend, &request, plan.as_ref(), interaction.how).await;
        match pruned {
            Ok((report, stopped)) => {
                results.add(&report, interaction, trunc)?;
                if let Some(stopped) = stopped {
                    results.exit = results.exit.worse(stopped);
                    break;
                }
            }
            Err(error @ (CommandError::Stopped(_) | CommandError::LeftToDaemon(_))) => {
                results.fail(request.namespace, &error);
                break;
            }
            Err(error) => results.fail(request.namespace, &error),
        }
    }
    results.end(interaction)
}

impl Results<Report> {
    /// Adds a report, and prints it unless JSON is printed at the end.
    fn add(
        &mut self,
        report: &Report,
        interaction: &Interaction<'_>,
        trunc: Truncation,
    ) -> Result<(), CommandError> {
        self.exit = self.exit.worse(exit(report));
        let change = interaction.change;
        if interaction.format == Format::Table {
            let report_text = text::report::text(report, change, trunc);
            output::data(&words::section(&report.namespace, &report_text))?;
        }
        for message in text::report::messages(report, change, trunc) {
            output::message(format!("{}: {message}", report.namespace));
        }
        let report = commands::with_unfinished_warning(report).into_owned();
        self.of.namespaces.push(report);
        Ok(())
    }

    fn end(self, interaction: &Interaction<'_>) -> Result<Exit, CommandError> {
        if interaction.format == Format::Json {
            output::json(&self.of)?;
        } else {
            let mut total = words::Total::default();
            for report in &self.of.namespaces {
                total.add(report);
            }
            output::data_line(if interaction.dry_run {
                format!("Would remove {}", total.estimate())
            } else {
                total.reclaimed()
            })?;
        }
        Ok(self.exit)
    }
}

/// Lists what changes in each namespace and asks one question about all, if anything changes. Returns
/// the requests with their plans; `None` if the user declines.
async fn confirm(
    backend: &Backend,
    requests: Vec<PruneRequest>,
    interaction: &Interaction<'_>,
    trunc: Truncation,
    results: &mut Results<Report>,
) -> Result<Option<Vec<(PruneRequest, Option<Confirmed>)>>, CommandError> {
    if matches!(backend, Backend::Host(_)) && requests.len() > reclaim_api::json::MAX_PLANS {
        return Err(CommandError::TooManyPlans(requests.len()));
    }
    let change: Change = interaction.change;
    let mut planned = Vec::new();
    let mut is_any = false;
    let mut total = words::Total::default();
    for request in requests {
        let Preview { report, confirmed } = match backend.plan(&request).await {
            Ok(preview) => preview,
            Err(error) => {
                results.fail(request.namespace, &error);
                continue;
            }
        };
        total.add(&report);
        if change.is_any(&report) {
            is_any = true;
            let listed = text::report::before_prompt(&report, change, trunc);
            output::message_lines(&words::section(&request.namespace, &listed));
            for warning in text::warnings(&report.warnings, trunc) {
                output::message(format!("{}: {warning}", request.namespace));
            }
        }
        planned.push((request, Some(confirmed)));
    }
    if is_any {
        output::message(format!("All together: {}", total.estimate()));
        let warning = interaction.warning;
        output::message(format!("WARNING! This will {warning}, in every namespace."));
        if !output::confirm("Are you sure you want to continue?")? {
            return Ok(None);
        }
    }
    Ok(Some(planned))
}
