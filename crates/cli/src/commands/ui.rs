//! `reclaim ui`.

use std::sync::Arc;

use reclaim_api::ui::{Source, Ui};
use reclaim_model::chain;

use crate::args::{Globals, UiArgs};
use crate::backend::Backend;
use crate::exit::{CommandError, Exit};
use crate::output;
use crate::signals::stop_on_signals;

pub(crate) async fn ui(globals: &Globals, args: &UiArgs) -> Result<Exit, CommandError> {
    let globals = Arc::new(globals.clone());
    let backend = Arc::new(Backend::connect_protected(&globals).await?);
    let ui = Ui::open(args.port).await?;
    output::data_line(ui.address())?;
    output::message("open the address in a browser of this machine; it works once. Ctrl-C ends it");
    let source: Source = Box::new(move || {
        let (backend, globals) = (Arc::clone(&backend), Arc::clone(&globals));
        Box::pin(async move {
            let page = backend.page(&globals).await;
            page.map_err(|error| chain(&error))
        })
    });
    let stop = stop_on_signals(None)?;
    ui.serve(source, stop.token).await;
    Ok(Exit::Done)
}
