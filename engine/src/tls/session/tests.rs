use std::path::PathBuf;

use proptest::prelude::*;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{AlertDescription, RootCertStore};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use super::*;
use crate::model::TlsFiles;
use crate::tls::{ClientAuth, Identity, Policy, ServerOptions, Tickets, TlsVersion, group, server_config, suite};

struct Rig {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

fn policy(version: TlsVersion) -> Policy {
    let suites = ["TLS_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"];
    let suites = suites.iter().map(|name| suite(name).unwrap()).collect();
    Policy::new((version, version), suites, vec![group("X25519").unwrap()], true)
}

fn rig(version: TlsVersion) -> Rig {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = tempfile::tempdir().unwrap();
    let written = |name: &str, text: String| -> PathBuf {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (certificate, key) = (written("cert.pem", cert.pem()), written("key.pem", signing_key.serialize_pem()));
    let policy = policy(version);
    let mut checks = TlsFiles::new(OffsetDateTime::now_utc(), 0);
    let identity = Identity::load(&policy, &mut checks, ("CERT", &certificate), ("KEY", &key)).unwrap();
    let server = server_config(ServerOptions {
        policy: &policy,
        identities: vec![identity],
        client_auth: ClientAuth::Off,
        revoked: Vec::new(),
        alpn: vec![b"http/1.1".to_vec()],
        tickets: &Tickets::new(16).unwrap(),
    });
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(cert.der().to_vec())).unwrap();
    let client = ClientConfig::builder_with_provider(policy.provider.clone())
        .with_protocol_versions(&policy.versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Rig { server: server.unwrap(), client: Arc::new(client) }
}

impl Rig {
    fn sessions(&self) -> (Session, Session) {
        let name = ServerName::try_from("localhost").unwrap();
        let client = Session::client(self.client.clone(), name).unwrap();
        (Session::server(self.server.clone()).unwrap(), client)
    }
}

/// Both sides of a finished handshake, the client with its tickets.
fn connected(rig: &Rig) -> (Session, Session) {
    let (mut server, mut client) = rig.sessions();
    for _ in 0..8 {
        let client_done = client.shake().unwrap() == Handshake::Done;
        give(&mut server, &client.take_outgoing().unwrap_or_default());
        let server_done = server.shake().unwrap() == Handshake::Done;
        give(&mut client, &server.take_outgoing().unwrap_or_default());
        if client_done && server_done {
            assert!(server.received().is_empty());
            assert_eq!(client.open(&mut Buffer::head()).unwrap(), Opened::NeedsMore);
            return (server, client);
        }
    }
    panic!("no handshake in eight rounds");
}

/// More comes from the wire.
fn give(session: &mut Session, bytes: &[u8]) {
    let mut received = session.take_received();
    received.extend(bytes);
    session.set_received(received);
}

fn opened(session: &mut Session, bytes: &[u8]) -> Vec<u8> {
    give(session, bytes);
    let mut plain = Buffer::bulk();
    session.open(&mut plain).unwrap();
    assert!(session.received().is_empty());
    plain.to_vec()
}

#[test]
fn both_versions_carry_data_both_ways() {
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let (mut server, mut client) = connected(&rig(version));
        let mut wire = Vec::new();
        client.seal(b"question", &mut wire).unwrap();
        assert!(!wire.windows(8).any(|seen| seen == b"question"));
        assert_eq!(opened(&mut server, &wire), b"question");
        wire.clear();
        server.seal(b"answer", &mut wire).unwrap();
        assert_eq!(opened(&mut client, &wire), b"answer");
    }
}

#[test]
fn data_that_comes_with_the_end_of_the_handshake_is_not_lost() {
    let rig = rig(TlsVersion::Tls13);
    let (mut server, mut client) = rig.sessions();
    client.shake().unwrap();
    give(&mut server, &client.take_outgoing().unwrap());
    server.shake().unwrap();
    give(&mut client, &server.take_outgoing().unwrap());
    assert_eq!(client.shake().unwrap(), Handshake::Done);
    let mut last = client.take_outgoing().unwrap().to_vec();
    client.seal(b"early", &mut last).unwrap();
    give(&mut server, &last);
    assert_eq!(server.shake().unwrap(), Handshake::Done);
    assert_eq!(opened(&mut server, &[]), b"early");
}

#[test]
fn a_record_larger_than_the_room_is_given_out_in_pieces() {
    let (mut server, mut client) = connected(&rig(TlsVersion::Tls13));
    let data: Vec<u8> = (0..RECORD_BYTES).map(|n| n as u8).collect();
    let mut wire = Vec::new();
    client.seal(&data, &mut wire).unwrap();
    give(&mut server, &wire);
    let mut seen = Vec::new();
    while seen.len() < data.len() {
        let mut plain = Buffer::head();
        plain.extend(&vec![0; crate::buffer::HEAD_BUFFER_BYTES - 1000]);
        let before = plain.len();
        assert_eq!(server.open(&mut plain).unwrap(), Opened::Data(plain.len() - before));
        assert!(plain.len() - before <= 1000);
        seen.extend_from_slice(&plain[before..]);
    }
    assert_eq!(seen, data);
    assert!(!server.has_rest());
}

#[test]
fn an_end_is_an_end_only_if_the_peer_says_so() {
    let (mut server, mut client) = connected(&rig(TlsVersion::Tls13));
    let mut wire = Vec::new();
    client.seal(b"last", &mut wire).unwrap();
    client.close(&mut wire).unwrap();
    give(&mut server, &wire);
    let mut plain = Buffer::head();
    assert_eq!(server.open(&mut plain).unwrap(), Opened::Data(4));
    let mut more = Buffer::head();
    assert_eq!(server.open(&mut more).unwrap(), Opened::Closed);
    assert!(server.is_closed());
    // The other direction goes on.
    let mut answer = Vec::new();
    server.seal(b"still here", &mut answer).unwrap();
    assert_eq!(opened(&mut client, &answer), b"still here");
}

#[test]
fn garbage_is_refused_with_an_alert() {
    let (mut server, _) = rig(TlsVersion::Tls13).sessions();
    give(&mut server, b"GET / HTTP/1.1\r\n\r\n");
    assert!(server.shake().is_err());
    let (mut server, mut client) = connected(&rig(TlsVersion::Tls13));
    let mut wire = Vec::new();
    client.seal(b"question", &mut wire).unwrap();
    *wire.last_mut().unwrap() ^= 1;
    give(&mut server, &wire);
    assert_eq!(server.open(&mut Buffer::head()).unwrap_err(), Error::DecryptError);
    give(&mut client, &server.take_outgoing().unwrap());
    let seen = client.open(&mut Buffer::head()).unwrap_err();
    assert_eq!(seen, Error::AlertReceived(AlertDescription::BadRecordMac));
}

/// A handshake message that comes in two records: rustls refers to the first by its place.
#[test]
fn what_is_sent_while_a_message_is_half_there_harms_nothing() {
    let (mut server, _) = rig(TlsVersion::Tls13).sessions();
    // A record with the first five bytes of a ClientHello of 256.
    give(&mut server, &[0x16, 3, 1, 0, 5, 1, 0, 1, 0, 3]);
    assert_eq!(server.shake().unwrap(), Handshake::NeedsMore);
    assert_eq!(server.seal(b"too early", &mut Vec::new()).unwrap_err(), Error::HandshakeNotComplete);
    give(&mut server, &[0x16, 3, 1, 0, 1, 3]);
    assert_eq!(server.shake().unwrap(), Handshake::NeedsMore);
    // Then something that is no handshake.
    give(&mut server, &[0x17, 3, 1, 0, 1, 3]);
    let failure = server.shake().unwrap_err();
    assert_eq!(server.shake().unwrap_err(), failure, "and it stays so");
}

#[test]
fn a_session_is_resumed_with_a_ticket() {
    let rig = rig(TlsVersion::Tls13);
    let (_, client) = connected(&rig);
    assert_eq!(client.common().handshake_kind(), Some(rustls::HandshakeKind::Full));
    let (server, client) = connected(&rig);
    assert_eq!(server.common().handshake_kind(), Some(rustls::HandshakeKind::Resumed));
    assert_eq!(client.common().handshake_kind(), Some(rustls::HandshakeKind::Resumed));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_make_a_session_panic(
        pieces in prop::collection::vec((0_u8..6, prop::collection::vec(any::<u8>(), 0..40)), 1..12),
        is_connected in any::<bool>(),
    ) {
        let rig = rig(TlsVersion::Tls13);
        let mut server = if is_connected { connected(&rig).0 } else { rig.sessions().0 };
        for (kind, bytes) in pieces {
            // Mostly well-formed records, some of whose handshake messages are longer than their record.
            let mut record = vec![0x14 + kind.min(3), 3, 1, 0, bytes.len() as u8];
            record.extend(if kind == 5 { &[2, 0, 1, 0][..] } else { &[] });
            record.extend(&bytes);
            give(&mut server, &record);
            let _ = server.shake();
            let _ = server.seal(b"x", &mut Vec::new());
            let _ = server.open(&mut Buffer::head());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn pieces_of_any_size_arrive_whole(
        sizes in prop::collection::vec(0_usize..70_000, 1..6),
        cuts in prop::collection::vec(1_usize..20_000, 1..8),
    ) {
        let (mut server, mut client) = connected(&rig(TlsVersion::Tls13));
        let (mut sent, mut wire) = (Vec::new(), Vec::new());
        for (at, size) in sizes.iter().enumerate() {
            let piece = vec![at as u8 + 1; *size];
            client.seal(&piece, &mut wire).unwrap();
            sent.extend(piece);
        }
        let mut seen = Vec::new();
        let mut cuts = cuts.iter().cycle();
        let mut at = 0;
        while at < wire.len() {
            let end = (at + cuts.next().unwrap()).min(wire.len());
            give(&mut server, &wire[at..end]);
            at = end;
            loop {
                let mut plain = Buffer::head();
                match server.open(&mut plain).unwrap() {
                    Opened::Data(count) => {
                        prop_assert_eq!(count, plain.len());
                        seen.extend_from_slice(&plain);
                    }
                    Opened::NeedsMore => break,
                    Opened::Closed => prop_assert!(false, "nobody closed"),
                }
            }
        }
        prop_assert!(seen == sent);
    }
}
