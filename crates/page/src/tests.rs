//! The page of a store with hostile names, and of a very large one.

use reclaim_model::{
    Column, DiskUsage, Holder, HolderKind, ImageSize, ImageUsage, KeepReason, Namespace,
    NamespaceMap, NamespaceUsage, ObjectKind, RemoveReason, StoreMap, StoredObject, UsageByColumn,
};

use crate::Page;

const HOSTILE: &str = "evil/</script><script>alert(1)</script><!--\"'&\u{202e}\u{1b}[31m:1";

/// A namespace in which every image has a layer of its own, and all share one.
fn store(images: u32, name: impl Fn(u32) -> String) -> StoreMap {
    let image = |number: u32| ImageUsage {
        name: name(number),
        target: format!("sha256:{number:064x}").parse().unwrap(),
        created: None,
        size: ImageSize {
            content_bytes: 3000 + u64::from(number),
            unpacked_bytes: 0,
            shared_bytes: 2000,
        },
        reclaimable_alone_bytes: 1000,
        containers: 0,
        holders: match number {
            0 => vec![Holder::new(HolderKind::Container, HOSTILE)],
            _ => Vec::new(),
        },
        verdict: match number {
            0 => Err(KeepReason::InUse),
            _ => Ok(RemoveReason::Unused),
        },
    };
    let object = |images: Vec<u32>, bytes: u64, column: Column| StoredObject {
        kind: ObjectKind::Layer,
        id: format!("sha256:{bytes:064x}"),
        bytes: Some(bytes),
        column,
        images,
        held: false,
    };
    let own = (0..images).map(|number| {
        let column = if number == 0 {
            Column::InUse
        } else {
            Column::Unused
        };
        object(vec![number], 1000 + u64::from(number), column)
    });
    let shared = object((0..images).collect(), 2000, Column::InUse);
    let objects: Vec<StoredObject> = own.chain([shared]).collect();
    let mut usage = UsageByColumn::default();
    for object in &objects {
        usage.add_blob(object.column, object.bytes.unwrap());
    }
    let namespace: Namespace = "default".parse().unwrap();
    let mut counted = NamespaceUsage::new(namespace, (0..images).map(image).collect(), Vec::new());
    counted.usage = usage.clone();
    StoreMap {
        observed_at: "2026-01-02T03:04:05Z".parse().unwrap(),
        usage: DiskUsage {
            total: usage,
            namespaces: vec![counted],
            orphaned_known: true,
            outside_records: None,
            warnings: vec![HOSTILE.to_owned()],
        },
        namespaces: vec![NamespaceMap {
            objects,
            images: vec![Vec::new(); images as usize],
        }],
    }
}

fn page(map: &StoreMap) -> String {
    let page = Page {
        map,
        host: HOSTILE,
        records: None,
    };
    page.html()
}

#[test]
fn a_shared_layer_is_drawn_once_and_names_are_text() {
    let map = store(3, |number| format!("{HOSTILE}{number}"));
    let html = page(&map);
    assert_eq!(html.matches("role=\"listitem\"").count(), 4, "{html}");
    assert_eq!(
        html.matches("Shared by ").count(),
        2,
        "in the label and in the title"
    );
    // Only the script of the page itself.
    assert_eq!(html.matches("<script").count(), 1);
    assert_eq!(
        html.matches("alert(1)").count(),
        html.matches("&lt;script&gt;alert(1)").count()
    );
    assert!(!html.contains('\u{202e}') && !html.contains('\u{1b}'));
}

#[test]
fn a_large_store_has_a_bounded_number_of_elements() {
    let map = store(100_000, |number| format!("</script>app:{number}"));
    let html = page(&map);
    let (rows, rest) = html.split_once("id=\"rest\">").unwrap();
    assert_eq!(rows.matches("<tr>").count(), 2 + 1 + 500 + 1);
    assert!(
        rows.matches("<svg").count() < 700,
        "{}",
        rows.matches("<svg").count()
    );
    let (json, after) = rest.split_once("</script>").unwrap();
    assert_eq!(json.matches("\\u003c/script>app:").count(), 100_000 - 500);
    assert_eq!(after.matches("<script").count(), 1);
    // Nothing of the bytes is lost by merging the small ones.
    assert!(rows.contains("smaller ones: "));
}

#[test]
fn the_policy_allows_the_own_style_and_script_only() {
    let policy = crate::security_policy();
    assert!(policy.starts_with("default-src 'none'; "));
    assert!(!policy.contains("unsafe"));
    let html = page(&store(1, |number| number.to_string()));
    for attribute in [" style=", " onclick=", " src=", " href="] {
        assert!(!html.contains(attribute), "{attribute}");
    }
}
