//! The planner on small worlds: what goes, what stays and why, and what that frees.

#[cfg(test)]
mod again;
#[cfg(test)]
mod check;
#[cfg(test)]
mod conditions;
#[cfg(test)]
mod dependents;
#[cfg(test)]
mod disk_usage;
#[cfg(test)]
mod filters;
#[cfg(test)]
mod freeable;
#[cfg(test)]
mod history;
#[cfg(test)]
mod image_details;
#[cfg(test)]
mod image_layers;
#[cfg(test)]
mod in_use;
#[cfg(test)]
mod leased;
#[cfg(test)]
mod left;
#[cfg(test)]
mod limit;
#[cfg(test)]
mod naive;
#[cfg(test)]
mod named;
#[cfg(test)]
mod names;
#[cfg(test)]
mod project;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod protected;
#[cfg(test)]
mod random;
#[cfg(test)]
mod reach;
#[cfg(test)]
mod report;
#[cfg(test)]
mod rule;
#[cfg(test)]
mod selection;
#[cfg(test)]
mod sizes;
#[cfg(test)]
mod slim;
mod store_map;
#[cfg(test)]
mod usage;
#[cfg(test)]
mod why;
#[cfg(test)]
mod world;
