//! Limits of the views, and what happens at each.

/// How much is kept and how far a subscriber may fall behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Dead letters that the view holds; the oldest leave first.
    pub dead_letters: usize,
    /// Bytes of dead letters that the view holds; the oldest leave first.
    pub dead_letter_bytes: usize,
    /// Epochs for which outcomes of messages can be asked.
    pub outcome_epochs: usize,
    /// Outcomes that are kept of all epochs but the newest; the oldest epochs leave first.
    pub outcomes: usize,
    /// Messages that may wait for a subscriber.
    pub queue_messages: usize,
    /// Bytes that may wait for a subscriber. A single message is taken at any size when nothing
    /// else waits.
    pub queue_bytes: usize,
    /// What happens to a subscriber whose queue is full.
    pub slow_consumer: SlowConsumer,
}

/// What happens to a subscriber that does not keep up. Applying an epoch never waits for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowConsumer {
    /// It gets what is queued, then a last message that says how to go on, then nothing more.
    Disconnect,
}

impl Limits {
    /// The newest dead letters that are kept.
    pub const DEAD_LETTERS: usize = 100_000;
    /// The bytes of dead letters that are kept.
    pub const DEAD_LETTER_BYTES: usize = 256 << 20;
    /// The epochs whose outcomes are kept.
    pub const OUTCOME_EPOCHS: usize = 4096;
    /// The outcomes that are kept of all epochs but the newest.
    pub const OUTCOMES: usize = 1_000_000;
    /// Messages that may wait for a subscriber.
    pub const QUEUE_MESSAGES: usize = 1024;
    /// Bytes that may wait for a subscriber.
    pub const QUEUE_BYTES: usize = 4 << 20;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            dead_letters: Self::DEAD_LETTERS,
            dead_letter_bytes: Self::DEAD_LETTER_BYTES,
            outcome_epochs: Self::OUTCOME_EPOCHS,
            outcomes: Self::OUTCOMES,
            queue_messages: Self::QUEUE_MESSAGES,
            queue_bytes: Self::QUEUE_BYTES,
            slow_consumer: SlowConsumer::Disconnect,
        }
    }
}
