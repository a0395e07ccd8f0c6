//! The terminal: reads keys, draws, and carries out what keys request.

use std::io::IsTerminal;
use std::pin::Pin;
use std::sync::Arc;

use crossterm::event::{Event, EventStream, KeyEventKind};
use futures::StreamExt;
use ratatui::DefaultTerminal;
use reclaim_engine::{Controls, Progress, RunOptions};
use reclaim_model::{Answers, Namespace, PruneRequest, Report, Selection, StoreMap, chain};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use super::draw::{body_height, draw};
use super::keys::{Action, press};
use super::rows::Row;
use super::state::{State, View};
use crate::args::{BrowseArgs, Globals};
use crate::backend::{Backend, Confirmed, Preview};
use crate::exit::{CommandError, Exit};
use crate::progress::{self, progress_text};
use crate::signals::{Stop, stop_on_signals};
use crate::text;
use crate::text::Truncation;
use crate::text::report::Change;

/// Something that is under way while the screen can still be moved.
type Work = Pin<Box<dyn Future<Output = Result<Done, CommandError>>>>;

/// What has ended.
enum Done {
    Read(Box<StoreMap>),
    Explained(Answers),
    Planned(Vec<(PruneRequest, Preview)>),
    Ran(Vec<(Change, Report)>),
}

/// The screen with all that it needs.
struct Screen {
    backend: Arc<Backend>,
    options: RunOptions,
    trunc: Truncation,
    state: State,
    work: Option<Work>,
    /// What is carried out if the plan is confirmed.
    planned: Vec<(PruneRequest, Confirmed)>,
    stop: Arc<Stop>,
    /// Stops the run that is under way in this process.
    cancel: Option<CancellationToken>,
    progress: (UnboundedSender<Progress>, UnboundedReceiver<Progress>),
}

pub(crate) async fn browse(globals: &Globals, args: &BrowseArgs) -> Result<Exit, CommandError> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(CommandError::NoTerminal);
    }
    let namespace = globals.explicit_namespace()?;
    let backend = Arc::new(Backend::connect_protected(globals).await?);
    let map = backend.store_map().await?;
    let options = RunOptions {
        wait: true,
        ..args.pace.options()
    };
    progress::hide_bars();
    let screen = Screen {
        backend,
        options,
        trunc: globals.truncation(),
        state: State::new(map, namespace.as_ref()),
        work: None,
        planned: Vec::new(),
        stop: Arc::new(stop_on_signals(None)?),
        cancel: None,
        progress: unbounded_channel(),
    };
    // Also restores the terminal in a panic.
    let terminal = ratatui::try_init()?;
    let ended = screen.run(terminal).await;
    ratatui::restore();
    ended
}

