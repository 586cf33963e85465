//! The tokens of the HTTP API, in the file that `[http]` names, and `onward http token`, which makes them.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use http_door::{Token, Tokens};
use serde::Serialize;

use crate::Failure;
use crate::cli::NewToken;
use crate::config::Config;
use crate::files::{self, FileError};
use crate::init::share;
use crate::print::Printer;

/// Those who may ask, if HTTP is answered anywhere.
pub(crate) fn load(config: &Config) -> Result<Option<Tokens>, FileError> {
    let wanted = config.http.bind().map(|_| read(&config.http.token));
    Ok(wanted.transpose()?.map(Tokens::new))
}

/// Reads the file.
pub(crate) fn read(path: &Path) -> Result<Vec<Token>, FileError> {
    let hint = "`onward http token NAME --scope read` makes it; the user that runs onward must be able to read it";
    let text = files::text(path, hint)?;
    let tokens = Token::parse_all(&text);
    tokens.map_err(|wrong| FileError::line(path, wrong))
}

/// What was made. The token is told this once.
#[derive(Debug, Serialize)]
struct Made<'a> {
    name: &'a str,
    token: String,
    scopes: Vec<String>,
    file: &'a Path,
}

/// Makes a token, and adds its hash to the file.
pub(crate) fn make(args: &NewToken, config: &Config, print: Printer) -> Result<(), Failure> {
    let (path, name) = (&*config.http.token, &*args.name);
    if !http_door::is_name(name) {
        let hint = "a letter, then letters, digits, `-`, `_` and `.`";
        return Err(format!("`{name}` is no name for a token\n\nhint: {hint}").into());
    }
    let text = match path.exists() {
        true => files::text(path, NAMED)?,
        false => String::new(),
    };
    let (token, line) = http_door::make(name, &args.scope);
    // As the daemon will read it: a name that is there already is refused.
    let end = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    let line = format!("{end}{line}");
    Token::parse_all(&format!("{text}{line}")).map_err(|wrong| FileError::line(path, wrong))?;
    add(path, &line)
        .map_err(|error| format!("cannot write {}: {error}\n\nhint: {NAMED}", path.display()))?;
    let made = Made {
        name,
        token,
        scopes: args.scope.iter().map(ToString::to_string).collect(),
        file: path,
    };
    let then = match config.http.bind() {
        Some(_) => "`onward reload` makes it known to the running daemon",
        None => "`http.bind` in the configuration and a restart open the API",
    };
    print.value(&made, |print, made| {
        print.line(&made.token);
        print.note(&format!("kept nowhere else; {then}"));
    });
    Ok(())
}

/// A new file is the daemon's to read, if its folder says who that is.
fn add(path: &Path, line: &str) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create(true).mode(0o600).open(path)?;
    if file.metadata()?.len() == 0 {
        share(path, path.parent().unwrap_or_else(|| Path::new("/")))?;
    }
    file.write_all(line.as_bytes())?;
    file.sync_all()
}

const NAMED: &str = "`http.token` in the configuration names the file";
