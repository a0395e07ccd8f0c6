//! Finds the position of a key in a list by a hash table of positions.
//!
//! A host has a million references between half a million blobs. Binary search touches twenty
//! uncached places for each; this table touches two. It stores only positions and looks up only
//! single keys, so its own order cannot leak into a decision.

use reclaim_model::{Blob, Digest, Document};

use std::collections::BTreeMap;

/// How many keys are looked up together. All places that a key leads to are uncached; a processor
/// loads several at a time if they do not depend on each other.
pub(crate) const ABREAST: usize = 16;

/// An empty slot. No list is long enough to have this position.
const EMPTY: u64 = u64::MAX;

/// The part of a slot that is the position; the rest is the lower half of the tag.
const POSITION: u64 = 0xffff_ffff;

/// Finds positions by tags: 64 bits of a key that are nearly random.
///
/// Open addressing, at most half full. Equal tags cost time and nothing else.
#[derive(Debug)]
pub(crate) struct Finder {
    /// A power of two of them.
    slots: Vec<u64>,
}

impl Finder {
    /// Creates a table from the tags of a list, in its order.
    pub(crate) fn new(tags: impl ExactSizeIterator<Item = u64>) -> Self {
        let n_slots = (tags.len() * 2).next_power_of_two().max(2);
        let mut finder = Self {
            slots: vec![EMPTY; n_slots],
        };
        for (position, tag) in (0..).zip(tags) {
            let mut at = finder.first_slot(tag);
            while finder.slots[at] != EMPTY {
                at = finder.next_slot(at);
            }
            debug_assert!(position < POSITION, "positions fit into half a slot");
            finder.slots[at] = tag << 32 | position;
        }
        finder
    }

    /// Returns the position with this tag for which `is_it` returns true.
    pub(crate) fn find(&self, tag: u64, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let mut at = self.first_slot(tag);
        while self.slots[at] != EMPTY {
            let slot = self.slots[at];
            if slot >> 32 == tag & POSITION {
                let position = usize::try_from(slot & POSITION).ok()?;
                if is_it(position) {
                    return Some(position);
                }
            }
            at = self.next_slot(at);
        }
        None
    }

    /// Returns the position to which a tag leads first: the likely one, if the tag is in the table.
    pub(crate) fn likely(&self, tag: u64) -> Option<usize> {
        let slot = self.slots[self.first_slot(tag)];
        let position = usize::try_from(slot & POSITION).ok()?;
        (slot != EMPTY).then_some(position)
    }

    /// Returns the upper bits of the tag, as many as the number of slots needs.
    fn first_slot(&self, tag: u64) -> usize {
        let bits = self.slots.len().trailing_zeros();
        usize::try_from(tag >> (u64::BITS - bits)).unwrap_or(0)
    }

    fn next_slot(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }
}

/// Returns the tag of a digest: its first bytes, which are random already.
pub(crate) fn digest_tag(digest: &Digest) -> u64 {
    let first = digest.bytes().first_chunk();
    u64::from_be_bytes(*first.expect("a digest has more than eight bytes"))
}

/// Returns the tag of a text.
pub(crate) fn text_tag(text: &str) -> u64 {
    // An odd number without pattern: the golden ratio.
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let words = text.as_bytes().chunks(8);
    words.fold(0, |tag: u64, word| {
        let mut bytes = [0; 8];
        bytes[..word.len()].copy_from_slice(word);
        let mixed = (tag.rotate_left(5) ^ u64::from_le_bytes(bytes)).wrapping_mul(MULTIPLIER);
        mixed ^ (mixed >> 32)
    })
}

/// The blobs of a namespace, found by digest.
#[derive(Debug)]
pub(crate) struct Blobs<'a> {
    blobs: &'a [Blob],
    finder: Finder,
}

impl<'a> Blobs<'a> {
    pub(crate) fn new(blobs: &'a [Blob]) -> Self {
        Self {
            blobs,
            finder: Finder::new(blobs.iter().map(|blob| digest_tag(&blob.digest))),
        }
    }

    /// Returns the position of a blob.
    pub(crate) fn find(&self, digest: &Digest) -> Option<usize> {
        let is_it = |at: usize| self.blobs[at].digest == *digest;
        self.finder.find(digest_tag(digest), is_it)
    }

