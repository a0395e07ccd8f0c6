//! Listing image records, in parts where one message cannot carry them all.
//!
//! `images.List` has no stream, and containerd sends at most 16 MiB in one message: some
//! 40,000 records. When it refuses, the list is asked for again by the beginning of the target
//! digest, sixteen parts at a time, until each fits.

use containerd_client::services::v1::ListImagesRequest;
use containerd_client::services::v1::images_client::ImagesClient;
use futures::future::BoxFuture;
use reclaim_model::{Gap, ImageRecord, Namespace};
use tonic::Code;

use crate::client::{Containerd, MAX_MESSAGE};
use crate::convert;
use crate::error::StoreError;

const OPERATION: &str = "list images";

/// The algorithms that containerd accepts in a target. Every record is in one of these parts.
const ALGORITHMS: [&str; 3] = ["sha256:", "sha384:", "sha512:"];

/// How far parts are divided: 16⁴ of them hold more records than any message limit allows for.
const MAX_PREFIX_DIGITS: usize = 4;

/// Records, and those that cannot be read.
type Listed = (Vec<ImageRecord>, Vec<Gap>);

impl Containerd {
    /// Lists the images of a namespace, sorted by name, and the records that cannot be read.
    ///
    /// # Errors
    ///
    /// If the list cannot be had whole.
    pub async fn images(&self, namespace: &Namespace) -> Result<Listed, StoreError> {
        let mut listed = Listed::default();
        match self.images_by(namespace, Vec::new(), &mut listed).await {
            Err(error) if is_too_large(&error) => {
                for algorithm in ALGORITHMS {
                    let prefix = algorithm.to_owned();
                    self.images_below(namespace, prefix, 0, &mut listed).await?;
                }
            }
            outcome => outcome?,
        }
        let (mut images, mut gaps) = listed;
        // A tag that moves while the parts are listed may be in two of them.
        images.sort_by(|a, b| a.name.cmp(&b.name));
        images.dedup_by(|later, earlier| later.name == earlier.name);
        gaps.sort_unstable();
        gaps.dedup();
        Ok((images, gaps))
    }

    /// Lists the images whose target begins with `prefix`, which has so many hex `digits`.
    fn images_below<'a>(
        &'a self,
        namespace: &'a Namespace,
        prefix: String,
        digits: usize,
        listed: &'a mut Listed,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let filter = format!(r#"target.digest~="^{prefix}""#);
            match self.images_by(namespace, vec![filter], listed).await {
                Err(error) if is_too_large(&error) && digits < MAX_PREFIX_DIGITS => {}
                outcome => return outcome,
            }
            for digit in "0123456789abcdef".chars() {
                let prefix = format!("{prefix}{digit}");
                self.images_below(namespace, prefix, digits + 1, listed)
                    .await?;
            }
            Ok(())
        })
    }

    async fn images_by(
        &self,
        namespace: &Namespace,
        filters: Vec<String>,
        listed: &mut Listed,
    ) -> Result<(), StoreError> {
        let request = self.request(OPERATION, Some(namespace), ListImagesRequest { filters })?;
        let mut client = ImagesClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE);
        let answer = client.list(request).await;
        let answer =
            answer.map_err(|status| StoreError::new(OPERATION, status).within(namespace))?;
        for message in answer.into_inner().images {
            match convert::image(message) {
                Ok(image) => listed.0.push(image),
                Err(gap) => listed.1.push(gap),
            }
        }
        Ok(())
    }
}

fn is_too_large(error: &StoreError) -> bool {
    matches!(
        error.code(),
        Some(Code::ResourceExhausted | Code::OutOfRange)
    )
}
