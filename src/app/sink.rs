//! The view `events` for the sink into TimescaleDB.

use crate::historian::timescale::{Follow, Told};
use crate::views::{Envelope, Filter, Message, Views};
use futures::stream::{self, BoxStream, StreamExt};

/// Events, followed as any subscriber does.
pub struct Events(pub Views);

impl Follow for Events {
    fn follow(&self) -> BoxStream<'static, Told> {
        let subscribed = self.0.subscribe("events", Filter::default(), Envelope::Diff);
        let mut subscription = match subscribed {
            Ok(subscription) => subscription,
            Err(error) => {
                tracing::error!(%error, "events do not go to the database");
                return stream::pending().boxed();
            }
        };
        let rows = std::mem::take(&mut subscription.snapshot);
        let whole = Told::Whole(subscription.epoch, rows);
        let changes = stream::unfold(subscription, |mut subscription| async move {
            loop {
                match subscription.next().await? {
                    Message::Batch(delta) => {
                        return Some((
                            Told::Changed(delta.epoch, delta.rows.clone()),
                            subscription,
                        ));
                    }
                    Message::Progress(_) => {}
                    Message::Closed(_) => return None,
                }
            }
        });
        stream::iter([whole]).chain(changes).boxed()
    }
}
