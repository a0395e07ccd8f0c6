//! What can be done to a call.

use std::time::Duration;

use tonic::Code;

/// A call that has arrived and was not answered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The service's last word and the method, such as `Images/Delete`.
    pub method: String,
    /// The namespace that it is about; empty without one.
    pub namespace: String,
    /// How many calls have arrived before it.
    pub number: u64,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is carried out and answered.
    None,
    /// It is refused with this code.
    Fail(Code),
    /// It is carried out, and refused with this code.
    FailAfter(Code),
    /// It is neither carried out nor answered.
    Silence,
    /// It is carried out and not answered.
    SilenceAfter,
    /// It is carried out and answered this much later.
    Delay(Duration),
    /// It is carried out this much later, also if its client has gone by then, and answered.
    Wait(Duration),
}
