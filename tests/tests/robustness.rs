//! Nothing a client or a backend sends stops the gateway from serving the others.

use std::time::Duration;

use tests::{Backend, Document, Gateway};

/// Reproducible noise: xorshift from a fixed seed, so that a failure can be seen again.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    /// A good request with a few of its bytes changed, doubled or lost.
    fn mutated(&mut self) -> Vec<u8> {
        let mut request =
            b"POST /a/b?c=d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\
                            Connection: keep-alive\r\nExpect: 100-continue\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                .to_vec();
        for _ in 0..=self.below(8) {
            let place = self.below(request.len());
            match self.below(4) {
                0 => request[place] = self.next() as u8,
                1 if request.len() > 1 => drop(request.remove(place)),
                2 => request.insert(place, b"\r\n:, \0;"[self.below(7)]),
                _ => request.truncate(place.max(1)),
            }
        }
        request
    }
}

#[track_caller]
fn still_serving(gateway: &mut Gateway) {
    assert!(gateway.is_running());
    assert_eq!(gateway.get("/").status, 200);
    let (stdout, stderr) = gateway.output();
    assert!(![stdout, stderr].concat().iter().any(|line| line.contains("panicked")), "something panicked");
}

fn send_and_leave(gateway: &Gateway, bytes: &[u8], reset: bool) {
    let mut client = gateway.raw().with_patience(Duration::from_secs(1));
    client.try_send(bytes).ok();
    if reset {
        return client.reset();
    }
    client.finish_sending();
    while client.read_some().is_ok_and(|bytes| !bytes.is_empty()) {}
}

#[test]
fn two_hundred_connections_of_noise_leave_it_serving() {
    let backend = Backend::saying("ok");
    let mut gateway = Gateway::in_front_of(backend.port());
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    for number in 0..200 {
        let length = 1 + noise.below(2000);
        let bytes = noise.bytes(length);
        send_and_leave(&gateway, &bytes, number % 3 == 0);
    }
    still_serving(&mut gateway);
}

#[test]
fn requests_with_a_few_broken_bytes_leave_it_serving() {
    let backend = Backend::saying("ok");
    let mut gateway = Gateway::in_front_of(backend.port());
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for number in 0..400 {
        send_and_leave(&gateway, &noise.mutated(), number % 5 == 0);
    }
    still_serving(&mut gateway);
}

#[test]
fn backends_that_answer_noise_leave_it_serving() {
    let noisy = Backend::scripted(|connection| {
        let mut noise = Noise(0xdead_beef + connection.id() as u64);
        connection.read_request();
        let length = 1 + noise.below(500);
        let mut bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello".to_vec();
        match connection.id() % 3 {
            0 => bytes = noise.bytes(length),
            1 => {
                let place = noise.below(bytes.len());
                bytes[place] = noise.next() as u8;
            }
            _ => bytes.truncate(noise.below(bytes.len())),
        }
        connection.send(bytes);
        if noise.below(2) == 0 {
            connection.reset();
        }
    });
    let good = Backend::saying("ok");
    let proxy =
        |id: &str, path: &str, port| tests::Proxy::new(id).path(path).set("backend_read_timeout_ms", 100).to(port);
    let document = Document::new().proxy(proxy("good", "/", good.port())).proxy(proxy("noisy", "/noisy", noisy.port()));
    let mut gateway = Gateway::running(&document);
    for _ in 0..150 {
        let mut client = gateway.raw();
        client.send("GET /noisy HTTP/1.1\r\nHost: a\r\n\r\n");
        client.try_response().ok();
    }
    still_serving(&mut gateway);
}

#[test]
fn a_thousand_connections_that_come_and_go_leave_no_descriptor_behind() {
    let backend = Backend::saying("ok");
    let mut gateway = Gateway::in_front_of(backend.port());
    assert_eq!(gateway.get("/").status, 200);
    let open =
        |gateway: &Gateway| std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).expect("the process runs").count();
    let before = open(&gateway);
    for number in 0..1000 {
        let mut client = gateway.raw();
        match number % 4 {
            0 => drop(client),
            1 => client.reset(),
            2 => client.send("GET / HTTP/1.1\r\nHost"),
            _ => drop(client.get("/")),
        }
    }
    // A few backend connections may stay in the pools of the cores.
    tests::eventually("the descriptors are closed", || (open(&gateway) <= before + 8).then_some(()));
    still_serving(&mut gateway);
}

#[test]
fn a_stalled_client_does_not_hold_up_the_others() {
    let backend = Backend::replying(|request| {
        tests::Reply::new(200).body(if request.target == "/large" { vec![b'x'; 64 << 20] } else { b"ok".to_vec() })
    });
    let gateway = Gateway::builder()
        .document(&Document::all_to(backend.port()))
        .env("FERRUM_CORES", 0)
        .env("FERRUM_MAX_RESPONSE_BODY_SIZE_BYTES", 0)
        .start();
    let mut stalled: Vec<_> = (0..4).map(|_| gateway.raw()).collect();
    for client in &mut stalled {
        client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.head().status, 200);
    }
    for _ in 0..100 {
        assert_eq!(gateway.get("/").text(), "ok");
    }
}
