//! Commands that only read: `reclaim image ls`, `reclaim df` and `reclaim why`.

use jiff::Timestamp;
use reclaim_model::ListedImage;

use crate::args::image::{ImageOrder, LsArgs};
use crate::args::{DfArgs, DfFormat, Format, Globals, WhyArgs};
use crate::backend::Backend;
use crate::exit::{CommandError, Exit};
use crate::{commands, ncdu, output, text};

pub(crate) async fn ls(globals: &Globals, args: &LsArgs) -> Result<Exit, CommandError> {
    let (namespace, is_explicit) = globals.namespace()?;
    let backend = Backend::connect_protected(globals).await?;
    let mut list = backend.images(&namespace, !is_explicit).await?;
    if let Some(order) = args.sort {
        // Equal ones stay in the order of their names.
        list.images.sort_by_key(|image| position(image, order));
    }
    match args.format {
        Format::Json => output::json(&list)?,
        Format::Table if args.flat => {
            let table = text::images::flat(&list.images, list.observed_at, globals.truncation());
            output::data(&table)?;
        }
        Format::Table => {
            let key = |image: &ListedImage| args.sort.map(|order| position(image, order));
            let now = list.observed_at;
            let table = text::images::grouped(&list.images, now, globals.truncation(), key);
            output::data(&table)?;
        }
    }
    output::messages(&text::warnings(&list.warnings, globals.truncation()));
    Ok(Exit::Done)
}

/// Returns a number by which images are in an order.
fn position(image: &ListedImage, order: ImageOrder) -> i128 {
    match order {
        ImageOrder::Size => -i128::from(image.size.total_bytes()),
        ImageOrder::Unique => -i128::from(image.size.unique_bytes()),
        ImageOrder::Age => image.created.map_or(i128::MAX, Timestamp::as_nanosecond),
    }
}

pub(crate) async fn df(globals: &Globals, args: &DfArgs) -> Result<Exit, CommandError> {
    let only = globals.explicit_namespace()?;
    let backend = Backend::connect_protected(globals).await?;
    if let Some(file) = &args.html {
        let page = backend.page().await?;
        output::file(file, &page)?;
        return Ok(Exit::Done);
    }
    if args.format == DfFormat::Ncdu {
        let mut map = backend.store_map().await?;
        if let Some(only) = only {
            let existing = map.usage.namespaces.iter().map(|usage| &usage.namespace);
            commands::check_namespace_exists(&only, existing)?;
            map.retain_namespace(&only);
        }
        output::compact_json(&ncdu::export(&map))?;
        output::messages(&text::warnings(&map.usage.warnings, globals.truncation()));
        return Ok(Exit::Done);
    }
    let mut usage = backend.disk_usage().await?;
    if let Some(only) = only {
        let existing = usage.namespaces.iter().map(|usage| &usage.namespace);
        commands::check_namespace_exists(&only, existing)?;
        usage.namespaces.retain(|usage| usage.namespace == only);
    }
    if !args.verbose {
        usage = usage.without_details();
    }
    match args.format {
        DfFormat::Json => output::json(&usage)?,
        DfFormat::Ncdu | DfFormat::Table => {
            output::data(&text::df::usage(&usage, globals.truncation()))?;
        }
    }
    output::messages(&text::warnings(&usage.warnings, globals.truncation()));
    Ok(Exit::Done)
}

pub(crate) async fn why(globals: &Globals, args: &WhyArgs) -> Result<Exit, CommandError> {
    let (namespace, _) = globals.namespace()?;
    let backend = Backend::connect_protected(globals).await?;
    let answers = backend.why(&namespace, &args.thing).await?;
    match args.format {
        Format::Json => output::json(&answers)?,
        Format::Table => output::data(&text::why::answers(&answers.answers, globals.truncation()))?,
    }
    let warnings = answers.answers.iter().flat_map(|answer| &answer.warnings);
    output::messages(&text::warnings(warnings, globals.truncation()));
    Ok(Exit::Done)
}
