//! The reader on real documents and on arbitrary bytes.

#[cfg(test)]
mod configs;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod foreign;
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
