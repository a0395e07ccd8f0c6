//! The judge on small worlds: what goes, what stays and why, and what that frees.

#[cfg(test)]
mod selection;
#[cfg(test)]
mod world;
