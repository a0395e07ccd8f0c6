//! A directory of a kubelet with pull records (KEP-2535), as Kubernetes 1.35 writes them.

use std::fs;
use std::path::{Path, PathBuf};

use reclaim_model::Digest;
use tempfile::TempDir;

use crate::digest_of;

/// A kubelet's directory. Dropping it deletes the directory.
#[derive(Debug)]
pub struct KubeletDirectory(TempDir);

impl KubeletDirectory {
    /// Creates a directory without records.
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        let directory = Self(TempDir::new().expect("make a directory"));
        fs::create_dir_all(directory.pulled()).expect("make the directory of records");
        directory
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Returns the directory of the records of pulled images.
    pub fn pulled(&self) -> PathBuf {
        self.path().join("image_manager/pulled")
    }

    /// Returns the file of the record of the image with this ID.
    pub fn file(&self, id: &Digest) -> PathBuf {
        let hash = digest_of(id.to_string().as_bytes());
        self.pulled().join(format!("sha256-{}", hash.hex()))
    }

    /// Records a pull with a secret, so that only its pods may use the image.
    pub fn pulled_with_secret(&self, id: &Digest) {
        let secret =
            r#"{"uid":"1","namespace":"team","name":"registry","credentialHash":"c0ffee"}"#;
        self.record(id, &format!(r#"{{"kubernetesSecrets":[{secret}]}}"#));
    }

    /// Records a pull without credentials, so that every pod may use the image.
    pub fn pulled_by_all(&self, id: &Digest) {
        self.record(id, r#"{"nodePodsAccessible":true}"#);
    }

    fn record(&self, id: &Digest, credentials: &str) {
        let record = format!(
            r#"{{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1beta1","lastUpdatedTime":"2026-01-02T03:04:05Z","imageRef":"{id}","credentialMapping":{{"registry.example/team/app":{credentials}}}}}"#
        );
        fs::write(self.file(id), record).expect("write a record");
    }

    /// Deletes the record of an image, as the kubelet does after it collected.
    pub fn forget(&self, id: &Digest) {
        fs::remove_file(self.file(id)).expect("delete a record");
    }
}
