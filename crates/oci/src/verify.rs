//! Computes and checks digests.

use reclaim_model::Digest;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::error::ReadError;

/// Returns the SHA-256 digest of `bytes`, under which containerd would store them.
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest::Sha256(Sha256::digest(bytes).into())
}

/// Checks that `bytes` are the content of `digest`.
///
/// # Errors
///
/// [`ReadError::WrongDigest`] with the actual digest of the bytes.
pub fn verify(digest: &Digest, bytes: &[u8]) -> Result<(), ReadError> {
    let got = match digest {
        Digest::Sha256(_) => digest_of(bytes),
        Digest::Sha384(_) => Digest::Sha384(Box::new(Sha384::digest(bytes).into())),
        Digest::Sha512(_) => Digest::Sha512(Box::new(Sha512::digest(bytes).into())),
    };
    if got == *digest {
        Ok(())
    } else {
        Err(ReadError::WrongDigest { got })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The empty config of the OCI image specification.
    const EMPTY: &[u8] = b"{}";
    const SHA256: &str = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    // Computed with Python's hashlib.
    const SHA512: &str = "sha512:27c74670adb75075fad058d5ceaf7b20c4e7786c83bae8a32f626f9782af34c9a33c2046ef60fd2a7878d378e29fec851806bbd9a67878f3a9f1cda4830763fd";

    #[test]
    fn verifies_both_algorithms() {
        for text in [SHA256, SHA512] {
            let digest: Digest = text.parse().unwrap();
            assert_eq!(verify(&digest, EMPTY), Ok(()));
            let Err(ReadError::WrongDigest { got }) = verify(&digest, b"{ }") else {
                panic!("other bytes were accepted for {text}");
            };
            assert_eq!(got.algorithm(), digest.algorithm());
            assert_ne!(got, digest);
        }
        assert_eq!(digest_of(EMPTY).to_string(), SHA256);
    }
}
