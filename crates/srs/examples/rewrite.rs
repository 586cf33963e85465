//! Rewrites addresses from standard input, or reads rewritten ones back: for comparing with other programs.
//!
//! ```text
//! echo alice@first.example | cargo run -p srs --example rewrite -- forward SECRET us.example UNIX_SECS
//! echo SRS0=…@us.example   | cargo run -p srs --example rewrite -- reverse SECRET us.example UNIX_SECS
//! ```

#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::error::Error;
use std::io::stdin;

use srs::{Day, Reversed, Settings, Srs};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, verb, secret, us, secs] = &args[..] else {
        return Err("usage: rewrite forward|reverse SECRET DOMAIN UNIX_SECS".into());
    };
    let srs = Srs::new(Settings::new([secret.as_str()]))?;
    let today = Day::from_unix_secs(secs.parse()?);
    for line in stdin().lines() {
        let line = line?;
        let (local, domain) = line.rsplit_once('@').ok_or("no @ in the address")?;
        match verb.as_str() {
            "forward" => println!("{}", forward(&srs, local, domain, us, today)),
            _ => println!("{}", reverse(&srs, local, today)),
        }
    }
    Ok(())
}

fn forward(srs: &Srs, local: &str, domain: &str, us: &str, today: Day) -> String {
    match srs.forward(local, domain, today) {
        Ok(rewritten) => format!("{rewritten}@{us}"),
        Err(error) => format!("{}@{us} ({error})", srs.token("TOKEN", today)),
    }
}

fn reverse(srs: &Srs, local: &str, today: Day) -> String {
    match srs.reverse(local, today) {
        Ok(Reversed::Srs0 { local, domain } | Reversed::Srs1 { local, domain }) => {
            format!("{local}@{domain}")
        }
        Ok(Reversed::Token(id)) => format!("token {id}"),
        Err(error) => error.to_string(),
    }
}
