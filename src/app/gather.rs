//! Small messages become large submissions: what waits together is decoded, committed and answered
//! together.
//!
//! A message that comes alone goes at once. While [`GROUPS`] groups are on their way to being
//! visible, further messages gather, so that the busier the engine is, the larger are the groups,
//! and everything behind the door works on batches of many rows. There is no timer.

use super::intake::{Form, HTTP, INLINE_BYTES, Intake, answer, ended, refused, settle};
use crate::base::memory::Admitted;
use crate::ingest::commit::{CommitError, Submission};
use crate::ingest::format::json::{self, Framing};
use crate::ingest::route::{BodyRouted, Routed, Router};
use crate::model::{Outcome, Timestamp};
use crate::serve::{DoorError, ErrorKind, IngestAnswer};
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use uuid::Uuid;

/// Groups that may be on their way: one is committed while the one before goes through the graph.
const GROUPS: usize = 2;
/// Bodies of a group.
const GROUP_BODIES: usize = 4_096;
/// Bytes of the bodies of a group; one more body may come on top.
const GROUP_BYTES: usize = 1 << 20;

/// Gathers messages. Clones share what waits.
#[derive(Clone, Default)]
pub(super) struct Gatherer(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    waiting: Vec<Waiting>,
    /// Groups on their way.
    groups: usize,
}

/// A body that waits for its group. Without an answer, the group broke.
struct Waiting {
    body: Bytes,
    framing: Framing,
    received_at: Timestamp,
    answer: oneshot::Sender<Result<IngestAnswer, DoorError>>,
    /// Until its points are visible.
    _admitted: Admitted,
}

impl Gatherer {
    /// Takes a body in a group; returns when its points are durable and visible.
    pub async fn take(
        &self,
        intake: &Intake,
        body: Bytes,
        framing: Framing,
        admitted: Admitted,
    ) -> Result<IngestAnswer, DoorError> {
        let (answer, answered) = oneshot::channel();
        let received_at = Timestamp(intake.clock.now_micros());
        let waiting = Waiting { body, framing, received_at, answer, _admitted: admitted };
        if self.push(waiting) {
            tokio::spawn(Run { gatherer: self.clone(), intake: intake.clone(), over: false }.run());
        }
        answered.await.unwrap_or_else(|_| {
            let detail =
                "the request was gathered with others, and a fault of this program broke them";
            Err(DoorError::new(ErrorKind::Internal, detail))
        })
    }

