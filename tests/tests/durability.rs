//! Nothing acknowledged is lost: a gateway that is killed in the middle of admin writes has kept each write it has answered.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};

use serde_json::{Value, json};
use tests::{Database, Gateway, Signal};

/// How often it is killed. `FERRUM_TEST_KILLS` asks for more.
const KILLS: usize = 8;
const WRITERS: usize = 4;
/// Of which a kill happens after some.
const WRITES: usize = 1000;

fn kills() -> usize {
    std::env::var("FERRUM_TEST_KILLS").ok().map_or(KILLS, |count| count.parse().expect("a number of kills"))
}

/// Writes until the gateway is killed, after this many answers. Gives the ids of what was acknowledged.
fn written_until_killed(gateway: &Gateway, round: usize, kill_after: usize) -> Vec<String> {
    let acknowledged = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    let (told, answers) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            let told = told.clone();
            let (acknowledged, next) = (&acknowledged, &next);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let id = format!("r{round}-{number}");
                    let row = json!({"id": id, "targets": [{"host": "127.0.0.1", "port": 1}]});
                    match gateway.try_manage("POST", "/upstreams", &row) {
                        Ok(response) if number < WRITES => {
                            assert_eq!(response.status, 201, "{}", response.text());
                            acknowledged.lock().expect("unpoisoned").push(id);
                            let _ = told.send(());
                        }
                        // All are written, or it is dead.
                        Ok(_) | Err(_) => return,
                    }
                }
            });
        }
        drop(told);
        answers.iter().take(kill_after).for_each(drop);
        gateway.signal(Signal::Kill);
    });
    acknowledged.into_inner().expect("unpoisoned")
}

fn stored(gateway: &Gateway) -> BTreeSet<String> {
    let listed = gateway.manage("GET", "/upstreams", &Value::Null);
    assert_eq!(listed.status, 200, "{}", listed.text());
    let rows = listed.json();
    let id = |row: &Value| row["id"].as_str().expect("an id").to_owned();
    rows["data"].as_array().expect("rows").iter().map(id).collect()
}

#[test]
fn a_killed_gateway_has_kept_every_write_it_acknowledged() {
    let (kills, database) = (kills(), Database::sqlite("durability"));
    let mut acknowledged = BTreeSet::new();
    for round in 0..kills {
        // Opening what the last one left is a part of it.
        let gateway = Gateway::builder().on_database(&database).start();
        let missing: Vec<_> = acknowledged.difference(&stored(&gateway)).cloned().collect();
        assert!(missing.is_empty(), "lost by kill {round}: {missing:?}");
        // Somewhere else in the thousand each time.
        let kill_after = 1 + round * 389 % (WRITES / 2);
        acknowledged.extend(written_until_killed(&gateway, round, kill_after));
    }
    let gateway = Gateway::builder().on_database(&database).start();
    assert!(acknowledged.len() >= kills && acknowledged.is_subset(&stored(&gateway)), "lost by the last kill");
}
