//! The programs and commands on the page for engine authors.

use std::fs;
use std::path::Path;

/// Returns the lines of the block with this language, below the heading of this language.
pub(crate) fn block(heading: &str, language: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/engines.md");
    let text = fs::read_to_string(path).unwrap();
    let (fence, heading) = (format!("```{language}"), format!("### {heading}"));
    let lines = text.lines().skip_while(|line| **line != heading).skip(1);
    let section = lines.take_while(|line| !line.starts_with("##"));
    let block = section.skip_while(|line| **line != fence).skip(1);
    let block: Vec<&str> = block.take_while(|line| *line != "```").collect();
    assert!(!block.is_empty(), "no {language} below {heading}");
    block.join("\n") + "\n"
}

/// Returns the commands below a heading, without the first, which installs the generator.
pub(crate) fn commands(heading: &str) -> Vec<String> {
    let block = block(heading, "console").replace("\\\n", "");
    let lines = block.lines().filter_map(|line| line.strip_prefix("$ "));
    let mut commands: Vec<String> = lines.map(str::to_owned).collect();
    let first = commands.remove(0);
    assert!(first.contains(" install "), "{first}");
    commands
}
