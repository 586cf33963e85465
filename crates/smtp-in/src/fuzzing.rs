//! An entry for the fuzz targets (`crates/fuzz-targets`); no part of the API.

use std::net::SocketAddr;

use tokio::io::AsyncRead;

use crate::proxy::{self, ProxyError};

/// Reads a PROXY header, without the time limit; gives source and destination.
pub async fn read_proxy_header(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<(SocketAddr, SocketAddr)>, ProxyError> {
    let origin = proxy::read_header(stream).await?;
    Ok(origin.map(|addresses| (addresses.source, addresses.destination)))
}
