//! The label by which a configuration holds what was unpacked of its image: taken away and put
//! back. It is the only label of content that is ever changed.

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::{Info, InfoRequest, UpdateRequest};
use prost_types::FieldMask;
use reclaim_model::{Digest, Namespace, Unpin};

use crate::client::Containerd;
use crate::error::{Class, StoreError};

/// What became of an unpinning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpinned {
    /// The label is gone by our doing.
    Done,
    /// The label is gone already, or refers to something else, and was left alone.
    Changed,
    /// The configuration is not there any more.
    Gone,
}

impl Containerd {
    /// Takes the label away, unless it refers to something else by now.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked. The label may be gone all the same.
    pub async fn unpin(
        &self,
        namespace: &Namespace,
        unpin: &Unpin,
    ) -> Result<Unpinned, StoreError> {
        const OPERATION: &str = "read labels of content";
        let message = InfoRequest {
            digest: unpin.config.to_string(),
        };
        let request = self.request(OPERATION, Some(namespace), message)?;
        let answer = ContentClient::new(self.channel()).info(request).await;
        let answer = answer.map_err(|status| {
            StoreError::new(OPERATION, status)
                .within(namespace)
                .about(&unpin.config)
        });
        let labels = match answer {
            Ok(answer) => answer.into_inner().info.unwrap_or_default().labels,
            Err(error) if error.class() == Class::Gone => return Ok(Unpinned::Gone),
            Err(error) => return Err(error),
        };
        if labels.get(&label(unpin)).map(String::as_str) != Some(&*unpin.snapshot.key) {
            return Ok(Unpinned::Changed);
        }
        // An empty value is how a label is deleted.
        let is_there = self
            .set_label(namespace, &unpin.config, label(unpin), "")
            .await?;
        Ok(if is_there {
            Unpinned::Done
        } else {
            Unpinned::Gone
        })
    }

    /// Puts the label back. A configuration that is gone needs none.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked. The label may be there all the same.
    pub async fn repin(&self, namespace: &Namespace, unpin: &Unpin) -> Result<(), StoreError> {
        let set = self.set_label(namespace, &unpin.config, label(unpin), &unpin.snapshot.key);
        set.await.map(drop)
    }

    /// Sets one label of content and leaves the others. Returns whether the content is there.
    async fn set_label(
        &self,
        namespace: &Namespace,
        digest: &Digest,
        key: String,
        value: &str,
    ) -> Result<bool, StoreError> {
        const OPERATION: &str = "change label of content";
        let message = UpdateRequest {
            update_mask: Some(FieldMask {
                paths: vec![format!("labels.{key}")],
            }),
            info: Some(Info {
                digest: digest.to_string(),
                labels: [(key, value.to_owned())].into(),
                ..Info::default()
            }),
        };
        let request = self.request(OPERATION, Some(namespace), message)?;
        let answer = ContentClient::new(self.channel()).update(request).await;
        let answer = answer.map_err(|status| {
            StoreError::new(OPERATION, status)
                .within(namespace)
                .about(digest)
        });
        match answer {
            Ok(_) => Ok(true),
            Err(error) if error.class() == Class::Gone => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The label as containerd's unpacker writes it.
fn label(unpin: &Unpin) -> String {
    format!(
        "containerd.io/gc.ref.snapshot.{}",
        unpin.snapshot.snapshotter
    )
}

#[cfg(test)]
mod tests {
    use containerd_client::services::v1::{InfoResponse, UpdateResponse};
    use reclaim_model::SnapshotId;
    use tonic::Code;

    use super::*;
    use crate::scripted::{Answer, Line, namespace, recorded, scripted};

    fn history() -> Unpin {
        Unpin {
            config: format!("sha256:{:064x}", 1).parse().unwrap(),
            snapshot: SnapshotId::new("native", "chain"),
        }
    }

    fn refers_to(key: &str) -> Line {
        let info = Info {
            labels: [(label(&history()), key.to_owned())].into(),
            ..Info::default()
        };
        let info = InfoResponse { info: Some(info) };
        ("Content/Info", Answer::of(&info))
    }

    fn updated() -> Line {
        ("Content/Update", Answer::of(&UpdateResponse { info: None }))
    }

    #[tokio::test]
    async fn only_the_label_that_was_judged_is_taken_away() {
        let lost = |call| (call, Code::Unavailable.into());
        let missing = |call| (call, Code::NotFound.into());
        let cases = [
            (vec![refers_to("chain"), updated()], Some(Unpinned::Done)),
            (vec![refers_to("another")], Some(Unpinned::Changed)),
            (vec![missing("Content/Info")], Some(Unpinned::Gone)),
            (
                vec![refers_to("chain"), missing("Content/Update")],
                Some(Unpinned::Gone),
            ),
            (vec![lost("Content/Info")], None),
            (vec![refers_to("chain"), lost("Content/Update")], None),
        ];
        for (script, expected) in cases {
            let told = format!("{script:?}");
            let (store, asked) = recorded("2.0.0", script);
            let unpinned = store.unpin(&namespace(), &history()).await;
            assert_eq!(unpinned.ok(), expected, "{told}");
            assert!(asked.is_over(), "{told}");
        }
    }

    /// One label of one blob: whatever else is on it must stay.
    #[tokio::test]
    async fn only_that_label_is_changed() {
        let key = "containerd.io/gc.ref.snapshot.native";
        let change = |value: &str| UpdateRequest {
            info: Some(Info {
                digest: history().config.to_string(),
                labels: [(key.to_owned(), value.to_owned())].into(),
                ..Info::default()
            }),
            update_mask: Some(FieldMask {
                paths: vec![format!("labels.{key}")],
            }),
        };
        let script = [refers_to("chain"), updated(), updated()];
        let (store, asked) = recorded("2.0.0", script);
        store.unpin(&namespace(), &history()).await.unwrap();
        assert_eq!(asked.last::<UpdateRequest>(), change(""));
        store.repin(&namespace(), &history()).await.unwrap();
        assert_eq!(asked.last::<UpdateRequest>(), change("chain"));
    }

    #[tokio::test]
    async fn a_label_that_cannot_be_put_back_is_an_error() {
        let cases = [
            (updated(), true),
            (("Content/Update", Code::NotFound.into()), true),
            (("Content/Update", Code::Unavailable.into()), false),
        ];
        for (line, expected) in cases {
            let store = scripted("2.0.0", [line]);
            let repinned = store.repin(&namespace(), &history()).await;
            assert_eq!(repinned.is_ok(), expected);
        }
    }
}
