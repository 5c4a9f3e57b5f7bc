//! Writes over the listener and a real database. Each story begins with nothing; on SQLite it has a database of its own, and
//! all of them run on PostgreSQL and MariaDB where `FERRUM_TEST_POSTGRES_URL` and `FERRUM_TEST_MYSQL_URL` name a server.

mod audit;
mod credentials;
mod imports;
mod outage;
mod relations;
mod resources;
mod specs;

use serde_json::{Value, json};

use crate::admin::auth::{Caller, Role};
use crate::admin::pipeline::Call;
use crate::admin::test_rig::{StoreRig, server_rig, store_rig};
use crate::store::DatabaseKind;

macro_rules! stories {
    ($($room:ident: $($story:ident),* $(,)?;)*) => {
        $($(
            #[tokio::test(flavor = "multi_thread")]
            async fn $story() {
                $room::$story(&store_rig().await).await;
            }
        )*)*

        async fn all(rig: &StoreRig) {
            $($(
                rig.clear().await;
                $room::$story(rig).await;
            )*)*
        }
    };
}

stories! {
    resources:
        a_resource_is_created_read_replaced_and_deleted,
        what_clients_leave_out_is_filled_in_and_what_they_may_not_set_is_dropped,
        a_body_that_is_no_resource_is_refused,
        fields_are_checked_with_the_words_of_their_kind,
        a_replacement_is_checked_like_a_new_one,
        roles_decide_who_writes_and_what_is_shown,
        a_put_never_creates,
        namespaces_are_kept_apart;
    relations:
        what_is_there_once_only_is_refused_twice,
        identities_and_keys_lead_to_one_consumer,
        stream_ports_are_not_shared,
        proxies_refer_to_what_is_there,
        plugin_configs_are_those_of_known_plugins_and_proxies,
        upstreams_in_use_stay;
    credentials:
        credentials_are_set_appended_and_deleted,
        credentials_are_refused_in_the_order_of_the_sheet;
    imports:
        a_batch_is_written_whole,
        a_batch_says_everything_that_is_wrong_with_it,
        a_batch_goes_as_far_as_the_database_lets_it,
        a_backup_can_be_restored,
        a_backup_waits_for_the_write_that_is_under_way,
        long_bodies_are_read_a_few_at_a_time_away_from_the_threads_that_serve,
        a_restore_that_is_wrong_deletes_nothing,
        a_restore_goes_on_after_a_kind_that_fails;
    audit:
        every_successful_write_is_recorded_without_secrets;
    specs:
        a_document_makes_all_it_owns_and_takes_it_along,
        a_document_is_refused_with_a_code_or_with_all_its_failures,
        what_is_there_already_is_a_conflict_and_nothing_is_written,
        a_put_changes_what_differs_and_nothing_else,
        a_put_leaves_alone_what_was_attached_by_hand,
        a_put_may_move_a_name_to_another_upstream,
        what_others_use_stays,
        a_proxy_takes_its_spec_along,
        lists_are_filtered_and_sorted,
        specs_of_other_namespaces_are_not_there;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_takes_all_of_it() {
    match server_rig(DatabaseKind::Postgres, "FERRUM_TEST_POSTGRES_URL").await {
        Some(rig) => all(&rig).await,
        None => eprintln!("not run: no server (FERRUM_TEST_POSTGRES_URL)"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_takes_all_of_it() {
    match server_rig(DatabaseKind::Mysql, "FERRUM_TEST_MYSQL_URL").await {
        Some(rig) => all(&rig).await,
        None => eprintln!("not run: no server (FERRUM_TEST_MYSQL_URL)"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mongodb_takes_all_of_it() {
    match server_rig(DatabaseKind::Mongodb, "FERRUM_TEST_MONGODB_URL").await {
        Some(rig) => all(&rig).await,
        None => eprintln!("not run: no server (FERRUM_TEST_MONGODB_URL)"),
    }
}

/// What a proxy lists, in order: SQL keeps none, MongoDB that of who wrote it.
fn listed(proxy: &Value) -> Vec<&str> {
    let ids = proxy["plugins"].as_array().unwrap().iter().map(|entry| entry["plugin_config_id"].as_str().unwrap());
    let mut ids: Vec<&str> = ids.collect();
    ids.sort_unstable();
    ids
}

fn extended(mut value: Value, more: Value) -> Value {
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    value
}

fn proxy(id: &str, more: Value) -> Value {
    let path = format!("/{id}");
    let value =
        json!({"id": id, "listen_path": path, "backend_scheme": "http", "backend_host": "h", "backend_port": 80});
    extended(value, more)
}

fn upstream(id: &str, more: Value) -> Value {
    extended(json!({"id": id, "targets": [{"host": "a", "port": 1}]}), more)
}

fn config(id: &str, more: Value) -> Value {
    extended(json!({"id": id, "plugin_name": "key_auth", "scope": "global", "config": {}}), more)
}

fn consumer(id: &str, more: Value) -> Value {
    extended(json!({"id": id, "username": id}), more)
}

/// A call as it is once its head and body have been looked at.
fn by_admin(query: &str, body: &str) -> Call {
    Call {
        caller: Caller { role: Role::Admin, subject: "t".to_owned() },
        namespace: "ferrum".to_owned(),
        query: query.to_owned(),
        headers: hyper::HeaderMap::new(),
        body: body.to_owned().into(),
    }
}

fn refusal(status: u16, text: &str) -> (u16, String) {
    (status, text.to_owned())
}
