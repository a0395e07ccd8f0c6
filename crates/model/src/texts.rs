//! Texts that are stored once.

use std::sync::Arc;

use hashbrown::HashSet;

/// The texts that a reader has seen so far, each of them once.
///
/// Half of a host's snapshots are the parent of another one, and most configurations name the snapshot
/// that was unpacked of them. A reader that takes keys from here stores each only once.
#[derive(Debug, Default)]
pub struct Texts(HashSet<Arc<str>>);

impl Texts {
    /// Returns the stored text that equals `text`, and stores it if it is new.
    pub fn share(&mut self, text: &str) -> Arc<str> {
        Arc::clone(self.0.get_or_insert_with(text, |text| Arc::from(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_stored_once() {
        let mut texts = Texts::default();
        let [one, same, other] = ["a", "a", "b"].map(|text| texts.share(text));
        assert!(Arc::ptr_eq(&one, &same));
        assert_eq!((&*one, &*other), ("a", "b"));
    }
}
