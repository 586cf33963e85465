//! Regular expressions, as far as the forwards file has the same: `^(a|b)@x\.example$`, `^paul-.*@x\.example$`, `@x\.example$`.

/// The lines that say the same: each key (an address, a pattern with one `*`, or `@domain`) with its value. None: there are no
/// such lines.
pub(super) fn lines(expression: &str, value: &str) -> Option<Vec<(String, String)>> {
    if expression.len().max(value.len()) > OCTETS_MAX {
        return None;
    }
    let line = |(text, group): (String, String)| {
        let text = match text.strip_prefix("*@") {
            Some(host) => format!("@{host}"),
            None => text,
        };
        let (local, host) = text.rsplit_once('@')?;
        let fits = local.matches('*').count() <= 1 && !host.contains('*') && !local.contains('@');
        let value = result(value, &text, &group).filter(|_| fits)?;
        Some((text, value))
    };
    keys(expression)?.into_iter().map(line).collect()
}

/// What fits, with what each stands for as `$1`.
fn keys(expression: &str) -> Option<Vec<(String, String)>> {
    let body = expression.strip_suffix('$')?;
    let (start, mut rest) = match body.strip_prefix('^') {
        Some(body) => ("", body),
        None => ("*", body),
    };
    // Each alternative: the text so far, and the group.
    let mut found = vec![(start.to_owned(), String::new())];
    let mut grouped = false;
    while let Some(c) = rest.chars().next() {
        if c == '(' && std::mem::replace(&mut grouped, true) {
            return None;
        }
        if let Some(after) = ANY.iter().find_map(|any| rest.strip_prefix(any)) {
            for (text, group) in &mut found {
                if !text.ends_with('*') {
                    text.push('*');
                }
                if c == '(' {
                    group.push('*');
                }
            }
            rest = after;
        } else if c == '(' {
            let (words, after) = rest[1..].split_once(')')?;
            let words: Vec<String> = words.split('|').map(literal).collect::<Option<_>>()?;
            let (text, _) = found.pop()?;
            let one = |word: String| (format!("{text}{word}"), word);
            found = words.into_iter().map(one).collect();
            rest = after;
        } else {
            let (one, after) = rest.split_at_checked(c.len_utf8() + usize::from(c == '\\'))?;
            let literal = literal(one)?;
            found.iter_mut().for_each(|(text, _)| *text += &literal);
            rest = after;
        }
    }
    Some(found)
}

/// The result for one of them: `$1`, `${1}` or `\1` replaced. None where the text of a pattern would be needed.
fn result(value: &str, key: &str, group: &str) -> Option<String> {
    let names = ["${1}", "$(1)", "\\1", "$1"];
    let name = names.into_iter().find(|name| value.contains(name));
    let value = match name {
        None => value.to_owned(),
        // All of the local part: `$1@new.example`.
        Some(name) if group == "*" && key.starts_with('@') => {
            let same = value.strip_prefix(name)?;
            same.starts_with('@').then(|| same.to_owned())?
        }
        Some(_) if group.contains('*') => return None,
        Some(name) => value.replace(name, group),
    };
    (!value.contains(['$', '\\'])).then_some(value)
}

/// Without escapes; None if it says more than itself.
fn literal(text: &str) -> Option<String> {
    let mut literal = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => literal.push(chars.next().filter(|c| !c.is_alphanumeric())?),
            _ if ".*+?()[]{}|^$".contains(c) => return None,
            c => literal.push(c),
        }
    }
    Some(literal)
}

/// Of an expression, and of a value: each alternative gets the rest of both.
const OCTETS_MAX: usize = 10_000;
/// Any text: an empty one makes no difference to addresses.
const ANY: [&str; 8] = [
    "(.*)", "(.+)", "([^@]*)", "([^@]+)", ".*", ".+", "[^@]*", "[^@]+",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// `key value` of each line, or nothing.
    #[track_caller]
    fn check(expression: &str, value: &str, expected: &[&str]) {
        let found = lines(expression, value).unwrap_or_default();
        let lines = found.iter().map(|(key, value)| format!("{key} {value}"));
        assert_eq!(Vec::from_iter(lines), expected, "{expression}");
    }

    #[test]
    fn what_lines_can_say_becomes_lines() {
        check(r"^sales@x\.example$", "a@y", &["sales@x.example a@y"]);
        check(r"^paul-.*@x\.example$", "p@y", &["paul-*@x.example p@y"]);
        check(r"@x\.example$", "all@y", &["@x.example all@y"]);
        check(r".*@x\.example$", "all@y", &["@x.example all@y"]);
        check(r"^(.*)@x\.example$", "$1@y", &["@x.example @y"]);
        check(
            r"^(a|b\.c)@x\.example$",
            "${1}@y",
            &["a@x.example a@y", "b.c@x.example b.c@y"],
        );
        // What follows the local part would stay with it.
        check(r"^paul-(.*)@x\.example$", "$1@y", &[]);
        check(r"^[a-z]+@x\.example$", "a@y", &[]);
        check(r"^a.@x\.example$", "a@y", &[]);
        check(r"^a@.*\.example$", "a@y", &[]);
        check(r"^a@x\.example", "a@y", &[]);
        check(r"^a\w@x\.example$", "a@y", &[]);
        check(r"^(a)(b)@x\.example$", "a@y", &[]);
        check(r"^(.*)@(.*)$", "$1@y", &[]);
        check("\\", "", &[]);
        let many = format!(
            "^({}a){}@x\\.example$",
            "a|".repeat(200_000),
            "b".repeat(200_000)
        );
        check(&many, "a@y", &[]);
        check("^(", "", &[]);
    }
}
