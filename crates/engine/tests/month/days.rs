//! What happens on a host: random events, which follow from the seed.

use reclaim_engine::LastUseIndex;
use reclaim_model::{Happening, Namespace, RecordTimes, WrittenRecord};

use crate::clock::seconds;
use crate::diary::{Broken, hold};
use crate::month::Month;
use crate::registry::{BLOCK, ImageId};
use crate::world::Record;

impl Month {
    /// Something happens.
    pub(crate) fn happen(&mut self) -> Result<(), Broken> {
        match self.dice.below(100) {
            0..=75 => self.happen_in_store()?,
            76..=80 => self.other_data(),
            81..=84 if !self.is_steady => self.jump(),
            85 => self.kill()?,
            86 if self.dice.percent(50) => self.restart()?,
            88..=90 => self.lose_stream(),
            91..=92 if self.daemon.index.is_some() => {
                self.write("new configuration");
                self.plan_ahead();
                self.rhythm.started(&self.world.clock);
            }
            93..=94 => self.undo(),
            95..=96 if self.daemon.index.is_some() => {
                let policy = self.dice.below(self.policies.len());
                self.run_on_demand(policy)?;
            }
            _ => {}
        }
        if self.daemon.index.is_none() && self.dice.percent(60) {
            self.write("the daemon starts");
            self.tally.starts += 1;
            self.start()?;
        } else if self.daemon.index.is_some() && !self.daemon.is_listening && self.dice.percent(60)
        {
            self.write("the daemon listens again");
            self.daemon.is_listening = true;
            self.look()?;
        }
        if self.dice.percent(1) {
            self.save()?;
        }
        Ok(())
    }

    /// Somebody pulls, runs, stops or removes something.
    pub(crate) fn happen_in_store(&mut self) -> Result<(), Broken> {
        let namespaces: Vec<Namespace> = self.world.spaces.keys().cloned().collect();
        let namespace = self.dice.pick(&namespaces).clone();
        match self.dice.below(100) {
            0..=44 => self.pull(&namespace)?,
            45..=66 => self.create(&namespace),
            67..=74 => self.task(&namespace),
            75..=94 => self.delete(&namespace),
            _ => self.remove(&namespace),
        }
        Ok(())
    }

    fn pull(&mut self, namespace: &Namespace) -> Result<(), Broken> {
        let image = self.dice.below(self.world.registry.images.len());
        let latest = self.dice.percent(25);
        let written = self.world.pull(namespace, image, latest);
        let Some(name) = written.first() else {
            return Ok(());
        };
        self.write(&format!("pull {namespace} {name} (image {image})"));
        let key = (namespace.clone(), image);
        let now = self.world.now();
        let before = self.daemon.index.as_ref().map_or(0, LastUseIndex::repulls);
        for name in &written {
            let record = self.world.space(namespace).records[name].clone();
            self.tell_written(namespace, name, &record);
        }
        if !self.daemon.is_hearing() {
            return Ok(());
        }
        // A name that is moved keeps the time at which it was made.
        let records = &self.world.spaces[namespace].records;
        let is_new = written.iter().any(|name| records[name].created == now);
        let gone = self.daemon.memory.gone(&key);
        let is_unset = gone.is_some_and(|gone| self.world.clock.set < gone);
        for name in &written {
            self.daemon.memory.is_there(&key, name, now);
        }
        let must = self
            .daemon
            .memory
            .pulled(&key, &written, now, is_new && is_unset);
        let after = self.daemon.index().repulls();
        hold(after > before || !must, || {
            format!("the re-pull of image {image} in {namespace} was not counted")
        })?;
        // A moved name ends the removal of another image besides.
        let limit = written.len().min(2) as u64;
        hold(after <= before + limit, || {
            "one pull counted more than once".to_owned()
        })?;
        self.tally.repulls += usize::from(must);
        Ok(())
    }

    pub(crate) fn tell_written(&mut self, namespace: &Namespace, name: &str, record: &Record) {
        let written = WrittenRecord {
            target: self.world.registry.images[record.image].target.clone(),
            times: RecordTimes {
                created: Some(record.created),
                updated: Some(record.created),
            },
        };
        self.tell(
            namespace,
            Happening::ImageWritten {
                name: name.to_owned(),
                record: Some(written),
            },
        );
    }

    fn create(&mut self, namespace: &Namespace) {
        let names: Vec<String> = self
            .world
            .space(namespace)
            .records
            .keys()
            .cloned()
            .collect();
        let names: Vec<&String> = names.iter().filter(|it| it.contains("/library/")).collect();
        if names.is_empty() || self.world.left() < 64 * BLOCK {
            return;
        }
        let name = self.dice.pick(&names).to_owned().clone();
        let id = self.world.create(namespace, &name);
        let image = self.world.space(namespace).containers[&id].image;
        self.write(&format!(
            "create {namespace} {id} of {name} (image {image})"
        ));
        let parent = Some(self.world.registry.images[image].chain.clone());
        self.tell(namespace, Happening::SnapshotPrepared { parent });
        let heard = self.tell(namespace, Happening::ContainerWritten { id, image: name });
        if heard {
            let now = self.world.now();
            self.daemon.memory.begin(&(namespace.clone(), image), now);
        }
    }