    /// Whether there is to be one group more on its way.
    fn push(&self, waiting: Waiting) -> bool {
        let mut state = self.lock();
        state.waiting.push(waiting);
        let starts = state.groups < GROUPS;
        state.groups += usize::from(starts);
        starts
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the groups that may be on their way, and after it the next, until nothing waits.
struct Run {
    gatherer: Gatherer,
    intake: Intake,
    over: bool,
}

impl Run {
    async fn run(mut self) {
        while let Some(group) = self.next() {
            self.intake.take_group(group).await;
        }
    }

    /// What waits, as much as a group takes. Nothing: the run is over.
    fn next(&mut self) -> Option<Vec<Waiting>> {
        let mut state = self.gatherer.lock();
        let (mut length, mut bytes) = (0, 0);
        for waiting in state.waiting.iter().take(GROUP_BODIES) {
            if bytes >= GROUP_BYTES {
                break;
            }
            (length, bytes) = (length + 1, bytes + waiting.body.len());
        }
        if length == 0 {
            (state.groups, self.over) = (state.groups - 1, true);
            return None;
        }
        let rest = state.waiting.split_off(length);
        Some(std::mem::replace(&mut state.waiting, rest))
    }
}

impl Drop for Run {
    /// When a group broke: nobody waits for one that does not come.
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let mut state = self.gatherer.lock();
        state.groups -= 1;
        if state.groups == 0 {
            state.waiting.clear();
        }
    }
}

/// Why a group was not taken.
enum Broken {
    /// Something in it cannot be committed.
    ByOne(DoorError),
    /// Nothing can be committed now, or seen.
    All(DoorError),
}

/// The id of one of the messages of a group: those of RFC 9562 with a counter at the end.
fn numbered(first: u128, message: usize) -> Uuid {
    const COUNTER: u128 = (1 << 62) - 1;
    let counter = first.wrapping_add(message as u128) & COUNTER;
    Uuid::from_u128(first & !COUNTER | counter)
}

impl Intake {
    /// Takes the bodies of a group and answers them.
    async fn take_group(&self, mut group: Vec<Waiting>) {
        let bytes: usize = group.iter().map(|waiting| waiting.body.len()).sum();
        let (bodies, routed) = if bytes < INLINE_BYTES {
            self.route_group(&group)
        } else {
            let intake = self.clone();
            let routing = tokio::task::spawn_blocking(move || {
                let (bodies, routed) = intake.route_group(&group);
                (group, bodies, routed)
            });
            // Where decoding panicked, nobody of the group has an answer.
            let Ok((routed_group, bodies, routed)) = routing.await else { return };
            group = routed_group;
            (bodies, routed)
        };
        let Routed { documents, batches, dead_letters, messages, .. } = routed;
        let submission =
            Submission { documents, batches, dead_letters, messages, ..Submission::default() };
        let (first, outcomes) = match self.commit_group(submission).await {
            Ok(committed) => committed,
            Err(Broken::ByOne(_)) if group.len() > 1 => return self.take_apart(group).await,
            Err(Broken::ByOne(error) | Broken::All(error)) => {
                // Who went away is not told.
                group.into_iter().for_each(|one| drop(one.answer.send(Err(error.clone()))));
                return;
            }
        };
        // One random number a group; its messages have consecutive ones.
        let id = Uuid::now_v7().as_u128();
        let mut outcomes = &outcomes[..];
        for (i, (waiting, body)) in group.into_iter().zip(bodies).enumerate() {
            let end = first + body.messages.end;
            let (own, others) = outcomes.split_at(outcomes.partition_point(|o| o.message < end));
            outcomes = others;
            let mut answer = answer(numbered(id, i), body.points, body.rejected);
            settle(&mut answer, own, first + body.messages.start);
            let _ = waiting.answer.send(Ok(answer));
        }
    }

    /// Commits what a group became, and waits until it is visible; gives the ordinal of its first
    /// message and what became of its messages.
    async fn commit_group(&self, submission: Submission) -> Result<(u32, Vec<Outcome>), Broken> {
        let Submission { documents, batches, dead_letters, messages, .. } = &submission;
        if batches.is_empty() && dead_letters.is_empty() && documents.is_empty() {
            return Ok((0, Vec::new()));
        }
        let messages = *messages;
        let committed = self.submitter.submit(submission).await.map_err(|error| match error {
            CommitError::Refused(_)
            | CommitError::TooLarge { .. }
            | CommitError::Ordinal { .. }
            | CommitError::Unwritable(_) => Broken::ByOne(refused(error)),
            error => Broken::All(refused(error)),
        })?;
        let visible = self.submitter.visible(committed.epoch).await;
        visible.map_err(|error| Broken::All(ended(error)))?;
        let range = committed.first_message..committed.first_message + messages;
        Ok((committed.first_message, self.submitter.views.outcomes(committed.epoch, range)))
    }

    /// Takes the bodies of a group one by one: some of them are at fault, and nothing of the others
    /// was kept.
    async fn take_apart(&self, group: Vec<Waiting>) {
        for waiting in group {
            let form = Form::Json(waiting.framing, None);
            let answer = self.take_alone(waiting.body, form, HTTP).await;
            drop(waiting.answer.send(answer));
        }
    }

