//! Configuration files with gaps: `@NAME@`.

/// Fills the gaps of a template.
///
/// # Panics
/// When a gap is left: the template and its file do not fit.
pub(super) fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut text = template.to_owned();
    for (name, value) in values {
        text = text.replace(&format!("@{name}@"), value);
    }
    let gap = text.lines().find_map(|line| {
        let name = line.split('@').nth(1)?;
        let closed = line.matches('@').count() > 1;
        let looks_like_one = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        (closed && looks_like_one).then_some(name)
    });
    assert_eq!(gap, None, "nothing fills this gap");
    text
}