    /// A container's process begins or ends.
    fn task(&mut self, namespace: &Namespace) {
        let Some(container) = self.some_container(namespace) else {
            return;
        };
        let images = self.used_by(namespace, &container);
        self.write(&format!("task {namespace} {container}"));
        if self.tell(namespace, Happening::Task { container }) {
            self.touch(namespace, &images);
        }
    }

    fn delete(&mut self, namespace: &Namespace) {
        let Some(id) = self.some_container(namespace) else {
            return;
        };
        let images = self.used_by(namespace, &id);
        self.write(&format!("delete {namespace} {id} of images {images:?}"));
        self.world.space(namespace).containers.remove(&id);
        if self.tell(namespace, Happening::ContainerDeleted { id }) {
            self.touch(namespace, &images);
        }
        self.perhaps_collect();
    }

    /// Somebody else than us removes a record.
    fn remove(&mut self, namespace: &Namespace) {
        let space = self.world.space(namespace);
        let names: Vec<String> = space.records.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let name = self.dice.pick(&names).clone();
        self.write(&format!("remove {namespace} {name}"));
        self.world.space(namespace).records.remove(&name);
        self.tell(namespace, Happening::ImageDeleted { name });
        self.perhaps_collect();
    }

    fn perhaps_collect(&mut self) {
        if self.dice.percent(80) {
            self.world.collect();
        }
    }

    fn some_container(&mut self, namespace: &Namespace) -> Option<String> {
        let ids: Vec<&String> = self.world.spaces[namespace].containers.keys().collect();
        (!ids.is_empty()).then(|| (*self.dice.pick(&ids)).clone())
    }

    /// The images that a container uses by all that can be seen.
    fn used_by(&self, namespace: &Namespace, id: &str) -> Vec<ImageId> {
        let space = &self.world.spaces[namespace];
        let container = &space.containers[id];
        let by_name = space.records.get(&container.name).map(|it| it.image);
        let images = [Some(container.image), by_name].into_iter().flatten();
        let there = space.images();
        images.filter(|it| there.contains(it)).collect()
    }

    fn touch(&mut self, namespace: &Namespace, images: &[ImageId]) {
        let now = self.world.now();
        for image in images {
            self.daemon.memory.touch(&(namespace.clone(), *image), now);
        }
    }

    fn other_data(&mut self) {
        let total = self.world.total;
        let wanted = total / 100 * self.dice.below(45) as u64 / BLOCK * BLOCK;
        let room = total.saturating_sub(self.world.on_disk());
        self.world.other = wanted.min(room);
        let left = self.world.left();
        self.write(&format!("other data: {left} of {total} bytes are left"));
    }

    fn jump(&mut self) {
        let most = *self.dice.pick(&[120, 3 * 3600, 40 * 3600, 12 * 86_400]);
        let by = seconds(self.dice.between(1, most));
        let by = if self.dice.percent(50) { by } else { -by };
        self.world.clock.jump(by);
        self.write(&format!("the clock is set by {by:#}"));
        self.tally.jumps += 1;
        // The daemon glances at it twice a minute.
        let glance = seconds(self.dice.below(31));
        self.world.clock.pass(glance);
    }

    /// kill -9: what was not saved is lost.
    fn kill(&mut self) -> Result<(), Broken> {
        if self.daemon.index.is_none() {
            return Ok(());
        }
        if self.dice.percent(70) {
            self.save()?;
            for _ in 0..self.dice.below(3) {
                self.happen_in_store()?;
                self.settle()?;
            }
        }
        self.write("kill -9 of the daemon");
        self.tally.kills += 1;
        self.end();
        Ok(())
    }

    fn restart(&mut self) -> Result<(), Broken> {
        self.write("the daemon ends");
        self.save()?;
        self.end();
        Ok(())
    }

    fn lose_stream(&mut self) {
        if self.daemon.is_hearing() {
            self.write("the daemon is cut off from the events");
            self.daemon.is_listening = false;
        }
    }

    /// Somebody restores what a run removed.
    fn undo(&mut self) {
        let now = self.world.now();
        let spaces = self.world.spaces.iter();
        let held = spaces.flat_map(|(namespace, space)| {
            let live = space.holds.iter().filter(|it| it.expires >= now);
            live.map(|it| (namespace.clone(), it.clone()))
        });
        let Some((namespace, held)) = held.last() else {
            return;
        };
        self.write(&format!("undo {namespace} {:?}", held.records.keys()));
        for (name, record) in held.records {
            let restored = Record {
                created: now,
                updated: now,
                ..record
            };
            let space = self.world.space(&namespace);
            if space.records.contains_key(&name) {
                continue;
            }
            self.tell(&namespace, Happening::ImageRestoring { name: name.clone() });
            let space = self.world.space(&namespace);
            space.records.insert(name.clone(), restored.clone());
            self.tell_written(&namespace, &name, &restored);
            let key = (namespace.clone(), restored.image);
            self.daemon.memory.restored(&key);
            if self.daemon.is_hearing() {
                self.daemon.memory.touch(&key, now);
            }
        }
        let space = self.world.space(&namespace);
        space.holds.retain(|it| it.run != held.run);
        self.world.collect();
    }
}