impl Screen {
    async fn run(mut self, mut terminal: DefaultTerminal) -> Result<Exit, CommandError> {
        let mut events = EventStream::new();
        loop {
            terminal.draw(|frame| draw(frame, &mut self.state))?;
            let height = body_height(terminal.get_frame().area());
            let is_working = self.work.is_some();
            let (work, progress) = (&mut self.work, &mut self.progress.1);
            let work = async {
                match work {
                    Some(work) => work.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(Event::Key(key))) if key.kind != KeyEventKind::Release => {
                        let action = press(&mut self.state, key, height);
                        if let Some(action) = action
                            && let Some(exit) = self.act(action)
                        {
                            return Ok(exit);
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => return Ok(Exit::Done),
                },
                done = work => {
                    self.work = None;
                    self.cancel = None;
                    self.finish(done);
                }
                Some(progress) = progress.recv() => {
                    if is_working {
                        self.state.view = View::Busy(progress_text(progress));
                    }
                }
                // The first signal makes a run stop and report; without one it ends the screen.
                exit = self.stop.signalled(), if !is_working => return Ok(exit),
            }
        }
    }

    /// Begins what a key requests; returns the exit status if it ends the screen.
    fn act(&mut self, action: Action) -> Option<Exit> {
        match action {
            Action::Quit if matches!(self.state.view, View::Busy(_)) => {
                if let Some(cancel) = &self.cancel {
                    cancel.cancel();
                    let what = "stopping after the removals under way";
                    self.state.view = View::Busy(what.to_owned());
                } else {
                    // It only reads, or it is a run of the daemon, which goes on.
                    self.work = None;
                    self.state.view = View::List;
                    self.state.message = Some("stopped waiting".to_owned());
                }
            }
            Action::Quit => return Some(Exit::Done),
            Action::Reload => self.begin("reading the store", read(Arc::clone(&self.backend))),
            Action::Why => {
                let backend = Arc::clone(&self.backend);
                if let (Some(namespace), Some(thing)) = (self.state.name(), self.thing()) {
                    self.begin(
                        "looking for what keeps it",
                        explain(backend, namespace, thing),
                    );
                }
            }
            Action::Plan => {
                let backend = Arc::clone(&self.backend);
                let requests = self.state.requests();
                self.begin("planning", plan(backend, requests));
            }
            Action::Apply => {
                let backend = Arc::clone(&self.backend);
                let planned = std::mem::take(&mut self.planned);
                let options = self.options.clone();
                let (stop, progress) = (Arc::clone(&self.stop), self.progress.0.clone());
                let cancel = self.stop.token.child_token();
                if matches!(*backend, Backend::Direct(_)) {
                    self.cancel = Some(cancel.clone());
                }
                let running = run(backend, planned, options, (stop, cancel), progress);
                self.begin("starting", running);
            }
        }
        None
    }

    fn begin(
        &mut self,
        what: &str,
        work: impl Future<Output = Result<Done, CommandError>> + 'static,
    ) {
        self.state.view = View::Busy(what.to_owned());
        self.work = Some(Box::pin(work));
    }

    /// Returns the row at the cursor as `why` accepts it.
    fn thing(&self) -> Option<String> {
        let image = |image: usize| self.state.images()[image].name.clone();
        Some(match self.state.row()? {
            Row::Repository(_, images) => image(*images.first()?),
            Row::Image(at) | Row::Part(at, _) => image(*at),
            Row::Manifest(at, manifest) => {
                let map = self.state.objects()?;
                map.images[*at][*manifest].digest.to_string()
            }
            Row::Object(_, _, object) => self.state.objects()?.objects[*object as usize].id.clone(),
        })
    }

    fn finish(&mut self, done: Result<Done, CommandError>) {
        // A report is read on while the store is read again.
        if matches!(self.state.view, View::Busy(_)) {
            self.state.view = View::List;
        }
        match done {
            Ok(Done::Read(map)) => self.state.replace(*map),
            Ok(Done::Explained(answers)) => {
                let lines = text::why::answers(&answers.answers, self.trunc);
                self.show("Why it is kept", lines.lines());
            }
            Ok(Done::Planned(planned)) => {
                let mut lines = Vec::new();
                for (request, preview) in &planned {
                    let report = text::report::text(&preview.report, change(request), self.trunc);
                    lines.extend(report.lines().map(str::to_owned));
                    lines.extend(text::warnings(&preview.report.warnings, self.trunc));
                    lines.push(String::new());
                }
                let confirmed = planned
                    .into_iter()
                    .map(|(request, preview)| (request, preview.confirmed));
                self.planned = confirmed.collect();
                lines.push("Carry it out? y, n".to_owned());
                self.state.view = View::Plan { lines, top: 0 };
            }
            Ok(Done::Ran(reports)) => {
                let mut lines = Vec::new();
                for (change, report) in &reports {
                    let text = text::report::text(report, *change, self.trunc);
                    lines.extend(text.lines().map(str::to_owned));
                    lines.extend(text::report::messages(report, *change, self.trunc));
                    lines.push(String::new());
                }
                self.state.clear_marks();
                self.show("What was done", lines.iter().map(String::as_str));
                // The text stays until a key; the store is read meanwhile.
                self.work = Some(Box::pin(read(Arc::clone(&self.backend))));
            }
            Err(error) => self.show("It failed", chain(&error).lines()),
        }
    }

    fn show<'l>(&mut self, title: &str, lines: impl Iterator<Item = &'l str>) {
        self.state.view = View::Text {
            title: title.to_owned(),
            lines: lines.map(str::to_owned).collect(),
            top: 0,
        };
    }
}

/// Returns what a request does with images.
fn change(request: &PruneRequest) -> Change {
    match request.selection {
        Selection::Parts(_) => Change::Slim,
        Selection::Filters(_)
        | Selection::Named(_)
        | Selection::Project(_)
        | Selection::Rule(_) => Change::Removal,
    }
}

async fn read(backend: Arc<Backend>) -> Result<Done, CommandError> {
    Ok(Done::Read(Box::new(backend.store_map().await?)))
}

async fn explain(
    backend: Arc<Backend>,
    namespace: Namespace,
    thing: String,
) -> Result<Done, CommandError> {
    Ok(Done::Explained(backend.why(&namespace, &thing).await?))
}

async fn plan(backend: Arc<Backend>, requests: Vec<PruneRequest>) -> Result<Done, CommandError> {
    let mut planned = Vec::new();
    for request in requests {
        let preview = backend.plan(&request).await?;
        planned.push((request, preview));
    }
    Ok(Done::Planned(planned))
}

async fn run(
    backend: Arc<Backend>,
    planned: Vec<(PruneRequest, Confirmed)>,
    options: RunOptions,
    (stop, cancel): (Arc<Stop>, CancellationToken),
    progress: UnboundedSender<Progress>,
) -> Result<Done, CommandError> {
    let mut reports = Vec::new();
    for (request, confirmed) in planned {
        let show = |event| {
            // An error means that the screen has stopped listening.
            progress.send(event).ok();
        };
        let controls = Controls {
            options: &options,
            progress: &show,
            cancel: &cancel,
        };
        let report = backend
            .prune(&request, Some(&confirmed), controls, &stop)
            .await?;
        reports.push((change(&request), report));
    }
    Ok(Done::Ran(reports))
}
