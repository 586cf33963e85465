//! The tokens of the HTTP API, in the file that `[http]` names, and `onward http token`, which makes them.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use http_door::{Token, Tokens};
use rustix::process::geteuid;
use serde::Serialize;

use crate::Failure;
use crate::cli::NewToken;
use crate::config::Config;
use crate::files::{self, FileError};
use crate::print::Printer;

/// Those who may ask, if HTTP is answered anywhere.
pub(crate) fn load(config: &Config) -> Result<Option<Tokens>, FileError> {
    let wanted = config.http.bind().map(|_| read(&config.http.token));
    Ok(wanted.transpose()?.map(Tokens::new))
}

/// Reads the file.
pub(crate) fn read(path: &Path) -> Result<Vec<Token>, FileError> {
    let text = files::text(path, "`onward http token NAME --scope read` makes it")?;
    let tokens = Token::parse_all(&text);
    tokens.map_err(|wrong| FileError::line(path, wrong))
}

/// What was made. The token is told this once.
#[derive(Debug, Serialize)]
struct Made<'a> {
    name: &'a str,
    token: String,
    scopes: Vec<&'static str>,
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
        scopes: args.scope.iter().map(|scope| scope.name()).collect(),
        file: path,
    };
    print.value(&made, |print, made| {
        print.line(&made.token);
        print.note("kept nowhere else; `onward reload` makes it known to the running daemon");
    });
    Ok(())
}

/// A new file is its folder's owner's: root makes it, and the daemon reads it.
fn add(path: &Path, line: &str) -> std::io::Result<()> {
    let is_new = !path.exists();
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create(true).mode(0o600).open(path)?;
    if is_new && geteuid().is_root() {
        let folder = path.parent().unwrap_or_else(|| Path::new("/"));
        let owner = fs::metadata(folder)?;
        fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.write_all(line.as_bytes())?;
    file.sync_all()
}

const NAMED: &str = "`http.token` in the configuration names the file";
