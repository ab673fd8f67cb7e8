//! Data that nobody should serve.

use failover_core::ErrorKind;

use super::*;

#[tokio::test]
async fn loopback_addresses_are_refused_unless_the_name_is_allowed() {
    let server = NameServer::start().await;
    for name in ["users.test", "dev.test"] {
        server.zone().address(name, "127.0.0.1");
        server.zone().address(name, "10.0.0.1");
    }
    let (_manager, users) = watching(asking(&server), "users.test").await;
    assert_eq!(known(&users), ["10.0.0.1:80"]);
    assert!(users.explain().to_string().contains("loopback"), "{}", users.explain());
    let asks = || asking(&server).allow_loopback("DEV.test.");
    let (_manager, dev) = watching(asks(), "dev.test").await;
    assert_eq!(known(&dev), ["10.0.0.1:80", "127.0.0.1:80"]);
    let (_manager, users) = watching(asks(), "users.test").await;
    assert_eq!(known(&users), ["10.0.0.1:80"]);
    assert!(users.explain().to_string().contains("allow_loopback"), "{}", users.explain());
}

#[tokio::test]
async fn an_answer_is_whole_or_none() {
    let server = NameServer::start().await;
    let addresses =
        |count: u32| (1..=count).map(|number| std::net::Ipv4Addr::from(0x0a00_0000 + number).into());
    server.zone().addresses("users.test", addresses(2_500));
    let asks = || asking(&server).timeout(Duration::from_secs(10));
    let set = list(asks(), "users.test").await.expect("it fits into a message");
    assert_eq!(set.entries().len(), 2_500);
    // 160 kB do not fit into the 64 kB of a message.
    server.zone().addresses("users.test", addresses(10_000));
    let error = list(asks(), "users.test").await.expect_err("a part is no answer");
    assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
    assert!(error.to_string().contains("cut off"), "{error}");
}

#[tokio::test]
async fn odd_names_of_targets_stay_text() {
    let server = NameServer::start().await;
    let odd = hickory_proto::rr::Name::from_labels([&b"a b\n\x1b[31m"[..], b"\xff\x00;\"", b"test"]);
    let odd = odd.expect("a name");
    let srv = |port| hickory_proto::rr::rdata::SRV::new(0, 1, port, odd.clone());
    {
        let mut zone = server.zone();
        zone.add("_http._tcp.users.test", hickory_proto::rr::RData::SRV(srv(80)));
        zone.srv("_http._tcp.users.test", (0, 1, 80), "under_score.test");
        zone.address("under_score.test", "10.0.0.1");
    }
    let (_manager, users) = watching(asking_srv(&server), "_http._tcp.users.test").await;
    assert_eq!(known(&users), ["under_score.test:80"]);
    let shown = users.explain().to_string();
    assert!(shown.contains("does not exist") && !shown.contains('\x1b'), "{shown:?}");
    // It cannot be an id, but it is an address.
    server.zone().add_at(odd.clone(), "10.0.0.2".parse::<std::net::IpAddr>().expect("an address").into());
    let set = list(asking_srv(&server), "_http._tcp.users.test").await.expect("an answer");
    assert!(set.entries().len() + set.rejected().len() == 2, "{set:?}");
}

#[tokio::test]
async fn names_that_are_none_are_errors() {
    let server = NameServer::start().await;
    let label = "a".repeat(64);
    for name in ["10.0.0.1", "a..b", ".a", label.as_str()] {
        let error = list(asking(&server), name).await.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Validation, "{error}");
    }
    assert!(server.zone().asked.is_empty(), "nobody is asked for them");
}

#[tokio::test]
async fn noise_is_no_answer() {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("an address");
    let noise = tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((size, from)) = socket.recv_from(&mut buffer).await {
            // The id is right, the rest is not.
            let mut reply = buffer[..size.min(2)].to_vec();
            reply.extend([0xff; 40]);
            let _ = socket.send_to(&reply, from).await;
        }
    });
    let asks = DnsProvider::builder().nameserver(address).port(80).family(Family::V4);
    let error = list(asks.timeout(Duration::from_millis(300)), "users.test").await.expect_err("noise");
    assert!(matches!(error.kind(), ErrorKind::Connection | ErrorKind::Timeout), "{error}");
    noise.abort();
}

#[tokio::test]
async fn an_answer_about_another_name_is_none() {
    let server = NameServer::start().await;
    server.zone().address("users.test", "10.0.0.1");
    server.zone().mood = Mood::Lies;
    let error = list(asking(&server), "users.test").await.expect_err("a lie");
    assert_eq!(error.kind(), ErrorKind::Connection, "{error}");
    assert!(error.to_string().contains("about another name"), "{error}");
}
