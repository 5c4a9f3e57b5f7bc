//! What an operator chooses about the engine: steering, busy polling, a submission thread, ring size, CPUs.

use tests::{Backend, Document, Gateway, RawClient, eventually, run_cli};

const CONNECTIONS: usize = 40;

/// Open connections of each core.
fn connections_by_core(gateway: &Gateway) -> Vec<u64> {
    let text = gateway.admin("/metrics", &[]).text();
    let lines = text.lines().filter(|line| line.starts_with("ferrum_core_connections_active{"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
}

/// A gateway whose connections all work, those connections, and the backend they lead to.
fn serving(settings: &[(&str, &str)]) -> (Gateway, Vec<RawClient>, Backend) {
    let backend = Backend::saying("ok");
    let builder = Gateway::builder().document(&Document::all_to(backend.port()));
    let gateway = settings.iter().fold(builder, |builder, (name, value)| builder.env(name, value)).start();
    let clients = (0..CONNECTIONS).map(|_| {
        let mut client = gateway.raw();
        assert_eq!(client.get("/").text(), "ok");
        client
    });
    let clients = clients.collect();
    (gateway, clients, backend)
}

#[test]
fn every_way_of_steering_serves_every_connection() {
    for steering in ["hash", "cpu", "balance"] {
        let (gateway, clients, _backend) = serving(&[("FERRUM_ACCEPT_STEERING", steering)]);
        let total: u64 = connections_by_core(&gateway).iter().sum();
        assert_eq!(total, clients.len() as u64, "{steering}");
    }
}

#[test]
fn balanced_steering_keeps_the_cores_even() {
    let (gateway, _clients, _backend) = serving(&[("FERRUM_ACCEPT_STEERING", "balance")]);
    // A connection that was handed over is counted by its new core a moment later.
    eventually("cores with nearly as many connections", || {
        let by_core = connections_by_core(&gateway);
        let (most, least) = (by_core.iter().max()?, by_core.iter().min()?);
        (most - least <= 5 && by_core.iter().sum::<u64>() == CONNECTIONS as u64).then_some(())
    });
}

#[test]
fn a_core_that_polls_busily_or_has_a_submission_thread_serves_as_well() {
    for settings in [
        [("FERRUM_BUSY_POLL_US", "200"), ("FERRUM_CORES", "0")],
        [("FERRUM_SQPOLL", "true"), ("FERRUM_CORES", "0")],
        [("FERRUM_RING_ENTRIES", "64"), ("FERRUM_CORES", "0")],
    ] {
        let (gateway, _clients, _backend) = serving(&settings);
        assert_eq!(connections_by_core(&gateway).len(), 1, "{settings:?}");
    }
}

#[test]
fn worker_threads_size_the_core_set_where_no_list_does() {
    let (gateway, _clients, _backend) = serving(&[("FERRUM_WORKER_THREADS", "1")]);
    assert_eq!(connections_by_core(&gateway).len(), 1);
}

#[test]
fn a_cpu_this_host_does_not_have_is_refused_at_start() {
    for (name, cpu) in [("FERRUM_CORES", "1023"), ("FERRUM_CONTROL_CORES", "1023"), ("FERRUM_CONTROL_CORES", "8191")] {
        let exit = Gateway::builder().env(name, cpu).start_failing();
        assert_eq!(exit.code, Some(1), "{name}");
        let reason = format!("Invalid {name} value '{cpu}'. This process may not run on CPU {cpu}; allowed: ");
        let expected = format!("Configuration error: {reason}");
        assert!(exit.messages().iter().any(|text| text.starts_with(&expected)), "{name}: {exit:?}");
    }
}

#[test]
fn engine_settings_that_make_no_sense_are_refused_by_name() {
    for (name, value) in [
        ("FERRUM_CORES", "0-"),
        ("FERRUM_REACTOR", "kqueue"),
        ("FERRUM_ACCEPT_STEERING", "random"),
        ("FERRUM_RING_ENTRIES", "many"),
        ("FERRUM_SQPOLL", "perhaps"),
    ] {
        let exit = run_cli(&["validate"], &[("FERRUM_MODE", "file"), (name, value)]);
        assert_eq!(exit.code, Some(1), "{name}");
        assert!(exit.messages().iter().any(|text| text.contains(name) && text.contains(value)), "{name}: {exit:?}");
    }
}
