//! Chain IDs: the names of the snapshots that layers unpack to.

use reclaim_model::Digest;

use crate::verify::digest_of;

/// Returns the chain ID of each prefix of `diff_ids`, the shortest first.
///
/// The first is the first diff ID itself; each further one is the SHA-256 of the parent's text, a
/// space and the diff ID's text. A snapshotter has a committed snapshot for each of them, and the
/// base of one image may be the top of another.
///
/// Source: the OCI image specification, config.md, "Layer `ChainID`".
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(parent) => digest_of(format!("{parent} {diff_id}").as_bytes()),
        };
        chain.push(next);
    }
    chain
}

/// Returns the chain ID of all layers, which is the parent of a container's snapshot; `None`
/// without layers.
pub fn top_chain_id(diff_ids: &[Digest]) -> Option<Digest> {
    chain_ids(diff_ids).pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The diff IDs are the SHA-256 of `layer-1`, `layer-2` and `layer-3`. Both tables were
    // computed with Python's hashlib from the formula in the specification.
    const DIFF_IDS: [&str; 3] = [
        "sha256:922badbaf192e1a4a5af64df422de6d73e96e70d0ab52245bd3d692bcea9cfad",
        "sha256:6bdb18f83935f1d97220ee8035e6ccd7e764c32102587be4488f940f943ebda6",
        "sha256:da0002e0cd62c639edf0b88ba0216b00084f5abf275328f44d39784450a625f4",
    ];
    const CHAIN_IDS: [&str; 3] = [
        "sha256:922badbaf192e1a4a5af64df422de6d73e96e70d0ab52245bd3d692bcea9cfad",
        "sha256:471bc0f0b65a24f41cc5a38d056ca18b1bab4db11743864782938a963f9035ec",
        "sha256:ea3a04774fc341467d68671438730ab14ca2f0da46a433b00e4020a5717ca971",
    ];

    fn digests(texts: &[&str]) -> Vec<Digest> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn follows_the_formula_of_the_specification() {
        assert_eq!(chain_ids(&digests(&DIFF_IDS)), digests(&CHAIN_IDS));
        assert_eq!(top_chain_id(&digests(&DIFF_IDS)), CHAIN_IDS[2].parse().ok());
    }

    #[test]
    fn is_empty_without_layers() {
        assert_eq!(chain_ids(&[]), []);
        assert_eq!(top_chain_id(&[]), None);
    }

    #[test]
    fn depends_on_the_order_of_the_layers() {
        let mut swapped = digests(&DIFF_IDS);
        swapped.swap(0, 1);
        assert_ne!(chain_ids(&swapped)[1], digests(&CHAIN_IDS)[1]);
    }
}
