//! Listing image records, in parts where one message cannot carry them all.
//!
//! `images.List` has no stream, and containerd sends at most 16 MiB in one message: some
//! 40,000 records. When it refuses, the list is asked for again by the beginning of the target
//! digest, sixteen parts at a time, until each fits.

use containerd_client::services::v1::ListImagesRequest;
use containerd_client::services::v1::images_client::ImagesClient;
use futures::future::BoxFuture;
use reclaim_model::{ImageRecord, Namespace};
use tonic::Code;

use crate::client::{Containerd, MAX_MESSAGE};
use crate::convert;
use crate::error::StoreError;

const OPERATION: &str = "list images";

/// The algorithms that containerd accepts in a target. Every record is in one of these parts.
const ALGORITHMS: [&str; 3] = ["sha256:", "sha384:", "sha512:"];

/// How far parts are divided: 16⁴ of them hold more records than any message limit allows for.
const MAX_PREFIX_DIGITS: usize = 4;

impl Containerd {
    /// Lists the images of a namespace, sorted by name.
    ///
    /// # Errors
    ///
    /// If the list cannot be had whole.
    pub async fn images(&self, namespace: &Namespace) -> Result<Vec<ImageRecord>, StoreError> {
        let mut images = match self.images_by(namespace, Vec::new()).await {
            Err(error) if is_too_large(&error) => {
                let mut images = Vec::new();
                for algorithm in ALGORITHMS {
                    images.extend(
                        self.images_below(namespace, algorithm.to_owned(), 0)
                            .await?,
                    );
                }
                images
            }
            listed => listed?,
        };
        // A tag that moves while the parts are listed may be in two of them.
        images.sort_by(|a, b| a.name.cmp(&b.name));
        images.dedup_by(|later, earlier| later.name == earlier.name);
        Ok(images)
    }

    /// Lists the images whose target begins with `prefix`, which has so many hex `digits`.
    fn images_below<'a>(
        &'a self,
        namespace: &'a Namespace,
        prefix: String,
        digits: usize,
    ) -> BoxFuture<'a, Result<Vec<ImageRecord>, StoreError>> {
        Box::pin(async move {
            let filter = format!(r#"target.digest~="^{prefix}""#);
            match self.images_by(namespace, vec![filter]).await {
                Err(error) if is_too_large(&error) && digits < MAX_PREFIX_DIGITS => {}
                listed => return listed,
            }
            let mut images = Vec::new();
            for digit in "0123456789abcdef".chars() {
                let prefix = format!("{prefix}{digit}");
                images.extend(self.images_below(namespace, prefix, digits + 1).await?);
            }
            Ok(images)
        })
    }

    async fn images_by(
        &self,
        namespace: &Namespace,
        filters: Vec<String>,
    ) -> Result<Vec<ImageRecord>, StoreError> {
        let request = self.request(OPERATION, Some(namespace), ListImagesRequest { filters })?;
        let mut client = ImagesClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE);
        let answer = client.list(request).await;
        let answer =
            answer.map_err(|status| StoreError::new(OPERATION, status).within(namespace))?;
        answer
            .into_inner()
            .images
            .into_iter()
            .map(convert::image)
            .collect()
    }
}

fn is_too_large(error: &StoreError) -> bool {
    matches!(
        error.code(),
        Some(Code::ResourceExhausted | Code::OutOfRange)
    )
}
