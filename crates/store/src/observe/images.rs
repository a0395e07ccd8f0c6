//! Listing image records.

use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::{Image as ImageMessage, ListImagesRequest};
use reclaim_model::{Gap, ImageRecord, Namespace};

use super::partition::in_parts;
use crate::client::{Containerd, MAX_MESSAGE};
use crate::convert;
use crate::error::StoreError;

const OPERATION: &str = "list images";

impl Containerd {
    /// Lists the images of a namespace, sorted by name, and the records that cannot be read.
    ///
    /// # Errors
    ///
    /// If the list cannot be had whole.
    pub async fn images(
        &self,
        namespace: &Namespace,
    ) -> Result<(Vec<ImageRecord>, Vec<Gap>), StoreError> {
        let listed = in_parts("name", |filters| self.images_by(namespace, filters)).await?;
        let mut images = Vec::new();
        let mut gaps = Vec::new();
        for message in listed {
            match convert::image(message) {
                Ok(image) => images.push(image),
                Err(gap) => gaps.push(gap),
            }
        }
        images.sort_by(|a: &ImageRecord, b| a.name.cmp(&b.name));
        Ok((images, gaps))
    }

    async fn images_by(
        &self,
        namespace: &Namespace,
        filters: Vec<String>,
    ) -> Result<Vec<ImageMessage>, StoreError> {
        let request = self.request(OPERATION, Some(namespace), ListImagesRequest { filters })?;
        let mut client = ImagesClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE);
        let answer = client.list(request).await;
        let answer =
            answer.map_err(|status| StoreError::new(OPERATION, status).within(namespace))?;
        Ok(answer.into_inner().images)
    }
}
