//! What systemd is told: ready once the listeners are bound, stopping when a drain begins.

use testkit::net::Net;
use tokio::net::UnixDatagram;

use crate::relay;

#[tokio::test]
async fn ready_and_stopping_are_told() {
    let net = Net::new().await;
    let setup = relay(&net, "");
    let path = setup.path("notify.sock");
    let socket = UnixDatagram::bind(&path).expect("a socket in the folder");
    let relay = setup.environment("NOTIFY_SOCKET", path).start().await;
    let heard = async || {
        let mut datagram = [0; 512];
        let receive = socket.recv(&mut datagram);
        let octets = tokio::time::timeout(testkit::PATIENCE, receive).await;
        let octets = octets.expect("a datagram in time").expect("a datagram");
        String::from_utf8_lossy(&datagram[..octets]).into_owned()
    };
    assert!(heard().await.contains("READY=1"));
    relay.stop().await;
    assert!(heard().await.contains("STOPPING=1"));
}
