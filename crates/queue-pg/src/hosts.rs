//! The hosts of the database: a primary and its standbys, of which one takes writes.
//!
//! All are asked at once, so that one which is silent, because it hangs or has lost its power, holds nothing up. The library asks one
//! after another.

use std::pin::Pin;

use deadpool_postgres::Connect;
use futures_util::future::select_ok;
use tokio::task::JoinHandle;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Error, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How each of them is connected to.
#[derive(Clone)]
pub(crate) struct Hosts {
    pub(crate) each: Vec<Config>,
    pub(crate) tls: MakeRustlsConnect,
}

type Connected = (
    Client,
    Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>,
);

impl Hosts {
    /// The first to answer that takes writes.
    pub(crate) async fn connect(&self) -> Result<Connected, Error> {
        let tries = self.each.iter();
        let tries = tries.map(|config| Box::pin(config.connect(self.tls.clone())));
        select_ok(tries).await.map(|(connected, _)| connected)
    }
}

impl Connect for Hosts {
    fn connect(
        &self,
        _: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + '_>> {
        Box::pin(async {
            let (client, connection) = self.connect().await?;
            let served = tokio::spawn(async {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to the database ends");
                }
            });
            Ok((client, served))
        })
    }
}

/// The same URL for each of the hosts in it.
pub(crate) fn split(url: &str) -> Vec<String> {
    let after = |from: usize, sign: &str| url[from..].find(sign).map(|at| from + at + sign.len());
    let Some(start) = after(0, "://") else {
        return vec![url.to_owned()];
    };
    let start = after(start, "@").unwrap_or(start);
    let end = url[start..].find(['/', '?']);
    let end = end.map_or(url.len(), |at| start + at);
    let hosts = url[start..end].split(',');
    hosts
        .map(|host| format!("{}{host}{}", &url[..start], &url[end..]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_has_its_own_url() {
        let several = "postgres://onward:a%40b@[::1]:5433,db2/mail?sslmode=require";
        let each = [
            "postgres://onward:a%40b@[::1]:5433/mail?sslmode=require",
            "postgres://onward:a%40b@db2/mail?sslmode=require",
        ];
        assert_eq!(split(several), each);
        assert_eq!(split("postgres://a,b"), ["postgres://a", "postgres://b"]);
        assert_eq!(split("host=a,b"), ["host=a,b"]);
    }
}
