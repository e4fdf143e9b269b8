//! The end of the graph: every change of a worker leaves through one operator.

use crate::model::{Change, Epoch, Output};
use crossbeam_channel::Sender;
use std::cell::Cell;
use std::rc::Rc;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::{ProbeHandle, StreamVec};

/// A change and the epoch at which it happens.
pub type Dated = (u64, Change);

/// Where changes leave the dataflow.
#[derive(Clone)]
pub struct Outlet {
    outputs: Sender<Output>,
    closed: Rc<Cell<bool>>,
}

impl Outlet {
    /// An outlet to this channel.
    pub fn new(outputs: Sender<Output>) -> Self {
        Self { outputs, closed: Rc::default() }
    }

    /// Hands something out; waits while the channel is full.
    pub fn send(&self, output: Output) {
        if self.outputs.send(output).is_err() {
            self.closed.set(true);
        }
    }

    /// Whether a change found nobody to receive it.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }
}

/// Sends all changes of this worker to the outlet; waits while its channel is full.
///
/// The probe passes an epoch when the captures of all workers have sent every change up to it:
/// a message counts as consumed when its closure below returns, and the count is published when
/// the operator returns. The operator keeps no capability and produces nothing.
pub fn capture(changes: StreamVec<'_, u64, Dated>, outlet: Outlet) -> ProbeHandle<u64> {
    let sent = changes.unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(
        Pipeline,
        "Capture",
        |_capability, _info| {
            move |input, _output| {
                input.for_each(|_capability, changes| {
                    for (epoch, change) in changes.drain(..) {
                        outlet.send(Output::Change(Epoch(epoch), change));
                    }
                });
            }
        },
    );
    sent.probe().0
}

/// Turns differential updates into changes, one for each epoch in a container.
pub fn dated<'scope, D: Clone + 'static>(
    updates: StreamVec<'scope, u64, (D, u64, i64)>,
    name: &str,
    change: fn(Vec<(D, i64)>) -> Change,
) -> StreamVec<'scope, u64, Dated> {
    updates.unary::<CapacityContainerBuilder<Vec<Dated>>, _, _, _>(Pipeline, name, |_, _| {
        move |input, output| {
            input.for_each(|capability, updates| {
                updates.sort_by_key(|update| update.1);
                let mut session = output.session(&capability);
                let mut updates = updates.drain(..).peekable();
                while let Some((datum, epoch, diff)) = updates.next() {
                    let mut list = vec![(datum, diff)];
                    while let Some((datum, _, diff)) = updates.next_if(|next| next.1 == epoch) {
                        list.push((datum, diff));
                    }
                    session.give((epoch, change(list)));
                }
            });
        }
    })
}
