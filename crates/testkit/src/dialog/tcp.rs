//! Dialogs over TCP, against a relay with their setup.

use std::net::SocketAddr;

use crate::sender::Plain;

use super::{Dialog, Kind, fits};

impl Dialog {
    /// Runs against the relay at `address`. The error names the line, what was expected there and what came.
    pub async fn run_over_tcp(&self, address: SocketAddr) -> Result<(), String> {
        const HOW: &str = "over TCP";
        let mut plain = Plain::connect_silently(address).await;
        let (mut skipping, mut starting_tls) = (false, false);
        for step in self.writes() {
            match &step.kind {
                Kind::Send(bytes) => {
                    starting_tls = contains_starttls(bytes);
                    plain.raw(bytes).await;
                }
                Kind::Skip => skipping = true,
                Kind::Expect(expected) => {
                    let got = loop {
                        let line = plain.line().await;
                        match line {
                            Some(line) if fits(expected, &line) => break line,
                            Some(_) if skipping => {}
                            got => {
                                let got = got.unwrap_or_else(|| "(closed)".to_owned());
                                return Err(self.mismatch(step.line, HOW, expected, &got));
                            }
                        }
                    };
                    skipping = false;
                    if starting_tls && got.starts_with("220") {
                        starting_tls = false;
                        plain = plain.handshake().await;
                    }
                }
            }
        }
        let rest = plain.buffered();
        if rest.is_empty() || skipping {
            return Ok(());
        }
        let last = self.steps.last().map_or(1, |step| step.line);
        Err(self.mismatch(last, HOW, "(no more replies)", &rest))
    }
}

fn contains_starttls(bytes: &[u8]) -> bool {
    bytes
        .split(|byte| *byte == b'\n')
        .any(|line| line.trim_ascii().eq_ignore_ascii_case(b"STARTTLS"))
}
