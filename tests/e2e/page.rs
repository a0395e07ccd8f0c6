//! `df --html`: the page in a real browser shows what `df` and `why` say.

use reclaim_testkit::{Browser, Layer, image};
use serde_json::Value;

use crate::df::populate;
use crate::rig::{CommandOutput, Rig};

/// A name that would do harm if it were markup, as far as containerd accepts one.
const HOSTILE: &str = "docker.io/library/<img src=x onerror=\"document.title='owned'\">:1";

/// What the page shows of a rectangle: its label, and the area on the screen.
const RECTANGLES: &str = "[...document.querySelectorAll('.map > svg')].map(it => {
    const box = it.querySelector('rect').getBoundingClientRect();
    return [it.getAttribute('aria-label'), box.width * box.height, it.getAttribute('class')];
})";

/// Each row of the table of images: the texts of its cells.
const ROWS: &str = "[...document.querySelectorAll('#list tbody tr')].map(it => [...it.cells].map(it => it.textContent))";

fn texts(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it.as_str().unwrap())
        .collect()
}

/// Opens the page of a store that has something of everything.
async fn opened() -> (Rig, Browser) {
    let rig = Rig::quiet().await;
    populate(&rig).await;
    let folder = tempfile::tempdir().unwrap();
    let (address, _) = page(&rig, folder.path());
    let mut browser = Browser::start(1000, 1400);
    browser.open(&address);
    (rig, browser)
}

/// Writes the page into a file, and returns its address.
fn page(rig: &Rig, folder: &std::path::Path) -> (String, CommandOutput) {
    let file = folder.join("page.html");
    let output = rig
        .reclaim(&["df", "--html", file.to_str().unwrap()])
        .exits(0);
    (format!("file://{}", file.display()), output)
}

#[tokio::test]
async fn the_page_shows_what_df_counts() {
    let rig = Rig::quiet().await;
    populate(&rig).await;
    image(HOSTILE)
        .layers([Layer::random(9, 500_000)])
        .build(&rig.namespace)
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (address, _) = page(&rig, folder.path());
    let usage = rig
        .reclaim(&["df", "-v", "--format", "json"])
        .exits(0)
        .json();

    let mut browser = Browser::start(1000, 1400);
    browser.open(&address);
    assert_eq!(browser.complaints, Vec::<String>::new());
    let title = browser.evaluate("document.title");
    assert!(title.as_str().unwrap().starts_with("Images on "), "{title}");
    assert_eq!(browser.evaluate("document.images.length"), 0);

    // The table has every image, with its verdict and its sizes.
    let rows = browser.evaluate(ROWS);
    let rows: Vec<Vec<&str>> = rows.as_array().unwrap().iter().map(texts).collect();
    let images = usage["namespaces"].as_array().unwrap().iter();
    let images: usize = images
        .map(|it| it["image_usage"].as_array().unwrap().len())
        .sum();
    assert_eq!(rows.len(), images);
    assert!(
        rows.iter().any(|row| row[0].contains("<img src=x")),
        "{rows:#?}"
    );
    let find = |name: &str, namespace: &str| {
        let row = rows
            .iter()
            .find(|row| row[0] == name && row[1] == namespace);
        row.unwrap_or_else(|| panic!("no {name} in {rows:#?}"))
            .clone()
    };
    assert_eq!(
        find("web:1", "default")[2],
        "stays: in use by container web"
    );
    assert_eq!(find("old:1", "default")[2], "goes: not in use");

    // A rectangle is as large as its bytes are among those of its namespace.
    let rectangles = browser.evaluate(RECTANGLES);
    let rectangles = rectangles.as_array().unwrap();
    let shared = rectangles
        .iter()
        .filter(|it| it[0].as_str().unwrap().starts_with("Shared by"));
    assert!(shared.count() >= 1, "{rectangles:#?}");
    let own = rectangles
        .iter()
        .find(|it| it[0].as_str().unwrap().contains("<img"));
    let own = own.expect("the hostile image has a layer of its own");
    assert_eq!(own[2], "unused");
    let namespaces = usage["namespaces"].as_array().unwrap();
    let here = namespaces
        .iter()
        .find(|it| it["namespace"] == "default")
        .unwrap();
    let all = &here["all"];
    let bytes = all["content_bytes"].as_f64().unwrap() + all["snapshot_bytes"].as_f64().unwrap();
    let picture = browser.evaluate(
        "(box => box.width * box.height)(document.querySelector('.map').getBoundingClientRect())",
    );
    let share = own[1].as_f64().unwrap() / picture.as_f64().unwrap();
    assert!(
        (share - 500_000.0 / bytes).abs() < 0.02,
        "{share} of {bytes}"
    );
}

