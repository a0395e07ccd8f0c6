//! Nodes that take turns at an API server, all in one process and in simulated time.

mod cluster;
mod server;

mod away;
mod chaos;
mod holders;
