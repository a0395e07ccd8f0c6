//! The page of a store with hostile names, and of a very large one.

use reclaim_model::{
    Column, DiskUsage, Holder, HolderKind, ImageSize, ImageUsage, KeepReason, Namespace,
    NamespaceMap, NamespaceUsage, ObjectKind, RemoveReason, StoreMap, StoredObject, UsageByColumn,
};

use crate::{FillLine, FillPlot, Page, PlannedImage, PlannedRemoval, PlotMark, TrialPage};

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
        policies: Err("nothing is known"),
        filling: &[],
    };
    page.html()
}

fn plot() -> FillPlot {
    let at = |hour: i64| jiff::Timestamp::from_second(hour * 3600).unwrap();
    let line = |name: &str, left: [u64; 3]| FillLine {
        name: name.to_owned(),
        points: left
            .into_iter()
            .zip(0..)
            .map(|(left, hour)| (at(hour), left))
            .collect(),
    };
    FillPlot {
        mount_point: HOSTILE.to_owned(),
        total_bytes: 1000,
        lines: vec![line(HOSTILE, [500, 100, 700]), line("other", [500, 400, 0])],
        marks: vec![PlotMark {
            name: HOSTILE.to_owned(),
            left_bytes: 250,
        }],
        removals: vec![at(1)],
        note: HOSTILE.to_owned(),
    }
}

/// Asserts that no text of others became markup.
#[track_caller]
fn assert_escaped(html: &str, scripts: usize) {
    assert_eq!(html.matches("<script").count(), scripts);
    assert!(!html.contains("--\"'") && !html.contains('\u{202e}') && !html.contains('\u{1b}'));
}

#[test]
fn policies_and_filling_are_shown_as_text_and_as_pictures() {
    let map = store(3, |number| number.to_string());
    let removal = PlannedRemoval {
        title: HOSTILE.to_owned(),
        notes: vec![HOSTILE.to_owned()],
        images: (0..150)
            .map(|_| PlannedImage {
                namespace: HOSTILE.to_owned(),
                name: HOSTILE.to_owned(),
                why: HOSTILE.to_owned(),
            })
            .collect(),
        bytes: 5000,
    };
    let page = Page {
        map: &map,
        host: "h",
        records: None,
        policies: Ok(&[removal]),
        filling: &[plot()],
    };
    let html = page.html();
    assert_escaped(&html, 1);
    assert!(html.contains(": 150 images, 5kB"));
    assert!(html.contains("And 50 more."));
    // The prune's own: two of the three images are unused.
    assert!(html.contains("<code>image prune -a</code>: 2 images, "));
    assert!(
        html.contains("points=\"0.0,110.0 600.0,22.0 1200.0,154.0\""),
        "{html}"
    );
    assert!(html.contains("<td class=\"number\">90% used, 100B left</td>"));
    assert!(html.contains("<td class=\"number\">75% used, 250B left</td>"));
}

#[test]
fn a_trial_is_a_page_of_its_own() {
    let trial = TrialPage {
        title: HOSTILE.to_owned(),
        summary: vec![HOSTILE.to_owned()],
        plots: vec![plot()],
        images: vec![[HOSTILE; 6].map(str::to_owned); 501],
        notes: vec![HOSTILE.to_owned()],
    };
    let html = trial.html();
    assert_escaped(&html, 0);
    assert!(html.contains("And 1 more."));
    assert!(html.contains("class=\"removal\" x1=\"600.0\""));
    let empty = TrialPage::default().html();
    assert!(!empty.contains("<svg") && empty.ends_with("</html>\n"));
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
    // Disk usage, what a prune removes, and images; each with a head.
    assert_eq!(rows.matches("<tr>").count(), 3 + (100 + 1) + (500 + 1));
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
