//! The other services: version, plugins, namespaces, tasks, sandboxes, and events of clients.

use containerd_client::services::v1::sandbox::StoreListResponse;
use containerd_client::services::v1::{
    CreateNamespaceRequest, CreateNamespaceResponse, ListNamespacesResponse, ListTasksResponse,
    Namespace, Plugin, PluginsRequest, PluginsResponse, PublishRequest, ServerResponse,
    VersionResponse,
};
use containerd_client::types::Sandbox;
use containerd_client::types::v1::{Process, Status as TaskStatus};
use tonic::Status;

use super::call::{Unary, exists};
use crate::events::Event;
use crate::filter::Filters;
use crate::reply::Reply;

/// The root of the content store that the plugin reports. It does not exist.
const CONTENT_ROOT: &str = "/nonexistent/io.containerd.content.v1.content";

pub(super) fn call(method: &str, call: &mut Unary<'_>) -> Option<Result<Reply, Status>> {
    Some(match method {
        "Version/Version" => Ok(version(call)),
        "Introspection/Server" => Ok(Reply::one(&ServerResponse::default())),
        "Introspection/Plugins" => plugins(call),
        "Namespaces/List" => Ok(namespaces(call)),
        "Namespaces/Create" => create_namespace(call),
        "Tasks/List" => tasks(call),
        "Store/List" if call.state.version.starts_with("1.6.") => return None,
        "Store/List" => sandboxes(call),
        "Events/Publish" => publish(call),
        _ => return None,
    })
}

fn version(call: &Unary<'_>) -> Reply {
    Reply::one(&VersionResponse {
        version: call.state.version.clone(),
        revision: String::new(),
    })
}

fn plugins(call: &Unary<'_>) -> Result<Reply, Status> {
    let request: PluginsRequest = call.read()?;
    let filters = Filters::parse(&request.filters)?;
    let content = Plugin {
        r#type: "io.containerd.content.v1".to_owned(),
        id: "content".to_owned(),
        exports: [("root".to_owned(), CONTENT_ROOT.to_owned())].into(),
        ..Plugin::default()
    };
    let snapshotters = call.state.snapshotters.iter().map(|id| Plugin {
        r#type: "io.containerd.snapshotter.v1".to_owned(),
        id: id.clone(),
        ..Plugin::default()
    });
    let sandbox_image = call.state.sandbox_image.as_ref();
    let cri = sandbox_image.map(|image| Plugin {
        r#type: "io.containerd.cri.v1".to_owned(),
        id: "images".to_owned(),
        exports: [("SandboxImage".to_owned(), image.clone())].into(),
        ..Plugin::default()
    });
    let plugins = snapshotters.chain([content]).chain(cri).filter(|plugin| {
        filters.match_all(|field| match field {
            "type" => Some(plugin.r#type.clone()),
            "id" => Some(plugin.id.clone()),
            _ => None,
        })
    });
    Ok(Reply::one(&PluginsResponse {
        plugins: plugins.collect(),
    }))
}

fn namespaces(call: &Unary<'_>) -> Reply {
    let namespaces = call.state.namespaces.iter();
    let namespaces = namespaces.map(|(name, namespace)| Namespace {
        name: name.clone(),
        labels: namespace.labels.clone().into_iter().collect(),
    });
    Reply::one(&ListNamespacesResponse {
        namespaces: namespaces.collect(),
    })
}

fn create_namespace(call: &mut Unary<'_>) -> Result<Reply, Status> {
    let request: CreateNamespaceRequest = call.read()?;
    let namespace = request.namespace.unwrap_or_default();
    if call.state.namespaces.contains_key(&namespace.name) {
        return Err(exists("namespace", &namespace.name));
    }
    let labels = namespace.labels.clone().into_iter().collect();
    call.state.namespace(&namespace.name).labels = labels;
    let namespace = Some(namespace);
    Ok(Reply::one(&CreateNamespaceResponse { namespace }))
}

fn tasks(call: &Unary<'_>) -> Result<Reply, Status> {
    let tasks = call.space()?.tasks.iter().map(|id| Process {
        container_id: id.clone(),
        id: id.clone(),
        status: TaskStatus::Running.into(),
        ..Process::default()
    });
    Ok(Reply::one(&ListTasksResponse {
        tasks: tasks.collect(),
    }))
}

fn sandboxes(call: &Unary<'_>) -> Result<Reply, Status> {
    let sandboxes = call.space()?.sandboxes.iter();
    let list = sandboxes.map(|(id, labels)| Sandbox {
        sandbox_id: id.clone(),
        labels: labels.clone().into_iter().collect(),
        ..Sandbox::default()
    });
    Ok(Reply::one(&StoreListResponse {
        list: list.collect(),
    }))
}

fn publish(call: &mut Unary<'_>) -> Result<Reply, Status> {
    let request: PublishRequest = call.read()?;
    call.space()?;
    call.publish(Event {
        namespace: call.context.namespace.clone(),
        topic: request.topic,
        message: request.event,
    });
    Ok(Reply::one(&()))
}
