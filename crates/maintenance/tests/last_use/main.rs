//! Tests of the index of last use: its file when the process is killed or the disk is full, and the
//! events of a real containerd.

#[cfg(test)]
mod common;
#[cfg(test)]
mod full;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod watch;
