//! What a process that embeds the engine sees of it when calls are spoiled or others come in
//! between: it lives on, so nobody can prove that what it left behind is abandoned.
//!
//! - [`claim`]: whose guard may be taken, and by whom.
//! - [`full`]: a disk on which a journal has no room.
//! - [`give_back`]: a guard is given back by whoever has it, and what was to be freed is freed.
//! - [`run`]: what a run tells when others come in between.
//! - [`silence`]: answers that never come, and runs that are stopped while they wait.
//! - [`unpin`]: a label is gone by our doing, or by somebody else's.
//! - [`wait`]: callers that wait for another's run to end.

#[cfg(test)]
mod claim;
#[cfg(test)]
mod full;
#[cfg(test)]
mod give_back;
#[cfg(test)]
mod held;
mod run;
#[cfg(test)]
mod silence;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod unpin;
#[cfg(test)]
mod wait;
