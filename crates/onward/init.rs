//! `onward init`: a starter configuration that passes `onward check`, and the DNS records that go with it.
//!
//! Nothing is overwritten: a file that exists is left as it is, and the command says so. One that is still as a package brought
//! it counts as none.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;

use rand::distr::{Alphanumeric, SampleString};
use rustix::process::geteuid;

use crate::Failure;
use crate::cli::Init;
use crate::config::check_hostname;
use crate::print::Printer;
use crate::routing;

/// Writes the files and says what to do next.
pub(crate) fn run(args: &Init, print: Printer) -> Result<(), Failure> {
    let folder = &args.folder;
    let unwritten = |path: &Path, error: io::Error| {
        let hint = "name a folder that you may write to: `onward init DIR`";
        format!("cannot write {}: {error}\n\nhint: {hint}", path.display())
    };
    let hostname = match &args.hostname {
        Some(name) => name.trim_end_matches('.').to_owned(),
        None => fs::read_to_string(OWN_NAME)?.trim().to_owned(),
    };
    check_hostname(&hostname).map_err(|wrong| format!("{wrong}\n\nhint: {NAME_HINT}"))?;
    let secrets = match &args.import_postsrsd {
        Some(path) => imported(path)?,
        None => format!("{}\n", random_secret()).into_bytes(),
    };
    fs::create_dir_all(folder).map_err(|error| unwritten(folder, error))?;
    let srs_domain = srs_domain(&hostname);
    let mut config = STARTER.replace("hostname = \"\"", &format!("hostname = \"{hostname}\""));
    config = config.replace("fwd.example.net", &srs_domain);
    if let Some(address) = &args.postmaster {
        let quoted = toml::Value::from(address.to_string()).to_string();
        config = config.replace("\"you@example.com\"", &quoted);
    }
    for (name, mode, text) in [
        ("onward.toml", 0o644, config.as_bytes()),
        ("forwards", 0o644, STARTER_FORWARDS.as_bytes()),
        ("srs.secrets", 0o600, secrets.as_slice()),
    ] {
        let path = folder.join(name);
        let written = fill(&path, mode, text);
        let written = written.map_err(|error| unwritten(&path, error))?;
        if written && mode == 0o600 {
            share(&path, folder).map_err(|error| unwritten(&path, error))?;
        }
        let what = if written { "wrote" } else { "kept " };
        print.line(format_args!("{what} {}", path.display()));
    }
    print.line(next(&folder.display().to_string(), &hostname, &srs_domain));
    Ok(())
}

/// What is left to do.
fn next(folder: &str, hostname: &str, srs_domain: &str) -> String {
    format!(
        "\nNext:\n  1. {folder}/forwards: which address goes where. {folder}/onward.toml: hostname, domain of rewritten senders, postmaster.\n  \
         2. In the DNS, the first for each hosted domain:\n     \
         example.org. MX 10 {hostname}.\n     \
         {hostname}. A / AAAA     and a PTR back to the name\n     \
         {srs_domain}. MX 10 {hostname}.\n     \
         {srs_domain}. TXT \"v=spf1 a:{hostname} -all\"\n  \
         3. onward --config {folder}/onward.toml check --dns\n  \
         4. onward --config {folder}/onward.toml serve     or: systemctl enable --now onward"
    )
}

/// A sister of the host's name; below it, if that is all that there is.
fn srs_domain(hostname: &str) -> String {
    match hostname.split_once('.') {
        Some((_, parent)) if parent.contains('.') => format!("fwd.{parent}"),
        _ => format!("fwd.{hostname}"),
    }
}

/// As [`write_new`]; but a configuration that nobody has touched is replaced.
fn fill(path: &Path, mode: u32, text: &[u8]) -> io::Result<bool> {
    if is_untouched(path) {
        fs::remove_file(path)?;
    }
    write_new(path, mode, text)
}

/// Still as a package brought it.
pub(crate) fn is_untouched(path: &Path) -> bool {
    fs::read(path).is_ok_and(|there| there == STARTER.as_bytes())
}

/// Where root has given the folder to a group, as a package does, that group reads what is secret: the daemon is in it.
pub(crate) fn share(secret: &Path, folder: &Path) -> io::Result<()> {
    let group = fs::metadata(folder)?.gid();
    if !geteuid().is_root() || group == 0 {
        return Ok(());
    }
    chown(secret, None, Some(group))?;
    fs::set_permissions(secret, Permissions::from_mode(0o640))
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
pub(crate) fn imported(path: &Path) -> Result<Vec<u8>, Failure> {
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

/// What a package installs, with no host name: so nothing starts before `init` or somebody has filled it in.
const STARTER: &str = include_str!("../../etc/starter.toml");

const OWN_NAME: &str = "/proc/sys/kernel/hostname";
const NAME_HINT: &str = "say the name that other mail servers know this machine by, as in its MX record: `onward init --hostname mx1.example.net`";

const STARTER_FORWARDS: &str = "\
# address             targets                       options
# alice@example.org   alice@mail.example.com
# @example.org        catchall@mail.example.com
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn starter_files_work_and_are_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let args = Init {
            folder: folder.path().join("new"),
            hostname: Some("mx.example.org".into()),
            postmaster: Some("ann@example.com".parse().unwrap()),
            import_postsrsd: None,
        };
        run(&args, Printer::new(false)).unwrap();
        let config = Config::load(&args.folder.join("onward.toml")).unwrap();
        assert_eq!(config.hostname, "mx.example.org");
        assert_eq!(config.srs.domain.as_deref(), Some("fwd.example.org"));
        let postmaster = config.forwards.postmaster.as_deref();
        assert_eq!(postmaster, Some("ann@example.com"));
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
    fn a_package_s_file_is_filled_in_and_works_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("onward.toml");
        fs::write(&path, STARTER).unwrap();
        let error = Config::load(&path).unwrap_err().to_string();
        assert!(error.contains("`hostname`: "), "{error}");
        assert!(fill(&path, 0o644, b"hostname = 'a.example'").unwrap());
        assert!(!fill(&path, 0o644, STARTER.as_bytes()).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"hostname = 'a.example'");
    }

    #[test]
    fn srs_domains() {
        assert_eq!(srs_domain("mx1.example.net"), "fwd.example.net");
        assert_eq!(srs_domain("example.net"), "fwd.example.net");
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
