//! The bus over NATS: plain publish and subscribe, no storage.

use std::time::Duration;

use async_nats::{
    Client, ConnectOptions, Event, Message, ServerAddr, Subscriber, connection::State, subject::ToSubject,
};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use percent_encoding::percent_decode_str;

use super::Subject;

/// How many messages may wait for each reader of this node: the bound of its memory, together with the size of a
/// message. What comes on top is dropped.
const WAITING: usize = 512;
/// How many messages may wait to be sent.
const UNSENT: usize = 1_024;
/// How long a connection may take to come about.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the server is asked for a sign of life; the connection ends when two have not come.
const PING: Duration = Duration::from_secs(2);
/// The longest time between two tries to connect again.
const RETRY: Duration = Duration::from_secs(1);

/// A connection to the servers of NATS.
pub struct Nats {
    client: Client,
    /// What the subjects of this installation begin with.
    prefix: String,
}

/// The messages on one subject.
pub(in super::super) struct Inbox(Subscriber);

impl Nats {
    pub(super) async fn connect(url: &str, epoch: &str) -> Result<Self, String> {
        let servers = servers(url)?;
        metrics::gauge!("snippetbox_bus_connected").set(0);
        let client = credentials(&servers)?
            .name("snippetbox")
            // What a node has told it knows.
            .no_echo()
            .retry_on_initial_connect()
            .connection_timeout(PATIENCE)
            .ping_interval(PING)
            .reconnect_delay_callback(|tries| {
                RETRY.min(Duration::from_millis(50) * u32::try_from(tries).unwrap_or(u32::MAX))
            })
            .client_capacity(UNSENT)
            .subscription_capacity(WAITING)
            .event_callback(|event| async move { note(&event) })
            .connect(servers)
            .await
            .map_err(|error| error.to_string())?;
        Ok(Self { client, prefix: format!("snippetbox.{epoch}") })
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    pub(super) fn publish(&self, subject: Subject, payload: Bytes) {
        self.send(self.subject(subject), payload);
    }

    pub(super) fn send(&self, subject: impl ToSubject, payload: Bytes) {
        // Not waited for: where the queue of the client is full, the message is dropped.
        let sent = self.is_connected()
            && matches!(self.client.publish(subject, payload).now_or_never(), Some(Ok(())));
        if !sent {
            metrics::counter!("snippetbox_bus_dropped_total").increment(1);
        }
    }

    /// Asks all who hear the subject; the answers come into an inbox of their own.
    pub(super) async fn ask(&self, subject: Subject, question: Bytes) -> Option<Inbox> {
        if !self.is_connected() {
            return None;
        }
        let reply = self.client.new_inbox();
        let answers = self.client.subscribe(reply.clone()).await.ok()?;
        self.client.publish_with_reply(self.subject(subject), reply, question).await.ok()?;
        Some(Inbox(answers))
    }

    fn subject(&self, subject: Subject) -> String {
        format!("{}.{}", self.prefix, subject.name())
    }

    pub(super) async fn subscribe(&self, subject: Subject) -> Option<Inbox> {
        let subscribed = self.client.subscribe(self.subject(subject)).await;
        subscribed
            .inspect_err(|error| tracing::error!(%error, "the bus takes no subscription"))
            .ok()
            .map(Inbox)
    }
}

impl Inbox {
    pub(super) async fn next(&mut self) -> Message {
        match self.0.next().await {
            Some(message) => message,
            // The client has ended, which it does with the program.
            None => std::future::pending().await,
        }
    }
}

/// The servers of a list with commas between.
pub(super) fn servers(url: &str) -> Result<Vec<ServerAddr>, String> {
    url.split(',')
        .map(|server| server.trim().parse::<ServerAddr>().map_err(|error| error.to_string()))
        .collect()
}

/// What the first server that says whom to be says: a user and a password, or a token. (The client takes nothing out
/// of URLs by itself.)
fn credentials(servers: &[ServerAddr]) -> Result<ConnectOptions, String> {
    let options = ConnectOptions::new();
    let Some(server) = servers.iter().find(|server| server.has_user_pass()) else { return Ok(options) };
    let decode = |part: &str| match percent_decode_str(part).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err("the user or password is no text in UTF-8".to_owned()),
    };
    let user = decode(server.username().unwrap_or_default())?;
    Ok(match server.password() {
        Some(password) => options.user_and_password(user, decode(password)?),
        None => options.token(user),
    })
}

fn note(event: &Event) {
    match event {
        Event::Connected => {
            metrics::gauge!("snippetbox_bus_connected").set(1);
            tracing::info!("the bus is connected");
        }
        Event::Disconnected => {
            metrics::gauge!("snippetbox_bus_connected").set(0);
            tracing::warn!("the bus is away; the log is read from the database until it is back");
        }
        Event::SlowConsumer(_) => metrics::counter!("snippetbox_bus_dropped_total").increment(1),
        Event::ServerError(_) | Event::ClientError(_) => tracing::warn!(error = %event, "the bus complains"),
        Event::LameDuckMode | Event::Draining | Event::Closed => tracing::debug!(%event, "the bus ends"),
    }
}
