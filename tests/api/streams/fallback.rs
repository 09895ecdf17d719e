//! Streams whose sockets stay with the HTTP server keep the same promises.

use super::resume::{
    cut_at_random_and_resumed_nothing_is_lost_or_told_twice, history_that_is_gone_is_told_as_a_gap,
    resuming_works_from_the_table_as_from_memory,
};
use super::rights::{
    a_deleted_account_ends_its_streams, a_deleted_snippet_ends_its_topic,
    a_revoked_credential_ends_its_streams, a_snippet_made_private_is_gone_for_others_live_and_replayed,
    credentials_that_expire_end_the_stream_after_a_warning,
};
use super::shape::{
    a_graceful_stop_says_so, a_subscriber_of_both_topics_gets_each_event_once, heartbeats_come_by_the_clock,
    lines_and_pages_carry_the_same_envelopes, no_content_breaks_a_frame,
    topics_change_while_the_stream_is_open, types_and_echo_are_honoured,
};
use crate::support::on_both_databases;

const OFF: [&str; 2] = ["--stream-handover", "false"];

on_both_databases![
    cut_at_random_and_resumed_nothing_is_lost_or_told_twice with super::OFF,
    resuming_works_from_the_table_as_from_memory with ["--stream-handover", "false", "--history-memory", "1"],
    history_that_is_gone_is_told_as_a_gap with ["--stream-handover", "false", "--history-events", "10", "--history-memory", "1"],
    a_deleted_account_ends_its_streams with super::OFF,
    a_deleted_snippet_ends_its_topic with super::OFF,
    a_revoked_credential_ends_its_streams with super::OFF,
    a_snippet_made_private_is_gone_for_others_live_and_replayed with super::OFF,
    credentials_that_expire_end_the_stream_after_a_warning with super::OFF,
    a_graceful_stop_says_so with super::OFF,
    a_subscriber_of_both_topics_gets_each_event_once with super::OFF,
    heartbeats_come_by_the_clock with super::OFF,
    lines_and_pages_carry_the_same_envelopes with super::OFF,
    no_content_breaks_a_frame with super::OFF,
    topics_change_while_the_stream_is_open with super::OFF,
    types_and_echo_are_honoured with super::OFF,
];
