//! The body of an answer: whole, or told bit by bit.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::{mpsc, watch};

/// The body of an answer.
pub struct Reply(Inner);

enum Inner {
    /// `None`: it has been sent.
    Whole(Option<Bytes>),
    Stream {
        messages: mpsc::Receiver<Bytes>,
        /// When the server stops, so does the stream.
        stop: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    },
}

impl Reply {
    /// A body that is there.
    #[must_use]
    pub fn whole(bytes: Bytes) -> Self {
        Self(Inner::Whole(Some(bytes)))
    }

    /// A body that comes.
    #[must_use]
    pub fn stream(messages: mpsc::Receiver<Bytes>) -> Self {
        Self(Inner::Stream {
            messages,
            stop: None,
        })
    }

    /// The same, which ends when `stop` becomes true if it has not before.
    #[must_use]
    pub fn until(self, mut stop: watch::Receiver<bool>) -> Self {
        match self.0 {
            Inner::Whole(_) => self,
            Inner::Stream { messages, .. } => Self(Inner::Stream {
                messages,
                stop: Some(Box::pin(async move {
                    // Whoever would say so may be gone: the same.
                    let _ = stop.wait_for(|stop| *stop).await;
                })),
            }),
        }
    }

    /// What is there of the body; nothing of one that comes.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Inner::Whole(bytes) => bytes.unwrap_or_default(),
            Inner::Stream { .. } => Bytes::new(),
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut self.0 {
            Inner::Whole(bytes) => bytes.take().filter(|bytes| !bytes.is_empty()),
            Inner::Stream { messages, stop } => {
                let stop = stop.as_mut().map(|stop| stop.as_mut().poll(context));
                if stop.is_some_and(|stop| stop.is_ready()) {
                    self.0 = Inner::Whole(None);
                    return Poll::Ready(None);
                }
                std::task::ready!(messages.poll_recv(context))
            }
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Inner::Stream { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Inner::Stream { .. } => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_whole_body_has_a_length() {
        let body = Reply::whole(Bytes::from_static(b"abc"));
        assert_eq!(body.size_hint().exact(), Some(3));
        let empty = Reply::whole(Bytes::new());
        assert!(empty.is_end_stream() && empty.size_hint().exact() == Some(0));
        assert_eq!(&body.collect().await.unwrap().to_bytes()[..], b"abc");
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_sender_or_the_server() {
        let (sender, messages) = mpsc::channel(4);
        sender.send(Bytes::from_static(b"a")).await.unwrap();
        sender.send(Bytes::from_static(b"b")).await.unwrap();
        drop(sender);
        let body = Reply::stream(messages);
        assert_eq!(body.size_hint().exact(), None);
        assert_eq!(&body.collect().await.unwrap().to_bytes()[..], b"ab");

        let (sender, messages) = mpsc::channel(4);
        let (stop, stopped) = watch::channel(false);
        let mut body = Reply::stream(messages).until(stopped);
        sender.send(Bytes::from_static(b"a")).await.unwrap();
        assert!(body.frame().await.is_some());
        stop.send(true).unwrap();
        assert!(body.frame().await.is_none());
    }
}
