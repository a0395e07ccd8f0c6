//! The judge on small worlds: what goes, what stays and why, and what that frees.

#[cfg(test)]
mod filters;
#[cfg(test)]
mod linter;
#[cfg(test)]
mod report;
#[cfg(test)]
mod selection;
#[cfg(test)]
mod sizes;
#[cfg(test)]
mod world;
