//! A port or a spool that another process has: said, and exit code 1.

use testkit::net::Net;
use tokio::net::TcpListener;

use crate::relay;

const FORWARDS: &str = "alice@example.test alice@target.test\n";

#[tokio::test]
async fn port_in_use_and_spool_in_use() {
    let net = Net::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let setup = relay(&net, FORWARDS).listener(&format!("bind = \"{address}\""));
    setup
        .run_into_error(&["serve"], &[&address, "in use", "hint: "])
        .await;

    let running = relay(&net, FORWARDS).start().await;
    running
        .setup()
        .run_into_error(&["serve"], &["spool", "hint: "])
        .await;
    running.stop().await;
}
