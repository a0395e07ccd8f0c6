//! Last use where it is kept and where it comes from: a file under a process that is killed and on
//! a disk that is full, and the events of a real containerd.

#[cfg(test)]
mod common;
#[cfg(test)]
mod full;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod watch;
