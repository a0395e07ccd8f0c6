//! Images that expire and depend on another, on a containerd that collects before each call.

#[cfg(test)]
mod cases;
#[cfg(test)]
mod private;
