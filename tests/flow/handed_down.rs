//! A socket that systemd keeps open: while the relay is restarted, no connection is refused.

use std::net::TcpListener;

use testkit::net::Net;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::{origin_sends, relay};

#[tokio::test]
async fn a_restart_refuses_no_connection() {
    let net = Net::new().await;
    let sink = net.sink("target.test", "").await;
    let socket = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("an address");
    let relay = relay(&net, "alice@example.test alice@target.test\n")
        .listener(&format!("bind = \"{address}\""))
        .socket(socket)
        .start()
        .await;
    assert_eq!(relay.address(), address);
    origin_sends(&relay, "alice@example.test", "before").await;
    sink.message().await;
    let setup = relay.stop().await;
    let mut waiting = TcpStream::connect(address).await.expect("it still listens");
    let relay = setup.start().await;
    let mut greeting = [0; 3];
    waiting.read_exact(&mut greeting).await.expect("a greeting");
    assert_eq!(&greeting, b"220");
    origin_sends(&relay, "alice@example.test", "after").await;
    sink.message().await;
}
