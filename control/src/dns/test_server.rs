//! A name server on 127.0.0.1, over UDP and TCP, whose zone the test writes.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

#[derive(Default)]
struct State {
    zone: HashMap<(String, RecordType), Vec<(RData, u32)>>,
    is_away: bool,
    truncates_udp: bool,
    /// Name, type, and whether it came over TCP.
    questions: Vec<(String, RecordType, bool)>,
}

/// Clones share the zone.
#[derive(Clone)]
pub(super) struct TestServer {
    state: Arc<Mutex<State>>,
    pub(super) address: SocketAddr,
}

pub(super) fn a(address: &str) -> RData {
    RData::A(A::from_str(address).unwrap())
}

pub(super) fn aaaa(address: &str) -> RData {
    RData::AAAA(AAAA::from_str(address).unwrap())
}

pub(super) fn cname(target: &str) -> RData {
    RData::CNAME(CNAME(Name::from_ascii(target).unwrap()))
}

pub(super) fn srv(priority: u16, weight: u16, target: &str) -> RData {
    RData::SRV(SRV::new(priority, weight, 8080, Name::from_ascii(target).unwrap()))
}

impl TestServer {
    pub(super) async fn start() -> Self {
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            // The same port may be taken for UDP: then another one.
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let server = Self { state: Arc::default(), address: udp.local_addr().unwrap() };
        tokio::spawn(server.clone().serve_udp(udp));
        tokio::spawn(server.clone().serve_tcp(tcp));
        server
    }

    async fn serve_udp(self, socket: UdpSocket) {
        let mut packet = [0; 4096];
        loop {
            let (length, peer) = socket.recv_from(&mut packet).await.unwrap();
            if let Some(answer) = self.answer(&packet[..length], false) {
                socket.send_to(&answer, peer).await.unwrap();
            }
        }
    }

    async fn serve_tcp(self, listener: TcpListener) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let server = self.clone();
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u16().await {
                    let mut packet = vec![0; length.into()];
                    stream.read_exact(&mut packet).await.unwrap();
                    if let Some(answer) = server.answer(&packet, true) {
                        let mut framed = (answer.len() as u16).to_be_bytes().to_vec();
                        framed.extend(answer);
                        stream.write_all(&framed).await.unwrap();
                    }
                }
            });
        }
    }

    fn answer(&self, packet: &[u8], is_tcp: bool) -> Option<Vec<u8>> {
        let question = Message::from_vec(packet).unwrap();
        let query = question.queries[0].clone();
        let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
        let mut state = self.state.lock().unwrap();
        state.questions.push((name.clone(), query.query_type(), is_tcp));
        if state.is_away {
            return None;
        }
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        answer.metadata.recursion_available = true;
        answer.add_query(query.clone());
        if state.truncates_udp && !is_tcp {
            answer.metadata.truncation = true;
            return Some(answer.to_vec().unwrap());
        }
        let mut at = name.clone();
        while let Some([(RData::CNAME(target), ttl)]) =
            state.zone.get(&(at.clone(), RecordType::CNAME)).map(Vec::as_slice)
        {
            answer.add_answer(Record::from_rdata(
                Name::from_ascii(format!("{at}.")).unwrap(),
                *ttl,
                RData::CNAME(target.clone()),
            ));
            at = target.0.to_ascii().trim_end_matches('.').to_owned();
        }
        for (data, ttl) in state.zone.get(&(at.clone(), query.query_type())).into_iter().flatten() {
            answer.add_answer(Record::from_rdata(Name::from_ascii(format!("{at}.")).unwrap(), *ttl, data.clone()));
        }
        if !state.zone.keys().any(|(known, _)| *known == name) {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        Some(answer.to_vec().unwrap())
    }

    /// Sets the records of one name and type.
    pub(super) fn set(&self, name: &str, ttl: u32, records: Vec<RData>) {
        let mut state = self.state.lock().unwrap();
        let kind = records[0].record_type();
        state.zone.insert((name.to_owned(), kind), records.into_iter().map(|data| (data, ttl)).collect());
    }

    pub(super) fn remove(&self, name: &str) {
        self.state.lock().unwrap().zone.retain(|(known, _), _| known != name);
    }

    /// Away: questions are heard and not answered.
    pub(super) fn set_away(&self, is_away: bool) {
        self.state.lock().unwrap().is_away = is_away;
    }

    pub(super) fn truncate_udp(&self) {
        self.state.lock().unwrap().truncates_udp = true;
    }

    pub(super) fn questions(&self) -> Vec<(String, RecordType, bool)> {
        self.state.lock().unwrap().questions.clone()
    }

    /// How often a name was asked for, with any type.
    pub(super) fn count(&self, name: &str) -> usize {
        self.questions().iter().filter(|(asked, ..)| asked == name).count()
    }
}
