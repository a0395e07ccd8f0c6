//! Maintenance: policies that run by themselves, or when somebody asks.
//!
//! What is pure is apart from what does: when a policy is due ([`timetable`]) and how much has to
//! go ([`Excess`]) are computed from what is passed in. Which images go is `plan`'s to say; a run
//! of a policy ([`Maintenance::run`]) is made of the same runs that everybody else's prune is.

mod caretaker;
mod explain;
mod handle;
mod headroom;
mod history;
mod io_pressure;
mod outcome;
mod pressure;
mod run;
mod standing;
mod timetable;
mod turns;

pub use caretaker::{Caretaker, CaretakerObserver, Duties};
pub use explain::{NamespaceForecast, PolicyForecast};
pub use handle::{AskError, AskedRuns, CaretakerHandle};
pub use headroom::{Headroom, HeadroomSize};
pub use history::{FilesystemRecord, HistoryError, NamespaceRun, RunHistory, RunRecord};
pub use outcome::{Breakdown, Outcome, PolicyRun, Trigger};
pub use pressure::{Excess, Measure, Occupied, goals};
pub use run::Maintenance;
pub use turns::{HostTurn, HostTurns};
