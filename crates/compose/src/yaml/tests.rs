//! Parsing YAML into trees.

use super::*;

fn parse(text: &str) -> Result<Tree, String> {
    Tree::parse(text, &Location::file("f")).map_err(|error| error.to_string())
}

/// Returns the tree as JSON-like text.
fn show(tree: &Tree, id: NodeId) -> String {
    match &tree.node(id).value {
        Value::Null => "null".to_owned(),
        Value::Text(text) => format!("{text:?}"),
        Value::Other(text) => text.clone(),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| show(tree, *item)).collect();
            format!("[{}]", items.join(","))
        }
        Value::Map(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{key}:{}", show(tree, *value)))
                .collect();
            format!("{{{}}}", entries.join(","))
        }
    }
}

#[test]
fn reads_scalars_anchors_and_merge_keys() {
    for (text, shown) in [
        ("a: 1\nb: [x, 'y', \"z\"]", r#"{a:1,b:["x","y","z"]}"#),
        (
            "a: &n {x: 1, y: 2}\nb: {<<: *n, y: 3}",
            "{a:{x:1,y:2},b:{x:1,y:3}}",
        ),
        (
            "a: &n {x: 1}\nb: &m {x: 2, y: 2}\nc: {<<: [*n, *m]}",
            "{a:{x:1},b:{x:2,y:2},c:{x:1,y:2}}",
        ),
        ("a: ~\nb:\nc: ''", r#"{a:null,b:null,c:""}"#),
        (
            "- 1.5\n- 1.5.2\n- 0x1f\n- true\n- yes\n- -3\n- 1e3\n- 12-alpine\n- !!str 5\n- .5\n- infinity",
            r#"[1.5,"1.5.2",0x1f,true,"yes",-3,1e3,"12-alpine","5",.5,"infinity"]"#,
        ),
        ("&k key: v\n*k : w\n", "f:2: duplicate key `key`"),
        ("1: one", r#"{1:"one"}"#),
    ] {
        let shown_as = match parse(text) {
            Ok(tree) => show(&tree, tree.documents[0]),
            Err(error) => error,
        };
        assert_eq!(shown_as, shown, "{text}");
    }
    assert_eq!(parse("a: 1\n---\nb: 2\n").unwrap().documents.len(), 2);
    assert_eq!(parse("").unwrap().documents.len(), 0);
}

#[test]
fn reads_the_tags_of_compose() {
    let tree = parse("a: !reset null\nb: !override [x]\nc: !other y").unwrap();
    let tag = |key| tree.node(tree.get(tree.documents[0], key).unwrap()).tag;
    assert_eq!(tag("a"), Tag::Reset);
    assert_eq!(tag("b"), Tag::Override);
    assert_eq!(tag("c"), Tag::None);
}

#[test]
fn an_error_has_its_location() {
    for (text, expected) in [
        ("a: [1\nb: 2", "f:2: is not YAML"),
        ("a: 1\na: 2", "f:2: duplicate key `a`"),
        (
            "a: &x [*x]",
            "f:1: an alias refers to a value that contains it",
        ),
        ("a: *nowhere", "f:1: is not YAML"),
        ("a: {<<: 5}", "f:1: <<: must be a map"),
        ("? [a]\n: b", "f:1: a key must be a string"),
        ("a: 'x", "f:"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}

/// Without aliases by position, these would need gigabytes, or overflow the stack.
#[test]
fn multiplying_aliases_are_harmless() {
    use std::fmt::Write;

    let mut doubling = "a0: &a0 [x, x]\n".to_owned();
    let mut nested = "a0: &a0 []\n".to_owned();
    let mut merged = "a0: &a0 {k0: 1}\n".to_owned();
    for level in 1..2000 {
        let below = level - 1;
        writeln!(doubling, "a{level}: &a{level} [*a{below}, *a{below}]").unwrap();
        writeln!(nested, "a{level}: &a{level} [*a{below}]").unwrap();
        writeln!(merged, "a{level}: &a{level} {{<<: *a{below}, k{level}: 1}}").unwrap();
    }
    assert!(parse(&doubling).is_ok());
    assert!(parse(&nested).is_ok());
    let error = parse(&merged).unwrap_err();
    assert!(error.contains("has more than"), "{error}");
    let deep = "[".repeat(20_000);
    assert!(parse(&deep).is_err());
    let mut deep = String::new();
    for level in 0..500 {
        writeln!(deep, "{}a:", " ".repeat(level)).unwrap();
    }
    assert!(parse(&deep).is_ok());
}
