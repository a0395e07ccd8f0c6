//! Commands about earlier runs: `reclaim history`, `reclaim undo` and
//! `reclaim release`.

use reclaim_api::json::HostClient;
use reclaim_daemon::{DaemonError, config};
use reclaim_engine::AuditLog;
use reclaim_model::AuditQuery;

use crate::args::{Format, Globals, HistoryArgs, ReleaseArgs, UndoArgs};
use crate::backend::Backend;
use crate::exit::{CommandError, Exit};
use crate::{output, text};

pub(crate) async fn history(globals: &Globals, args: &HistoryArgs) -> Result<Exit, CommandError> {
    if args.all || args.since.is_some() || args.until.is_some() {
        return audit(globals, args).await;
    }
    let (namespace, _) = globals.namespace()?;
    let held = Backend::connect(globals).await?.history(&namespace).await?;
    match args.format {
        Format::Json => output::json(&held)?,
        Format::Table => output::data(&text::history(&held.runs))?,
    }
    Ok(Exit::Done)
}

/// Lists the records of changes: the daemon's, or those of the state directory.
async fn audit(globals: &Globals, args: &HistoryArgs) -> Result<Exit, CommandError> {
    let query = AuditQuery {
        namespace: globals.explicit_namespace()?,
        since: args.since.clone(),
        until: args.until.clone(),
    };
    let found = if let Some(address) = globals.host() {
        HostClient::new(address)?.audit(&query).await?
    } else {
        let config = config::read(&globals.config()).map_err(DaemonError::from)?;
        AuditLog::find(globals.audit_directory(Some(&config)), &query)?
    };
    match args.format {
        Format::Json => output::json(&found)?,
        Format::Table => {
            output::data(&text::audit::records(&found.records, globals.truncation()))?;
        }
    }
    if found.unreadable > 0 {
        let number = found.unreadable;
        output::message(format!(
            "warning: lines of audit.jsonl that cannot be read: {number}"
        ));
    }
    Ok(Exit::Done)
}

pub(crate) async fn undo(globals: &Globals, args: &UndoArgs) -> Result<Exit, CommandError> {
    let (namespace, _) = globals.namespace()?;
    let undone = Backend::connect(globals)
        .await?
        .undo(
            &namespace,
            args.run.as_deref(),
            &args.images,
            args.without_credentials,
        )
        .await?;
    for name in &undone.restored {
        output::data_line(format_args!("restored: {name}"))?;
    }
    if undone.labels > 0 {
        let blobs = text::count(undone.labels, "blob");
        output::data_line(format_args!("restored: labels of {blobs}"))?;
    }
    for name in &undone.taken {
        output::message(format!(
            "not restored: {name}: the name now points to a different image"
        ));
    }
    for name in &undone.refused {
        output::message(format!(
            "not restored: {name}: the kubelet's pull record of this private image is gone or cannot \
             be read, so every pod could use it"
        ));
    }
    for (name, missing) in &undone.dependent {
        output::message(format!(
            "not restored: {name}: containerd keeps it only as long as {missing}, which is not restored"
        ));
    }
    if !undone.refused.is_empty() {
        output::message("pull it again, or use --without-credentials to let every pod use it");
    }
    let is_complete = undone.taken.is_empty() && undone.refused.is_empty();
    Ok(if is_complete && undone.dependent.is_empty() {
        Exit::Done
    } else {
        Exit::Partial
    })
}

pub(crate) async fn release(globals: &Globals, args: &ReleaseArgs) -> Result<Exit, CommandError> {
    let (namespace, _) = globals.namespace()?;
    let backend = Backend::connect(globals).await?;
    let run = backend.release(&namespace, &args.run).await?;
    output::data_line(format_args!("released: {run}"))?;
    Ok(Exit::Done)
}
