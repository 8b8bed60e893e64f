//! The five sockets of a kernel.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use zeromq::{
    PubSocket, RouterRecvHalf, RouterSendHalf, RouterSocket, Socket, SocketRecv, SocketSend,
    ZmqMessage,
};

use super::connection::Connection;
use super::message::{Message, Signer, WireError};

/// How long a predecessor may take to give its ports up.
const RESTART: Duration = Duration::from_secs(3);

/// A socket that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {endpoint} ({socket}): {source}")]
pub struct BindError {
    socket: &'static str,
    endpoint: String,
    source: zeromq::ZmqError,
}

/// The listening sockets, ready for the server.
pub struct Sockets {
    /// Requests, one after the other.
    pub shell: Channel,
    /// Requests that overtake.
    pub control: Channel,
    /// Prompts and their answers.
    pub stdin: Channel,
    /// Output.
    pub iopub: PubSocket,
}

/// A ROUTER socket that carries messages both ways.
pub struct Channel {
    /// Messages from clients.
    pub incoming: Incoming,
    /// Messages to clients; may be cloned.
    pub outgoing: Outgoing,
}

/// The receiving half of a channel.
pub struct Incoming {
    socket: RouterRecvHalf,
    signer: Signer,
}

/// The sending half of a channel.
#[derive(Clone)]
pub struct Outgoing {
    socket: RouterSendHalf,
    signer: Signer,
}

impl Incoming {
    /// The next message whose signature holds; noise is logged and skipped.
    pub async fn next(&mut self) -> Message {
        loop {
            match self.socket.recv().await {
                Ok(frames) => match Message::decode(frames.into_vec(), &self.signer) {
                    Ok(message) => return message,
                    Err(error @ (WireError::Shape | WireError::Signature | WireError::Json(_))) => {
                        tracing::warn!(%error, "dropped a message");
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "a socket failed to receive");
                    // A peer that breaks off in the middle must not turn this loop into a spin.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
}

impl Outgoing {
    /// Sends a message to the identities it carries.
    ///
    /// # Errors
    /// When that client is gone.
    pub async fn send(&self, message: &Message) -> Result<(), zeromq::ZmqError> {
        let frames = ZmqMessage::try_from(message.encode(&self.signer))
            .map_err(|_| zeromq::ZmqError::Other("a message without frames"))?;
        self.socket.clone().send(frames).await
    }
}

/// Opens all five sockets; the heartbeat echoes from here on.
///
/// # Errors
/// When one of the ports is taken.
pub async fn bind(connection: &Connection) -> Result<Sockets, BindError> {
    let signer = Signer::new(&connection.key);
    let mut heartbeat = RouterSocket::new();
    open(&mut heartbeat, "heartbeat", connection, connection.hb_port).await?;
    tokio::spawn(echo(heartbeat));
    let mut iopub = PubSocket::new();
    open(&mut iopub, "iopub", connection, connection.iopub_port).await?;
    Ok(Sockets {
        iopub,
        stdin: channel("stdin", connection, connection.stdin_port, &signer).await?,
        control: channel("control", connection, connection.control_port, &signer).await?,
        shell: channel("shell", connection, connection.shell_port, &signer).await?,
    })
}

async fn channel(
    name: &'static str,
    connection: &Connection,
    port: u16,
    signer: &Signer,
) -> Result<Channel, BindError> {
    let mut socket = RouterSocket::new();
    open(&mut socket, name, connection, port).await?;
    let (send, recv) = socket.split();
    Ok(Channel {
        incoming: Incoming {
            socket: recv,
            signer: signer.clone(),
        },
        outgoing: Outgoing {
            socket: send,
            signer: signer.clone(),
        },
    })
}

async fn open<S: Socket>(
    socket: &mut S,
    name: &'static str,
    connection: &Connection,
    port: u16,
) -> Result<(), BindError> {
    let endpoint = connection.endpoint(port);
    let patience = tokio::time::Instant::now() + RESTART;
    loop {
        match socket.bind(&endpoint).await {
            Ok(_) => return Ok(()),
            // A restarted kernel gets its predecessor's ports, which may still be closing.
            Err(zeromq::ZmqError::Network(error))
                if error.kind() == std::io::ErrorKind::AddrInUse
                    && tokio::time::Instant::now() < patience =>
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(source) => {
                return Err(BindError {
                    socket: name,
                    endpoint,
                    source,
                });
            }
        }
    }
}

/// Sends every heartbeat back as it came. A ROUTER keeps the envelope, so that a client that
/// vanishes between ping and echo does not wedge the socket as it would a REP.
async fn echo(mut socket: RouterSocket) {
    loop {
        match socket.recv().await {
            Ok(frames) => {
                if let Err(error) = socket.send(frames).await {
                    tracing::debug!(%error, "a heartbeat could not be returned");
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the heartbeat socket failed to receive");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// Publishes what the channel brings until its senders are gone.
pub async fn publish(
    mut socket: PubSocket,
    signer: Signer,
    mut messages: mpsc::UnboundedReceiver<Message>,
) {
    while let Some(mut message) = messages.recv().await {
        // Subscribers may filter by topic; the message type is the topic.
        message.identities = vec![Bytes::from(message.kind().to_owned())];
        if let Ok(frames) = ZmqMessage::try_from(message.encode(&signer))
            && let Err(error) = socket.send(frames).await
        {
            tracing::warn!(%error, "an output message could not be published");
        }
    }
}
