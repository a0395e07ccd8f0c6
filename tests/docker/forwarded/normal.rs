//! Output without what differs from call to call: IDs, times, durations, and the order of lines that
//! clients print side by side.

/// Replaces IDs, times and numbers with units in each line.
pub(crate) fn normal(line: &str) -> String {
    let line = line.replace('\r', "").replace("sha256:", "");
    let mut normal = String::new();
    let mut word = String::new();
    for letter in line.chars().chain(['\n']) {
        if letter.is_ascii_alphanumeric() || ".:-_".contains(letter) {
            word.push(letter);
            continue;
        }
        normal.push_str(&normal_word(&word));
        word.clear();
        normal.push(letter);
    }
    normal.trim_end().to_owned()
}

fn normal_word(word: &str) -> String {
    if word.len() >= 19 && word.starts_with("20") && word.contains('T') {
        return "TIME".to_owned();
    }
    let parts: Vec<&str> = word.split('-').map(normal_part).collect();
    parts.join("-")
}

fn normal_part(part: &str) -> &str {
    let is_id = part.len() >= 12 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let unit = part.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
    let is_duration = unit.len() < part.len() && ["s", "ms"].contains(&unit);
    if is_id {
        "ID"
    } else if is_duration {
        "DURATION"
    } else {
        part
    }
}
