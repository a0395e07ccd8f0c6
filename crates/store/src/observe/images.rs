//! Listing image records.

use containerd_client::services::v1::{
    Image as ImageMessage, ListImagesRequest, ListImagesResponse,
};
use reclaim_model::{Gap, ImageRecord, Namespace};

use super::partition::in_parts;
use crate::client::Containerd;
use crate::convert;
use crate::error::StoreError;
use crate::long_answer::long_answer;
use crate::off_thread::blocking;

const OPERATION: &str = "list images";

/// The call by which they are listed: tens of thousands in one answer.
const LIST: &str = "/containerd.services.images.v1.Images/List";

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
        let converting = blocking(move || {
            let mut images = Vec::new();
            let mut gaps = Vec::new();
            for message in listed {
                match convert::image(message) {
                    Ok(image) => images.push(image),
                    Err(gap) => gaps.push(gap),
                }
            }
            images.sort_by(|a: &ImageRecord, b| a.name.cmp(&b.name));
            (images, gaps)
        });
        Ok(converting.await)
    }

    async fn images_by(
        &self,
        namespace: &Namespace,
        filters: Vec<String>,
    ) -> Result<Vec<ImageMessage>, StoreError> {
        let request = self.request(OPERATION, Some(namespace), ListImagesRequest { filters })?;
        let answer = long_answer(self.channel(), LIST, request).await;
        let answer: ListImagesResponse =
            answer.map_err(|status| StoreError::new(OPERATION, status).within(namespace))?;
        Ok(answer.images)
    }
}
