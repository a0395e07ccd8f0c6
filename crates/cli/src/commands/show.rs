//! Commands that only read: `reclaim image ls`, `reclaim df` and `reclaim why`.

use jiff::Timestamp;
use reclaim_model::{ImageFilters, ImageList, ListedImage};

use crate::args::image::{ImageOrder, LsArgs};
use crate::args::{DfArgs, DfFormat, Format, Globals, Scope, WhyArgs};
use crate::backend::Backend;
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
    let backend = Backend::connect_protected(globals).await?;
    let mut list = backend.images(&namespace, !is_named).await?;
    let is_empty = list.images.is_empty();
    list.images.retain(|image| filters.selects(image));
    print_images(std::slice::from_mut(&mut list), args, globals.truncation())?;
    if args.format == Format::Json {
        output::json(&list)?;
    }
    output::messages(&text::warnings(&list.warnings, globals.truncation()));
    if args.format == Format::Table && !is_named && is_empty {
        namespaces::hint(&backend, true).await;
    }
    Ok(Exit::Done)
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
    if args.format == Format::Json {
        return Ok(());
    }
    let key = |image: &ListedImage| args.sort.map(|order| position(image, order));
    let column = args.namespaces.column();
    output::data(&if args.flat {
        text::images::flat(lists, column, trunc, key)
    } else {
        text::images::grouped(lists, column, trunc, key)
    })?;
    Ok(())
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
    let only = match globals.scope(args.namespaces)? {
        Scope::One {
            namespace,
            is_named: true,
        } => Some(namespace),
        Scope::One { .. } | Scope::All => None,
    };
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
