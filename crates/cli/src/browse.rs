//! `reclaim browse`: a terminal screen over the same plans as the other commands.
//!
//! `state` knows what is on the screen and what a key does; it draws nothing and calls nothing. `draw`
//! renders it. `screen` reads keys and carries out what they request.

mod draw;
mod keys;
mod rows;
mod screen;
mod state;

pub(crate) use screen::browse;