    /// Decodes the bodies of a group, in order.
    fn route_group(&self, group: &[Waiting]) -> (Vec<BodyRouted>, Routed) {
        let mut router = Router::new(&*self.devices, self.routing, HTTP, Timestamp(0));
        let bodies = group.iter().map(|waiting| {
            router.begin_body(waiting.received_at);
            json::decode(&waiting.body, waiting.framing, None, &mut router);
            router.end_body()
        });
        let bodies = bodies.collect();
        (bodies, router.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{Runtime, Settings, publish_folder};
    use futures::future::join_all;
    use std::path::Path;

    fn open(folder: &Path) -> Runtime {
        let settings = Settings { live: true, ..Settings::new(folder.join("data")) };
        let runtime = Runtime::open(&settings).unwrap();
        let catalog = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/asset_telemetry");
        assert!(publish_folder(&runtime, &settings.data, &catalog).unwrap().is_empty());
        runtime
    }

    /// Bodies of all sorts: new points, the same again, and all that is refused.
    fn bodies(from_ms: usize) -> Vec<(String, Framing)> {
        let message = |device: &str, time: usize, metrics: &str| {
            let time = from_ms + time * 100;
            format!(r#"{{"deviceId":"{device}","timestamp":{time},"metrics":{{{metrics}}}}}"#)
        };
        let body = |i: usize| {
            let good = message(&format!("dev-0000{}", i % 3), i / 16, r#""flow":1.5,"vib":2"#);
            match i % 8 {
                0..3 => good,
                3 => message("dev-00001", i, r#""flow":1,"nothing":2,"vib":"high""#),
                4 => format!("[{good},{{\"a\":, {}]", message("dev-00002", i, r#""temp":1"#)),
                5 => message("stranger", i, r#""flow":1"#),
                6 => message("dev-00000", 100_000_000_000, r#""flow":1"#),
                _ => format!("{good}\n\n{{}}\n{}", message("dev-00004", i, r#""p_in":4"#)),
            }
        };
        let framing = |i: usize| if i % 8 == 7 { Framing::Lines } else { Framing::Detect };
        (0..160).map(|i| (body(i), framing(i))).chain([("[]".into(), Framing::Detect)]).collect()
    }

    #[test]
    fn who_was_gathered_is_told_the_same_as_who_came_alone() {
        let (together, apart) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (together, apart) = (open(together.path()), open(apart.path()));
        let (gathering, alone) = (Intake::new(&together), Intake::new(&apart));
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // Neither long ago nor far apart: of what an asset has forgotten, nobody knows at once whether
        // it came twice.
        let bodies = bodies((gathering.clock.now_micros() / 1000 - 1_000_000) as usize);
        let (gathered, expected) = tokio.block_on(async {
            let form = |framing| Form::Json(framing, None);
            let takes = bodies.clone().into_iter().map(|(body, framing)| {
                let gathering = &gathering;
                async move { gathering.take(body.into(), form(framing), HTTP).await.unwrap() }
            });
            let gathered = join_all(takes).await;
            let mut expected = Vec::new();
            for (body, framing) in bodies.clone() {
                expected.push(alone.take_alone(body.into(), form(framing), HTTP).await.unwrap());
            }
            (gathered, expected)
        });
        let mut ids = std::collections::HashSet::new();
        for (i, (gathered, expected)) in gathered.into_iter().zip(expected).enumerate() {
            assert!(ids.insert(gathered.message_id.clone()), "{}", gathered.message_id);
            let mut told = IngestAnswer { message_id: String::new(), ..gathered };
            let mut expected = IngestAnswer { message_id: String::new(), ..expected };
            // Says when it was received.
            for answer in [&mut told, &mut expected] {
                answer.rejected.iter_mut().filter(|one| one.reason == "FUTURE_TS").for_each(
                    |one| {
                        one.detail.clear();
                    },
                );
            }
            assert_eq!(told, expected, "{i}: {:?}", bodies[i]);
        }
        drop((gathering, alone));
        together.close().unwrap();
        apart.close().unwrap();
    }

    #[test]
    fn ids_of_a_group_are_of_version_7_and_differ() {
        let first = Uuid::now_v7();
        let last = Uuid::from_u128(first.as_u128() | ((1 << 62) - 1));
        let ids: std::collections::HashSet<Uuid> =
            (0..3).map(|i| numbered(last.as_u128(), i)).collect();
        assert_eq!((ids.len(), numbered(first.as_u128(), 0)), (3, first));
        assert!(
            ids.iter()
                .all(|id| id.get_version_num() == 7 && id.get_variant() == first.get_variant())
        );
    }
}
