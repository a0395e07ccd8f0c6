//! Image records.
//!
//! Source: containerd `core/metadata/images.go`, `plugins/services/images`.

use containerd_client::services::v1::{
    CreateImageRequest, CreateImageResponse, DeleteImageRequest, GetImageRequest, GetImageResponse,
    Image, ListImagesRequest, ListImagesResponse, UpdateImageRequest, UpdateImageResponse,
};
use reclaim_model::CollectorRules;
use tonic::Status;

use super::call::{Unary, exists, not_found, time};
use crate::events::Event;
use crate::filter::Filters;
use crate::reply::Reply;

const IMAGE: &str = "image";

pub(super) fn call(method: &str, call: &mut Unary<'_>) -> Option<Result<Reply, Status>> {
    Some(match method {
        "List" => list(call),
        "Get" => get(call),
        "Create" => create(call),
        "Update" => update(call),
        "Delete" => delete(call),
        _ => return None,
    })
}

fn list(call: &Unary<'_>) -> Result<Reply, Status> {
    let request: ListImagesRequest = call.read()?;
    let filters = Filters::parse(&request.filters)?;
    let images = call
        .space()?
        .images
        .values()
        .filter(|image| filters.match_all(|field| value(image, field)))
        .cloned()
        .collect();
    Ok(Reply::one(&ListImagesResponse { images }))
}

fn value(image: &Image, field: &str) -> Option<String> {
    let target = image.target.clone().unwrap_or_default();
    match field {
        "name" => Some(image.name.clone()),
        "target.digest" => Some(target.digest),
        "target.mediatype" => Some(target.media_type),
        _ => {
            let label = field.strip_prefix("labels.")?;
            image.labels.get(label).cloned()
        }
    }
}

fn get(call: &Unary<'_>) -> Result<Reply, Status> {
    let GetImageRequest { name } = call.read()?;
    let found = call.space()?.images.get(&name).cloned();
    let image = found.ok_or_else(|| not_found(IMAGE, &name))?;
    Ok(Reply::one(&GetImageResponse { image: Some(image) }))
}

fn create(call: &mut Unary<'_>) -> Result<Reply, Status> {
    let request: CreateImageRequest = call.read()?;
    let mut image = request.image.unwrap_or_default();
    if image.name.is_empty() || has_no_target(&image) {
        return Err(Status::invalid_argument(
            "image name and target must be set",
        ));
    }
    let now = time(call.context.now);
    // 1.6 has no `source_date_epoch`.
    let has_epoch = !call.state.version.starts_with("1.6.");
    let epoch = request.source_date_epoch.filter(|_| has_epoch);
    image.created_at = epoch.or(now);
    image.updated_at = epoch.or(now);
    let images = &mut call.space_mut()?.images;
    if images.contains_key(&image.name) {
        return Err(exists(IMAGE, &image.name));
    }
    images.insert(image.name.clone(), image.clone());
    let event = Event::image_created(&call.context.namespace, &image);
    call.publish(event);
    Ok(Reply::one(&CreateImageResponse { image: Some(image) }))
}

fn has_no_target(image: &Image) -> bool {
    let target = image.target.as_ref();
    target.is_none_or(|target| target.digest.is_empty())
}

fn update(call: &mut Unary<'_>) -> Result<Reply, Status> {
    let request: UpdateImageRequest = call.read()?;
    let new = request.image.unwrap_or_default();
    let now = time(call.context.now);
    let images = &mut call.space_mut()?.images;
    let image = images
        .get_mut(&new.name)
        .ok_or_else(|| not_found(IMAGE, &new.name))?;
    let paths = request.update_mask.unwrap_or_default().paths;
    if paths.is_empty() {
        image.labels = new.labels;
        image.target = new.target;
    } else {
        for path in paths {
            match path.strip_prefix("labels.") {
                Some(label) => {
                    let value = new.labels.get(label).cloned().unwrap_or_default();
                    image.labels.insert(label.to_owned(), value);
                }
                None if path == "labels" => image.labels.clone_from(&new.labels),
                None if path == "target" => image.target.clone_from(&new.target),
                None => return Err(Status::invalid_argument(format!("field `{path}`"))),
            }
        }
    }
    // An empty value removes a label.
    image.labels.retain(|_, value| !value.is_empty());
    image.updated_at = now;
    let image = image.clone();
    let event = Event::image_updated(&call.context.namespace, &image);
    call.publish(event);
    Ok(Reply::one(&UpdateImageResponse { image: Some(image) }))
}

fn delete(call: &mut Unary<'_>) -> Result<Reply, Status> {
    let request: DeleteImageRequest = call.read()?;
    let name = request.name;
    let compares = call.state.rules() >= CollectorRules::V2_0;
    let expected = request
        .target
        .filter(|_| compares)
        .map(|target| target.digest);
    let images = &mut call.space_mut()?.images;
    let image = images.get(&name).ok_or_else(|| not_found(IMAGE, &name))?;
    let found = image.target.as_ref().map(|target| &target.digest);
    if expected.is_some() && expected.as_ref() != found {
        return Err(not_found(IMAGE, &name));
    }
    images.remove(&name);
    let event = Event::image_deleted(&call.context.namespace, &name);
    call.publish(event);
    call.collect_if(request.sync);
    Ok(Reply::one(&()))
}
