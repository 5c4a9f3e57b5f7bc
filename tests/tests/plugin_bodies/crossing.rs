//! Every way in and out, with bodies that are held on both.

use serde_json::json;
use tests::peer::crossings::Crossings;
use tests::peer::{Answer, Ask, Client, Plan, Size};

/// Behind a gateway that holds every request and every response.
fn holding_everything() -> Crossings {
    // Requests are held because they do not say what they are, responses because they say that they are JSON.
    let forget_type = json!({"operation": "remove", "key": "content-type"});
    let body = json!({"target": "body", "operation": "remove", "key": "secret"});
    let claim_type = json!({"operation": "update", "key": "content-type", "value": "application/json"});
    Crossings::start(
        |proxy| proxy,
        |document| {
            document
                .global_plugin("request_transformer", json!({"rules": [forget_type, body]}))
                .global_plugin("response_transformer", json!({"rules": [claim_type, body]}))
        },
        |builder| builder,
    )
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, left: T, right: T) -> Result<(), String> {
    if left == right { Ok(()) } else { Err(format!("{what}: {left:?} and not {right:?}")) }
}

async fn whole(client: &mut Client, ask: &Ask) -> Result<Answer, String> {
    let answer = client.ask(ask).await.map_err(|fault| format!("{fault:?} for {ask:?}"))?;
    same("the upload", answer.uploaded.clone(), Ok(()))?;
    same("the end", answer.body.end.clone(), Ok(()))?;
    same("the status", answer.status, 200)?;
    same("the bytes", answer.body.intact, true)?;
    Ok(answer)
}

#[test]
fn held_bodies_of_all_sizes_cross_from_each_protocol_to_each_other() {
    let crossings = holding_everything();
    crossings.each(async |frontend, backend| {
        let mut client = crossings.client(frontend).await;
        for bytes in [0, 1, 16_384, 65_536, 300_000, 3 << 20] {
            for (size, unknown_length) in [(Size::Known(bytes), false), (Size::Unknown(bytes), true)] {
                let plan = Plan { bytes, unknown_length, ..Plan::default() };
                let answer = whole(&mut client, &crossings.ask(backend, "POST", &plan, size)).await?;
                same("got", answer.header("x-got-bytes"), Some(bytes.to_string().as_str()))?;
                same("got intact", answer.header("x-got-intact"), Some("true"))?;
                // No length of an empty body is said over HTTP/2.
                if bytes > 0 {
                    same("length of the request", answer.header("x-got-length"), Some(bytes.to_string().as_str()))?;
                    same("length of the response", answer.header("content-length"), Some(bytes.to_string().as_str()))?;
                }
                same("said", answer.body.bytes, bytes)?;
                same("lines of one name", answer.headers.all("set-cookie"), vec!["first=1", "second=2"])?;
            }
        }
        Ok(())
    });
}

#[test]
fn trailers_cross_behind_held_bodies_in_both_directions() {
    let crossings = holding_everything();
    crossings.each(async |frontend, backend| {
        let mut client = crossings.client(frontend).await;
        for bytes in [0, 5, 200_000] {
            let plan = Plan { bytes, unknown_length: true, trailers: true, ..Plan::default() };
            let ask =
                crossings.ask(backend, "POST", &plan, Size::Unknown(bytes)).trailer("x-checksum", "of the request");
            let answer = whole(&mut client, &ask).await?;
            if bytes > 0 {
                same("trailers of the request", answer.header("x-got-checksum"), Some("of the request"))?;
            }
            let checksum = format!("sum-{bytes}");
            same("trailers of the response", answer.body.trailers.get("x-checksum"), Some(checksum.as_str()))?;
            same("bytes of the response", answer.body.bytes, bytes)?;
        }
        Ok(())
    });
}
