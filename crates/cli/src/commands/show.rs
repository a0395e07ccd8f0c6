//! Commands that only read: `reclaim image ls`, `reclaim df` and `reclaim why`.

use jiff::Timestamp;
use reclaim_model::{ImageFilters, ImageList, ListedImage};

use crate::args::format::ListFormat;
use crate::args::image::{ImageOrder, LsArgs};
use crate::args::{DfArgs, Format, Globals, Scope, WhyArgs};
use crate::backend::{Backend, LastUseNeed};
use crate::commands::namespaces;
use crate::exit::{CommandError, Exit};
use crate::text::Truncation;
use crate::{commands, ncdu, output, text};

pub(crate) async fn ls(globals: &Globals, args: &LsArgs) -> Result<Exit, CommandError> {
    let (namespace, is_named) = match globals.scope(args.namespaces)? {
        Scope::One {
            namespace,
            is_named,
        } => (namespace, is_named),
        Scope::All => return namespaces::ls(globals, args).await,
    };
    let filters = ImageFilters::parse(&args.filters)?;
    let need = need(&filters, args);
    let backend = Backend::connect_with(globals, need).await?;
    let mut list = backend.images(&namespace, !is_named).await?;
    let is_empty = list.images.is_empty();
    select(&mut list, &filters, need)?;
    print_images(std::slice::from_mut(&mut list), args, globals.truncation())?;
    if args.format.is_json() {
        output::json(&list)?;
    }
    output::messages(&text::warnings(&list.warnings, globals.truncation()));
    if args.format.is_table() && !is_named && is_empty {
        namespaces::hint(&backend, true).await;
    }
    Ok(Exit::Done)
}

/// Returns whether a list needs to know when images were last used.
pub(super) fn need(filters: &ImageFilters, args: &LsArgs) -> LastUseNeed {
    if filters.need_last_use() || args.sort == Some(ImageOrder::Used) {
        LastUseNeed::Must
    } else {
        LastUseNeed::IfKnown
    }
}

/// Leaves the images in a list that the filters select.
pub(super) fn select(
    list: &mut ImageList,
    filters: &ImageFilters,
    need: LastUseNeed,
) -> Result<(), CommandError> {
    let is_known = list.images.iter().any(|image| image.last_used.is_some());
    if need == LastUseNeed::Must && !is_known && !list.images.is_empty() {
        return Err(CommandError::LastUseNotReported);
    }
    let now = list.observed_at;
    list.images.retain(|image| filters.selects(image, now));
    Ok(())
}

/// Sorts lists of images as the options say, and prints them as a table, unless JSON is wanted.
pub(super) fn print_images(
    lists: &mut [ImageList],
    args: &LsArgs,
    trunc: Truncation,
) -> Result<(), CommandError> {
    if let Some(order) = args.sort {
        // Equal ones stay in the order of their names.
        for list in &mut *lists {
            list.images.sort_by_key(|image| position(image, order));
        }
    }
    let key = |image: &ListedImage| args.sort.map(|order| position(image, order));
    let column = args.namespaces.column();
    match &args.format {
        ListFormat::Json | ListFormat::Other => {}
        ListFormat::Template(template) => {
            output::data(&text::images::templated(lists, template, trunc, key))?;
        }
        ListFormat::Table if args.flat => {
            output::data(&text::images::flat(lists, column, trunc, key))?;
        }
        ListFormat::Table => output::data(&text::images::grouped(lists, column, trunc, key))?,
    }
    Ok(())
}

/// Returns a number by which images are in an order.
fn position(image: &ListedImage, order: ImageOrder) -> i128 {
    match order {
        ImageOrder::Size => -i128::from(image.size.total_bytes()),
        ImageOrder::Unique => -i128::from(image.size.unique_bytes()),
        ImageOrder::Used => image.last_used.map_or(i128::MAX, Timestamp::as_nanosecond),
        ImageOrder::Age => image.created.map_or(i128::MAX, Timestamp::as_nanosecond),
    }
}

pub(crate) async fn df(globals: &Globals, args: &DfArgs) -> Result<Exit, CommandError> {
    let only = match globals.scope(args.namespaces)? {
        Scope::One {
            namespace,
            is_named: true,
        } => Some(namespace),
        Scope::One { .. } | Scope::All => None,
    };
    let backend = Backend::connect_protected(globals).await?;
    if let Some(file) = &args.html {
        let page = backend.page(globals).await?;
        output::file(file, &page)?;
        return Ok(Exit::Done);
    }
    if matches!(args.format, ListFormat::Other) {
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
    match &args.format {
        ListFormat::Json => output::json(&usage)?,
        ListFormat::Template(template) => output::data(&text::df::templated(&usage, template))?,
        ListFormat::Other | ListFormat::Table => {
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
