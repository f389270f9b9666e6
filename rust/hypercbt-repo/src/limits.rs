//! What no field of an object may be, whatever wrote it.

/// No number is larger, so that they fit every JSON reader's signed integers.
pub(crate) const GREATEST: u64 = i64::MAX as u64;

/// No text of a host is longer: its ids, names and places are a few hundred bytes.
const MOST_TEXT_BYTES: usize = 4096;

/// No name of a file is longer: what file systems allow.
const MOST_NAME_BYTES: usize = 255;

/// Whether this can be a text that means something.
pub(crate) fn is_text(text: &str) -> bool {
    (1..=MOST_TEXT_BYTES).contains(&text.len())
}

/// Whether this can be such a text, or is left out.
pub(crate) fn is_text_if_any(text: Option<&String>) -> bool {
    text.is_none_or(|text| is_text(text))
}

/// Whether this names a file in a folder, on every system: a restore joins it to a folder.
pub(crate) fn is_file_name(name: &str) -> bool {
    let possible = |c: char| !c.is_control() && !r#"/\:*?"<>|"#.contains(c);
    // Windows drops dots and spaces at the end, so this would be another file; and `.` and `..` are none.
    (1..=MOST_NAME_BYTES).contains(&name.len())
        && name.chars().all(possible)
        && !name.ends_with(['.', ' '])
}

/// Whether these are all different.
pub(crate) fn are_unique<T: Ord>(items: impl IntoIterator<Item = T>) -> bool {
    let mut items: Vec<_> = items.into_iter().collect();
    items.sort_unstable();
    items
        .windows(2)
        .all(|pair| matches!(pair, [one, next] if one != next))
}
