//! Time and memory to parse a document, without the memory of its body: an ordinary manifest and
//! config, and the largest configs that Reclaim reads.

use divan::{AllocProfiler, Bencher, black_box};
use reclaim_model::Digest;
use reclaim_oci::{LabelKeys, Limits, MAX_CONFIG_BYTES, digest_of, read};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// A name, and a function that creates the document.
type Sample = (&'static str, fn() -> String);

const DOCUMENTS: [Sample; 6] = [
    ("manifest", manifest),
    ("config", config),
    ("labels", || labels("a")),
    ("escaped labels", || labels("\\n")),
    ("one escaped label", || {
        filled(r#"{"config":{"Labels":{"a":""#, "\\n", r#""}}}"#)
    }),
    ("diff IDs", diff_ids),
];

#[divan::bench(args = DOCUMENTS.map(|(name, _)| name), sample_count = 9, sample_size = 1)]
fn document(bencher: Bencher<'_, '_>, name: &str) {
    let (_, body) = DOCUMENTS
        .into_iter()
        .find(|(document, _)| *document == name)
        .expect("a document of that name");
    let body = body();
    let digest = digest_of(body.as_bytes());
    let limits = Limits::default();
    let wanted: LabelKeys = ["keep".to_owned()].into_iter().collect();
    bencher.bench(|| read(black_box(&digest), None, body.as_bytes(), &limits, &wanted));
}

/// Repeats `part` up to the largest size of a config.
fn filled(start: &str, part: &str, end: &str) -> String {
    let room = usize::try_from(MAX_CONFIG_BYTES).unwrap_or(usize::MAX) - start.len() - end.len();
    format!("{start}{}{end}", part.repeat(room / part.len()))
}

fn labels(value: &str) -> String {
    // Ten thousand keys, which repeat.
    let labels: Vec<String> = (0..10_000)
        .map(|number| format!(r#""label.{number}":"{value}","#))
        .collect();
    let labels = labels.concat();
    filled(r#"{"config":{"Labels":{"#, &labels, r#""keep":"1"}}}"#)
}

fn digests(number: usize) -> Vec<Digest> {
    (0..number)
        .map(|number| digest_of(number.to_string().as_bytes()))
        .collect()
}

fn diff_ids() -> String {
    let digest = &digests(1)[0];
    let part = format!(r#","{digest}""#);
    let start = format!(r#"{{"rootfs":{{"diff_ids":["{digest}""#);
    filled(&start, &part, "]}}")
}

fn manifest() -> String {
    let layers: Vec<String> = digests(12)
        .iter()
        .map(|digest| {
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{digest}","size":3623807}}"#
            )
        })
        .collect();
    let (config, layers) = layers.split_at(1);
    format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
        config[0],
        layers.join(",")
    )
}

fn config() -> String {
    let history =
        r#"{"created":"2025-11-04T10:20:30Z","created_by":"RUN apt-get update # buildkit"}"#;
    let diff_ids: Vec<String> = digests(11)
        .iter()
        .map(|digest| format!(r#""{digest}""#))
        .collect();
    format!(
        r#"{{"os":"linux","architecture":"amd64","config":{{"Labels":{{"maintainer":"x"}}}},"rootfs":{{"type":"layers","diff_ids":[{}]}},"history":[{}]}}"#,
        diff_ids.join(","),
        [history; 20].join(",")
    )
}
