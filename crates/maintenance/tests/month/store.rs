//! Pulls, containers and removals by others.

use reclaim_fake::api::services::v1::Container;
use reclaim_fake::api::services::v1::snapshots::{Info as SnapshotInfo, Kind};
use reclaim_fake::{Labels, Snapshot};

use crate::host::{CRI, Host, NAMESPACES};
use crate::picture::Space;
use crate::registry::{BLOCK, ImageId, SNAPSHOTTER};

/// What the writable layer of a container takes.
pub(crate) const ACTIVE: u64 = 4 * BLOCK;

impl Host {
    /// Returns what is in a namespace.
    pub(crate) fn space(&self, namespace: &str) -> Space {
        self.fake
            .look(|state| Space::of(&state.namespaces[namespace], &self.registry))
    }

    /// Pulls, starts, stops or removes something at random.
    pub(crate) fn happen_in_store(&mut self) {
        let namespace = *self.dice.pick(&NAMESPACES);
        let before = self.space(namespace);
        match self.dice.below(100) {
            0..=44 => self.pull(namespace),
            45..=66 => self.create(namespace, &before),
            67..=74 => self.task(namespace, &before),
            75..=94 => self.delete(namespace, &before),
            _ => self.remove(namespace, &before),
        }
        self.note_orphans(namespace, &before);
    }

    /// The names that a pull writes.
    fn names(&self, namespace: &str, image: ImageId, latest: bool) -> Vec<String> {
        let it = &self.registry.images[image];
        let tag = if latest { it.latest() } else { it.tag() };
        if namespace != CRI {
            return vec![tag];
        }
        let by_digest = format!("docker.io/library/{}@{}", it.repository, it.target);
        vec![tag, by_digest, it.config.clone()]
    }

    fn pull(&mut self, namespace: &'static str) {
        let id = self.dice.below(self.registry.images.len());
        let latest = self.dice.percent(25);
        let image = self.registry.images[id].clone();
        let names = if namespace != CRI && self.dice.percent(8) {
            vec![image.preloaded()]
        } else {
            self.names(namespace, id, latest)
        };
        let (now, capacity) = (self.clock.now(), self.fake.look(|it| it.capacity));
        let labels: Labels = if namespace == CRI {
            [("io.cri-containerd.image".to_owned(), "managed".to_owned())].into()
        } else {
            Labels::new()
        };
        let written = self.fake.change(|state| {
            let mut pulled = state.clone();
            image.store(&mut pulled, namespace);
            if capacity.is_some_and(|it| pulled.occupied(BLOCK) > it) {
                return Vec::new();
            }
            *state = pulled;
            let images = &state.namespace(namespace).images;
            let target = image.target.clone();
            let is_there = |name: &String| {
                let target_there = images.get(name).and_then(|it| it.target.as_ref());
                target_there.is_some_and(|it| it.digest == target)
            };
            let new: Vec<String> = names.into_iter().filter(|it| !is_there(it)).collect();
            for name in &new {
                let mut record = image.record(name);
                record.labels.extend(labels.clone());
                state.put_image(namespace, record, now);
            }
            new
        });
        if let Some(name) = written.first() {
            self.write(&format!("pull {namespace} {name} (image {id})"));
            self.used(namespace, id);
        }
    }

    fn create(&mut self, namespace: &'static str, before: &Space) {
        let names = before.records.keys();
        let names: Vec<&String> = names.filter(|it| it.contains("/library/")).collect();
        if names.is_empty() || self.disk.left() < 64 * BLOCK {
            return;
        }
        let name = (*self.dice.pick(&names)).clone();
        let image = before.records[&name].image;
        self.containers += 1;
        let id = format!("c{}", self.containers);
        self.write(&format!(
            "create {namespace} {id} of {name} (image {image})"
        ));
        let parts = self.registry.images[image].clone();
        let chain = parts.chain.clone();
        let key = format!("active-{id}");
        let container = Container {
            id,
            image: name,
            snapshotter: SNAPSHOTTER.to_owned(),
            snapshot_key: key.clone(),
            ..Container::default()
        };
        let snapshot = Snapshot {
            info: SnapshotInfo {
                name: key.clone(),
                parent: chain,
                kind: Kind::Active.into(),
                ..SnapshotInfo::default()
            },
            bytes: ACTIVE,
            inodes: 4,
        };
        self.fake.change(|state| {
            let below = (SNAPSHOTTER.to_owned(), parts.chain.clone());
            if !state.namespace(namespace).snapshots.contains_key(&below) {
                // The engine unpacks it again.
                parts.store(state, namespace);
            }
            state.put_snapshot(namespace, (SNAPSHOTTER.to_owned(), key), snapshot);
            let id = container.id.clone();
            state.put_container(namespace, container);
            state.set_running(namespace, &id, true);
        });
        self.used(namespace, image);
    }

    /// A container's process begins or ends.
    fn task(&mut self, namespace: &'static str, before: &Space) {
        let Some(id) = self.some_container(before) else {
            return;
        };
        self.write(&format!("task {namespace} {id}"));
        let image = before.containers[&id].image;
        self.fake.change(|state| {
            let is_running = state.namespaces[namespace].tasks.contains(&id);
            state.set_running(namespace, &id, !is_running);
        });
        self.used(namespace, image);
    }

    fn delete(&mut self, namespace: &'static str, before: &Space) {
        let Some(id) = self.some_container(before) else {
            return;
        };
        let image = before.containers[&id].image;
        self.write(&format!("delete {namespace} {id} of image {image}"));
        self.fake
            .change(|state| state.remove_container(namespace, &id));
        self.used(namespace, image);
        self.perhaps_collect();
    }

    /// Removes a record, as another client does.
    fn remove(&mut self, namespace: &'static str, before: &Space) {
        let names: Vec<&String> = before.records.keys().collect();
        if names.is_empty() {
            return;
        }
        let name = (*self.dice.pick(&names)).clone();
        self.write(&format!("remove {namespace} {name}"));
        self.fake
            .change(|state| state.remove_image(namespace, &name));
        self.perhaps_collect();
    }

    fn perhaps_collect(&mut self) {
        if self.dice.percent(80) {
            self.fake.collect();
        }
    }

    fn some_container(&mut self, before: &Space) -> Option<String> {
        let ids: Vec<&String> = before.containers.keys().collect();
        (!ids.is_empty()).then(|| (*self.dice.pick(&ids)).clone())
    }
}
