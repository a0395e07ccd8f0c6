//! The reader on documents of real shape and on bytes of no shape at all.

#[cfg(test)]
mod configs;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod indexes;
#[cfg(test)]
mod kinds;
#[cfg(test)]
mod labels;
#[cfg(test)]
mod manifests;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod torn;
