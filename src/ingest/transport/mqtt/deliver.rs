//! From deliveries to the sink, pipelined, and acknowledgements back in order.

use super::link::{Ack, Acked, Acks, Delivery};
use super::settings::Settings;
use crate::base::backoff::Backoff;
use crate::ingest::transport::{Sink, SinkError};
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;

/// How long to wait for room in the queue of acknowledgements.
const ACK_RETRY: Duration = Duration::from_millis(5);

/// Takes deliveries until the channel closes, then finishes those under way. Ends early when the
/// sink stops: what it did not take stays unacknowledged.
pub(super) async fn deliver<S: Sink>(
    mut deliveries: Receiver<Delivery>,
    sink: Arc<S>,
    acks: Acks,
    settings: Settings,
) -> Result<(), SinkError> {
    let mut under_way = FuturesOrdered::new();
    let mut open = true;
    while open || !under_way.is_empty() {
        let room = under_way.len() < usize::from(settings.in_flight);
        tokio::select! {
            delivery = deliveries.recv(), if open && room => match delivery {
                Some(delivery) => under_way.push_back(submit(&*sink, delivery, &settings)),
                None => open = false,
            },
            Some(ack) = under_way.next(), if !under_way.is_empty() => {
                let ack: Ack = ack?;
                while acks.send(&ack) == Acked::Full {
                    tokio::time::sleep(ACK_RETRY).await;
                }
            }
        }
    }
    Ok(())
}

/// Offers a message until it is durable.
async fn submit<S: Sink>(
    sink: &S,
    delivery: Delivery,
    settings: &Settings,
) -> Result<Ack, SinkError> {
    let Delivery { topic, payload, ack } = delivery;
    let device = settings.device_from_topic.as_ref().and_then(|template| template.device(&topic));
    let mut backoff = Backoff::new(&settings.client_id);
    loop {
        match sink.submit(payload.clone(), device.map(str::to_owned)).await {
            Ok(()) => return Ok(ack),
            Err(SinkError::Busy) => tokio::time::sleep(backoff.wait() / 10).await,
            Err(stopped) => return Err(stopped),
        }
    }
}
