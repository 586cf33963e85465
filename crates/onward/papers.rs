//! `onward papers DIR`: man pages and shell completions, for packages.
//!
//! The commands' pages are made of the command line, those of the files of the comments in `etc/`: nothing is written twice.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::{Shell, generate_to};
use clap_mangen::roff::{Roff, bold, roman};

use crate::Failure;
use crate::cli::Cli;
use crate::config::DEFAULTS;
use crate::print::Printer;

/// Writes them; what is there is replaced.
pub(crate) fn run(folder: &Path, print: Printer) -> Result<(), Failure> {
    let shown = folder.display();
    write(folder).map_err(|error| format!("cannot write into {shown}: {error}"))?;
    print.line(format_args!("wrote man pages and completions into {shown}"));
    Ok(())
}

fn write(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command(), folder)?;
    for (name, about, text) in FILES {
        fs::write(folder.join(format!("{name}.5")), page(name, about, text))?;
    }
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut Cli::command(), "onward", folder)?;
    }
    Ok(())
}

/// A line of a file that explains itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'a> {
    Empty,
    /// Shown as it is: an example, or a setting that is commented out.
    Literal(&'a str),
    /// A comment, and how far it is indented.
    Text(usize, &'a str),
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Self {
        let Some(comment) = line.strip_prefix('#') else {
            return match line.trim() {
                "" => Self::Empty,
                _ => Self::Literal(line),
            };
        };
        let text = comment.trim_start();
        match comment.len() - text.len() {
            _ if text.is_empty() => Self::Empty,
            0 => Self::Literal(text),
            1 if is_setting(text) => Self::Literal(text),
            indent => Self::Text(indent, text),
        }
    }
}

/// `[table]` or `key = value`.
fn is_setting(text: &str) -> bool {
    let is_key = |key: &str| key.bytes().all(|b| matches!(b, b'a'..=b'z' | b'_'));
    let key = text.split_once('=').map(|(key, _)| key.trim_end());
    (text.starts_with('[') && text.ends_with(']')) || key.is_some_and(is_key)
}

/// A page of section 5: comments are paragraphs and, further in, the items of a list.
fn page(name: &str, about: &str, text: &str) -> String {
    let mut roff = Roff::new();
    let onward = concat!("onward ", env!("CARGO_PKG_VERSION"));
    // An empty argument must be there, for the next to be in its place.
    roff.control("TH", [name, "5", "\"\"", onward]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{name} - {about}"))]);
    roff.control("SH", ["DESCRIPTION"]);
    let mut before = Line::Empty;
    // How far in the item stands that is being written.
    let mut item = 0;
    for line in text.lines().map(Line::of) {
        let is_literal = |line| matches!(line, Line::Literal(_));
        let was_literal = is_literal(before);
        if was_literal && !is_literal(line) {
            roff.control("fi", []);
        }
        match line {
            Line::Empty => item = 0,
            Line::Literal(text) => {
                if !was_literal {
                    roff.control("PP", []).control("nf", []);
                }
                item = 0;
                roff.text([bold(text)]);
            }
            Line::Text(indent, text) => {
                let goes_on = matches!(before, Line::Text(..)) && (indent > item || indent == 1);
                if indent == 1 && (item > 0 || !goes_on) {
                    roff.control("PP", []);
                    item = 0;
                } else if indent > 1 && !(goes_on && item > 0) {
                    roff.control("IP", ["-", "2"]);
                    item = indent;
                }
                roff.text([roman(text)]);
            }
        }
        before = line;
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("onward"), roman("(1)")]);
    roff.render()
}

/// Name, what it is, and the text that explains it.
const FILES: [(&str, &str, &str); 2] = [
    ("onward.toml", "configuration of the relay onward", DEFAULTS),
    (
        "onward-forwards",
        "which addresses onward takes mail for, and where it goes",
        include_str!("../../etc/forwards.example"),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_become_paragraphs_items_and_examples() {
        let text = "# One\n# and more.\n#   a: first\n#     goes on\n#   b: second\n# After.\n#key = 1\n# [table]\n\na@b.example  c@d.example\n";
        let page = page("x", "y", text);
        let body = page.split_once("DESCRIPTION\n").map(|(_, body)| body);
        let (body, _) = body.and_then(|body| body.split_once(".SH")).unwrap();
        let expected = ".PP\nOne\nand more.\n.IP - 2\na: first\ngoes on\n.IP - 2\nb: second\n.PP\nAfter.\n.PP\n.nf\n\
                        \\fBkey = 1\\fR\n\\fB[table]\\fR\n.fi\n.PP\n.nf\n\\fBa@b.example  c@d.example\\fR\n";
        assert_eq!(body, expected);
    }

    #[test]
    fn settings_are_told_from_prose() {
        let rows = [
            ("[tls]", true),
            ("certificate = \"cert.pem\"", true),
            ("key         = \"key.pem\"", true),
            ("Unset: the host name. `a = b` is meant", false),
            ("[[tls]], stand side by side", false),
        ];
        for (text, expected) in rows {
            assert_eq!(is_setting(text), expected, "{text}");
        }
    }
}
