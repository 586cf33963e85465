//! Regular expressions, as far as the forwards file has the same: `^sales@x\.example$`, `^paul-.*@x\.example$`, `@x\.example$`.

/// The line that says the same: its key (an address, a pattern with one `*`, or `@domain`) and its value.
pub(super) fn line(expression: &str, value: &str) -> Option<(String, String)> {
    let body = expression.strip_suffix('$')?;
    let (mut key, mut rest) = match body.strip_prefix('^') {
        Some(body) => (String::new(), body),
        None => ("*".to_owned(), body),
    };
    while !rest.is_empty() {
        if let Some(after) = ANY.iter().find_map(|any| rest.strip_prefix(any)) {
            rest = after;
            key.truncate(key.trim_end_matches('*').len());
            key.push('*');
            continue;
        }
        let mut chars = rest.chars();
        let literal = match chars.next()? {
            '\\' => chars.next().filter(|c| !c.is_alphanumeric() && *c != '*')?,
            c => Some(c).filter(|c| !".*+?()[]{}|^$".contains(*c))?,
        };
        rest = chars.as_str();
        key.push(literal);
    }
    let (local, host) = key.rsplit_once('@')?;
    let fits = local.matches('*').count() <= 1 && !host.contains('*') && !local.contains('@');
    let is_whole = local == "*";
    let key = key.strip_prefix('*').filter(|_| is_whole).unwrap_or(&key);
    // `$1` can only be all of the local part: what one `*` stands for is not at hand.
    let same = SAME.iter().find_map(|same| value.strip_prefix(same));
    let value = match same.filter(|_| key.starts_with('@')) {
        Some(domain) => format!("@{domain}"),
        None => value.to_owned(),
    };
    (fits && !value.contains(['$', '\\'])).then(|| (key.to_owned(), value))
}

/// Any text: an empty one makes no difference to addresses.
const ANY: [&str; 8] = [
    "(.*)", "(.+)", "([^@]*)", "([^@]+)", ".*", ".+", "[^@]*", "[^@]+",
];
const SAME: [&str; 4] = ["$1@", "${1}@", "$(1)@", "\\1@"];

#[cfg(test)]
mod tests {
    use super::*;

    /// `key value`, or nothing.
    #[track_caller]
    fn check(expression: &str, value: &str, expected: &str) {
        let found = line(expression, value).map(|(key, value)| format!("{key} {value}"));
        assert_eq!(found.unwrap_or_default(), expected, "{expression}");
    }

    #[test]
    fn what_lines_can_say_becomes_lines() {
        check(r"^sales@x\.example$", "a@y", "sales@x.example a@y");
        check(r"^paul-.*@x\.example$", "p@y", "paul-*@x.example p@y");
        check(r"@x\.example$", "all@y", "@x.example all@y");
        check(r".*@x\.example$", "all@y", "@x.example all@y");
        check(r"^(.*)@x\.example$", "$1@y", "@x.example @y");
        check(r"^(a|b\.c)@x\.example$", "a@y", "");
        // What follows the local part would stay with it.
        check(r"^paul-(.*)@x\.example$", "$1@y", "");
        check(r"^[a-z]+@x\.example$", "a@y", "");
        check(r"^a.@x\.example$", "a@y", "");
        check(r"^a@.*\.example$", "a@y", "");
        check(r"^a@x\.example", "a@y", "");
        check(r"^a\w@x\.example$", "a@y", "");
        check(r"^(a)(b)@x\.example$", "a@y", "");
        check(r"^(.*)@(.*)$", "$1@y", "");
        check("\\", "", "");
        check("^(", "", "");
    }
}
