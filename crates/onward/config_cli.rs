//! `onward config show | defaults | diff`: what holds, what would hold without a file, and what a reload would change.

use std::collections::BTreeMap;
use std::path::Path;

use control::{Client, Reloaded, ask};
use relay::outbound::Url;
use serde::Serialize;
use toml::{Table, Value};

use crate::cli;
use crate::config::{Config, DEFAULTS, default_table, flat, is_reloadable};
use crate::print::Printer;
use crate::queue_cli::reloaded_lines;
use crate::{Exit, Failure};

/// One key.
#[derive(Debug, Serialize)]
struct Row {
    value: Value,
    from: &'static str,
    reload: bool,
}

/// Runs the command on the file at `path`. A problem: a reload or a restart would change something.
pub(crate) async fn run(
    path: &Path,
    command: &cli::Config,
    print: Printer,
) -> Result<Exit, Failure> {
    let file = || Config::load(path);
    match command {
        cli::Config::Defaults => {
            print.value(&default_table(), |print, _| print.line(DEFAULTS.trim_end()));
        }
        cli::Config::Show => print.value(&rows(&file()?.typed), print_rows),
        cli::Config::Diff => {
            let config = file()?;
            let mut client = Client::connect(&config.control.socket).await?;
            let would = ask::Reload {
                force: false,
                dry_run: true,
            };
            let would = client.ask(would).await?;
            print.value(&would, |print, would| {
                print_diff(print, would, &config.typed)
            });
            let is_same = would.changed.is_empty() && would.needs_restart.is_empty();
            return Ok(Exit::problem_unless(is_same));
        }
    }
    Ok(Exit::Fine)
}

fn print_rows(print: Printer, rows: &BTreeMap<String, Row>) {
    for (key, row) in rows {
        let (value, from) = (&row.value, row.from);
        let restart = if row.reload { "" } else { RESTART };
        print.line(format_args!("{key} = {value}  # {from}{restart}"));
    }
}

fn print_diff(print: Printer, would: &Reloaded, typed: &Table) {
    let rows = rows(typed);
    for key in would.applied.iter().chain(&would.needs_restart) {
        let value = rows.get(key).map(|row| row.value.to_string());
        let value = value.unwrap_or_else(|| "gone".to_owned());
        let when = match would.applied.contains(key) {
            true => "at a reload",
            false => "needs a restart",
        };
        print.line(format_args!("{key} = {value}  # {when}"));
    }
    print.line("a reload would read:");
    print.lines(reloaded_lines(would));
}

/// Every key that has a value, of the file or the default.
fn rows(typed: &Table) -> BTreeMap<String, Row> {
    let defaults = default_table();
    // A table that may come several times has no default: etc/onward.toml shows one.
    let defaults = flat(&defaults)
        .into_iter()
        .filter(|(_, value)| !is_tables(value));
    let of = |from| {
        move |(key, value): (String, &Value)| {
            let (value, reload) = (without_secrets(value), is_reloadable(&key));
            (
                key,
                Row {
                    value,
                    from,
                    reload,
                },
            )
        }
    };
    let defaults = defaults.map(of("default"));
    defaults
        .chain(flat(typed).into_iter().map(of("file")))
        .collect()
}

fn is_tables(value: &Value) -> bool {
    value
        .as_array()
        .is_some_and(|all| all.first().is_some_and(Value::is_table))
}

/// Secrets are in files of their own, but for those that a URL carries: of one, no more is shown than where it leads.
fn without_secrets(value: &Value) -> Value {
    match value {
        Value::String(text) if text.contains("://") => {
            let url = Url::parse(text).ok();
            let origin = url.map(|url| url.origin().ascii_serialization());
            Value::String(format!("{}/…", origin.unwrap_or_default()))
        }
        Value::Array(values) => Value::Array(values.iter().map(without_secrets).collect()),
        Value::Table(table) => {
            let keys = table.iter();
            let keys = keys.map(|(key, value)| (key.clone(), without_secrets(value)));
            Value::Table(keys.collect())
        }
        value => value.clone(),
    }
}

const RESTART: &str = ", a change needs a restart";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_where_it_comes_from_and_a_url_no_secret() {
        let typed = "hostname = 'a'\n[queue]\nexpire = '4d'\n[alerts]\nwebhook = 'https://me:pw@hook.example/T0/secret?k=1'\n\
                     [[filter]]\nname = 'r'\naddress = 'http://u:pw@127.0.0.1:11333/x'";
        let rows = rows(&typed.parse().unwrap());
        let row = |key: &str| {
            (
                rows[key].value.to_string(),
                rows[key].from,
                rows[key].reload,
            )
        };
        assert_eq!(row("queue.expire"), ("\"4d\"".into(), "file", false));
        assert_eq!(row("queue.warn_after"), ("\"4h\"".into(), "default", false));
        assert_eq!(
            row("alerts.webhook"),
            ("\"https://hook.example/…\"".into(), "file", true)
        );
        let all = serde_json::to_string(&rows).unwrap();
        assert!(!all.contains("pw") && !all.contains("secret?"), "{all}");
        assert!(
            rows["filter"]
                .value
                .to_string()
                .contains("http://127.0.0.1:11333/…")
        );
    }
}
