//! Finds the position of a key in a list by a hash table of positions.
//!
//! A host has a million references between half a million blobs. Binary search touches twenty
//! uncached places for each; this table touches two. It stores only positions and looks up only
//! single keys, so its own order cannot leak into a decision.

use reclaim_model::{Blob, Digest, Document};

use std::collections::BTreeMap;
use std::hint::black_box;

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
        let mut tags = tags.zip(0..).peekable();
        while tags.peek().is_some() {
            let mut part = [(0, 0); ABREAST];
            let mut length = 0;
            for (place, tag) in part.iter_mut().zip(&mut tags) {
                *place = tag;
                length += 1;
            }
            finder.load(part.iter().map(|(tag, _)| *tag));
            for (tag, position) in &part[..length] {
                finder.insert(*tag, *position);
            }
        }
        finder
    }

    fn insert(&mut self, tag: u64, position: u64) {
        debug_assert!(position < POSITION, "positions fit into half a slot");
        let mut at = self.first_slot(tag);
        while self.slots[at] != EMPTY {
            at = self.next_slot(at);
        }
        self.slots[at] = tag << 32 | position;
    }

    /// Reads the places to which tags lead, so that all are in the cache afterwards.
    fn load(&self, tags: impl Iterator<Item = u64>) {
        let slots = tags.map(|tag| self.slots[self.first_slot(tag)]);
        black_box(slots.fold(0, |all, slot| all ^ slot));
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

    /// Returns the position to which each tag leads: the likely one, if the tag is in the table.
    pub(crate) fn likely(&self, tags: &[Option<u64>; ABREAST]) -> [Option<usize>; ABREAST] {
        self.load(tags.iter().map(|tag| tag.unwrap_or(0)));
        tags.map(|tag| self.find(tag?, |_| true))
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
    let mix = |tag: u64, word: [u8; 8]| {
        let mixed = (tag.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(MULTIPLIER);
        mixed ^ (mixed >> 32)
    };
    let (words, rest) = text.as_bytes().as_chunks();
    let tag = words.iter().fold(0, |tag, word| mix(tag, *word));
    if rest.is_empty() {
        return tag;
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(tag, last)
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

    /// Looks up several digests, each like [`Self::find`].
    pub(crate) fn find_abreast(
        &self,
        digests: &[Option<&Digest>; ABREAST],
    ) -> [Option<usize>; ABREAST] {
        let tags = digests.map(|digest| digest.map(digest_tag));
        let likely = self.finder.likely(&tags);
        let theirs = likely.map(|at| at.map(|at| digest_tag(&self.blobs[at].digest)));
        std::array::from_fn(|at| {
            let digest = digests[at]?;
            let is_it = theirs[at] == tags[at]
                && likely[at].is_some_and(|it| self.blobs[it].digest == *digest);
            if is_it { likely[at] } else { self.find(digest) }
        })
    }

    /// Looks up a list of digests, each like [`Self::find`], and calls `visit` with the results in
    /// order until it returns false. Returns whether it never did.
    pub(crate) fn find_all<'d>(
        &self,
        mut digests: impl Iterator<Item = &'d Digest>,
        mut visit: impl FnMut(Option<usize>) -> bool,
    ) -> bool {
        loop {
            let mut part = [None; ABREAST];
            let mut length = 0;
            for (place, digest) in part.iter_mut().zip(&mut digests) {
                *place = Some(digest);
                length += 1;
            }
            let mut found = self.find_abreast(&part).into_iter().take(length);
            if !found.all(&mut visit) {
                return false;
            }
            if length < ABREAST {
                return true;
            }
        }
    }

    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.find(digest).is_some()
    }

    pub(crate) fn contains_all<'d>(&self, digests: impl Iterator<Item = &'d Digest>) -> bool {
        self.find_all(digests, |found| found.is_some())
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
            for (at, tag) in tags.iter().enumerate() {
                let likely = finder.likely(&[Some(*tag); ABREAST]);
                assert_eq!(likely, [Some(at); ABREAST]);
            }
        }
        let empty = Finder::new([].into_iter());
        assert_eq!(empty.likely(&[Some(0); ABREAST]), [None; ABREAST]);
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
        let mut asked = [None; ABREAST];
        for (asked, digest) in asked.iter_mut().zip(&digests) {
            *asked = Some(digest);
        }
        let found = finder.find_abreast(&asked);
        assert_eq!(
            found[..6],
            [Some(0), Some(1), Some(2), Some(3), Some(4), None]
        );
    }
}