#[tokio::test]
async fn the_page_is_walked_by_keyboard_and_finds_images() {
    let (_rig, mut browser) = opened().await;

    // One stop of the tab key for each picture, and arrow keys within it.
    let focused = "document.activeElement.getAttribute('aria-label')";
    let mut stops = 0;
    while browser.evaluate(focused).is_null() {
        browser.press("Tab");
        stops += 1;
        assert!(stops < 20, "the tab key reaches no rectangle");
    }
    let mut seen = vec![browser.evaluate(focused)];
    for key in ["ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"] {
        browser.press(key);
        let label = browser.evaluate(focused);
        assert_eq!(
            browser.evaluate("document.getElementById('detail').textContent"),
            label
        );
        if !seen.contains(&label) {
            seen.push(label);
        }
    }
    assert!(seen.len() > 2, "{seen:#?}");

    // Enter leads to the images of the rectangle.
    browser.evaluate(
        "[...document.querySelectorAll('.map > svg')].find(it => it.dataset.image).focus()",
    );
    let image = browser.evaluate("document.activeElement.dataset.image");
    browser.press("Enter");
    assert_eq!(browser.evaluate("document.activeElement.id"), "find");
    let rows = browser.evaluate(ROWS);
    let rows = rows.as_array().unwrap();
    assert!(!rows.is_empty());
    let has_it = |row: &Value| row[0].as_str().unwrap().contains(image.as_str().unwrap());
    assert!(rows.iter().all(has_it), "{rows:#?}");
    browser.evaluate("find.value = ''");
    browser.type_text("no such image");
    assert_eq!(browser.evaluate(ROWS).as_array().unwrap().len(), 0);
    let found = browser.evaluate("found.textContent");
    assert!(found.as_str().unwrap().starts_with(" 0 of "), "{found}");
}

#[tokio::test]
async fn the_page_is_dark_light_and_printed() {
    let (_rig, mut browser) = opened().await;
    let background = "getComputedStyle(document.body).backgroundColor";
    browser.prefer_scheme("light");
    assert_eq!(browser.evaluate(background), "rgb(255, 255, 255)");
    let light = browser.picture();
    browser.prefer_scheme("dark");
    assert_eq!(browser.evaluate(background), "rgb(13, 17, 23)");
    let dark = browser.picture();
    assert_ne!(light, dark);
    assert!(browser.print().starts_with(b"%PDF-"));
}

/// Standard output is a file, too; a folder that does not exist is named.
#[tokio::test]
async fn the_page_goes_where_it_is_told() {
    let rig = Rig::quiet().await;
    let printed = rig.reclaim(&["df", "--html", "-"]).exits(0);
    assert!(
        printed.stdout.starts_with("<!DOCTYPE html>\n"),
        "{printed:?}"
    );
    assert!(printed.stdout.ends_with("</html>\n"));
    let failed = rig
        .reclaim(&["df", "--html", "/nonexistent/page.html"])
        .exits(1);
    assert!(
        failed.stderr.contains("/nonexistent/page.html"),
        "{failed:?}"
    );
    rig.reclaim(&["df", "--html", "-", "--format", "json"])
        .exits(2);
}

/// Without a daemon the policies of the configuration are evaluated, if there is a record of last use.
#[tokio::test]
async fn the_page_has_what_policies_would_remove() {
    let rig = Rig::quiet().await;
    populate(&rig).await;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let config = folder.path().join("config.toml");
    let policy = format!(
        "[state]\ndirectory = \"{}\"\n[[policy]]\nname = \"p\"\n",
        state.display()
    );
    let keys = "interval = \"1h\"\nall = true\nmin_age = \"0s\"\nlast_copies = true\n";
    std::fs::write(&config, format!("{policy}{keys}")).unwrap();
    let config = config.to_str().unwrap();
    let page = |rig: &Rig| {
        let args = ["--config", config, "df", "--html", "-"];
        rig.reclaim(&args).exits(0).stdout
    };
    let without = page(&rig);
    assert!(without.contains("has no record of last use; with a daemon use --host"));
    assert!(!state.exists(), "it only reads");
    std::fs::create_dir(&state).unwrap();
    let html = page(&rig);
    assert!(html.contains("<code>policy p</code>: "), "{html}");
    assert!(html.contains("<li>runs every 1h</li>"), "{html}");
    let explained = ["--config", config, "policy", "explain", "--format", "json"];
    let explained = rig.reclaim(&explained).exits(0).json();
    let now = &explained["policies"][0]["namespaces"][0]["now"];
    let count = now["removed"].as_array().unwrap().len();
    assert!(count > 0, "{now:#}");
    let plural = if count == 1 { "" } else { "s" };
    let title = format!("<code>policy p</code>: {count} image{plural}, ");
    assert!(html.contains(&title), "no {title} in {html}");
}
