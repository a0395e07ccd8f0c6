//! Only the digest of the engine itself narrows a use to one of several images with the same
//! layers.

use proptest::prelude::*;
use reclaim_model::{Container, ContainerSource, Document, IMAGE_DIGEST_LABEL, KeepReason};

use super::oracle::{chains, may_narrow};
use super::takes_no_more;
use crate::random::scenes;
use crate::world::{World, all};

/// Changes all containers of the pruned namespace, recorded and listed.
fn change_containers(world: &mut World, change: impl Fn(&mut Container)) {
    let mut registered = std::mem::take(&mut world.registered);
    let recorded = &mut world.within(World::NAMESPACE).here().containers;
    recorded.iter_mut().chain(&mut registered).for_each(change);
    world.registered = registered;
}

fn forget_digests(container: &mut Container) {
    container.image_digest = None;
    container.image_manifest = None;
    container.image_config = None;
}

proptest! {
    #[test]
    fn a_digest_that_proves_nothing_takes_nothing_more(scene in scenes()) {
        let mut world = scene.world();
        let inventory = world.inventory();
        change_containers(&mut world, |container| {
            if may_narrow(&inventory, container) {
                forget_digests(container);
            }
        });
        let after = world.prune_by(all());
        change_containers(&mut world, forget_digests);
        takes_no_more(&world.prune_by(all()), &after)?;
    }

    #[test]
    fn a_label_that_images_may_have_themselves_takes_nothing_more(scene in scenes()) {
        let mut world = scene.world();
        for document in world.documents.values_mut() {
            if let Document::Config(config) = document {
                config.labels.insert(IMAGE_DIGEST_LABEL.to_owned(), String::new());
            }
        }
        change_containers(&mut world, |container| {
            if container.source == ContainerSource::Engine {
                container.source = ContainerSource::Label;
                container.image_manifest = None;
            } else {
                forget_digests(container);
            }
        });
        let after = world.prune_by(all());
        change_containers(&mut world, forget_digests);
        takes_no_more(&world.prune_by(all()), &after)?;
    }

    #[test]
    fn a_digest_narrows_a_use_only_of_images_with_the_same_layers(scene in scenes()) {
        let mut world = scene.world();
        let after = world.prune_by(all());
        change_containers(&mut world, forget_digests);
        let before = world.prune_by(all());
        let inventory = world.inventory();
        let kept = before.plan.kept.iter();
        for kept in kept.filter(|it| it.reason == KeepReason::InUse) {
            // The use is then that of another image with the same layers, which stays.
            let of_kept = chains(&inventory, &kept.target);
            let mut others = after.plan.kept.iter();
            let stays = others.any(|it| {
                it.target == kept.target || !chains(&inventory, &it.target).is_disjoint(&of_kept)
            });
            prop_assert!(stays, "{kept:?}");
        }
    }
}
