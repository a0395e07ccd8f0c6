//! An engine in a process that lives on while calls fail or other clients interfere.
//!
//! - [`claim`]: takeover of the guards of other runs.
//! - [`full`]: a disk without room for a journal.
//! - [`held`]: holds that outlive the guard.
//! - [`release`]: release of the guard, with a collection.
//! - [`run`]: reports of runs with which other clients interfere.
//! - [`silence`]: missing answers, and runs that are cancelled while they wait.
//! - [`slim`]: parts of images, and clients that need them meanwhile.
//! - [`unpin`]: labels that this run or another client removes.
//! - [`wait`]: callers that wait for another run to end.

#[cfg(test)]
mod claim;
#[cfg(test)]
mod full;
#[cfg(test)]
mod held;
#[cfg(test)]
mod release;
mod run;
#[cfg(test)]
mod silence;
#[cfg(test)]
mod slim;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod unpin;
#[cfg(test)]
mod wait;