    /// Looks up at most [`ABREAST`] digests, each like [`Self::find`].
    pub(crate) fn find_abreast(&self, digests: &[&Digest], found: &mut [Option<usize>; ABREAST]) {
        let mut likely = [None; ABREAST];
        for (likely, digest) in likely.iter_mut().zip(digests) {
            *likely = self.finder.likely(digest_tag(digest));
        }
        let mut tags = [0; ABREAST];
        for (tag, likely) in tags.iter_mut().zip(&likely) {
            *tag = likely.map_or(0, |at| digest_tag(&self.blobs[at].digest));
        }
        for (at, digest) in digests.iter().enumerate() {
            let is_it = tags[at] == digest_tag(digest)
                && likely[at].is_some_and(|it| self.blobs[it].digest == **digest);
            found[at] = if is_it { likely[at] } else { self.find(digest) };
        }
    }

    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.find(digest).is_some()
    }
}

/// The documents behind the images, found by digest.
#[derive(Debug)]
pub(crate) struct Documents<'a> {
    documents: Vec<(&'a Digest, &'a Document)>,
    finder: Finder,
}

impl<'a> Documents<'a> {
    pub(crate) fn new(documents: &'a BTreeMap<Digest, Document>) -> Self {
        let documents: Vec<_> = documents.iter().collect();
        let finder = Finder::new(documents.iter().map(|(digest, _)| digest_tag(digest)));
        Self { documents, finder }
    }

    pub(crate) fn get(&self, digest: &Digest) -> Option<&'a Document> {
        let is_it = |at: usize| self.documents[at].0 == digest;
        let at = self.finder.find(digest_tag(digest), is_it)?;
        Some(self.documents[at].1)
    }

    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.get(digest).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use reclaim_model::{GcLabels, Sources};

    use super::*;

    #[test]
    fn finds_every_text_and_no_other() {
        let texts: Vec<String> = (0..1000).map(|number| format!("key {number}")).collect();
        for length in [0, 1, 2, 3, 1000] {
            let list = &texts[..length];
            let finder = Finder::new(list.iter().map(|text| text_tag(text)));
            for (at, text) in texts.iter().enumerate() {
                let found = finder.find(text_tag(text), |it| list[it] == *text);
                assert_eq!(found, (at < length).then_some(at), "{text} of {length}");
            }
        }
    }

    #[test]
    fn texts_are_spread_over_the_slots() {
        // Keys that share most of their words, as snapshots' and containers' do.
        let alike: Vec<String> = (0..1000).map(|number| format!("key {number}")).collect();
        let long = (0..1000).map(|number| format!("sha256:{number:064x}"));
        let short = (0..1000).map(|number| format!("{number}/default/layer"));
        for texts in [alike, long.collect(), short.collect()] {
            let tags: Vec<u64> = texts.iter().map(|text| text_tag(text)).collect();
            assert_eq!(BTreeSet::from_iter(&tags).len(), texts.len());
            let finder = Finder::new(tags.iter().copied());
            assert_eq!(finder.slots.len(), 2048);
            let first: BTreeSet<usize> = tags.iter().map(|tag| finder.first_slot(*tag)).collect();
            // At random they lead to 791 of 2048 slots.
            assert!(first.len() > 600, "{} of {}", first.len(), texts[1]);
            let likely = tags.iter().enumerate();
            let likely = likely.filter(|(at, tag)| finder.likely(**tag) == Some(*at));
            assert!(likely.count() > 500, "most are found at once");
        }
        assert_eq!(Finder::new([].into_iter()).likely(0), None);
    }

    #[test]
    fn tells_equal_tags_apart() {
        for tag in [0, 1, u64::MAX] {
            let finder = Finder::new([tag; 5].into_iter());
            for position in 0..5 {
                assert_eq!(finder.find(tag, |it| it == position), Some(position));
            }
            assert_eq!(finder.find(tag, |_| false), None);
        }
    }

    #[test]
    fn tells_digests_apart_that_begin_alike() {
        let digest = |last: u8| {
            let mut bytes = [7; 32];
            bytes[31] = last;
            Digest::Sha256(bytes)
        };
        let blobs = (0..5).map(|last| Blob {
            digest: digest(last),
            size: 1,
            gc: GcLabels::default(),
            sources: Sources::default(),
        });
        let blobs: Vec<Blob> = blobs.collect();
        let finder = Blobs::new(&blobs);
        let digests: Vec<Digest> = (0..6).map(digest).collect();
        let mut found = [None; ABREAST];
        finder.find_abreast(&Vec::from_iter(&digests), &mut found);
        assert_eq!(
            found[..6],
            [Some(0), Some(1), Some(2), Some(3), Some(4), None]
        );
    }
}
