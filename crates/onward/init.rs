//! `onward init`: a starter configuration that works as soon as its names are right.
//!
//! Nothing is overwritten: a file that exists is left as it is, and the command says so.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rand::distr::{Alphanumeric, SampleString};

use crate::Failure;
use crate::cli::Init;
use crate::print::Printer;
use crate::routing;

/// Writes the files and says what to do next.
pub(crate) fn run(args: &Init, print: Printer) -> Result<(), Failure> {
    let folder = &args.folder;
    let unwritten = |path: &Path, error: io::Error| {
        let hint = "name a folder that you may write to: `onward init DIR`";
        format!("cannot write {}: {error}\n\nhint: {hint}", path.display())
    };
    let hostname = args.hostname.as_deref().unwrap_or("mx1.example.net");
    let secrets = match &args.import_postsrsd {
        Some(path) => imported(path)?,
        None => format!("{}\n", random_secret()).into_bytes(),
    };
    fs::create_dir_all(folder).map_err(|error| unwritten(folder, error))?;
    let config = STARTER_CONFIG.replace("mx1.example.net", hostname);
    for (name, mode, text) in [
        ("onward.toml", 0o644, config.as_bytes()),
        ("forwards", 0o644, STARTER_FORWARDS.as_bytes()),
        ("srs.secrets", 0o600, secrets.as_slice()),
    ] {
        let path = folder.join(name);
        let written = write_new(&path, mode, text).map_err(|error| unwritten(&path, error))?;
        let what = if written { "wrote" } else { "kept " };
        print.line(format_args!("{what} {}", path.display()));
    }
    print.line(format_args!(
        "\nNext:\n  1. Edit {folder}/onward.toml (hostname) and {folder}/forwards (which address goes where).\n  \
         2. In the DNS: an MX record to {hostname} for each hosted domain and for {hostname} itself, and\n     \
         `{hostname}. TXT \"v=spf1 a mx -all\"`, so that rewritten senders pass SPF.\n  \
         3. onward check --config {folder}/onward.toml\n  \
         4. onward serve --config {folder}/onward.toml",
        folder = folder.display()
    ));
    Ok(())
}

/// Writes and syncs a file that did not exist; false when it did.
pub(crate) fn write_new(path: &Path, mode: u32, content: &[u8]) -> io::Result<bool> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    match file {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
        Ok(mut file) => {
            file.write_all(content)?;
            file.sync_all()?;
            Ok(true)
        }
    }
}

/// postsrsd has one secret a line, and the first signs, as here.
fn imported(path: &Path) -> Result<Vec<u8>, Failure> {
    let lines = routing::secrets(path);
    let mut lines = lines.map_err(|error| format!("postsrsd's secrets: {error}"))?;
    if lines.is_empty() {
        let text = "holds no secret: it should have one a line";
        return Err(format!("{} {text}", path.display()).into());
    }
    lines.iter_mut().for_each(|line| line.push(b'\n'));
    Ok(lines.concat())
}

/// 30 characters of letters and digits: 178 bits.
pub(crate) fn random_secret() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), 30)
}

const STARTER_CONFIG: &str = r#"# Onward. Every other key, with its default: `onward config defaults`.
hostname = "mx1.example.net"
spool    = "/var/spool/onward"

[[listener]]
bind = "[::]:25"

# [tls]
# certificate = "cert.pem"
# key = "key.pem"

[srs]
secrets = "srs.secrets"

[forwards]
file = "forwards"
# postmaster = "you@example.com"

# What is done about unwanted mail. "mark" tells the mailboxes' filters, "reject" refuses: README.md says what that can cost.
[[profile]]
name  = "default"
spf   = "mark"
dmarc = "mark"
"#;

const STARTER_FORWARDS: &str = "\
# address             targets                       options
# alice@example.org   alice@mail.example.com
# @example.org        catchall@mail.example.com
";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::Config;

    #[test]
    fn starter_files_work_and_are_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let args = Init {
            folder: folder.path().join("new"),
            hostname: Some("mx.example.org".into()),
            import_postsrsd: None,
        };
        run(&args, Printer::new(false)).unwrap();
        let config = Config::load(&args.folder.join("onward.toml")).unwrap();
        assert_eq!(config.hostname, "mx.example.org");
        let secret = fs::read_to_string(&config.srs.secrets).unwrap();
        assert_eq!(secret.trim().len(), 30);
        assert_eq!(
            fs::metadata(&config.srs.secrets)
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o600
        );
        run(&args, Printer::new(false)).unwrap();
        assert_eq!(fs::read_to_string(&config.srs.secrets).unwrap(), secret);
    }

    #[test]
    fn postsrsd_secrets_are_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("postsrsd.secret");
        fs::write(&file, b" first \r\n\n \t\nsecond\xff").unwrap();
        assert_eq!(imported(&file).unwrap(), b" first \nsecond\xff\n");
        fs::write(&file, "\n").unwrap();
        let error = imported(&file).unwrap_err().to_string();
        assert!(error.ends_with("holds no secret: it should have one a line"));
    }
}
