//! `etc/mail-log.md` against the names that the code writes: an operator must find each.

use crate::Finding;

/// Names in kebab-case or snake_case that stand in quotes where a line of this text has `marker` before or behind them.
pub(crate) fn names(path: &str, text: &str, marker: (&str, &str), doc: &str) -> Vec<Finding> {
    let code = text.split("mod tests").next().unwrap_or_default();
    let mut findings = Vec::new();
    for (number, line) in code.lines().enumerate() {
        for part in line.split(marker.0).skip(1) {
            let name = part.split(marker.1).next().unwrap_or_default();
            let is_name = |c: char| c.is_ascii_lowercase() || "-_".contains(c);
            if part.len() > name.len()
                && name.chars().all(is_name)
                && !doc.contains(&format!("`{name}`"))
            {
                let advice = format!("`{name}` is not explained: add it to etc/mail-log.md");
                findings.push(Finding::new(path, number + 1, advice));
            }
        }
    }
    findings
}

mod tests {
    use super::*;

    #[test]
    fn a_name_must_be_explained() {
        let check = |text, marker| names("a.rs", text, marker, "| `ready` | it is |").len();
        let event = ("=> \"", "\"");
        assert_eq!(check("Self::Ready { .. } => \"ready\",", event), 0);
        assert_eq!(check("x\nSelf::Lost => \"lost\",", event), 1);
        let rule = ("(\"", "\", ");
        assert_eq!(check("const A: Rule = (\"ready\", ready);", rule), 0);
        assert_eq!(check("[(\"ready\", a), (\"no-way\", b)]", rule), 1);
        assert_eq!(check("say(\"Two words\", 1); say(\"lost\")", rule), 0);
    }
}
